"""An agenda: many moments of one kind behind a single timer of the engine.

The loop carries out a few timers a tick; what has its moments here is taken out in slices instead, as many at once as
its owner thinks right, and the timer stands for the first that is left.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from flashq.engine.timers import NEVER, Entry, Timers

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

T = TypeVar("T")


class Agenda(Generic[T]):
    """Moments of the wall clock, each with an item. `ring(engine)` is called when the first has come."""

    __slots__ = ("_alarm", "_alarm_ms", "_moments", "_ring")

    def __init__(self, ring: Callable[["Engine"], None]) -> None:
        self._ring = ring
        self._moments = Timers()
        self._alarm: Entry | None = None
        self._alarm_ms = NEVER

    def __len__(self) -> int:
        return len(self._moments)

    def add(self, engine: "Engine", at_ms: int, item: T) -> Entry:
        """`item` is due at `at_ms`. Of equal moments the earlier added comes first."""
        entry = self._moments.add(at_ms, _nothing, item)
        self._arm(engine, at_ms)
        return entry

    def cancel(self, entry: Entry) -> None:
        """Not needed any more. Cancelling twice does nothing."""
        self._moments.cancel(entry)

    def take(self, now_ms: int, most: int) -> list[T]:
        """Up to `most` items that are due, in order; they are not in here any more."""
        return [item for _, item in self._moments.due(now_ms, most)]

    def _arm(self, engine: "Engine", at_ms: int) -> None:
        if at_ms < self._alarm_ms:
            if self._alarm is not None:
                engine.timers.cancel(self._alarm)
            self._alarm_ms = at_ms
            self._alarm = engine.at_wall(at_ms, self._due, None)

    def _due(self, engine: "Engine", _: None) -> None:
        self._alarm, self._alarm_ms = None, NEVER
        self._ring(engine)
        left = self._moments.next_moment()
        if left is not None:
            self._arm(engine, left)


def _nothing() -> None:
    """What the moments of an agenda carry out by themselves."""
