"""ACK and ACKB: work is done. What a late or doubled ack means is docs/protocol.md, "Late words"."""

from collections.abc import Sequence

from flashq.engine import events
from flashq.engine.ack_records import ack_records
from flashq.engine.endings import complete, end_lease, evict_beyond, keep
from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Done, Lease
from flashq.engine.links import DONE, run_ended
from flashq.engine.lone_jobs import ack_lone
from flashq.engine.pages import PAGE, PAGE_BITS, Page
from flashq.engine.queues import Kept
from flashq.engine.telling import tell
from flashq.engine.waits import COMPLETED, Outcome, tell_waits_of_run
from flashq.engine.watching import settle
from flashq.errors import FlashqError, JobNotFound, LeaseLost

STEP = 1024


def not_found(job_id: int) -> JobNotFound:
    return JobNotFound(f"Job {job_id} not found")


def lease_lost(job_id: int) -> LeaseLost:
    return LeaseLost(f"Lease lost: job {job_id} was given to another worker")


def find(engine: Engine, job_id: int) -> tuple[Page, int]:
    """The place of a job that is still known. Raises JobNotFound."""
    slot = engine.slots.get(job_id & 1023)
    if slot is not None:
        seq = job_id >> 10
        page = slot.pages.get(seq >> PAGE_BITS)
        i = seq & (PAGE - 1)
        if page is None or i >= len(page.jobs) or page.jobs[i] is None:
            raise not_found(job_id)
        if page.queue.sweep is None or not is_removed(page, i):
            return page, i
    raise not_found(job_id)


def holds(page: Page, i: int, job_id: int, token: int | None) -> Lease | None:
    """The job's lease if this worker may speak for the job; None if it is waiting again and this worker had it last.

    Raises JobNotFound, or LeaseLost where a token was sent that is not the job's latest.
    """
    mark = page.leases[i] if page.leases is not None else None
    if type(mark) is Lease:
        if token is not None and token != mark.token:
            raise lease_lost(job_id)
        return mark
    job = page.jobs[i]
    if type(job) is Job and job.token and job.state in (State.WAITING, State.DELAYED):
        if token is not None and token != job.token:
            raise lease_lost(job_id)
        return None
    if token is not None and type(mark) is Done and token != mark.token:
        raise lease_lost(job_id)
    raise not_found(job_id)


def ack(
    engine: Engine, job_id: int, token: int | None, result: bytes | None, codec: int, *, settling: bool = True
) -> None:  # fmt: skip
    """One job is done. Raises JobNotFound or LeaseLost, having changed nothing.

    `settling`: who waits for it is told now; else the caller sees to it.
    """
    if result is None and ack_lone(engine, job_id, token):
        return
    page, i = find(engine, job_id)
    mark = page.leases[i] if page.leases is not None else None
    if type(mark) is not Lease or (token is not None and token != mark.token):
        if type(mark) is Done and token is not None and token == mark.token:
            return
        holds(page, i, job_id, token)
    runs = complete(engine, page, i, result=result, codec=codec)
    first, count = runs[0] if runs else (0, 0)
    if result is None:
        packed = events.pack_acked(events.ACKED, events.ACKED_BYTES, job_id, 1, first, count)
    else:
        packed = events.acked_result(job_id, codec, 0, result)
    engine.events.append(packed)
    if result is None:
        runs = runs[1:]
    if runs:
        engine.record(events.Evicted(runs), promise=False)
    engine.promise = True
    if engine.endings and settling:
        settle(engine)


def are_neighbours(ids: list[int]) -> bool:
    """Whether these are ids of one slot, one behind the other, as one pull gives them. Told in C."""
    first, last = ids[0], ids[-1]
    return last - first == (len(ids) - 1) * STEP and ids == list(range(first, last + 1, STEP))


