"""Calls to be made later, for a loop of its own: a heap of moments."""

import heapq
from collections.abc import Callable
from itertools import count

from flashq.cluster.children import mono_ms


class Timers:
    """What is due when, in monotonic milliseconds."""

    def __init__(self, now_ms: Callable[[], int] = mono_ms) -> None:
        self._now_ms = now_ms
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call once, so many milliseconds from now."""
        heapq.heappush(self._heap, (self._now_ms() + delay_ms, next(self._order), call))

    def wait_s(self) -> float | None:
        """Seconds until the next is due; None if there is none."""
        return max(self._heap[0][0] - self._now_ms(), 0) / 1_000 if self._heap else None

    def run_due(self) -> None:
        """Make the calls that are due, in order; those they add wait for the next time."""
        now = self._now_ms()
        due: list[Callable[[], None]] = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        for call in due:
            call()
