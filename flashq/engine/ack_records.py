"""ACKB of jobs with options, in whatever order: what `complete` does for each, with counts and evictions once a batch.

Only where nothing else hangs on a job's end: nobody waits for it or listens, it is in no flow, and it is kept as the
configuration says. Anything else is done one by one (ack.py), with the same result; a test holds the two together.
"""

from collections.abc import Sequence
from typing import Any

from flashq.engine import events
from flashq.engine.endings import disarm, end_lease, evict_beyond
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Done, Lease
from flashq.engine.pages import PAGE, PAGE_BITS, Page
from flashq.engine.queues import Kept, Queue

_COMPLETED = State.COMPLETED
Place = tuple[Page, int, Any, Lease]


def ack_records(engine: Engine, ids: Sequence[int]) -> bool:
    """All of them are done. False, nothing changed, unless all are active jobs of one queue, each named once."""
    places = _places(engine, ids)
    if places is None:
        return False
    queue = places[0][0].queue
    _finish(engine, queue, places)
    pack, size = events.pack_acked, events.ACKED_BYTES
    engine.events += [pack(events.ACKED, size, job_id, 1, 0, 0) for job_id in ids]
    runs = evict_beyond(engine, queue)
    if runs:
        engine.record(events.Evicted(runs), promise=False)
    engine.promise = True
    return True


def _places(engine: Engine, ids: Sequence[int]) -> list[Place] | None:
    """Where they are, if they can be done together."""
    slot_no = ids[0] & 1023
    slot = engine.slots.get(slot_no)
    if slot is None or len(set(ids)) != len(ids):
        return None
    pages, places = slot.pages, []
    queue: Queue | None = None
    for job_id in ids:
        seq = job_id >> 10
        page = pages.get(seq >> PAGE_BITS)
        if page is None or page.leases is None or job_id & 1023 != slot_no:
            return None
        if page.queue is not queue:
            if queue is not None:
                return None
            queue = page.queue
            if queue.watched or queue.heard or queue.sweep is not None:
                return None
        i = seq & (PAGE - 1)
        lease = page.leases[i]
        if type(lease) is not Lease:
            return None
        job = page.jobs[i]
        if type(job) is Job:
            if job.link is not None:
                return None
            o = job.options
            if o.remove_on_complete or o.keep_completed_count is not None or o.keep_completed_age:
                return None
        elif page.defaults.parent:
            return None
        places.append((page, i, job, lease))
    return places


def _finish(engine: Engine, queue: Queue, places: Sequence[Place]) -> None:
    now, latency_ms, size = engine.now_ms, 0, 0
    unique, kept, lines, times = queue.unique, queue.kept, queue.lines, queue.times
    last = places[0][3]
    done = Done(now, last.started_at, last.token, None, 0)
    ending = 0
    for page, i, job, lease in places:
        if lease is not last:
            end_lease(engine, last, ending)
            times.ran(now - last.started_at, ending)
            last, ending = lease, 0
            done = Done(now, lease.started_at, lease.token, None, 0)
        ending += 1
        if type(job) is Job:
            latency_ms += now - job.created_at
            if job.timer is not None:
                disarm(engine, job)
            key = job.options.unique_key
            if key is not None and unique.get(key) == job.seq:
                del unique[key]
            if job.bound:
                assert lines is not None
                lines.freed(job)
            job.state = _COMPLETED
            length = len(job.data)
        else:
            latency_ms += now - page.created_at(i)
            length = len(job)
        assert page.leases is not None
        page.leases[i] = done
        kept.append(Kept(page, i, i + 1, done, length))
        size += length
    end_lease(engine, last, ending)
    times.ran(now - last.started_at, ending)
    n, totals = len(places), engine.totals
    queue.active -= n
    queue.completed += n
    queue.completed_bytes += size
    queue.completed_total += n
    totals.active -= n
    totals.completed_now += n
    totals.completed += n
    totals.latency_ms += latency_ms
    totals.latency_count += n
    if queue.gate or lines is not None:
        engine.free(queue)
    engine.touch(queue)
