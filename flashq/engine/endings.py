"""How a job ends: completed and kept, completed and forgotten, dead letter, dropped; and what is kept how long."""

from itertools import islice

from flashq.engine import events, names, uniqueness
from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.history import note
from flashq.engine.jobs import NO_OPTIONS, Job, Link, State
from flashq.engine.leases import Done, Lease
from flashq.engine.links import DEAD, DONE, GONE, ended, run_ended
from flashq.engine.pages import PAGE, PAGE_BITS, Page
from flashq.engine.queues import Kept, Queue
from flashq.engine.telling import tell
from flashq.engine.waits import COMPLETED, FAILED, REMOVED, Outcome, tell_waits, tell_waits_of_run

_QUEUED = (State.WAITING, State.DELAYED)


def as_record(page: Page, i: int) -> Job:
    """The record in a place; a plain job becomes one, with what its page knows of it."""
    job = page.jobs[i]
    if type(job) is Job:
        return job
    defaults = page.defaults
    created_at = page.created_at(i)
    record = Job(page.queue, page.base + i, job, page.codec, NO_OPTIONS, created_at, created_at)
    record.era = page.queue.era
    record.max_attempts = defaults.max_attempts
    record.backoff = defaults.backoff_ms
    record.ttl = defaults.ttl_ms
    record.timeout = defaults.timeout_ms
    if defaults.parent:
        record.link = Link(parent=defaults.parent)
    lease = page.leases[i] if page.leases is not None else None
    if type(lease) is Lease:
        record.state = State.ACTIVE
        record.started_at = record.last_heartbeat = lease.started_at
        record.token = lease.token
    elif type(lease) is Done:
        record.state = State.COMPLETED
        record.started_at = lease.started_at
        record.token = lease.token
    page.jobs[i] = record
    page.records += 1
    return record


def end_lease(engine: Engine, lease: Lease, n: int = 1) -> None:
    """`n` of its jobs are not active any more."""
    lease.live -= n
    if not lease.live:
        lease.seqs = []
        engine.lease_lines.ended(lease)
        if lease.gid:
            mine = engine.tied.get(lease.gid)
            if mine is not None:
                mine.pop(lease, None)
                if not mine:
                    del engine.tied[lease.gid]


def leave_active(engine: Engine, page: Page, i: int) -> None:
    """An active job stops being one; the caller puts it somewhere else."""
    leases = page.leases
    assert leases is not None
    lease = leases[i]
    leases[i] = None
    end_lease(engine, lease)
    queue, job = page.queue, page.jobs[i]
    if queue.lines is not None and type(job) is Job and job.bound:
        queue.lines.freed(job)
        engine.free(queue)
    elif queue.gate:
        engine.free(queue)
    queue.active -= 1
    engine.totals.active -= 1


def leave(engine: Engine, page: Page, i: int) -> None:
    """A job leaves the state it is in, whichever that is, counts included."""
    job = page.jobs[i]
    queue, totals = page.queue, engine.totals
    mark = page.leases[i] if page.leases is not None else None
    if type(mark) is Lease:
        leave_active(engine, page, i)
    elif type(mark) is Done:
        raise AssertionError("completed jobs leave by eviction")
    elif type(job) is not Job:
        queue.lane.remove(page.base + i)
        queue.waiting -= 1
        totals.waiting -= 1
        queue.lower_top()
    elif job.state in _QUEUED:
        if job.state is State.WAITING:
            totals.waiting -= 1
        else:
            totals.delayed -= 1
        queue.step_out(job)
    elif job.state is State.FAILED:
        queue.dead.pop(job.seq, None)
        queue.dead_count -= 1
        totals.dead -= 1
    else:
        queue.held -= 1
    engine.touch(queue)


def disarm(engine: Engine, job: Job) -> None:
    """Nothing will happen to the job by itself any more."""
    if job.timer is not None:
        engine.timers.cancel(job.timer)
        job.timer = None


def forget(engine: Engine, page: Page, i: int, *, bad: bool) -> None:
    """A job that left its state ceases to exist. `bad`: not by completion."""
    job = page.jobs[i]
    if type(job) is Job:
        disarm(engine, job)
        uniqueness.release(job)
        names.let_go(engine, job)
        if bad and job.link is not None:
            ended(engine, job, GONE)
    elif bad:
        run_ended(engine, page, i, i + 1, GONE)
    slot = page.slot
    seq = page.base + i
    if page.queue.watched:
        tell_waits(engine, page.queue, seq << 10 | slot.no, Outcome(REMOVED))
    (slot.bad if bad else slot.gone).add(seq, seq + 1)
    page.clear(i, i + 1)


def forget_run(engine: Engine, page: Page, start: int, stop: int) -> None:
    """As `forget` with `bad`, for plain jobs in neighbouring places that left their state."""
    slot, queue = page.slot, page.queue
    if queue.watched:
        ids = range((page.base + start) << 10 | slot.no, (page.base + stop) << 10 | slot.no, 1024)
        tell_waits_of_run(engine, queue, ids, Outcome(REMOVED))
    run_ended(engine, page, start, stop, GONE)
    slot.bad.add(page.base + start, page.base + stop)
    page.clear(start, stop)


