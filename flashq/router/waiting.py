"""Connections whose shard does not take them just now: it is being restarted, or has too many before it.

They wait where nobody has to answer them yet, for `request_deadline_ms` at most and in bounded number; a shard
that comes back gets them all, in the order they came. Whoever waits too long is kept by the router, whose
dispatcher answers each of its requests.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

WAITING_MAX: Final = 4_096
RETRY_S: Final = 0.005
"""For a shard that serves, but whose line of new connections is full."""


class Waiting(NamedTuple):
    """A connection on its way to a shard."""

    sock: socket.socket
    data: bytes
    gid: int


class WaitingRoom:
    """Lines of connections, one a shard."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        patience_ms: int,
        send: Callable[[int, Waiting], bool],
        give_up: Callable[[Waiting], None],
        waiting_max: int = WAITING_MAX,
    ) -> None:
        """`send` hands a connection over, False if that cannot be now. `give_up` gets those that waited too long."""
        self._loop = loop
        self._patience_s = patience_ms / 1_000
        self._send = send
        self._give_up = give_up
        self._max = waiting_max
        self._lines: dict[int, deque[tuple[float, Waiting]]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self.waiting = 0

    def line(self, shard: int) -> int:
        """How many wait for a shard."""
        return len(self._lines.get(shard, ()))

    def add(self, shard: int, waiting: Waiting, *, shard_serves: bool) -> None:
        """Let a connection wait. If there are too many it is given up at once."""
        if self.waiting >= self._max:
            self._give_up(waiting)
            return
        self.waiting += 1
        self._lines.setdefault(shard, deque()).append((self._loop.time() + self._patience_s, waiting))
        self._plan(shard, shard_serves=shard_serves)

    def retry(self, shard: int) -> None:
        """The shard serves: hand over all who wait for it."""
        self._cancel(shard)
        line = self._lines.get(shard, deque())
        while line and self._send(shard, line[0][1]):
            line.popleft()
            self.waiting -= 1
        self._expire(shard, shard_serves=True)

    def _plan(self, shard: int, *, shard_serves: bool) -> None:
        """Look again soon if the shard lives, else when the first has waited long enough."""
        if shard in self._timers:
            return
        if shard_serves:
            self._timers[shard] = self._loop.call_later(RETRY_S, self.retry, shard)
        else:
            self._timers[shard] = self._loop.call_at(self._lines[shard][0][0], self._on_deadline, shard)

    def _on_deadline(self, shard: int) -> None:
        self._cancel(shard)
        self._expire(shard, shard_serves=False)

    def _expire(self, shard: int, *, shard_serves: bool) -> None:
        line, now = self._lines.get(shard, deque()), self._loop.time()
        while line and line[0][0] <= now:
            self.waiting -= 1
            self._give_up(line.popleft()[1])
        if line:
            self._plan(shard, shard_serves=shard_serves)
        else:
            self._lines.pop(shard, None)

    def _cancel(self, shard: int) -> None:
        timer = self._timers.pop(shard, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Give up all who wait."""
        for shard in list(self._lines):
            self._cancel(shard)
            for _, waiting in self._lines.pop(shard):
                self.waiting -= 1
                self._give_up(waiting)
