"""One plain job given out, and one acked, spelled out: what a worker that takes one job at a time waits for.

Either does what `pull.deliver` and `ack.ack` do, in one function instead of twenty, and only where nothing else hangs
on it: no pause, limit, group, key or parent, nobody who listens or waits for the job. Anything else is left to them,
nothing changed; a test holds the two ways together.
"""

from bisect import bisect_right
from typing import Final

from flashq.engine import events
from flashq.engine.deliveries import Lone
from flashq.engine.endings import end_lease, evict_beyond
from flashq.engine.engine import Engine
from flashq.engine.job_times import SUM
from flashq.engine.leases import Done, Lease
from flashq.engine.pages import PAGE, PAGE_BITS
from flashq.engine.queues import Kept, Queue

_IN_PAGE: Final = PAGE - 1
_LEASED: Final = events.LEASED
_LEASED_BYTES: Final = events.LEASED_BYTES
_ACKED: Final = events.ACKED
_ACKED_BYTES: Final = events.ACKED_BYTES
_new: Final = tuple.__new__
"""A named tuple's own constructor takes twice as long."""
_NO_RUNS: Final[list[tuple[int, int]]] = []
_NO_RUN: Final = (0, 0)
_SUM: Final = SUM
_pack_leased: Final = events.pack_leased
_pack_acked: Final = events.pack_acked


def give_lone(engine: Engine, queue: Queue, soft_ms: int, gid: int) -> Lone | None:
    """The job at the head of the queue under a new lease, if it is a plain one in a plain line; else None."""
    lane = queue.top
    if (
        lane is None or queue.gate or queue.heard or lane.front or lane.due or lane.dead
        or (queue.next_due and queue.next_due <= engine.now_ms)
        or (queue.lines is not None and queue.lines.lines)
    ):  # fmt: skip
        return None
    fifo, head = lane.fifo, lane.head
    seq = fifo[head]
    slot = queue.slot
    page = slot.pages[seq >> PAGE_BITS]
    i = seq & _IN_PAGE
    jobs = page.jobs
    payload = jobs[i] if type(jobs) is list else jobs.open()[i]  # the page's other jobs will be asked for next
    if type(payload) is not bytes:
        return None
    now, job_id = engine.now_ms, seq << 10 | slot.no
    token = engine.next_token()
    lease = Lease(token, queue, now, soft_ms, engine.mono_ms + soft_ms, gid, 1, [range(seq, seq + 1)])
    engine.lease_lines.add(lease, soft_ms)
    if gid:
        engine.tied.setdefault(gid, {})[lease] = None
    (page.leases or page.marks())[i] = lease
    engine.events.append(_pack_leased(_LEASED, _LEASED_BYTES, token, soft_ms, gid, 0, job_id, 1))
    if head + 1 < len(fifo) and head & _IN_PAGE:
        lane.head = head + 1
    else:
        lane.advance(1)  # which looks, now and then, whether the line is to be cut
        if not lane.fifo:
            queue.lower_top()
    queue.waiting -= 1
    queue.active += 1
    totals = engine.totals
    totals.waiting -= 1
    totals.active += 1
    if not queue.touched:
        engine.touch(queue)
    created_at = page.ms[bisect_right(page.at, i) - 1]
    times, ms = queue.times, now - created_at
    if ms < 0:
        ms = 0
    waits = times.waits  # spelled out, as a call for it took as long as all of this twice
    waits[ms.bit_length()] += 1
    waits[_SUM] += ms
    times.fresh = True
    return _new(Lone, (queue, token, now, job_id, payload, created_at, page.codec, page.defaults))


def ack_lone(engine: Engine, job_id: int, token: int | None) -> bool:
    """A plain job is done, without a result. False, nothing changed, if this is not as simple as that."""
    slot = engine.slots.get(job_id & 1023)
    if slot is None:
        return False
    seq = job_id >> 10
    page = slot.pages.get(seq >> PAGE_BITS)
    if page is None or page.leases is None:
        return False
    i = seq & _IN_PAGE
    marks = page.leases
    lease = marks[i]
    if type(lease) is not Lease or (token is not None and token != lease.token):
        return False
    queue, payload = page.queue, page.jobs[i]
    if (
        type(payload) is not bytes or queue.gate or queue.heard or queue.watched or queue.sweep is not None
        or queue.lines is not None or page.defaults.parent
    ):  # fmt: skip
        return False
    now = engine.now_ms
    done = marks[i] = Done(now, lease.started_at, lease.token, None, 0)
    lease.live -= 1
    if not lease.live:
        end_lease(engine, lease, 0)
    size = len(payload)
    queue.kept.append(Kept(page, i, i + 1, done, size))
    queue.active -= 1
    queue.completed += 1
    queue.completed_bytes += size
    queue.completed_total += 1
    totals = engine.totals
    totals.active -= 1
    totals.completed_now += 1
    totals.completed += 1
    totals.latency_ms += now - page.ms[bisect_right(page.at, i) - 1]
    totals.latency_count += 1
    times, ms = queue.times, now - lease.started_at
    if ms < 0:
        ms = 0
    ran = times.runs
    ran[ms.bit_length()] += 1
    ran[_SUM] += ms
    times.fresh = True
    if not queue.touched:
        engine.touch(queue)
    runs = _evicted(engine, queue)
    first, count = runs[0] if runs else _NO_RUN
    engine.events.append(_pack_acked(_ACKED, _ACKED_BYTES, job_id, 1, first, count))
    if len(runs) > 1:
        engine.record(events.Evicted(runs[1:]), promise=False)
    engine.promise = True
    return True


def _evicted(engine: Engine, queue: Queue) -> list[tuple[int, int]]:
    """As `evict_beyond`; spelled out is that nothing goes, or the oldest goes alone, a plain job."""
    limits, kept = engine.limits, queue.kept
    age_ms = limits.keep_completed_age_ms
    before = engine.now_ms - age_ms if age_ms else 0
    over = queue.completed - limits.keep_completed_count
    oldest = kept[0]
    if queue.completed_bytes > limits.keep_completed_bytes:
        return evict_beyond(engine, queue)
    if over <= 0 and oldest.done.completed_at >= before:
        return _NO_RUNS
    page, i = oldest.page, oldest.start
    if (
        over != 1 or oldest.stop != i + 1 or len(kept) == 1 or kept[1].done.completed_at < before
        or type(page.jobs[i]) is not bytes
    ):  # fmt: skip
        return evict_beyond(engine, queue)
    kept.popleft()
    queue.completed -= 1
    queue.completed_bytes -= oldest.bytes
    engine.totals.completed_now -= 1
    page.clear_one(i)
    return [((page.base + i) << 10 | page.slot.no, 1)]
