"""Where calls become commands: who asks, and how their replies, or the jobs in them, find back.

Rules kept here
- A call that waits is a connection of its own to the shards, so that its end withdraws the wait.
- A job is handed on or goes back: what came for a call that had ended, or could not be written, returns to its queue.
- While the server stops nothing waits any more.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, cast

from flashq.access.access import ANYONE, Access
from flashq.api.calls import Caller
from flashq.api.grpc.failures import Context, GrpcFailure, draining, refused
from flashq.api.grpc.messages import JobOut, encode, ids_of, jobs_of
from flashq.api.ways import Command, Ways
from flashq.errors import FlashqError
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue
from flashq.protocol.traces import HEADER, trace_in_header
from flashq.transport.forwarding import PULL_WAIT_MS

BEARER: Final = "bearer "
KEY_CHARS_MAX: Final = 512
MARGIN_MS_MAX: Final = 50
"""A pull ends so long before the deadline of its call (at most a tenth of it), that a job still gets there in time."""
_OK: Final = b'{"ok":true'


Metadata = Iterable[tuple[str, str | bytes]]


def metadata_of(pairs: Metadata | None, wanted: str) -> str:
    """A value by its name; empty where it is absent or no text."""
    for name, value in pairs or ():
        if name == wanted:
            return value if isinstance(value, str) else ""
    return ""


def token_of(pairs: Metadata | None) -> str:
    """The token in `authorization: Bearer …`; empty without one."""
    value = metadata_of(pairs, "authorization")
    return value[len(BEARER) :] if value[: len(BEARER)].lower() == BEARER else ""


def host_of(peer: str) -> str:
    """Where a client is, without its port, from "ipv4:127.0.0.1:4711"."""
    return peer.partition(":")[2].rpartition(":")[0]


class Asker:
    """Who makes a call."""

    __slots__ = ("context", "host", "principal")

    def __init__(self, context: Context, principal: str, host: str) -> None:
        self.context = context
        self.principal = principal
        self.host = host

    def metadata(self, name: str) -> str:
        """A value of the call's metadata; empty where absent."""
        return metadata_of(self.context.invocation_metadata(), name)

    def key(self) -> str | None:
        """The value of `idempotency-key`. Raises GrpcFailure for one that is too long."""
        key = self.metadata("idempotency-key")
        if len(key) > KEY_CHARS_MAX:
            raise GrpcFailure(f"Invalid: `idempotency-key` must have 1 to {KEY_CHARS_MAX} characters", "invalid")
        return key or None

    def trace(self) -> str | None:
        """The trace that the call belongs to."""
        return trace_in_header(self.metadata(HEADER))

    def wait_ms(self) -> int:
        """How long a pull may wait for a job, as far as the call's deadline goes; at most what PULL waits."""
        left = cast(float | None, self.context.time_remaining())
        if left is None:
            return PULL_WAIT_MS
        left_ms = max(0, int(left * 1_000))
        return min(PULL_WAIT_MS, left_ms - min(MARGIN_MS_MAX, left_ms // 10))


class Desk:
    """That of one process."""

    def __init__(self, ways: Ways, access: Access, next_gid: Callable[[], int]) -> None:
        self._ways = ways
        self._access = access
        self._next_gid = next_gid
        self._gid = next_gid()
        """Of all calls that leave nothing at a shard."""
        self._free: list[int] = []
        """Ids of calls that waited and hold nothing any more."""
        self._waiting: dict[int, str] = {}
        """Those that wait, and for whom."""
        self.stopping = asyncio.Event()
        access.on_change.append(self._end_strangers)

    # -- who

    def asker(self, context: Context) -> Asker:
        """Who makes this call. Raises GrpcFailure."""
        host = host_of(context.peer())
        if not self._access.required:
            return Asker(context, ANYONE, host)
        return Asker(context, self.admit(context.invocation_metadata(), host), host)

    def admit(self, metadata: Metadata | None, host: str) -> str:
        """Who shows the token in the metadata. Raises GrpcFailure."""
        token = token_of(metadata)
        if not token:
            raise GrpcFailure("Authentication required", "unauthenticated")
        try:
            return self._access.admit(token, host)
        except FlashqError as error:
            raise GrpcFailure(str(error), error.code) from None

    def knows(self, metadata: Metadata | None) -> bool:
        """Whether a call may bring its message: it shows a token that is good, or none is asked for."""
        if not self._access.required:
            return True
        token = token_of(metadata)
        return bool(token) and self._access.authenticate(token) is not None

    # -- commands

    async def ask(self, asker: Asker, frame: bytes, slot: int | None = None, codec: Codec = Codec.TEXT) -> bytes:
        """Have a command carried out that does not wait; its reply."""
        caller = Caller(self._gid, asker.host)
        return await self._ways.begin(caller, asker.principal, Command(frame, slot), codec).future

    async def ask_ok(self, asker: Asker, frame: bytes, slot: int | None = None) -> bytes:
        """As `ask`, for a reply that must say ok. Raises GrpcFailure with what it says else."""
        reply = await self.ask(asker, frame, slot)
        if not reply.startswith(_OK):
            raise refused(reply)
        return reply

    async def wait(
        self, asker: Asker, frame: bytes, slot: int | None, wait_ms: int, codec: Codec = Codec.TEXT
    ) -> bytes:  # fmt: skip
        """Have a command carried out that may wait. If the call ends meanwhile it is withdrawn, and jobs go back."""
        if self.stopping.is_set():
            raise draining()
        gid = self._free.pop() if self._free else self._next_gid()
        caller = Caller(gid, asker.host)
        call = self._ways.begin(caller, asker.principal, Command(frame, slot, wait_ms), codec)
        self._waiting[gid] = asker.principal
        try:
            reply = await call.future
        except asyncio.CancelledError:
            caller.lost = True
            if call.future.done() and not call.future.cancelled():
                self.undelivered(call.future.result())
            self._ways.forwarder.gone(gid)
            raise
        else:
            self._free.append(gid)
            return reply
        finally:
            del self._waiting[gid]

    def undelivered(self, reply: bytes) -> None:
        """Nobody got this reply: its jobs go back."""
        self._ways.take_back(reply)

    # -- jobs

    async def pull(self, asker: Asker, queue: str, count: int, *, until_deadline: bool = True) -> list[JobOut]:
        """1 to `count` jobs, as soon as there are any. Raises GrpcFailure: refused, stopping, the deadline is near."""
        name, slot = encode(queue), slot_of_queue(queue)
        while True:
            wait_ms = asker.wait_ms()
            if count == 1:
                frame = b'{"cmd":"PULL","queue":%b,"timeout":%d}' % (name, wait_ms)
            else:
                frame = b'{"cmd":"PULLB","queue":%b,"count":%d,"timeout":%d}' % (name, count, wait_ms)
            reply = await self.wait(asker, frame, slot, wait_ms)
            if not reply.startswith(_OK):
                raise refused(reply)
            jobs = jobs_of(reply)
            if jobs:
                return list(jobs)
            if self.stopping.is_set():
                raise draining()
            if until_deadline and wait_ms < PULL_WAIT_MS and asker.wait_ms() <= MARGIN_MS_MAX:
                raise GrpcFailure("No job came before the deadline of the call", "timeout")

    def give_back(self, jobs: list[JobOut]) -> None:
        """Jobs of one pull that were not handed on."""
        if jobs:
            self._ways.forwarder.give_back(ids_of(jobs), jobs[0].lease)

    # -- the end

    def _end_strangers(self) -> None:
        """Tokens have changed: whoever waits by one that is good no more is answered, and refused when it asks on."""
        for gid, principal in list(self._waiting.items()):
            if not self._access.stands(principal):
                self._ways.forwarder.ended(gid)

    def end_waits(self) -> None:
        """The server stops: whoever waits is answered with what there is."""
        self.stopping.set()
        for gid in self._waiting:
            self._ways.forwarder.ended(gid)
