"""The tick: everything that arrived is applied, committed once, and answered with one write a connection.

A tick begins with the first bytes that arrive and ends when the loop has no more of them: then `run` is called. While
only one connection at a time has anything to say, that turn of the loop (one more poll) is saved and the tick
ends at once; every now and then it does not, to see if that still holds.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from flashq.clock import Clock

_PROBE_AFTER: Final = 32
_QUIET_TICKS: Final = 4


class SetAside(Protocol):
    """The replies that one connection has of one tick, until that tick is on disk."""

    def release(self) -> None:
        """It is: write them."""

    def give_up(self, reason: str) -> list[bytes]:
        """It is not, after all the time that a request has: say so instead, as far as that is ours to say.

        The replies that will never be sent. `release` is called all the same, when it is on disk.
        """


class Flushed(Protocol):
    """Something with replies to write at the end of a tick."""

    def flush(self) -> None: ...

    def set_aside(self) -> SetAside:
        """What `flush` would write, taken out."""


class Ticks:
    """The rhythm of one process's stream gateway."""

    __slots__ = ("_inline_left", "_inputs", "_loop", "_quiet", "_scheduled", "bytes", "bytes_max", "clock", "dirty",
                 "inline", "is_open", "on_begin", "on_end")  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, *, bytes_max: int, inline: bool,
        on_begin: Callable[[int, int], None], on_end: Callable[[], list[SetAside] | None],
    ) -> None:  # fmt: skip
        self._loop = loop
        self.clock = clock
        self.bytes_max = bytes_max
        self.inline = inline
        self.on_begin = on_begin
        self.on_end = on_end
        """Commits; what is in `dirty` is then flushed by `end`. A list: it is not on disk yet, so the replies of the
        tick are put there instead, and released by whoever made the list."""
        self.dirty: list[Flushed] = []
        self.is_open = False
        self.bytes = 0
        self._scheduled = False
        self._inputs = 0
        self._quiet = 0
        self._inline_left = 0

    def begin(self) -> None:
        """The first of a tick."""
        self.is_open = True
        now_ms, mono_ms = self.clock.both_ms()
        self.on_begin(now_ms, mono_ms)

    def wake(self) -> None:
        """Something was done that is no input: the tick ends in this turn of the loop."""
        if not self.is_open:
            self.begin()
        if not self._scheduled:
            self._scheduled = True
            self._inputs = 2
            self._loop.call_soon(self._turn)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call it after a while, outside any tick."""
        self._loop.call_later(delay_s, call)

    def arrived(self, size: int) -> None:
        """A connection has handed in all it had."""
        self.bytes += size
        if self.bytes > self.bytes_max:
            self.end()
        elif self._scheduled:
            self._inputs += 1
        elif self._inline_left:
            self._inline_left -= 1
            self.end()
        else:
            self._scheduled = True
            self._inputs = 1
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._inputs > 1:
            self._quiet = 0
        elif self.inline:
            self._quiet += 1
            if self._quiet >= _QUIET_TICKS:
                self._inline_left = _PROBE_AFTER
        self.end()

    def end(self) -> None:
        """Commit and answer."""
        if not self.is_open:
            return
        waiting = self.on_end()
        self.is_open = False
        self.bytes = 0
        dirty = self.dirty
        if waiting is not None:
            self.dirty = []
            waiting.extend([one.set_aside() for one in dirty])
        elif len(dirty) == 1:
            dirty.pop().flush()
        elif dirty:
            self.dirty = []
            # The last first: a worker that was given a job hears of it before the client that pushed it.
            for one in reversed(dirty):
                one.flush()
