"""Requests for other shards: sent there untouched, their replies merged back in order.

Used by shards for what arrives on the "wrong" connection and by routers for the connections they keep. An ACKB over
several shards is split by owner and merged in request order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from msgspec import Raw

from flashq.errors import InvalidArgument, LimitExceeded, Unavailable
from flashq.protocol import replies
from flashq.protocol.dispatch import Codec, Link, Ticket
from flashq.protocol.head import decode_head, echo_of
from flashq.transport.envelope import FAULTY, Failure, Notice
from flashq.transport.exchange import Exchange
from flashq.transport.incoming import Incoming
from flashq.transport.reply_window import ReplyWindow

log = structlog.get_logger()
STILL_THERE: Final = 17
"""Notice to a shard that was restarted: clients it may hold something of and that live on; gids, 8 bytes each."""
INPUT_ENDED: Final = 16
"""Notice: a client sends nothing more; its gid, 8 bytes little-endian."""
GIVEN_BACK: Final = 20
"""Notice: jobs of one delivery that were not handed on; its lease token, then their ids, 8 bytes little-endian each."""
LOCAL: Final = 1
"""Flag of a request: answer for your own part alone."""
INTERNAL: Final = 2
"""Flag of a request: one shard asks another on its own account (flashq/shard/internal.py)."""
SHOW_JOB: Final = 4
"""Flag of a PUSH: the reply shows the job as GETJOB does, instead of its id alone, if the shard that pushed has it."""
_NO_REQ_ID: Final = (b"", b"null", b"\xc0")
PULL_WAIT_MS: Final = 60_000
WAITS: Final = {"PULL": PULL_WAIT_MS, "PULLB": PULL_WAIT_MS, "WAITJOB": 30_000}
"""Commands that may wait, and how long if they do not say."""
WAIT_MS_MAX: Final = 10 * 366 * 86_400_000
"""Longer waits are refused by the shard; the deadline of the exchange has room for this."""


def shard_name(shard: int) -> str:
    return f"shard-{shard:02}"


def shard_of(name: str) -> int:
    """The shard of that name."""
    return int(name.removeprefix("shard-"))


class Forwarder:
    """One process's requests at other shards."""

    def __init__(
        self, exchange: Exchange, owner_of: Callable[[int], int], *, deadline_ms: int, mono_ms: Callable[[], int]
    ) -> None:
        self._exchange = exchange
        self._owner_of = owner_of
        self._deadline_ms = deadline_ms
        self._mono_ms = mono_ms
        self._peers_of: dict[int, set[int]] = {}
        """Shards that have heard of a connection, and may hold something of it: waits, leases tied to it."""
        self._windows: dict[int, ReplyWindow] = {}
        self.forwarded = 0

    def forward(self, shard: int, link: Link, frame: bytes, command: Any) -> None:
        """Send a request to its shard. Its reply takes its place among the connection's replies."""
        req_id = bytes(command.reqId)
        wait_ms = 0
        default_ms = WAITS.get(command.__struct_config__.tag)
        if default_ms is not None:
            timeout = command.timeout
            wait_ms = default_ms if timeout is None else timeout
        self.send(shard, link, frame, req_id, wait_ms)

    def send(self, shard: int, link: Link, frame: bytes, req_id: bytes, wait_ms: int, flags: int = 0) -> None:
        """As `forward`, for a request of which only the head was read."""
        held = link.hold(ordered=req_id in _NO_REQ_ID)
        link.forwarded_to(shard)
        codec = link.codec

        def failed(failure: Failure) -> None:
            text, code = f"Shard {shard} is unavailable", str(failure)  # encoders take no subclass of str
            if failure == "timeout" and not failure.may_have_happened:
                code = "unavailable"  # it never left: a shard that stays down, or is not back yet
            elif failure == "timeout":
                text = f"Shard {shard} did not answer within {self._deadline_ms} ms: deadline exceeded"
            elif failure == FAULTY:
                text = f"Internal fault on the way to shard {shard}; the log has it"
            body = replies.failure_text(codec, text, code)
            held.reply(replies.with_req_id(codec, body, req_id))

        def came(body: bytes) -> None:
            if not held.reply(body):  # its client left meanwhile: there may be jobs in it
                self._exchange.notify(shard_name(shard), Notice.UNDELIVERED, body)

        self._ask(shard, link, frame, wait_ms, came, failed, flags)

    def _ask(
        self, shard: int, link: Link, frame: bytes, wait_ms: int, on_reply: Callable[[bytes], Any],
        on_fail: Callable[[Failure], None], flags: int = 0,
    ) -> None:  # fmt: skip
        wait_ms = min(max(wait_ms, 0), WAIT_MS_MAX)  # what the client wrote; the shard refuses it, if it is wrong
        gid, counts = link.gid, not wait_ms
        window = self._windows.get(gid)
        if window is None:
            window = self._windows[gid] = ReplyWindow()
        if window.waiting or (counts and not window.has_room(link)):
            later = partial(self._send_one, window, shard, link, frame, wait_ms, on_reply, on_fail, flags)
            window.waiting.append((link, counts, later))
        else:
            self._send_one(window, shard, link, frame, wait_ms, on_reply, on_fail, flags)

    def _send_one(
        self, window: ReplyWindow, shard: int, link: Link, frame: bytes, wait_ms: int,
        on_reply: Callable[[bytes], Any], on_fail: Callable[[Failure], None], flags: int,
    ) -> None:  # fmt: skip
        if wait_ms:
            self._send_out(shard, link, frame, wait_ms, on_reply, on_fail, flags)
            return

        def came(body: bytes) -> None:
            on_reply(body)
            self._answered(link.gid, window, len(body))

        def failed(failure: Failure) -> None:
            on_fail(failure)
            self._answered(link.gid, window, 0)

        window.sent()
        self._send_out(shard, link, frame, 0, came, failed, flags)

    def _answered(self, gid: int, window: ReplyWindow, size: int) -> None:
        window.came(size)
        if window.waiting:
            self._go_on(gid, window)

    def _go_on(self, gid: int, window: ReplyWindow) -> None:
        window.go_on()
        if not window.waiting:
            if window.ended:
                window.ended = False
                self.ended(gid)
            if window.gone:
                self._windows.pop(gid, None)
                self.gone(gid)

    def _send_out(
        self, shard: int, link: Link, frame: bytes, wait_ms: int, on_reply: Callable[[bytes], Any],
        on_fail: Callable[[Failure], None], flags: int,
    ) -> None:  # fmt: skip
        self.forwarded += 1
        # Whatever was asked: a shard that heard of a connection is told when it ends, so that it can forget it.
        self._peers_of.setdefault(link.gid, set()).add(shard)
        try:
            self._exchange.request(
                shard_name(shard), frame, codec=link.codec, gid=link.gid, principal=link.principal, flags=flags,
                deadline_ms=self._mono_ms() + self._deadline_ms + wait_ms, on_reply=on_reply, on_fail=on_fail,
            )  # fmt: skip
        except (Unavailable, LimitExceeded) as e:
            on_fail(Failure(e.code, may_have_happened=False))
        except Exception:  # a bug of ours: the place that is held for the reply must not stay empty
            log.exception("a request could not be sent", shard=shard)
            on_fail(FAULTY)

    def ask_part(
        self, shard: int, link: Link, frame: bytes, on_reply: Callable[[bytes], Any],
        on_fail: Callable[[Failure], None],
    ) -> None:  # fmt: skip
        """Ask a shard for its part of a command that concerns several. The reply is in the link's codec."""
        self._ask(shard, link, frame, 0, on_reply, on_fail, LOCAL)

    def ask_shard(
        self, shard: int, frame: bytes, on_reply: Callable[[bytes], Any], on_fail: Callable[[Failure], None]
    ) -> None:
        """Ask a shard on this shard's own account."""
        try:
            self._exchange.request(
                shard_name(shard), frame, codec=Codec.BINARY, gid=0, principal="", flags=INTERNAL,
                deadline_ms=self._mono_ms() + self._deadline_ms, on_reply=on_reply, on_fail=on_fail,
            )  # fmt: skip
        except (Unavailable, LimitExceeded) as e:
            on_fail(Failure(e.code, may_have_happened=False))

    def split_acks(self, link: Link, command: Any, codec: int) -> None:
        """An ACKB over several shards: a part to each, one reply."""
        Split(self, link, command, codec).start(self._owner_of)

    # -- clients

    def announce(self, shard: int) -> None:
        """A shard serves again: its leases that are tied to connections of this process need not end."""
        gids = [gid for gid, shards in self._peers_of.items() if shard in shards]
        if gids:
            self._exchange.notify(shard_name(shard), STILL_THERE, b"".join(g.to_bytes(8, "little") for g in gids))

    def holders(self, gid: int) -> list[int]:
        """The shards that may hold something of a connection."""
        return sorted(self._peers_of.get(gid, ()))

    def let_go(self, gid: int) -> None:
        """A connection lives in another process from now on, which has been told of its holders."""
        self._peers_of.pop(gid, None)
        self._windows.pop(gid, None)

    def take_over(self, gid: int, shards: Iterable[int]) -> None:
        """A connection came from another process: these shards may hold something of it."""
        if shards:
            self._peers_of.setdefault(gid, set()).update(shards)

    def ended(self, gid: int) -> None:
        """A client sends nothing more."""
        window = self._windows.get(gid)
        if window is not None and window.waiting:
            window.ended = True
            return
        for shard in self._peers_of.get(gid, ()):
            self._exchange.notify(shard_name(shard), INPUT_ENDED, gid.to_bytes(8, "little"))

    def gone(self, gid: int) -> None:
        """A client left."""
        window = self._windows.get(gid)
        if window is not None and window.waiting and not window.gone:
            window.gone = True
            self._go_on(gid, window)
            return
        self._windows.pop(gid, None)
        for shard in self._peers_of.pop(gid, ()):
            self._exchange.notify(shard_name(shard), Notice.CONNECTION_GONE, gid.to_bytes(8, "little"))

    def goes_on(self, gid: int) -> None:
        """A client that did not read its replies reads them again."""
        window = self._windows.get(gid)
        if window is not None and window.waiting:
            self._go_on(gid, window)

    def give_back(self, job_ids: Iterable[int], token: int) -> None:
        """Jobs of one delivery were not handed on: they go back to their queue, no attempt counted."""
        shards: dict[int, list[int]] = defaultdict(list)
        for job_id in job_ids:
            shards[self._owner_of(job_id & 1023)].append(job_id)
        for shard, ids in shards.items():
            payload = b"".join(n.to_bytes(8, "little") for n in (token, *ids))
            self._exchange.notify(shard_name(shard), GIVEN_BACK, payload)

    def req_id_of(self, frame: bytes, codec: int) -> bytes | Raw:
        """The `reqId` of a request that cannot be parsed, if it can be found."""
        which = Codec(codec)
        return echo_of(decode_head(frame, which), which)

    def knock(self, frame: bytes, codec: int) -> tuple[str, str]:
        """(cmd, token) of a request from somebody who has not shown a token."""
        decode = _knock_text if codec == Codec.TEXT else _knock_binary
        try:
            seen = decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return "", ""
        return seen.cmd, seen.token


