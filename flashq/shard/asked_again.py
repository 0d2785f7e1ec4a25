"""Who waited in a slot that moved asks again, where the slot is now: the same request, with the time that is left."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from flashq.engine.departure import Departed
from flashq.engine.waiters import Waiter
from flashq.engine.waits import JobWait
from flashq.protocol import replies
from flashq.protocol.dispatch import Codec, Link, Ticket
from flashq.shard.gate import GatedLink
from flashq.shard.verbs import Later

if TYPE_CHECKING:
    from flashq.shard.control_verbs import WaitTicket
    from flashq.shard.dispatcher import PullTicket


class Named:
    """The place of a reply that is given its `reqId` here: the request that is sent again has none."""

    __slots__ = ("_codec", "_held", "_req_id")

    def __init__(self, held: Ticket, codec: int, req_id: bytes) -> None:
        self._held = held
        self._codec = codec
        self._req_id = req_id

    def reply(self, body: bytes) -> bool:
        return self._held.reply(replies.with_req_id(self._codec, body, self._req_id))

    def takes_jobs(self) -> bool:
        return self._held.takes_jobs()


class Said:
    """As Named, where the answer knows its `reqId` itself. No job is in it."""

    __slots__ = ("_later",)

    def __init__(self, later: Later) -> None:
        self._later = later

    def reply(self, body: bytes) -> bool:
        return self._later.say(body)

    def takes_jobs(self) -> bool:
        return True


def asked_again(departed: Departed, mono_ms: int) -> Iterator[tuple[Link, bytes]]:
    """Each wait as a request, and where its reply goes, in the order in which they waited."""
    for waiter in departed.pulls:
        yield _pull(waiter, max(0, waiter.deadline - mono_ms))
    for wait in departed.waits:
        yield _wait(wait, max(0, wait.timer[0] - mono_ms))


def _pull(waiter: Waiter, timeout_ms: int) -> tuple[Link, bytes]:
    ticket: PullTicket = waiter.ticket
    body: dict[str, Any] = {
        "cmd": "PULLB" if ticket.batch else "PULL", "queue": waiter.queue.name, "timeout": timeout_ms,
    }  # fmt: skip
    if ticket.batch:
        body["count"] = waiter.count
    if waiter.lease_ms:
        body["lease_ms"] = waiter.lease_ms
    if waiter.tied:
        body["release_on_disconnect"] = True
    return _again(ticket.link, Named(ticket.held, ticket.codec, ticket.req_id), body)


def _wait(wait: JobWait, timeout_ms: int) -> tuple[Link, bytes]:
    ticket: WaitTicket = wait.ticket
    return _again(ticket.link, Said(ticket.later), {"cmd": "WAITJOB", "id": wait.job_id, "timeout": timeout_ms})


def _again(link: Link, ticket: Ticket, body: dict[str, Any]) -> tuple[Link, bytes]:
    encode = msgspec.json.encode if link.codec is Codec.TEXT else msgspec.msgpack.encode
    again: Any = GatedLink(link, ticket)
    return again, encode(body)
