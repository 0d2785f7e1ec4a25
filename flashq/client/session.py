"""How a client's requests travel: over one connection, which is made again when it breaks.

Rules kept here
- What was asked while the connection broke is asked again on the next one, until its deadline. Changes carry an
  `idempotency_key`, so that this is exactly-once in effect; pulls need none: jobs of a lost reply come back by lease.
- The first connection is tried once (a wrong address should tell at once), later ones until the request's deadline.
- A cancelled pull whose jobs arrive after all gives them back.
"""

import asyncio
import logging
from collections.abc import Iterator
from itertools import count
from typing import Final, TypeVar
from uuid import uuid4

import msgspec

from flashq.client import requests
from flashq.client.address import Address
from flashq.client.connection import Connection, ConnectionLost, OnEvent, Orphaned, open_connection
from flashq.client.errors import UnknownOutcome, Unreachable
from flashq.client.objects import Job
from flashq.client.wire import CodecName
from flashq.errors import FlashqError

T = TypeVar("T")
_RETRY_FIRST_S: Final = 0.02
_RETRY_LAST_S: Final = 1.0

_log = logging.getLogger("flashq.client")


class Session:
    """Requests of one client. Belongs to the event loop it is first used in."""

    def __init__(
        self,
        address: Address,
        *,
        token: str | None,
        codec: CodecName,
        request_timeout_s: float,
        connect_timeout_s: float,
        resend: bool,
    ) -> None:
        self.address = address
        self.token = token
        self._codec: CodecName = codec
        self.request_timeout_s = request_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._resend = resend
        self._name = uuid4().hex
        self._sequence = count(1)
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._was_connected = False
        self._closed = False
        self._giving_back: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Connect now. Raises Unreachable, Unauthenticated."""
        await self._connected(self._deadline(0))

    async def close(self) -> None:
        """Close at once; what waits raises UnknownOutcome."""
        self._closed = True
        if self._connection is not None:
            self._connection.abort()
            await self._connection.closed.wait()

    async def finish(self, timeout_s: float) -> None:
        """Close, but take the answers to what was asked."""
        self._closed = True
        if self._connection is not None:
            await self._connection.finish(timeout_s)

    async def ask(self, request: requests.Request, kind: type[T]) -> T:
        """A request that may be made any number of times."""
        return await self._travel(request, kind, wait_s=0, again=True)

    async def wait(self, request: requests.Request, kind: type[T], wait_ms: int) -> T:
        """A question whose answer may take `wait_ms` at the server."""
        return await self._travel(request, kind, wait_s=wait_ms / 1000, again=True)

    async def change(self, request: requests.Request, kind: type[T]) -> T:
        """A request that must take effect once."""
        if self._resend and "idempotency_key" not in request:
            request["idempotency_key"] = f"{self._name}-{next(self._sequence)}"
        return await self._travel(request, kind, wait_s=0, again=self._resend)

    async def pull(self, request: requests.Request, kind: type[T], wait_ms: int) -> T:
        """A request that takes jobs, and waits `wait_ms` for them at the server."""
        return await self._travel(request, kind, wait_s=wait_ms / 1000, again=True, orphaned=self._orphaned)

    async def _travel(
        self,
        request: requests.Request,
        kind: type[T],
        *,
        wait_s: float,
        again: bool,
        orphaned: Orphaned | None = None,
    ) -> T:
        deadline = self._deadline(wait_s)
        pauses = _pauses()
        while True:
            connection = await self._connected(deadline)
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                body = await connection.request(request, timeout_s=max(left_s, 0.001), orphaned=orphaned)
            except ConnectionLost as lost:
                if not again or self._closed or asyncio.get_running_loop().time() > deadline:
                    raise UnknownOutcome(f"{request['cmd']}: {lost}") from lost
                # A server may accept connections and drop them: do not ask it as fast as it can.
                await asyncio.sleep(next(pauses))
            else:
                return connection.wire.decode(body, kind)

    async def _connected(self, deadline: float) -> Connection:
        if self._connection is not None and self._connection.alive:
            return self._connection
        async with self._connecting:
            pauses = _pauses()
            while not (self._connection is not None and self._connection.alive):
                if self._closed:
                    raise Unreachable("this client is closed")
                await asyncio.sleep(next(pauses))
                try:
                    self._connection = await self._open(deadline)
                    self._was_connected = True
                except Unreachable:
                    if not self._was_connected or asyncio.get_running_loop().time() > deadline:
                        raise
        return self._connection

    async def _open(self, deadline: float) -> Connection:
        left_s = deadline - asyncio.get_running_loop().time()
        return await self.open_another(max(min(left_s, self._connect_timeout_s), 0.001))

    async def open_another(self, timeout_s: float | None = None, on_event: OnEvent | None = None) -> Connection:
        """A connection besides, which is its caller's. Raises Unreachable, Unauthenticated."""
        return await open_connection(
            self.address,
            token=self.token,
            codec=self._codec,
            timeout_s=self._connect_timeout_s if timeout_s is None else timeout_s,
            on_event=on_event,
        )

    def _deadline(self, wait_s: float) -> float:
        return asyncio.get_running_loop().time() + wait_s + self.request_timeout_s

    def _orphaned(self, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._give_back(body))
        self._giving_back.add(task)
        task.add_done_callback(self._giving_back.discard)

    async def _give_back(self, body: bytes) -> None:
        assert self._connection is not None
        pulled = self._connection.wire.decode(body, _PulledAny)
        for job in ([pulled.job] if pulled.job is not None else []) + pulled.jobs:
            try:
                await self.change(requests.fail(job.id, "given back: its pull was cancelled", job.lease), _Done)
            except FlashqError as error:
                _log.warning("job %d of a cancelled pull could not be given back: %s", job.id, error)


def _pauses() -> Iterator[float]:
    """Seconds before each try: none before the first, then longer and longer."""
    yield 0.0
    pause_s = _RETRY_FIRST_S
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, _RETRY_LAST_S)


class _Done(msgspec.Struct):
    pass


class _PulledAny(msgspec.Struct):
    job: Job | None = None
    jobs: list[Job] = []