class _Knock(msgspec.Struct):
    cmd: str = ""
    token: str = ""


_knock_text: Final = msgspec.json.Decoder(_Knock).decode
_knock_binary: Final = msgspec.msgpack.Decoder(_Knock).decode


def check_ack_batch(command: Any, max_batch: int) -> None:
    """Raise LimitExceeded for too many ids, InvalidArgument for lists beside them of another length."""
    n = len(command.ids)
    if n > max_batch:
        raise LimitExceeded(f"Batch too large ({n} ids, max {max_batch})")
    for name in ("results", "leases"):
        values = getattr(command, name, None)
        if values is not None and len(values) != n:
            raise InvalidArgument(f"invalid value: `{name}` has {len(values)} entries for {n} ids")


class _Acked(msgspec.Struct):
    ok: bool = False
    count: int = 0
    not_found: list[int] = []
    errors: list[dict[str, Any]] = []
    error: str = ""
    code: str = ""


_acked_text: Final = msgspec.json.Decoder(_Acked).decode
_acked_binary: Final = msgspec.msgpack.Decoder(_Acked).decode


class Split:
    """One ACKB in parts."""

    def __init__(self, forwarder: Forwarder, link: Link, command: Any, codec: int) -> None:
        self._forwarder = forwarder
        self._link = link
        self._command = command
        self._codec = codec
        self._req_id = bytes(command.reqId)
        self._held: Ticket = link.hold(ordered=self._req_id in _NO_REQ_ID)
        self._left = 0
        self._count = 0
        self._missing: list[int] = []
        """Places of ids that were not found."""
        self._errors: list[dict[str, Any]] = []

    def start(self, owner_of: Callable[[int], int]) -> None:
        command = self._command
        parts: dict[int, list[int]] = defaultdict(list)
        for k, job_id in enumerate(command.ids):
            parts[owner_of(job_id & 1023)].append(k)
        self._left = len(parts)
        encode = msgspec.json.encode if self._codec == Codec.TEXT else msgspec.msgpack.encode
        for shard, places in parts.items():
            part: dict[str, Any] = {"cmd": "ACKB", "ids": [command.ids[k] for k in places]}
            for name in ("results", "leases"):
                values = getattr(command, name, None)
                if values is not None:
                    part[name] = [values[k] for k in places]
            key = getattr(command, "idempotency_key", None)
            if key is not None:
                part["idempotency_key"] = key
            self._forwarder._ask(
                shard, self._link, encode(part), 0,
                lambda body, places=places: self._part(body, places),  # type: ignore[misc]
                lambda failure, places=places, shard=shard: self._failed(failure, places, shard),  # type: ignore[misc]
            )  # fmt: skip

    def _part(self, body: bytes, places: list[int]) -> None:
        seen = (_acked_text if self._codec == Codec.TEXT else _acked_binary)(body)
        if not seen.ok:
            ids = self._command.ids
            self._errors += [{"index": k, "id": ids[k], "error": seen.error, "code": seen.code} for k in places]
        self._count += seen.count
        # An id that is repeated is acknowledged where it stands first, and not found where it stands again.
        missing = Counter(seen.not_found)
        for k in reversed(places):
            job_id = self._command.ids[k]
            if missing[job_id]:
                missing[job_id] -= 1
                self._missing.append(k)
        self._errors += [{**e, "index": places[e["index"]]} for e in seen.errors]
        self._finish()

    def _failed(self, failure: Failure, places: list[int], shard: int) -> None:
        ids = self._command.ids
        text = f"Shard {shard} is unavailable"
        self._errors += [{"index": k, "id": ids[k], "error": text, "code": str(failure)} for k in places]
        self._finish()

    def _finish(self) -> None:
        self._left -= 1
        if self._left:
            return
        fields: dict[str, Any] = {"ids": [self._count], "count": self._count}
        if self._missing:
            fields["not_found"] = [self._command.ids[k] for k in sorted(self._missing)]
        if self._errors:
            fields["errors"] = sorted(self._errors, key=lambda e: e["index"])
        self._held.reply(replies.with_req_id(self._codec, replies.ok(self._codec, fields), self._req_id))


