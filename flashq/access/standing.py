"""Standing: what was opened by a token ends with it, by revocation or at its time, without a look at every request."""

import asyncio
from collections.abc import Callable
from typing import Final

from flashq.access.access import Access
from flashq.access.book import wall_ms

LOOK_S_MAX: Final = 3_600.0
"""A clock may be set anew: it is looked at this often, though no token ends so soon."""


class Standing:
    """Calls for a sweep of what is open whenever something in it may have lost its right to be."""

    def __init__(self, loop: asyncio.AbstractEventLoop, access: Access, sweep: Callable[[], None]) -> None:
        """`sweep` closes what does not stand any more; called in the loop, never within another call."""
        self._loop = loop
        self._access = access
        self._sweep = sweep
        self._timer: asyncio.TimerHandle | None = None
        access.on_change.append(self._changed)
        self._plan()

    def _changed(self) -> None:
        self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._sweep()
        self._plan()

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        end_ms = self._access.next_end_ms()
        if end_ms is not None:
            delay_s = min(max(0.001, (end_ms - wall_ms()) / 1_000), LOOK_S_MAX)
            self._timer = self._loop.call_later(delay_s, self._look)

    def stop(self) -> None:
        """Call no more."""
        self._access.on_change.remove(self._changed)
        if self._timer is not None:
            self._timer.cancel()
