"""CLEAN: jobs of one state that are older than a grace cease to exist, oldest first, up to a limit.

Age counts from when the job was pushed, of completed ones from when they were done. What is younger than the command
is left alone, also where the work takes several slices.
"""

from bisect import bisect_right
from collections.abc import Callable
from itertools import islice
from typing import Final

from flashq.engine import events
from flashq.engine.endings import evict
from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.pages import Page
from flashq.engine.queries import seen_at
from flashq.engine.queues import Queue
from flashq.engine.removal import add_run, take_away
from flashq.engine.slices import SLICE
from flashq.errors import InvalidArgument

STATES: Final = {
    "waiting": State.WAITING, "delayed": State.DELAYED, "completed": State.COMPLETED, "failed": State.FAILED,
}  # fmt: skip


def state_to_clean(name: str | None) -> State:
    """What CLEAN's `state` means; absent: completed. Raises InvalidArgument for any other state."""
    state = STATES.get((name or "completed").lower())
    if state is None:
        raise InvalidArgument(f"Invalid state. Use: {', '.join(STATES)}")
    return state


RECORD_COST: Final = 4
"""Of the removal of one record, out of its lane and all that knows of it: 20 us; a slice is to stay below 10 ms."""


class Cleaning:
    """One CLEAN, in slices."""

    def __init__(self, engine: Engine, queue: Queue, state: State, grace_ms: int, limit: int) -> None:
        self._queue = queue
        self._state = state
        self._until = engine.now_ms - grace_ms
        self._left = limit or 1 << 62
        self.count = 0
        """How many were removed."""
        self.on_done: Callable[[int], object] | None = None
        self._pages: list[tuple[int, int, int]] = []
        """Pages to be looked at, in falling order: number, and from which place up to which."""
        self._dead = iter(list(queue.dead) if state is State.FAILED else ())
        if state in (State.WAITING, State.DELAYED):
            self._pages = [(no, 0, len(queue.pages[no].jobs)) for no in sorted(queue.pages, reverse=True)]

    def step(self, engine: Engine) -> bool:
        """One slice; whether that was all."""
        if self._state is State.COMPLETED:
            more = self._evict(engine)
        else:
            runs: list[tuple[int, int]] = []
            more = self._bury(engine, runs) if self._state is State.FAILED else self._look(engine, runs)
            if runs:
                engine.record(events.Removed(runs))
        if more and self._left:
            return False
        if self.on_done is not None:
            self.on_done(self.count)
        return True

    def _removed(self, n: int) -> None:
        self.count += n
        self._left -= n

    def _evict(self, engine: Engine) -> bool:
        """Completed jobs, oldest first; whether there may be more."""
        queue, runs, room = self._queue, [], SLICE
        while room > 0 and self._left and queue.kept and queue.kept[0].done.completed_at <= self._until:
            first = queue.kept[0]
            n = min(first.stop - first.start, self._left)
            runs.append(evict(engine, queue, n))
            self._removed(n)
            room -= 1 + n // 8
        if runs:
            engine.record(events.Evicted(runs))
            engine.touch(queue)
        return room <= 0

    def _bury(self, engine: Engine, runs: list[tuple[int, int]]) -> bool:
        """Dead letters, in the order in which they died; whether there may be more."""
        queue = self._queue
        seqs = list(islice(self._dead, SLICE // RECORD_COST))
        for seq in seqs:
            if seq not in queue.dead or not self._left:
                continue
            page, i = queue.slot.find(seq)
            assert page is not None
            if page.created_at(i) <= self._until:
                take_away(engine, page, i, i + 1)
                add_run(runs, queue.slot.id_of(seq), 1)
                self._removed(1)
        return len(seqs) == SLICE // RECORD_COST

    def _look(self, engine: Engine, runs: list[tuple[int, int]]) -> bool:
        """Waiting or delayed jobs, in the order in which they were pushed; whether there may be more."""
        queue, room = self._queue, SLICE
        while self._pages and self._left and room > 0:
            no, start, n = self._pages.pop()
            page = queue.pages.get(no)
            room -= 1
            if page is None or (self._state is State.DELAYED and not page.records):
                continue
            k = bisect_right(page.ms, self._until)
            n = min(n, page.at[k]) if k < len(page.at) else n
            cost, i = self._look_at(engine, page, start, n, room, runs)
            room -= (i - start) // 8 + cost
            if i < n:
                self._pages.append((no, i, n))
        return bool(self._pages)

    def _look_at(
        self, engine: Engine, page: Page, i: int, n: int, room: int, runs: list[tuple[int, int]]
    ) -> tuple[int, int]:  # fmt: skip
        """Remove what is to be removed from place `i` on and before `n`, until that costs `room`; what it cost, and how
        far it came.
        """
        cost = 0
        while i < n and self._left and cost < room:
            plain = not page.records
            most = min(self._left, n if plain else max((room - cost) // RECORD_COST, 1))
            start = i
            while i < n and i - start < most and self._fits(engine, page, i):
                i += 1
            if i == start:
                i += 1
                continue
            take_away(engine, page, start, i)
            add_run(runs, (page.base + start) << 10 | page.slot.no, i - start)
            self._removed(i - start)
            cost += (i - start) // 8 if plain else (i - start) * RECORD_COST
        return cost, i

    def _fits(self, engine: Engine, page: Page, i: int) -> bool:
        """Whether the job in this place, if there is one, is in the state that is to be cleaned."""
        job = page.jobs[i]
        if job is None or (page.queue.sweep is not None and is_removed(page, i)):
            return False
        if type(job) is not Job:
            return self._state is State.WAITING and (page.leases is None or page.leases[i] is None)
        return seen_at(engine, page, i).state is self._state