class RemoteReplies:
    """Replies for other processes, kept back until their tick is committed, as those for connections are.

    The exchange by itself would send them in the loop's next turn, which may come before the tick ends.
    """

    __slots__ = ("_dirty", "_listed", "_on_undelivered", "_replies")

    def __init__(self, dirty: Callable[["RemoteReplies"], None], on_undelivered: Callable[[bytes], None]) -> None:
        """`dirty` sees to it that `flush` is called at the end of this tick."""
        self._dirty = dirty
        self._on_undelivered = on_undelivered
        self._replies: list[tuple[Incoming, bytes]] = []
        self._listed = False

    def add(self, incoming: Incoming, body: bytes) -> None:
        """A reply of this tick."""
        self._replies.append((incoming, body))
        if not self._listed:
            self._listed = True
            self._dirty(self)

    def flush(self) -> None:
        """The tick is committed: its replies may leave."""
        self._listed = False
        written, self._replies = self._replies, []
        self.send(written)

    def send(self, written: list[tuple[Incoming, bytes]]) -> None:
        """Let replies leave."""
        for incoming, body in written:
            # Answered already: carrying it out failed after its reply was ready, and the caller was told so.
            if not incoming.answered and not incoming.reply(body):
                self._on_undelivered(body)

    def set_aside(self) -> "RemoteAside":
        """The tick is not on disk yet: its replies, taken out."""
        self._listed = False
        written, self._replies = self._replies, []
        return RemoteAside(self, written)


