"""Work that may concern a million jobs, done in slices, so that no request waits longer than one of them.

A slice costs a few milliseconds: about `SLICE` records, or eight times as many plain jobs. The first is done at once,
which is all where there is little; others follow a millisecond apart, with what clients want between them.
"""

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

SLICE: Final = 1024
PAUSE_MS: Final = 1


class Work(Protocol):
    """Something that takes more than one slice."""

    def step(self, engine: "Engine") -> bool:
        """One slice; whether all is done."""


def carry_on(engine: "Engine", work: Work) -> bool:
    """The next slice of it, and a timer for the one after; whether all is done."""
    if work.step(engine):
        return True
    wait(engine, work)
    return False


def wait(engine: "Engine", work: Work) -> None:
    """Its next slice is due in a moment."""
    engine.mono_timers.add(engine.mono_ms + PAUSE_MS, _again, work)


def _again(engine: "Engine", work: Work) -> None:
    carry_on(engine, work)
