"""Breakers: a URL that fails again and again is left alone for a while, then tried with one request at a time."""

from typing import Final

FAILURES: Final = 5
"""In a row, until it opens."""
SUCCESSES: Final = 2
"""On trial, until it closes."""


class Breaker:
    """That of one URL. Times are of a monotonic clock, in seconds."""

    __slots__ = ("_failures", "_open_s", "_successes", "_trial", "opened_until")

    def __init__(self, open_s: float) -> None:
        self._open_s = open_s
        self._failures = 0
        self._successes = 0
        self._trial = False
        self.opened_until = 0.0

    @property
    def idle(self) -> bool:
        """It knows of nothing worth keeping."""
        return not self._failures and not self._trial

    def may_try(self, under_way: int, now_s: float) -> bool:
        """Whether another request may be sent beside those under way."""
        if now_s < self.opened_until:
            return False
        return not self._trial or under_way == 0

    def ended(self, *, ok: bool, now_s: float) -> None:
        """A request ended."""
        if ok:
            self._failures = 0
            self._successes += 1
            if self._successes >= SUCCESSES:
                self._trial = False
            return
        self._failures += 1
        self._successes = 0
        if self._trial or self._failures >= FAILURES:
            self._trial = True
            self.opened_until = now_s + self._open_s
