"""Leases: who holds a job, and until when; and what is left of one when its job is done.

Rules kept here
- A job has a lease exactly while it is active, and never two.
- A lease runs from the pull, not from the reply.
- Its token is larger than that of every lease before it on this shard, and never given twice: the upper bits are the
  shard process's epoch, which is on disk before it serves.

The jobs of one pull share one lease while they are plain; a job that is renewed alone gets a lease of its own,
with the same token. Deadlines of equal duration are in order by themselves, so a line (a deque) a duration keeps them,
with no heap; ended leases are skipped when they surface, and lines are rebuilt when more than half of them is dead.
The idea of leases: Gray and Cheriton, "Leases", SOSP 1989.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from flashq.engine.queues import Queue

COUNTER_BITS: Final = 33
"""A token is `epoch << 33 | counter`: a million epochs, and 8.6 thousand million pulls in each, below 2^53."""
COUNTER_MAX: Final = (1 << COUNTER_BITS) - 1


class Lease:
    """The right to finish some jobs of one queue, until a moment."""

    __slots__ = ("deadline", "due", "gid", "hard_at", "live", "queue", "seqs", "soft_ms", "started_at", "token")

    def __init__(
        self, token: int, queue: "Queue", started_at: int, soft_ms: int, deadline: int, gid: int, live: int = 0,
        seqs: list[range] | None = None,
    ) -> None:  # fmt: skip
        self.token = token
        self.queue = queue
        self.started_at = started_at
        self.soft_ms = soft_ms
        self.deadline = deadline
        """Monotonic."""
        self.due = deadline
        self.hard_at = 0
        """Monotonic end of the job's `timeout`, which nothing extends; 0: none."""
        self.gid = gid
        """The connection it is tied to (`release_on_disconnect`); 0: none."""
        self.live = live
        """How many of its jobs are still active under it."""
        self.seqs: list[range] = [] if seqs is None else seqs


class Done:
    """What is known of completed jobs beside their data."""

    __slots__ = ("codec", "completed_at", "result", "started_at", "token")

    def __init__(self, completed_at: int, started_at: int, token: int, result: bytes | None, codec: int) -> None:
        self.completed_at = completed_at
        self.started_at = started_at
        self.token = token
        self.result = result
        self.codec = codec


class Deadlined(Protocol):
    """Anything that waits for a moment and may end before."""

    deadline: int
    """Monotonic; may be moved later at any time by whoever owns it."""
    due: int
    """When its entry surfaces; -1: it has none any more. Kept here."""
    live: int
    """0: it has ended, its entry is dead."""


NEVER: Final = 1 << 62
D = TypeVar("D", bound=Deadlined)


class DeadlineLines(Generic[D]):
    """Deadlines, a line for each duration: adding, renewing and ending cost the same however many there are.

    An item that was renewed meanwhile is armed again when it surfaces, in a heap, since its moment is not in its
    line's order any more.
    """

    __slots__ = ("_count", "_dead", "_lines", "_renewed", "_total", "soonest")

    def __init__(self) -> None:
        self._lines: dict[int, deque[D]] = {}
        self._renewed: list[tuple[int, int, D]] = []
        self._count = 0
        self._total = 0
        self._dead = 0
        self.soonest = NEVER
        """No moment of it is before this one."""

    def add(self, item: D, duration_ms: int) -> None:
        """`item.deadline` is `duration_ms` from now."""
        line = self._lines.get(duration_ms)
        if line is None:
            line = self._lines[duration_ms] = deque()
        due = item.due = item.deadline
        if due < self.soonest:
            self.soonest = due
        line.append(item)
        self._total += 1

    def add_at(self, item: D) -> None:
        """`item.deadline` is whenever it is: for what is restored, in any order."""
        item.due = item.deadline
        self.soonest = min(self.soonest, item.due)
        self._count += 1
        heappush(self._renewed, (item.deadline, self._count, item))
        self._total += 1

    def ended(self, item: D) -> None:
        """The item's `live` has become 0."""
        if item.due < 0:
            return
        self._dead += 1
        if self._dead > 1024 and self._dead * 2 > self._total:
            self._rebuild()

    def _rebuild(self) -> None:
        for duration, line in list(self._lines.items()):
            kept = deque(item for item in line if item.live)
            if kept:
                self._lines[duration] = kept
            else:
                del self._lines[duration]
        self._renewed = [entry for entry in self._renewed if entry[2].live]
        heapify(self._renewed)
        self._total = sum(map(len, self._lines.values())) + len(self._renewed)
        self._dead = 0

    def next_deadline(self) -> int | None:
        """The earliest moment at which anything may have to be done."""
        first: int | None = None
        for duration in list(self._lines):
            line = self._lines[duration]
            while line and not line[0].live:
                line.popleft()
                self._skip()
            if not line:
                del self._lines[duration]
            elif first is None or line[0].due < first:
                first = line[0].due
        while self._renewed and not self._renewed[0][2].live:
            heappop(self._renewed)
            self._skip()
        if self._renewed and (first is None or self._renewed[0][0] < first):
            first = self._renewed[0][0]
        return first

    def recount(self) -> None:
        """Set `soonest` anew, after what was due was taken out."""
        moment = self.next_deadline()
        self.soonest = NEVER if moment is None else moment

    def _skip(self) -> None:
        self._total -= 1
        self._dead -= 1

    def expired(self, mono_ms: int) -> Iterator[D]:
        """Takes out what is due and still lives."""
        for item in self._surfacing(mono_ms):
            if not item.live:
                self._skip()
            elif item.deadline > mono_ms:
                self._count += 1
                heappush(self._renewed, (item.deadline, self._count, item))
            else:
                self._total -= 1
                item.due = -1
                yield item

    def _surfacing(self, mono_ms: int) -> Iterator[D]:
        for line in list(self._lines.values()):
            while line and (not line[0].live or line[0].due <= mono_ms):
                yield line.popleft()
        while self._renewed and self._renewed[0][0] <= mono_ms:
            yield heappop(self._renewed)[2]

    def live_items(self) -> Iterator[D]:
        """All that has not ended."""
        for line in self._lines.values():
            yield from (item for item in line if item.live)
        yield from (entry[2] for entry in self._renewed if entry[2].live)

    def shift(self, by_ms: int) -> None:
        """The clock was set anew: every moment moves by as much."""
        self.soonest = min(NEVER, self.soonest + by_ms)
        for line in self._lines.values():
            for item in line:
                item.due += by_ms
                item.deadline += by_ms
        for _, _, item in self._renewed:
            item.deadline += by_ms
        self._renewed = [(at + by_ms, n, item) for at, n, item in self._renewed]