def expire(engine: Engine, job: Job) -> None:
    """A job's ttl has passed and no worker ever had it (that would have disarmed the timer): it is dropped."""
    job.timer = None
    page, i = job.queue.slot.find(job.seq)
    if page is None or page.jobs[i] is not job or job.state in (State.ACTIVE, State.COMPLETED, State.FAILED):
        return
    if job.queue.sweep is not None and is_removed(page, i):
        return
    engine.record(events.Expired([job.id]), promise=False)
    tell(engine, "removed", job.queue.name, job.id)
    leave(engine, page, i)
    forget(engine, page, i, bad=True)


# -- completed


def complete(
    engine: Engine, page: Page, i: int, *, result: bytes | None = None, codec: int = 0
) -> list[tuple[int, int]]:
    """A job is done. What is evicted to keep it: runs of (first id, count), for the ack's event."""
    job = page.jobs[i]
    record = type(job) is Job
    mark = page.leases[i] if page.leases is not None else None
    started_at, token = (mark.started_at, mark.token) if type(mark) is Lease else (0, 0)
    if record and not token:
        started_at, token = job.started_at, job.token
    leave(engine, page, i)
    queue, totals = page.queue, engine.totals
    if queue.heard:
        tell(engine, "completed", queue.name, (page.base + i) << 10 | page.slot.no, data=result, codec=codec)
    queue.completed_total += 1
    totals.completed += 1
    if queue.watched:
        tell_waits(engine, queue, page.base + i << 10 | page.slot.no, Outcome(COMPLETED, result, codec))
    created_at = job.created_at if record else page.created_at(i)
    totals.latency_ms += engine.now_ms - created_at
    totals.latency_count += 1
    if started_at:
        queue.times.ran(engine.now_ms - started_at)
    if record:
        disarm(engine, job)
        uniqueness.release(job)
        job.state = State.COMPLETED
        if job.link is not None:
            ended(engine, job, DONE)
        if job.options.remove_on_complete:
            forget(engine, page, i, bad=False)
            return []
    elif page.defaults.parent:
        run_ended(engine, page, i, i + 1, DONE)
    done = Done(engine.now_ms, started_at, token, result, codec)
    page.marks()[i] = done
    size = len(job.data if record else job) + (len(result) if result else 0)
    kept = Kept(page, i, i + 1, done, size)
    keep(engine, kept)
    if record and job.options.keep_completed_age:
        await_age(engine, kept)
    if engine.replaying:
        return []
    return evict_beyond(engine, queue, job.options.keep_completed_count if record else None)


def keep(engine: Engine, kept: Kept) -> None:
    """Completed jobs are remembered for a while."""
    queue = kept.page.queue
    queue.kept.append(kept)
    n = kept.stop - kept.start
    queue.completed += n
    queue.completed_bytes += kept.bytes
    engine.totals.completed_now += n


def evict_beyond(engine: Engine, queue: Queue, count: int | None = None) -> list[tuple[int, int]]:
    """Forget what is kept beyond the bounds, oldest first; runs of (first id, count), for the caller's event.

    `count`: how many may be kept now, if the job that has just completed asked for that.
    """
    limits = engine.limits
    most = limits.keep_completed_count if count is None else count
    before = too_old(engine)
    kept = queue.kept
    runs: list[tuple[int, int]] = []
    while kept:
        first = kept[0]
        over = queue.completed - most
        if over <= 0 and queue.completed_bytes > limits.keep_completed_bytes:
            over = 1
        if first.done.completed_at < before and not own_age(first):
            over = max(over, first.stop - first.start)
        if over <= 0:
            break
        if over > 1 and first.stop - first.start == 1:
            _evict_single(engine, queue, over, runs)
        else:
            _join(runs, *evict(engine, queue, min(over, first.stop - first.start)))
    return runs


def _join(runs: list[tuple[int, int]], first_id: int, count: int) -> None:
    """Add a run of ids to those before it."""
    if runs and runs[-1][0] + runs[-1][1] * 1024 == first_id:
        runs[-1] = (runs[-1][0], runs[-1][1] + count)
    else:
        runs.append((first_id, count))


def _evict_single(engine: Engine, queue: Queue, most: int, runs: list[tuple[int, int]]) -> None:
    """As `evict`, for up to `most` stretches of one job each: what is left of jobs that were acked out of order."""
    kept, slot_no = queue.kept, queue.slot.no
    freed = n = 0
    while n < most and kept and kept[0].stop - kept[0].start == 1:
        first = kept.popleft()
        page, i = first.page, first.start
        freed += first.bytes
        n += 1
        job = page.jobs[i]
        if type(job) is Job:
            _let_go(engine, job)
        _join(runs, (page.base + i) << 10 | slot_no, 1)
        page.clear_one(i)
    queue.completed -= n
    queue.completed_bytes -= freed
    engine.totals.completed_now -= n


