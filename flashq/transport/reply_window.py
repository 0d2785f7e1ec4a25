"""How many requests of one client may be under way at other shards: as many as there is room for their replies.

A request is small, and its reply may be megabytes. The bounds of a connection count what it sent, so a client that asks
for ten thousand large jobs and reads none would have all of them brought to its process. So what may be under way is
bounded by what it may bring: the number of open requests times the largest reply of late, which is forgotten by and by.
While the client's output is backed up nothing more is asked at all. What has to wait keeps its order; it is not read
from the client more slowly than its connection's own bounds say.

Requests that wait for something to happen (PULL) are not counted, for others must not wait behind them.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from flashq.protocol.dispatch import Link

WINDOW_BYTES: Final = 8 << 20
GUESS_BYTES: Final = 1 << 20
"""Of a reply, before any has come."""
_LEAST_BYTES: Final = 256


class ReplyWindow:
    """That of one client."""

    __slots__ = ("_goes_on", "_guess", "_open", "ended", "gone", "waiting")

    def __init__(self) -> None:
        self._open = 0
        self._guess = GUESS_BYTES
        self._goes_on = False
        self.waiting: deque[tuple[Link, bool, Callable[[], None]]] = deque()
        """Requests that are to be sent later: whose, whether they count, and how."""
        self.ended = False
        """Shards are to be told that the client sends nothing more, when all was sent."""
        self.gone = False
        """The client has left; what it had sent before is carried out."""

    def has_room(self, link: Link) -> bool:
        """Whether one more may be sent."""
        return self._open * self._guess < WINDOW_BYTES and not getattr(link, "backed_up", False)

    def sent(self) -> None:
        """One more is under way."""
        self._open += 1

    def came(self, size: int) -> None:
        """A reply has come, or never will."""
        self._open -= 1
        self._guess = max(size, self._guess * 3 // 4, _LEAST_BYTES)

    def go_on(self) -> None:
        """Send what waits, as far as there is room."""
        if self._goes_on:
            return  # what failed at once, among those that are being sent
        self._goes_on = True
        waiting = self.waiting
        while waiting and (not waiting[0][1] or self.has_room(waiting[0][0])):
            waiting.popleft()[2]()
        self._goes_on = False
