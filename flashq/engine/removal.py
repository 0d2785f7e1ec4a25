"""DRAIN, OBLITERATE and PURGEDLQ: many jobs cease to exist in one event, and are cleared away in slices.

The event makes them invisible and settles the counts at once (eras.py). Each slice records which jobs it cleared
away, with all that this sets free, so that a replay stands in the same place and goes on from there.
"""

from collections.abc import Callable
from typing import Final

from flashq.engine import crons, events
from flashq.engine.control import set_paused
from flashq.engine.endings import end_lease, forget, forget_run, leave
from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.leases import Lease
from flashq.engine.limits import clear_limits
from flashq.engine.pages import PAGE_BITS, Page
from flashq.engine.queues import Queue, Sweep
from flashq.engine.slices import SLICE, carry_on, wait
from flashq.engine.telling import tell

ON_DRAIN: Final[list[Callable[[Engine, Queue], None]]] = []
"""What else forgets the jobs in a queue's lines when it is drained, live and in replay: parked lines and the like."""
ON_OBLITERATE: Final[list[Callable[[Engine, Queue], None]]] = []
"""What else is removed with a queue, live and in replay: limits, groups, crons. Must not raise."""
SWEPT: Final = SLICE // 2
"""Records that are cleared away in a slice."""
TRASH: Final = 16 * SLICE
"""Entries of dropped lines that are let go in a slice."""


def drain(engine: Engine, name: str) -> int:
    """Remove all jobs of a queue that wait, ready or delayed; how many there were."""
    queue = engine.queues.get(name)
    if queue is None:
        return 0
    count = queue.waiting + queue.delayed
    if count:
        event = events.Drained(name, queue.slot.next_page)
        engine.record(event)
        drained(engine, event)
    tell(engine, "drained", name, 0)
    return count


def obliterate(engine: Engine, name: str) -> int:
    """Remove all jobs of a queue but the completed ones, its settings, and its crons; how many jobs there were."""
    crons.obliterate(engine, name)
    queue = engine.queues.get(name)
    if queue is None:
        return 0
    count = queue.waiting + queue.delayed + queue.active + queue.dead_count + queue.held
    event = events.Obliterated(name, queue.slot.next_page)
    engine.record(event)
    obliterated(engine, event)
    return count


def purge_dead(engine: Engine, name: str) -> int:
    """Remove all dead letters of a queue; how many there were."""
    queue = engine.queues.get(name)
    if queue is None or not queue.dead_count:
        return 0
    count = queue.dead_count
    event = events.DeadPurged(name)
    engine.record(event)
    dead_purged(engine, event)
    return count


# -- the events, live and in replay


def drained(engine: Engine, event: events.Drained) -> None:
    queue = engine.queue(event.queue)
    _end_era(engine, queue, event.below_page)
    _begin_sweep(engine, queue)


def obliterated(engine: Engine, event: events.Obliterated) -> None:
    queue, totals = engine.queue(event.queue), engine.totals
    _end_era(engine, queue, event.below_page)
    queue.void_base = event.below_page << PAGE_BITS
    totals.active -= queue.active
    queue.active = queue.held = 0
    _drop_dead(engine, queue)
    set_paused(engine, queue, False)
    clear_limits(engine, queue)
    queue.lines = None
    for hook in ON_OBLITERATE:
        hook(engine, queue)
    _begin_sweep(engine, queue)


def dead_purged(engine: Engine, event: events.DeadPurged) -> None:
    queue = engine.queue(event.queue)
    sweep_of(queue).dead.append(queue.dead)
    _drop_dead(engine, queue)
    _begin_sweep(engine, queue)


def removed(engine: Engine, event: events.Removed) -> None:
    """Replay: exactly these jobs."""
    for first, count in event.runs:
        seq, end = first >> 10, (first >> 10) + count
        while seq < end:
            page = engine.slots[first & 1023].pages[seq >> PAGE_BITS]
            start = seq - page.base
            stop = min(len(page.jobs), end - page.base)
            take_away(engine, page, start, stop)
            seq = page.base + stop


def _end_era(engine: Engine, queue: Queue, below_page: int) -> None:
    """What is in the queue's lines does not exist any more."""
    totals, slot = engine.totals, queue.slot
    totals.waiting -= queue.waiting
    totals.delayed -= queue.delayed
    slot.next_page = max(slot.next_page, below_page)
    open_pages, queue.open_pages = queue.open_pages, [None, None]
    for page in open_pages:
        if page is not None and not page.live:
            page.drop_if_done()
    queue.era += 1
    queue.era_base = below_page << PAGE_BITS
    sweep = sweep_of(queue)
    sweep.trash += queue.drop_lines()
    sweep.pages = sorted((no for no in queue.pages if no < below_page), reverse=True)
    for hook in ON_DRAIN:
        hook(engine, queue)
    engine.touch(queue)


def _drop_dead(engine: Engine, queue: Queue) -> None:
    engine.totals.dead -= queue.dead_count
    queue.dead, queue.dead_count = {}, 0
    engine.touch(queue)


# -- clearing away


def sweep_of(queue: Queue) -> Sweep:
    if queue.sweep is None:
        queue.sweep = Sweep()
    return queue.sweep


