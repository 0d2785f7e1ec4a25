"""Requests on connections that a router keeps: answered from shared memory, or sent to the shard concerned.

Only the head of a command is decoded; the bytes go on as they came. The shard that gets them judges them, so that an
error reads the same on every way. What names no place (PING, AUTH, STATS, LISTQUEUES,
METRICS) is decided here.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from flashq.access.access import STRANGER, Access
from flashq.access.showing import show_token
from flashq.errors import FlashqError, InvalidArgument, MalformedFrame, Unauthenticated
from flashq.protocol import commands as c
from flashq.protocol import replies
from flashq.protocol.codec import check_text, explained
from flashq.protocol.dispatch import Codec, Link
from flashq.protocol.happenings import kinds_of
from flashq.protocol.head import Head, decode_head, echo_of, slot_of
from flashq.protocol.queue_names import check_queue_name
from flashq.protocol.repeated_keys import check_keys
from flashq.protocol.slots import slot_of_queue
from flashq.transport.event_desk import EventDesk
from flashq.transport.forwarding import PULL_WAIT_MS, WAITS, Forwarder, check_ack_batch
from flashq.transport.totals import SharedTotals

log = structlog.get_logger()
_BAD: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class RoutingDispatcher:
    """The `Dispatcher` of a router."""

    def __init__(
        self, forwarder: Forwarder, *, owner_of: Callable[[int], int], totals: SharedTotals,
        access: Access, max_batch: int, shards: int, process: str,
    ) -> None:  # fmt: skip
        self.desk = EventDesk(
            process, shard=None, owner_of_queue=lambda name: owner_of(slot_of_queue(name)),
            ask_shard=forwarder.ask_shard, own_changed=_no_own_queues,
        )  # fmt: skip
        self._shards = shards
        self._forwarder = forwarder
        self._owner_of = owner_of
        self._totals = totals
        self._access = access
        self._max_batch = max_batch

    def submit_lines(self, link: Link, whole: bytes, lines: list[bytes]) -> bool:
        """Nothing is carried out here: each request finds its own way."""
        return False

    def submit(self, link: Link, frame: bytes) -> None:
        """Send a request on, or answer it. Faults are answered."""
        codec = link.codec
        head = decode_head(frame, codec)
        req_id = echo_of(head, codec)
        try:
            self._route(link, frame, head, req_id)
        except Exception:  # a bug of ours must not end everybody's connections: logged in full, answered `internal`
            log.exception("a request failed", command=head.cmd)
            body = replies.failure_text(codec, "Internal fault while routing a request; the log has it", "internal")
            link.reply(replies.with_req_id(codec, body, req_id))

    def _route(self, link: Link, frame: bytes, head: Head, req_id: bytes) -> None:
        codec = link.codec
        if not link.principal and head.cmd not in ("AUTH", "PING"):
            self._refuse(link, Unauthenticated(STRANGER), req_id)
            return
        slot = slot_of(head)
        if head.cmd not in _HERE and slot is not None:
            self._send(link, frame, head, self._owner_of(slot), req_id)
            return
        try:
            command = c.FULL[codec](frame)
            if codec is Codec.TEXT:
                check_text(frame)
        except (*_BAD, MalformedFrame) as e:
            self._refuse(link, explained(e), req_id)
            return
        try:
            check_keys(frame, codec)
            # What is sent on is looked at where it arrives, by its own shard.
            self._access.check_command(link.principal, command)
            self._decide(link, command, frame, req_id)
        except FlashqError as e:
            self._refuse(link, e, req_id)

    def _send(self, link: Link, frame: bytes, head: Head, shard: int, req_id: bytes) -> None:
        wait_ms = 0
        default_ms = WAITS.get(head.cmd)
        if default_ms is not None:
            timeout = _timeout_of(frame, link.codec)
            wait_ms = default_ms if timeout is None else timeout
        self._forwarder.send(shard, link, frame, req_id, wait_ms)

    def _decide(self, link: Link, command: Any, frame: bytes, req_id: bytes) -> None:
        codec = link.codec
        kind = type(command)
        if kind is c.AckBatch:
            check_ack_batch(command, self._max_batch)
            if not command.ids:
                self._say(link, {"ids": [0], "count": 0}, req_id)
                return
            self._forwarder.split_acks(link, command, codec)
        elif kind is c.Ping:
            self._say(link, {"pong": True}, req_id)
        elif kind is c.Auth:
            if show_token(self._access, link, command.token, req_id):
                self.ended(link)
                self.desk.gone(link)
        elif kind is c.Subscribe:
            self._subscribe(link, command, req_id)
        elif kind is c.Unsubscribe:
            check_queue_name(command.queue)
            self.desk.unsubscribe(link, command.queue)
            self._say(link, {}, req_id)
        elif kind is c.Stats:
            self._say(link, self._totals.stats(), req_id)
        elif kind is c.ListQueues:
            self._say(link, {"queues": self._totals.queues()}, req_id)
        elif kind is c.Metrics:
            self._say(link, {"metrics": self._totals.metrics()}, req_id)
        else:
            # Its head hid the place, or it concerns several shards: any shard forwards it, or asks the others.
            self._forwarder.send(link.gid % self._shards, link, frame, req_id, PULL_WAIT_MS)

    def _subscribe(self, link: Link, command: c.Subscribe, req_id: bytes) -> None:
        check_queue_name(command.queue)
        kinds = kinds_of(command.events)
        if not link.takes_events:
            raise InvalidArgument("SUBSCRIBE needs a connection of its own, over TCP or a Unix socket")
        held = link.hold(ordered=not req_id)
        codec = link.codec

        def done(error: FlashqError | None) -> None:
            body = replies.OK[codec] if error is None else replies.failure(codec, error)
            held.reply(replies.with_req_id(codec, body, req_id))

        self.desk.subscribe(link, command.queue, kinds, done)

    def _say(self, link: Link, fields: dict[str, Any], req_id: bytes) -> None:
        link.reply(replies.with_req_id(link.codec, replies.ok(link.codec, fields), req_id))

    def _refuse(self, link: Link, error: FlashqError, req_id: bytes) -> None:
        link.reply(replies.with_req_id(link.codec, replies.failure(link.codec, error), req_id))

    def ended(self, link: Link) -> None:
        """The client sends nothing more."""
        self._forwarder.ended(link.gid)

    def gone(self, link: Link) -> None:
        """The client left."""
        self.desk.gone(link)
        self._forwarder.gone(link.gid)

    def takes_jobs_again(self, link: Link) -> None:
        """Shards give jobs to a connection here without knowing whether it reads; but requests were held back."""
        self._forwarder.goes_on(link.gid)


def _no_own_queues() -> None:
    """A router owns none."""


class _Timeout(msgspec.Struct):
    timeout: int | None = None


_timeout_text: Final = msgspec.json.Decoder(_Timeout).decode
_timeout_binary: Final = msgspec.msgpack.Decoder(_Timeout).decode


def _timeout_of(frame: bytes, codec: Codec) -> int | None:
    try:
        return (_timeout_text if codec is Codec.TEXT else _timeout_binary)(frame).timeout
    except _BAD:
        return 0


_HERE: Final = frozenset(("PING", "AUTH", "STATS", "LISTQUEUES", "METRICS", "SUBSCRIBE", "UNSUBSCRIBE"))
