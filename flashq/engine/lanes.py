"""Lanes: the line of one priority within a queue. Sequence numbers only, 8 bytes a job.

Order within a lane: what was put in front (LIFO) first, latest first; then by the moment a job became ready.
New jobs and returning ones are appended as they become ready. Jobs whose delay ended, and those that come from another
priority, come through `due`, a heap of their moments; the head of the line is the earlier of both, so that a hundred
thousand jobs that fall due at once may be moved over in slices without anything being overtaken.

A job that leaves from the middle (cancel, change of priority) is only noted in `dead` and skipped when it
surfaces. When more than half of the lane is dead it is rebuilt, a stretch with every thousandth job that leaves, or all
where jobs stand in `due`, as only both together tell which of a job's entries is the dead one. From the front and from
the head a job is taken out at once.
"""

from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

_COMPACT: Final = 65_536
STRETCH: Final = 4_096
"""Entries that are looked at in one go where a lane is rebuilt: half a millisecond."""
_PACE: Final = STRETCH // 4
"""How many jobs leave from one stretch to the next: done while half of those that live could leave."""


class Lane:
    """One priority's line."""

    __slots__ = (
        "checked",
        "dead",
        "dead_count",
        "due",
        "fifo",
        "front",
        "head",
        "pace",
        "priority",
        "rising",
        "unchecked",
    )

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.fifo = array("q")
        self.head = 0
        self.front: dict[int, None] = {}
        """Put in front, the first of the line last. All of them are alive."""
        self.due: list[tuple[int, int]] = []
        """A heap of (moment, seq)."""
        self.dead: dict[int, int] = {}
        self.dead_count = 0
        self.checked = self.unchecked = 0
        """While it is rebuilt: entries of `fifo` from the first place up to the second have yet to be looked at."""
        self.pace = 0
        self.rising = True
        """`fifo` is in rising order, so that n entries whose ends are n apart are neighbours."""

    def __len__(self) -> int:
        return len(self.fifo) - self.head + len(self.front) + len(self.due) - self.dead_count

    def plain_run(self) -> bool:
        """Whether the head of the line is simply the head of `fifo`."""
        return not (self.front or self.due or self.dead)

    def append(self, seq: int) -> None:
        """A job became ready now."""
        fifo = self.fifo
        if fifo and fifo[-1] > seq:
            self.rising = False
        fifo.append(seq)

    def extend(self, seqs: range) -> None:
        """Jobs became ready now."""
        fifo = self.fifo
        if fifo and fifo[-1] > seqs.start:
            self.rising = False
        fifo.extend(seqs)

    def run_at_head(self, most: int) -> int:
        """How many entries at the head of `fifo`, up to `most`, are neighbouring numbers. It has at least one."""
        fifo, head = self.fifo, self.head
        most = min(most, len(fifo) - head)
        first = fifo[head]
        if self.rising:
            if fifo[head + most - 1] - first == most - 1:
                return most
            low, high = 1, most
            while high - low > 1:
                middle = (low + high) // 2
                if fifo[head + middle - 1] - first == middle - 1:
                    low = middle
                else:
                    high = middle
            return low
        n = 1
        while n < most and fifo[head + n] == first + n:
            n += 1
        return n

    def clear(self) -> None:
        """Nothing alive is left: forget what is dead."""
        self.fifo, self.head = array("q"), 0
        self.front, self.due = {}, []
        self.dead, self.dead_count = {}, 0
        self.checked = self.unchecked = 0
        self.rising = True

    def advance(self, n: int) -> None:
        """The first `n` of `fifo` have left."""
        self.head = head = self.head + n
        fifo = self.fifo
        if head == len(fifo):
            self.fifo, self.head = array("q"), 0
            self.checked = self.unchecked = 0
            self.rising = True
        elif head > _COMPACT and head * 2 > len(fifo):
            self.fifo, self.head = fifo[head:], 0
            self.checked, self.unchecked = max(self.checked - head, 0), max(self.unchecked - head, 0)

    def pop(self, ready_at: Callable[[int], int]) -> int | None:
        """The next job; None when the lane is empty. `ready_at(seq)`: when a job of `fifo` became ready."""
        while True:
            if self.front:
                return self.front.popitem()[0]
            seq = self._pop_any(ready_at)
            if seq is None or not self.dead:
                return seq
            times = self.dead.get(seq)
            if times is None:
                return seq
            self.dead_count -= 1
            if times == 1:
                del self.dead[seq]
            else:
                self.dead[seq] = times - 1

    def peek(self, ready_at: Callable[[int], int]) -> tuple[int, int]:
        """(moment it became ready, number) of the head; the lane has one. LIFO ones come before all else: 0."""
        if self.front:
            return 0, next(reversed(self.front))
        if self.dead:
            self._skip_dead()
            while self.due and (times := self.dead.get(self.due[0][1])) is not None:
                self._bury(heappop(self.due)[1], times)
        if self.head == len(self.fifo):
            return self.due[0]
        ready = ready_at(self.fifo[self.head]), self.fifo[self.head]
        return min(ready, self.due[0]) if self.due else ready

    def _bury(self, seq: int, times: int) -> None:
        """A dead entry has surfaced."""
        self.dead_count -= 1
        if times == 1:
            del self.dead[seq]
        else:
            self.dead[seq] = times - 1

    def _pop_any(self, ready_at: Callable[[int], int]) -> int | None:
        if self.dead and self.due:
            self._skip_dead()
        fifo, head = self.fifo, self.head
        if self.due:
            moment, seq = self.due[0]
            if head == len(fifo) or (moment, seq) < (ready_at(fifo[head]), fifo[head]):
                heappop(self.due)
                return seq
        if head == len(fifo):
            return None
        seq = fifo[head]
        self.advance(1)
        return seq

    def _skip_dead(self) -> None:
        """Let the head of `fifo` be alive: a dead entry tells nothing of when those behind it became ready."""
        dead = self.dead
        while self.head < len(self.fifo) and (times := dead.get(self.fifo[self.head])) is not None:
            if times == 1:
                del dead[self.fifo[self.head]]
            else:
                dead[self.fifo[self.head]] = times - 1
            self.dead_count -= 1
            self.advance(1)

    def put_back(self, seq: int) -> None:
        """A job that was just popped was not wanted after all: it is first again."""
        self.front[seq] = None

    def put_in_front(self, seq: int) -> None:
        """A LIFO job became ready."""
        self.front[seq] = None

    def put_at(self, moment: int, seq: int) -> None:
        """A job that became ready at `moment` joins those of its time."""
        heappush(self.due, (moment, seq))

    def remove(self, seq: int) -> None:
        """A job leaves from wherever it stands in this lane."""
        if seq in self.front:
            del self.front[seq]
            return
        if not self.dead and self.head < len(self.fifo) and self.fifo[self.head] == seq:
            self.advance(1)
            return
        self.dead[seq] = self.dead.get(seq, 0) + 1
        self.dead_count += 1
        if self.unchecked:
            self.pace += 1
            if self.pace >= _PACE:
                self._check()
        elif self.dead_count > 64 and self.dead_count > len(self):
            if self.due:
                self._rebuild()
            else:
                # Not those that come from here on: where one of them is dead, an entry before `checked` may be meant.
                self.checked, self.unchecked = self.head, len(self.fifo)
                self._check()

    def _check(self) -> None:
        """Take what is dead out of the next stretch."""
        fifo, start = self.fifo, max(self.checked, self.head)
        if start >= self.unchecked:  # all of it was pulled
            self.checked = self.unchecked = 0
            return
        stop = min(start + STRETCH, self.unchecked)
        alive = array("q", filter(self._lives, fifo[start:stop]))
        gone = stop - start - len(alive)
        fifo[start:stop] = alive
        self.dead_count -= gone
        self.checked, self.unchecked, self.pace = stop - gone, self.unchecked - gone, 0
        if self.checked >= self.unchecked:
            self.checked = self.unchecked = 0

    def _lives(self, seq: int) -> bool:
        """Whether an entry counts; one that does not is not noted any more."""
        dead = self.dead
        times = dead.get(seq)
        if times is None:
            return True
        if times == 1:
            del dead[seq]
        else:
            dead[seq] = times - 1
        return False

    def _rebuild(self) -> None:
        """Take all that is dead out of a lane with `due`."""
        lives = self._lives
        # In the order in which they would have surfaced: of several entries of one job the earlier are the dead ones.
        self.fifo = array("q", filter(lives, self.fifo[self.head :]))
        self.head = 0
        self.due = [pair for pair in sorted(self.due) if lives(pair[1])]
        self.dead_count = sum(self.dead.values())