def ack_batch(
    engine: Engine,
    ids: list[int],
    tokens: Sequence[int | None] | None,
    results: Sequence[bytes | None] | None,
    codec: int,
) -> list[tuple[int, FlashqError]]:
    """Exactly n acks. Those that were refused: (index, error)."""
    n = len(ids)
    if n > 1 and tokens is None and results is None:
        if are_neighbours(ids) and ack_run(engine, ids[0], n):
            if engine.endings:
                settle(engine)
            return []
        if ack_records(engine, ids):
            return []
    refused: list[tuple[int, FlashqError]] = []
    for k, job_id in enumerate(ids):
        try:
            token = tokens[k] if tokens is not None else None
            ack(engine, job_id, token, results[k] if results is not None else None, codec, settling=False)
        except (JobNotFound, LeaseLost) as e:
            refused.append((k, e))
    if engine.endings:
        settle(engine)
    return refused


def ack_run(engine: Engine, first_id: int, n: int) -> bool:
    """Neighbouring plain jobs of one queue, all active: done in slices. False, nothing changed, if they are not."""
    slot = engine.slots.get(first_id & 1023)
    if slot is None:
        return False
    pieces: list[tuple[Page, int, int, Lease]] = []
    seq, end = first_id >> 10, (first_id >> 10) + n
    while seq < end:
        page = slot.pages.get(seq >> PAGE_BITS)
        i = seq & (PAGE - 1)
        stop = min(PAGE, i + end - seq)
        if page is None or page.leases is None or page.records or (pieces and page.queue is not pieces[0][0].queue):
            return False
        if page.base < page.queue.void_base:
            return False
        marks = page.leases[i:stop]
        k = 0
        while k < len(marks):
            lease = marks[k]
            if type(lease) is not Lease:
                return False
            same = _same(marks, k)
            pieces.append((page, i + k, i + k + same, lease))
            k += same
        seq += stop - i
    _finish_run(engine, pieces, first_id, n)
    return True


def _same(marks: list[object], k: int) -> int:
    """How many marks from `k` on are the same object."""
    lease = marks[k]
    rest = marks if k == 0 else marks[k:]
    n = rest.count(lease)
    if n == len(rest) or (rest[n - 1] is lease and rest[:n].count(lease) == n):
        return n
    n = 1
    while k + n < len(marks) and marks[k + n] is lease:
        n += 1
    return n


def _finish_run(engine: Engine, pieces: list[tuple[Page, int, int, Lease]], first_id: int, n: int) -> None:
    queue, totals, now = pieces[0][0].queue, engine.totals, engine.now_ms
    for page, start, stop, lease in pieces:
        count = stop - start
        for a, b, created_at in page.created_runs(start, stop):
            totals.latency_ms += (now - created_at) * (b - a)
        done = Done(now, lease.started_at, lease.token, None, 0)
        marks = page.leases
        assert marks is not None
        marks[start:stop] = [done] * count
        end_lease(engine, lease, count)
        queue.times.ran(now - lease.started_at, count)
        keep(engine, Kept(page, start, stop, done, sum(map(len, page.jobs[start:stop]))))
        if page.defaults.parent:
            run_ended(engine, page, start, stop, DONE)
    queue.active -= n
    if queue.gate:
        engine.free(queue)
    totals.active -= n
    queue.completed_total += n
    totals.completed += n
    totals.latency_count += n
    if not queue.touched:
        engine.touch(queue)
    if queue.watched:
        tell_waits_of_run(engine, queue, range(first_id, first_id + n * STEP, STEP), Outcome(COMPLETED))
    if engine.replaying:
        return
    if queue.heard:
        for job_id in range(first_id, first_id + n * STEP, STEP):
            tell(engine, "completed", queue.name, job_id)
    runs = evict_beyond(engine, queue)
    first, count = runs[0] if runs else (0, 0)
    engine.events.append(events.pack_acked(events.ACKED, events.ACKED_BYTES, first_id, n, first, count))
    if len(runs) > 1:
        engine.record(events.Evicted(runs[1:]), promise=False)
    engine.promise = True
