"""The state again, from what the tables hold: what replay cannot do, as there is no event that says it.

Whoever restores puts pages, records and settings where they were, then calls these. Order is not stored: a job's place
in its line follows from its priority and the moment it became ready, so that is what lanes are filled by.
"""

from collections.abc import Iterable
from typing import NamedTuple

from flashq.engine.endings import expire
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job, State
from flashq.engine.lanes import Lane
from flashq.engine.leases import Lease
from flashq.engine.pages import Page
from flashq.engine.push import delay
from flashq.engine.queues import Queue


class Stretch(NamedTuple):
    """Neighbouring jobs that wait, in the order in which they became ready."""

    first_ms: int
    """When the first became ready, and its number."""
    first: int
    last_ms: int
    last: int
    page: Page | None
    """For plain jobs; None for a record, which is alone."""


def waiting_places(page: Page, start: int, stop: int) -> Stretch:
    """The places [start, stop) of a page are plain jobs that wait."""
    return Stretch(page.created_at(start), page.base + start, page.created_at(stop - 1), page.base + stop - 1, page)


def line_up(engine: Engine, queue: Queue, plain: Iterable[Stretch], records: Iterable[Job]) -> None:
    """Fill the lanes of a queue that has just been restored with all that waits in it."""
    lines: dict[int, list[Stretch]] = {0: list(plain)}
    front: list[Job] = []
    bound: list[Job] = []
    for job in records:
        if job.bound:
            bound.append(job)
        elif job.options.lifo and not job.token:  # a LIFO job that comes back is in front no longer
            front.append(job)
        else:
            lines.setdefault(job.priority, []).append(Stretch(job.run_at, job.seq, job.run_at, job.seq, None))
    for priority, stretches in lines.items():
        if stretches:
            lane = queue.lane_of(priority)
            _fill(lane, stretches)
            queue.raise_top(lane)
    for job in sorted(front, key=lambda job: (job.run_at, job.seq)):
        lane = queue.lane_of(job.priority)
        lane.put_in_front(job.seq)
        queue.raise_top(lane)
    n = sum(len(lane) for lane in queue.lanes.values()) + len(bound)
    for job in sorted(bound, key=lambda job: (job.run_at, job.seq)):
        assert queue.lines is not None
        queue.lines.add(job, came_back=bool(job.token))
    queue.waiting += n
    engine.totals.waiting += n


def _fill(lane: Lane, stretches: list[Stretch]) -> None:
    """Whole stretches one behind the other; those that overlap in time, job by job."""
    stretches.sort(key=lambda s: (s.first_ms, s.first))
    group = [stretches[0]]
    end = (group[0].last_ms, group[0].last)
    for stretch in stretches[1:]:
        if (stretch.first_ms, stretch.first) < end:
            group.append(stretch)
            end = max(end, (stretch.last_ms, stretch.last))
        else:
            _append(lane, group)
            group = [stretch]
            end = (stretch.last_ms, stretch.last)
    _append(lane, group)


def _append(lane: Lane, group: list[Stretch]) -> None:
    if len(group) == 1:
        lane.extend(range(group[0].first, group[0].last + 1))
        return
    runs: list[tuple[int, int, int]] = []
    for stretch in group:
        page = stretch.page
        if page is None:
            runs.append((stretch.first_ms, stretch.first, stretch.first + 1))
            continue
        base = page.base
        runs += [
            (ms, base + a, base + b) for a, b, ms in page.created_runs(stretch.first - base, stretch.last + 1 - base)
        ]
    runs.sort()
    for _, first, stop in runs:
        lane.extend(range(first, stop))


def await_moment(engine: Engine, job: Job) -> None:
    """A restored record whose moment has not come when it was stored: replay, or a timer, sees to what came since."""
    job.state = State.DELAYED
    delay(engine, job)


def come_back(engine: Engine, job: Job, *, removed: bool) -> None:
    """A restored record, in its place: it has its keys again, and counts where it did.

    `removed`: it is only still to be cleared away.
    """
    queue, key = job.queue, job.options.unique_key
    if key is not None and job.state is not State.COMPLETED and not (removed and _later(queue, key, job)):
        queue.unique[key] = job.seq
    if job.bound and not removed:
        engine.bind(queue)
        if job.state is State.ACTIVE:
            assert queue.lines is not None
            queue.lines.lent(job)


def _later(queue: Queue, key: str, job: Job) -> bool:
    """Whether a key was taken again after this job, which held it, was removed."""
    seq = queue.unique.get(key)
    if seq is None:
        return False
    page, i = queue.slot.find(seq)
    return page is not None and (page.created_at(i), seq) > (job.created_at, job.seq)


def arm_ttl(engine: Engine, job: Job) -> None:
    """The ttl of a restored record goes on."""
    job.timer = engine.at_wall(job.created_at + job.ttl, expire, job)


def lend_again(engine: Engine, lease: Lease) -> None:
    """A lease, with its places counted and marked, is in force again; `deadline` is in the time of replay."""
    engine.lease_lines.add_at(lease)
    if lease.gid:
        engine.tied.setdefault(lease.gid, {})[lease] = None


def add_place(lease: Lease, page: Page, start: int, stop: int) -> None:
    """The places [start, stop) of a page are active under the lease."""
    page.marks()[start:stop] = [lease] * (stop - start)
    lease.live += stop - start
    lease.seqs.append(range(page.base + start, page.base + stop))
