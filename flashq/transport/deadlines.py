"""When requests are given up: buckets of time instead of a heap of requests.

A request leaves its bucket when it is answered, so nothing dead is ever kept, however long the deadlines
and however many the requests; a heap with lazy deletion would keep five seconds' worth of answered ones.
A deadline is noticed up to BUCKET_MS late, never early.
"""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic_ns
from typing import Final, Generic, TypeVar

_SHIFT: Final = 5
BUCKET_MS: Final = 1 << _SHIFT

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Keys with what they belong to, by the moment at which they are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[dict[int, T]], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._buckets: dict[int, dict[int, T]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0
        self._never: dict[int, T] = {}

    def bucket(self, deadline_ms: int) -> dict[int, T]:
        """Where to put a key that is due at a moment (monotonic; 0: never), and to take it from when it is not."""
        if not deadline_ms:
            return self._never
        due = (deadline_ms >> _SHIFT) + 1
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = {}
            heappush(self._order, due)
            if self._timer is None or due < self._armed_for:
                self._arm()
        return bucket

    def close(self) -> None:
        """Forget all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._buckets.clear()
        self._order.clear()
        self._never.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = due = self._order[0]
        delay_ms = (due << _SHIFT) - monotonic_ns() // 1_000_000
        self._timer = self._loop.call_later(max(delay_ms, 0) / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_ms = monotonic_ns() // 1_000_000
        due: dict[int, T] = {}
        while self._order and (self._order[0] << _SHIFT <= now_ms or not self._buckets[self._order[0]]):
            due.update(self._buckets.pop(heappop(self._order)))
        if self._order:
            self._arm()
        if due:
            self._on_due(due)