def evict(engine: Engine, queue: Queue, n: int) -> tuple[int, int]:
    """Forget the `n` oldest of the oldest stretch that is kept; their run as (first id, count)."""
    first = queue.kept[0]
    page, start = first.page, first.start
    size = first.stop - start
    if n == size:
        queue.kept.popleft()
        freed = first.bytes
    else:
        first.start = start + n
        freed = first.bytes * n // size
        first.bytes -= freed
    queue.completed -= n
    queue.completed_bytes -= freed
    engine.totals.completed_now -= n
    if page.records:
        for job in page.jobs[start : start + n] if n > 1 else (page.jobs[start],):
            if type(job) is Job:
                _let_go(engine, job)
    if n > 1:
        page.clear(start, start + n)
    else:
        page.clear_one(start)
    return (page.base + start) << 10 | page.slot.no, n


def _let_go(engine: Engine, job: Job) -> None:
    """A completed record is not kept any more."""
    if job.timer is not None:
        disarm(engine, job)
    if job.options.job_id is not None:
        names.let_go(engine, job)


def evict_run(engine: Engine, first_id: int, count: int) -> None:
    """Replay of an eviction: exactly these jobs, which are the oldest kept ones of their queue."""
    while count:
        page = engine.slots[first_id & 1023].pages[first_id >> 10 + PAGE_BITS]
        oldest = page.queue.kept[0]
        if oldest.page is not page or oldest.start != (first_id >> 10) & (PAGE - 1):
            raise ValueError(f"eviction of job {first_id}, which is not the oldest kept one of its queue")
        n = min(count, oldest.stop - oldest.start)
        evict(engine, page.queue, n)
        count -= n
        first_id += n * 1024


# -- completed jobs that go by their age


def own_age(kept: Kept) -> int:
    """How long the job itself asked to be kept, in milliseconds; 0: it did not. Such a job is a stretch alone."""
    job = kept.page.jobs[kept.start]
    return (job.options.keep_completed_age or 0) if type(job) is Job else 0


def await_age(engine: Engine, kept: Kept) -> None:
    """A completed job with an age of its own is to be forgotten then, however old those around it are."""
    job = kept.page.jobs[kept.start]
    disarm(engine, job)
    job.timer = engine.at_wall(kept.done.completed_at + own_age(kept), _of_age, job)


def _of_age(engine: Engine, job: Job) -> None:
    job.timer = None
    if not engine.replaying:
        engine.record(events.Outlived([(job.id, 1)]), promise=False)
        outlived(engine, job.id, 1)


def too_old(engine: Engine) -> int:
    """Jobs that were done before this moment are not to be kept."""
    age_ms = engine.limits.keep_completed_age_ms
    return engine.now_ms - age_ms if age_ms else 0


def evict_old(engine: Engine, queue: Queue, most: int, over: int = 0) -> int:
    """Forget up to `most` completed jobs that have been kept for long enough; how many there were.

    `over`: so many of the oldest go in any case.
    """
    before = too_old(engine)
    runs: list[tuple[int, int]] = []
    left = most
    for kept in list(islice(queue.kept, most)):
        old = kept.done.completed_at < before
        if not left or not (old or over > 0):
            break
        if over > 0 or not own_age(kept):
            n = min(kept.stop - kept.start, left if old else min(left, over))
            runs.append((kept.page.slot.id_of(kept.page.base + kept.start), n))
            left -= n
            over -= n
    if runs:
        engine.record(events.Outlived(runs), promise=False)
        for first_id, n in runs:
            outlived(engine, first_id, n)
        engine.touch(queue)
    return most - left


def outlived(engine: Engine, first_id: int, n: int) -> None:
    """These jobs of one stretch, from its first on, are not kept any longer, wherever among the others they stand."""
    seq = first_id >> 10
    page = engine.slots[first_id & 1023].pages[seq >> PAGE_BITS]
    queue, start = page.queue, seq & (PAGE - 1)
    if queue.kept[0].page is page and queue.kept[0].start == start:
        evict(engine, queue, n)
        engine.touch(queue)
        return
    kept = next(k for k in queue.kept if k.page is page and k.start == start)
    queue.kept.remove(kept)
    queue.kept.appendleft(kept)
    evict(engine, queue, n)
    engine.touch(queue)


# -- dead letters


def die(engine: Engine, page: Page, i: int, error: str, event: str = "failed") -> None:
    """A record that left its state is given up: a dead letter, or forgotten if it asked for that.

    `event`: what those who listen are told.
    """
    job = as_record(page, i)
    queue, totals = page.queue, engine.totals
    queue.failed_total += 1
    totals.failed += 1
    job.error = error
    tell(engine, event, queue.name, job.id, error=error or None)
    note(job, "failed", engine.now_ms, attempt=job.attempts, text=error)
    disarm(engine, job)
    if queue.watched:
        tell_waits(engine, queue, job.id, Outcome(FAILED, error=error))
    if job.options.remove_on_fail:
        forget(engine, page, i, bad=True)
        return
    job.state = State.FAILED
    job.died_at = engine.now_ms
    queue.dead[job.seq] = None
    queue.dead_count += 1
    totals.dead += 1
    if job.link is not None:
        ended(engine, job, DEAD)
    engine.touch(queue)
