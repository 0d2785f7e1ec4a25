"""Moments at which something falls due: a heap, its cancelled entries skipped when they surface.

An entry is what `add` returned; whoever keeps it may cancel it. The heap is rebuilt when more than half of it
is cancelled, so that pushing and cancelling for ever needs no more room than what is really waiting.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Final

NEVER: Final = 1 << 62
Entry = list[Any]
"""[moment, number, action or None when cancelled, argument]"""


class Timers:
    """One clock's moments, in milliseconds."""

    __slots__ = ("_cancelled", "_count", "_heap", "soonest")

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._count = 0
        self._cancelled = 0
        self.soonest = NEVER
        """No entry is before this moment."""

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def add(self, at_ms: int, action: Callable[..., None], argument: Any) -> Entry:
        """`action(engine, argument)` is due at `at_ms`; of equal moments the earlier added comes first."""
        self._count += 1
        entry: Entry = [at_ms, self._count, action, argument]
        heappush(self._heap, entry)
        if at_ms < self.soonest:
            self.soonest = at_ms
        return entry

    def cancel(self, entry: Entry) -> None:
        """Not needed any more. Cancelling twice does nothing."""
        if entry[2] is None:
            return
        entry[2] = entry[3] = None
        self._cancelled += 1
        if self._cancelled > 1024 and self._cancelled * 2 > len(self._heap):
            self._heap = [e for e in self._heap if e[2] is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next_moment(self) -> int | None:
        """The earliest moment that something is due at."""
        while self._heap and self._heap[0][2] is None:
            heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int, most: int) -> Iterator[tuple[Callable[..., None], Any]]:
        """Takes out up to `most` entries that are due, in order."""
        while most and (moment := self.next_moment()) is not None and moment <= now_ms:
            entry = heappop(self._heap)
            action, argument = entry[2], entry[3]
            entry[2] = None
            most -= 1
            yield action, argument

    def recount(self) -> None:
        """Set `soonest` anew, after what was due was taken out."""
        moment = self.next_moment()
        self.soonest = NEVER if moment is None else moment

    def shift(self, by_ms: int) -> None:
        """The clock was set anew: every moment moves by as much."""
        for entry in self._heap:
            entry[0] += by_ms
        self.recount()
