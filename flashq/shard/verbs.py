"""What carries out a command that is not among the most frequent: a row of a table, and what it is handed.

A verb gets the dispatcher and a `Request`, and returns the fields of its reply, or raises a FlashqError having changed
nothing; or it returns None and answers through the request, at once or later. Rows live in the modules of their
families (`VERBS` in each) and are put together in `families.py`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flashq.engine.validation import check_queue_name
from flashq.errors import FlashqError, InvalidArgument
from flashq.protocol import replies
from flashq.protocol.dispatch import Link, Ticket
from flashq.protocol.slots import ID_MAX, slot_of_queue

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

Fields = Mapping[str, Any]
_NO_REQ_ID: Final = (b"", b"null", b"\xc0")


class Later:
    """The place of an answer that comes later."""

    __slots__ = ("_codec", "_held", "_req_id")

    def __init__(self, held: Ticket, codec: int, req_id: bytes) -> None:
        self._held = held
        self._codec = codec
        self._req_id = req_id

    def reply(self, fields: Fields) -> bool:
        """Answer. False if the client has gone."""
        return self.say(replies.ok(self._codec, fields))

    def reply_when(self, fields: Fields, wait: Callable[[Callable[[], object]], object]) -> None:
        """Answer when `wait` calls back.

        What is kept of it under an idempotency key is kept now, in the record of what was done: a process that dies
        before the answer leaves must not do it again for a client that asks again.
        """
        body = replies.with_req_id(self._codec, replies.ok(self._codec, fields), self._req_id)
        keep = getattr(self._held, "keep", None)
        if keep is not None:
            keep(body)
        wait(lambda: self._held.reply(body))

    def refuse(self, error: FlashqError) -> bool:
        """Answer with an error. False if the client has gone."""
        return self.say(replies.failure(self._codec, error))

    def say(self, body: bytes) -> bool:
        """Answer with a rendered reply, without its `reqId`. False if the client has gone."""
        return self._held.reply(replies.with_req_id(self._codec, body, self._req_id))


class Request:
    """One command, and the way back to who sent it."""

    __slots__ = ("codec", "command", "frame", "link")

    def __init__(self, link: Link, command: Any, frame: bytes, codec: int) -> None:
        self.link = link
        self.command = command
        self.frame = frame
        self.codec = codec

    @property
    def local(self) -> bool:
        """Another shard asks on behalf of a client: answer for this shard alone."""
        return self.link.local

    @property
    def over(self) -> bool:
        """The client sends nothing more, and would not be told either: what would wait is answered at once."""
        return bool(getattr(self.link, "_ended", False))

    def reply(self, fields: Fields) -> None:
        """Answer at once."""
        body = replies.ok(self.codec, fields)
        self.link.reply(replies.with_req_id(self.codec, body, self.command.reqId))

    def hold(self) -> Later:
        """Answer later: with a `reqId` other replies may overtake it, without one they wait behind it."""
        req_id = bytes(self.command.reqId)
        return Later(self.link.hold(ordered=req_id in _NO_REQ_ID), self.codec, req_id)


Do = Callable[["ShardDispatcher", Request], Fields | None]
Route = Callable[[Any], int]
"""command -> the slot that it belongs to. Raises InvalidArgument where it names none."""


class Verb(NamedTuple):
    """One row."""

    do: Do
    route: Route | None = None
    """None: any shard carries it out, perhaps by asking others (gathering.py)."""
    keyed: bool = False
    """It changes something, so that an `idempotency_key` counts."""


def by_queue(command: Any) -> int:
    """Also where a queue's name is checked, for every command that takes one."""
    check_queue_name(command.queue)
    slot: int = slot_of_queue(command.queue)
    return slot


def by_id(command: Any) -> int:
    """`id`, or `job_id` where clients may call it that."""
    job_id = command.id if command.id is not None else getattr(command, "job_id", None)
    if job_id is None:
        raise InvalidArgument("missing field `id`")
    if job_id > ID_MAX:
        raise InvalidArgument(f"invalid value: `id` is {job_id}, ids are below 2^53")
    return int(job_id) & 1023


def by_name(command: Any) -> int:
    slot: int = slot_of_queue(command.name)
    return slot


def by_key(command: Any) -> int:
    slot: int = slot_of_queue(command.key)
    return slot
