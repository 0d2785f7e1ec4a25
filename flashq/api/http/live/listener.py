"""What one listener is still to be sent: bounded, so that one that does not read costs a mebibyte and no more.

A listener whose buffer is full loses events, all from then until it has read what is there; then it is told how many.
Nobody waits for it: not a shard, not the others.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

BUFFER_BYTES: Final = 1 << 20
CHUNK_BYTES: Final = 64 << 10
"""Sent at a time: so much more may be on its way to the socket."""
GOING: Final = 1012
"""WebSocket's word for a server that restarts."""


class Listener:
    """One of them."""

    def __init__(self, lagged: Callable[[int | None], bytes]) -> None:
        """`lagged`: the record that tells how many events were missed; None: nobody knows."""
        self._lagged = lagged
        self._records: deque[bytes] = deque()
        self._bytes = 0
        self._taken = 0
        """Bytes that were taken to be sent, and count until that is done."""
        self._missed = 0
        self._waiter: asyncio.Future[None] | None = None
        self._drained: list[asyncio.Future[None]] = []
        self.ended = False

    @property
    def idle(self) -> bool:
        """It has been sent all there is."""
        return not self._bytes and not self._missed

    def push(self, record: bytes) -> None:
        """Have it sent, if there is room."""
        if self.ended:
            return
        if self._missed or (self._bytes and self._bytes + len(record) > BUFFER_BYTES):
            self._missed += 1
            return
        self._records.append(record)
        self._bytes += len(record)
        self._wake()

    def miss(self, n: int) -> None:
        """So many events were lost before they came here."""
        if n and not self.ended:
            self._missed += n
            self._wake()

    def gap(self) -> None:
        """Something may have been lost, nobody knows how much."""
        self.push(self._lagged(None))

    def end(self) -> None:
        """Nothing more comes: it is sent what there is."""
        self.ended = True
        self._wake()

    def leave(self) -> None:
        """There is nobody left to send it to."""
        self._records.clear()
        self._missed = 0
        self.end()

    async def take(self) -> list[bytes]:
        """The next records, which have been sent when this is called again. Empty: it has ended."""
        self._bytes -= self._taken
        self._taken = 0
        while True:
            if self._records:
                return self._next()
            if self._missed:
                missed, self._missed = self._missed, 0
                return [self._lagged(missed)]
            self._tell_drained()
            if self.ended:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _next(self) -> list[bytes]:
        found: list[bytes] = []
        while self._records and self._taken < CHUNK_BYTES:
            found.append(self._records.popleft())
            self._taken += len(found[-1])
        return found

    async def drained(self) -> None:
        """Returns when all there is has been sent, or it has ended."""
        if not (self.idle or self.ended):
            done = asyncio.get_running_loop().create_future()
            self._drained.append(done)
            await done

    def _tell_drained(self) -> None:
        for done in self._drained:
            if not done.done():
                done.set_result(None)
        self._drained.clear()

    def _wake(self) -> None:
        if self.ended:
            self._tell_drained()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