class RemoteAside:
    """Replies to other processes, of one tick that is not on disk yet."""

    __slots__ = ("_replies", "_written")

    def __init__(self, replies: RemoteReplies, written: list[tuple[Incoming, bytes]]) -> None:
        self._replies = replies
        self._written = written

    def release(self) -> None:
        """Let them leave."""
        written, self._written = self._written, []
        self._replies.send(written)

    def give_up(self, reason: str) -> list[bytes]:
        """Refusals leave. Who waits for another reply has a deadline of its own, and sends back what comes later."""
        refused = [
            (incoming, body) for incoming, body in self._written
            if not incoming.flags & INTERNAL and replies.outcome_unknown(incoming.codec, body, reason) is None
        ]  # fmt: skip
        self._written = [item for item in self._written if item not in refused]
        self._replies.send(refused)
        return []


class RemoteLink:
    """A client whose connection lives in another process, for the time of one request of it."""

    __slots__ = ("_incoming", "_replies", "address", "codec", "gid", "principal", "wrong_tokens")

    def __init__(self, incoming: Incoming, replies: RemoteReplies) -> None:
        self._incoming = incoming
        self._replies = replies
        self.gid = incoming.gid
        self.codec = Codec(incoming.codec)
        self.principal = incoming.principal
        self.wrong_tokens = 0
        self.address = incoming.peer

    @property
    def local(self) -> bool:
        """Whether another shard asks for this one's part alone."""
        return bool(self._incoming.flags & LOCAL)

    def reply(self, body: bytes) -> None:
        """Answer, in the place that the other process holds for it."""
        self._replies.add(self._incoming, body)

    def hold(self, *, ordered: bool) -> Ticket:
        """Answer later; the order is kept where the connection lives."""
        return RemoteTicket(self._incoming, self._replies)

    def fatal(self, text: str, code: str) -> None:
        """The connection is not ours to close."""
        self.reply(replies.failure_text(self.codec, text, code))

    def forwarded_to(self, shard: int) -> None:
        """Where it lives is not ours to say."""

    takes_events = False

    def push_event(self, body: bytes) -> None:
        """Whoever has the connection has its subscriptions."""
        raise AssertionError("subscriptions live where their connection lives")

    def takes_jobs(self) -> bool:
        """Nothing else is known here."""
        return not self._incoming.caller.gone


class RemoteTicket:
    """The place of one reply to another process."""

    __slots__ = ("_incoming", "_replies")

    def __init__(self, incoming: Incoming, replies: RemoteReplies) -> None:
        self._incoming = incoming
        self._replies = replies

    def takes_jobs(self) -> bool:
        return not self._incoming.caller.gone

    def reply(self, body: bytes) -> bool:
        if self._incoming.caller.gone:
            return False
        self._replies.add(self._incoming, body)
        return True
