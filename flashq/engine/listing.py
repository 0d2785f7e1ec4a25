"""Which jobs a queue has, newest first: for GETJOBS.

Nothing scans a million jobs. How many there are is known from counts. A state with few jobs is read from the structure
that has them (the dead letters, what is kept, the heap of delayed ones, the lines); else pages are walked from the
newest backwards, no further than the reply needs, and pages of which the answer is known as a whole are passed by.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import chain, islice
from typing import Final

from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Done, Lease
from flashq.engine.pages import PAGE_BITS, Page
from flashq.engine.queues import Queue
from flashq.errors import InvalidArgument

FEW: Final = 10_000
"""So many are sorted rather than looked for: some 5 ms."""
ALL: Final = None
STALLED: Final = -1
"""A state that clients know of and no job is ever in."""
Filter = State | int | None
STATES: Final[dict[str, Filter]] = {
    "waiting": State.WAITING, "delayed": State.DELAYED, "active": State.ACTIVE, "completed": State.COMPLETED,
    "failed": State.FAILED, "stalled": STALLED, "waiting-children": State.HELD, "waiting-parent": State.PARENT,
}  # fmt: skip
_SPELLED: Final = {name.replace("-", ""): state for name, state in STATES.items()}
_WAITS_FOR_OTHERS: Final = (State.HELD, State.PARENT)
_IN_RECORDS: Final = (State.DELAYED, State.FAILED, *_WAITS_FOR_OTHERS)
_IN_LEASES: Final = (State.ACTIVE, State.COMPLETED)


def state_filter(name: str | None) -> Filter:
    """What GETJOBS's `state` means, in any case, with or without `-` and `_`. Raises InvalidArgument for others."""
    if name is None:
        return ALL
    spelled = name.lower().replace("-", "").replace("_", "")
    if spelled not in _SPELLED:
        raise InvalidArgument(f"invalid value: `state` is '{name[:64]}', allowed are {', '.join(STATES)}")
    return _SPELLED[spelled]


def total(queue: Queue, state: Filter) -> int:
    """How many jobs of the queue are in this state."""
    if state is ALL:
        return queue.waiting + queue.delayed + queue.active + queue.held + queue.completed + queue.dead_count
    if state in _WAITS_FOR_OTHERS:
        return sum(1 for _ in _walk(queue, state, 0)) if queue.held else 0
    counts = {
        State.WAITING: queue.waiting, State.DELAYED: queue.delayed, State.ACTIVE: queue.active,
        State.COMPLETED: queue.completed, State.FAILED: queue.dead_count,
    }  # fmt: skip
    return counts.get(state, 0)  # type: ignore[call-overload, no-any-return]


def newest(queue: Queue, state: Filter, skip: int) -> Iterator[int]:
    """Ids of the queue's jobs in this state, newest first, without the first `skip`."""
    count = total(queue, state)
    if skip >= count:
        return
    few = _few(queue, state) if count <= FEW else None
    seqs = iter(few[skip:]) if few is not None else _walk(queue, state, skip)
    slot = queue.slot
    for seq in islice(seqs, count - skip):
        yield slot.id_of(seq)


def newest_of_all(engine: Engine, state: Filter, count: int) -> tuple[int, list[int]]:
    """Of all queues: how many jobs are in this state, and the ids of the newest `count` of them."""
    sums = {queue: n for queue in engine.queues.values() if (n := total(queue, state))}
    ids = islice(merge(*(newest(queue, state, 0) for queue in sums), reverse=True), count)
    return sum(sums.values()), list(ids)


# -- few


def _few(queue: Queue, state: Filter) -> list[int] | None:
    """Sequence numbers of all jobs in a state, the highest first, from the structure that has them; None: none has."""
    if state is State.FAILED:
        found = set(queue.dead)
    elif state is State.COMPLETED:
        found = {kept.page.base + i for kept in queue.kept for i in range(kept.start, kept.stop)}
    elif state is State.DELAYED:
        found = {entry[2] for entry in chain(queue.later, queue.older) if queue.is_delayed(entry) is not None}
    elif state is State.WAITING:
        found = _in_lines(queue)
        if len(found) != queue.waiting:
            return None
    else:
        return None
    return sorted(found, reverse=True)


def _in_lines(queue: Queue) -> set[int]:
    found: set[int] = set()
    for lane in queue.lanes.values():
        found.update(lane.fifo[lane.head :], lane.front, (seq for _, seq in lane.due))
    if queue.lines is not None:
        found.update(job.seq for job in queue.lines.jobs())
    slot = queue.slot

    def waits(seq: int) -> bool:
        page, i = slot.find(seq)
        return page is not None and page.queue is queue and fits(page, i, State.WAITING)

    return set(filter(waits, found))


# -- many


def fits(page: Page, i: int, state: Filter) -> bool:
    """Whether there is a job in this place, and in this state."""
    job = page.jobs[i]
    if job is None or (page.queue.sweep is not None and is_removed(page, i)):
        return False
    if state is ALL:
        return True
    mark = page.leases[i] if page.leases is not None else None
    if mark is not None:
        return type(mark) is Lease if state is State.ACTIVE else type(mark) is Done and state is State.COMPLETED
    return job.state is state if type(job) is Job else state is State.WAITING


def _known(page: Page, state: Filter) -> int | None:
    """How many jobs of a page are in a state, where that is known without looking at each."""
    queue = page.queue
    if queue.sweep is not None and (page.records or page.base < max(queue.era_base, queue.void_base)):
        return 0 if not page.records and page.leases is None else None
    if state is ALL:
        return page.live
    if state in _IN_RECORDS:
        return None if page.records else 0
    if page.leases is None:
        if state in _IN_LEASES:
            return 0
        if not page.records:
            return page.live
    return None


def _walk(queue: Queue, state: Filter, skip: int) -> Iterator[int]:
    for no in sorted(queue.pages, reverse=True):
        page = queue.pages.get(no)
        if page is None:
            continue
        known = _known(page, state)
        if known is not None and known <= skip:
            skip -= known
            continue
        for i in range(len(page.jobs) - 1, -1, -1):
            if fits(page, i, state):
                if skip:
                    skip -= 1
                else:
                    yield no << PAGE_BITS | i