def _begin_sweep(engine: Engine, queue: Queue) -> None:
    """Replay only notes that there is something to do: which slices were done, it reads."""
    if engine.replaying:
        wait(engine, _Sweeping(queue))
    else:
        carry_on(engine, _Sweeping(queue))


def resume_sweep(engine: Engine, queue: Queue, dead: dict[int, None]) -> None:
    """A queue was restored while there was something to clear away; `dead`: its removed dead letters. All is looked at
    again: what was cleared is not there any more.
    """
    sweep = sweep_of(queue)
    sweep.pages = sorted((no for no in queue.pages if no << PAGE_BITS < queue.era_base), reverse=True)
    sweep.dead = [dead] if dead else []
    wait(engine, _Sweeping(queue))


class _Sweeping:
    """The clearing away of one queue's removed jobs."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def step(self, engine: Engine) -> bool:
        """One slice; whether nothing is left."""
        queue = self._queue
        sweep = queue.sweep
        if sweep is None:
            return True
        runs: list[tuple[int, int]] = []
        room = SLICE
        while room > 0 and sweep.pages:
            no = sweep.pages.pop()
            page = queue.pages.get(no)
            room -= 16
            if page is not None:
                cost, done = _sweep_page(engine, page, runs, room)
                room -= cost
                if not done:
                    sweep.pages.append(no)
        while room > 0 and sweep.dead:
            room -= _sweep_dead(engine, queue, sweep.dead[-1], min(room, SWEPT), runs) * SLICE // SWEPT
            if not sweep.dead[-1]:
                sweep.dead.pop()
        if room > 0 and sweep.trash:
            _let_go(sweep.trash)
        if runs:
            engine.record(events.Removed(runs), promise=False)
        if sweep.pages or sweep.dead or sweep.trash:
            return False
        queue.sweep = None
        return True


def _sweep_page(engine: Engine, page: Page, runs: list[tuple[int, int]], room: int) -> tuple[int, bool]:
    """Clear away what was removed of a page, up to `SWEPT` records of it; what it cost, and whether that was all."""
    jobs, n = page.jobs, len(page.jobs)
    all_gone = not page.records and page.leases is None
    most = n if all_gone else min(SWEPT, max(room, 1))
    i = cost = 0
    while i < n and cost < most:
        if jobs[i] is None or not (all_gone or is_removed(page, i)):
            i += 1
            continue
        start = i
        i += 1
        while i < n and i - start < most - cost and jobs[i] is not None and (all_gone or is_removed(page, i)):
            i += 1
        take_away(engine, page, start, i)
        add_run(runs, (page.base + start) << 10 | page.slot.no, i - start)
        cost += i - start
    return (n // 8 if all_gone else n // 4 + cost * SLICE // SWEPT), i == n


def _sweep_dead(
    engine: Engine, queue: Queue, dead: dict[int, None], most: int, runs: list[tuple[int, int]]
) -> int:  # fmt: skip
    """Clear away up to `most` dead letters; how many were looked at."""
    n = min(most, len(dead))
    for _ in range(n):
        seq, _ = dead.popitem()
        page, i = queue.slot.find(seq)
        if page is not None and page.queue is queue and page.jobs[i] is not None and is_removed(page, i):
            take_away(engine, page, i, i + 1)
            add_run(runs, seq << 10 | queue.slot.no, 1)
    return n


def _let_go(trash: list[list[object]]) -> None:
    room = TRASH
    while trash and room > 0:
        last = trash[-1]
        room -= len(last) + 1
        del last[-TRASH:]
        if not last:
            trash.pop()


def take_away(engine: Engine, page: Page, start: int, stop: int) -> None:
    """Jobs in neighbouring places, none empty or completed, cease to exist, whether they were removed before or not."""
    queue = page.queue
    if engine.heard:
        for i in range(start, stop):
            tell(engine, "removed", queue.name, page.slot.id_of(page.base + i))
    if not page.records and (page.leases is None or not any(page.leases[start:stop])):
        if page.base >= queue.era_base:
            _step_out(engine, queue, page.base + start, page.base + stop)
        forget_run(engine, page, start, stop)
        return
    for i in range(start, stop):
        if is_removed(page, i):
            lease = page.leases[i] if page.leases is not None else None
            if page.leases is not None and type(lease) is Lease:
                page.leases[i] = None
                end_lease(engine, lease)
        else:
            leave(engine, page, i)
        forget(engine, page, i, bad=True)


def _step_out(engine: Engine, queue: Queue, start: int, stop: int) -> None:
    """Neighbouring plain jobs leave their lane: nearly always they are the head of it."""
    lane, n = queue.lane, stop - start
    if lane.plain_run() and lane.head < len(lane.fifo) and lane.fifo[lane.head] == start and lane.run_at_head(n) == n:
        lane.advance(n)
    else:
        for seq in range(start, stop):
            lane.remove(seq)
    queue.waiting -= n
    engine.totals.waiting -= n
    queue.lower_top()
    engine.touch(queue)


def add_run(runs: list[tuple[int, int]], first: int, count: int) -> None:
    """Add neighbouring ids, joined with the last run where they go on from it."""
    if runs and runs[-1][0] + runs[-1][1] * 1024 == first:
        runs[-1] = (runs[-1][0], runs[-1][1] + count)
    else:
        runs.append((first, count))
