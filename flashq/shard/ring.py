"""The last events of a shard, for listeners that come back and say which they saw last.

Rules kept here
- Events are numbered in the order in which they happened. A queue that nobody listened to for a while was not told of:
  its events of that while have no number, so that what is known of it reaches back to `heard_from` alone.
- Bounded twice: by number, and by the bytes of the payloads, for one payload may be megabytes.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from flashq.protocol.happenings import Happening

EVENTS_MAX: Final = 4_096
BYTES_MAX: Final = 16 << 20
PAGE_BYTES: Final = 512 << 10
"""An answer to "since" ends after so much: who asks, asks on."""
_EVENT_BYTES: Final = 256
"""What an event takes beside its payload."""
ALL: Final = "*"


class Page(NamedTuple):
    """Events behind a position, the oldest first."""

    epoch: int
    gap: bool
    """Some before these are no longer known."""
    through: int
    """Everything up to this number is in this page or those before it."""
    more: bool
    """There are more behind them."""
    numbers: list[int]
    happenings: list[Happening]


class Ring:
    """Those of one life of a shard."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.number = 0
        """Of the latest event."""
        self._kept: deque[tuple[int, Happening]] = deque()
        self._bytes = 0
        self._forgotten = 0
        """The highest number that is no longer kept."""
        self._heard_from: dict[str, int] = {}

    def hear(self, queues: Iterable[str]) -> None:
        """From now on these are listened to (`*`: all), and no others."""
        wanted = set(queues)
        new = wanted - self._heard_from.keys()
        if new:
            self.number += 1  # stands for what was not told: who saw only what is before it has missed something
        self._heard_from = {queue: self._heard_from.get(queue, self.number) for queue in wanted}

    def add(self, happenings: list[Happening]) -> list[int]:
        """Keep events that happened; their numbers."""
        first = self.number + 1
        self.number += len(happenings)
        numbers = list(range(first, self.number + 1))
        for entry in zip(numbers, happenings, strict=True):
            self._kept.append(entry)
            self._bytes += size_of(entry[1])
        while len(self._kept) > EVENTS_MAX or self._bytes > BYTES_MAX:
            self._forgotten, happening = self._kept.popleft()
            self._bytes -= size_of(happening)
        return numbers

    def since(self, epoch: int, number: int, queue: str, job_id: int = 0) -> Page:
        """What is known behind an event of a queue (`*`: all), or of one job in it, as far as a page goes.

        Behind an event of an earlier life: all that this one knows.
        """
        if epoch != self.epoch:
            return self.since(self.epoch, 0, queue, job_id)._replace(gap=True)
        known_from = min(self._heard_from.get(name, self.number) for name in (queue, ALL))
        found: list[tuple[int, Happening]] = []
        for n, happening in reversed(self._kept):
            if n <= number:
                break
            if queue in (ALL, happening.queue) and job_id in (0, happening.job_id):
                found.append((n, happening))
        found.reverse()
        gap = number < max(known_from, self._forgotten)
        size = 0
        for i, (n, happening) in enumerate(found):
            size += size_of(happening)
            if size > PAGE_BYTES and i + 1 < len(found):
                return self._page(found[: i + 1], n, gap=gap, more=True)
        return self._page(found, self.number, gap=gap, more=False)

    def _page(self, found: list[tuple[int, Happening]], through: int, *, gap: bool, more: bool) -> Page:
        return Page(self.epoch, gap, through, more, [n for n, _ in found], [h for _, h in found])


def size_of(happening: Happening) -> int:
    """About how many bytes it takes."""
    return _EVENT_BYTES + len(happening.data or b"")
