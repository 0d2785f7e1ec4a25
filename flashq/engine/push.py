"""PUSH and PUSHB: a job comes in."""

from collections.abc import Sequence
from typing import NamedTuple

from flashq.engine import debounce, events, names, uniqueness
from flashq.engine.endings import expire
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job, Link
from flashq.engine.links import ASKED, hold
from flashq.engine.pages import PAGE, PAGE_BITS, Page
from flashq.engine.pull import serve
from flashq.engine.queues import Queue
from flashq.engine.settings import Limits
from flashq.engine.telling import tell
from flashq.engine.validation import check_entry
from flashq.engine.watching import check_known, watch
from flashq.errors import LimitExceeded, RequestError
from flashq.protocol.commands import JobOptions


def push_plain(engine: Engine, queue: Queue, codec: int, payload: bytes, frame: bytes) -> int:
    """One job with no options; its id. Spelled out: it is the hottest path there is."""
    page = queue.open_pages[codec]
    if page is None or len(page.jobs) == PAGE:
        page = engine.new_page(queue, codec)
    jobs = page.jobs
    seq = page.base + len(jobs)
    if page.last_ms != engine.now_ms:
        page.mark(engine.now_ms)
    jobs.append(payload)
    page.live += 1
    lane = queue.lane
    fifo = lane.fifo
    if fifo and fifo[-1] > seq:
        lane.rising = False
    fifo.append(seq)
    queue.waiting += 1
    queue.pushed_total += 1
    totals = engine.totals
    totals.waiting += 1
    totals.pushed += 1
    if queue.top is not lane:
        queue.raise_top(lane)
    job_id = seq << 10 | queue.slot.no
    engine.events += (events.pack_pushed(events.PUSHED, events.PUSHED_BYTES + len(frame), job_id, 1, codec), frame)
    engine.promise = True
    if not queue.touched:
        engine.touch(queue)
    if queue.heard:
        tell(engine, "pushed", queue.name, job_id, data=payload, codec=codec)
    if queue.waiters:
        serve(engine, queue)
    return job_id


def push_plain_batch(engine: Engine, queue: Queue, codec: int, payloads: list[bytes], frame: bytes) -> list[range]:
    """Jobs with no options; their ids, as one range a page that they came to lie in."""
    ranges = put_plain(engine, queue, codec, payloads)
    if not ranges:
        return ranges
    if len(ranges) == 1:
        first = ranges[0].start
        rest = events.PUSHED_BYTES + len(frame)
        engine.events += (events.pack_pushed(events.PUSHED, rest, first, len(payloads), codec), frame)
    else:
        runs = merged(ranges)
        engine.events += (events.pushed_runs(runs, codec, frame), frame)
    engine.promise = True
    if queue.heard:
        ids = [job_id for ids in ranges for job_id in ids]
        for job_id, payload in zip(ids, payloads, strict=True):
            tell(engine, "pushed", queue.name, job_id, data=payload, codec=codec)
    if queue.waiters:
        serve(engine, queue)
    return ranges


def merged(ranges: Sequence[range]) -> list[tuple[int, int]]:
    """Id ranges as (first id, count), neighbours joined."""
    runs: list[tuple[int, int]] = []
    for r in ranges:
        if runs and runs[-1][0] + runs[-1][1] * r.step == r.start:
            runs[-1] = (runs[-1][0], runs[-1][1] + len(r))
        else:
            runs.append((r.start, len(r)))
    return runs


def put_plain(engine: Engine, queue: Queue, codec: int, payloads: list[bytes]) -> list[range]:
    """Into the queue's pages and its lane, in slices."""
    n = len(payloads)
    slot_no = queue.slot.no
    lane = queue.lane
    ranges = []
    done = 0
    while done < n:
        page = queue.open_pages[codec]
        if page is None or len(page.jobs) == PAGE:
            page = engine.new_page(queue, codec)
        jobs = page.jobs
        i = len(jobs)
        step = min(PAGE - i, n - done)
        if page.last_ms != engine.now_ms:
            page.mark(engine.now_ms)
        jobs += payloads[done : done + step] if done or step < n else payloads
        page.live += step
        first = page.base + i
        lane.extend(range(first, first + step))
        ranges.append(range(first << 10 | slot_no, (first + step) << 10 | slot_no, 1024))
        done += step
    counted_in(engine, queue, n)
    return ranges


def counted_in(engine: Engine, queue: Queue, n: int) -> None:
    """`n` plain jobs joined the lane."""
    if not n:
        return
    queue.waiting += n
    queue.pushed_total += n
    totals = engine.totals
    totals.waiting += n
    totals.pushed += n
    if queue.top is not queue.lane:
        queue.raise_top(queue.lane)
    if not queue.touched:
        engine.touch(queue)


Entries = Sequence[tuple[JobOptions, bytes]]
"""Jobs as they came: options, and the payload, which is taken out of them."""


class Pushed(NamedTuple):
    """What became of a batch."""

    ids: list[int]
    """Of the accepted entries, in order."""
    refused: list[tuple[int, RequestError]]
    """(index, why) of the others."""


def push_jobs(engine: Engine, queue: Queue, codec: int, entries: Entries, frame: bytes) -> list[int]:
    """Jobs of which some have options; the ids of the accepted. Raises where the only one is refused."""
    pushed = push_each(engine, queue, codec, entries, frame)
    if pushed.refused and len(entries) == 1:
        raise pushed.refused[0][1]
    return pushed.ids


def push_each(engine: Engine, queue: Queue, codec: int, entries: Entries, frame: bytes) -> Pushed:
    """As PUSHB: what is refused for its keys is named, the rest is stored.

    Raises, naming the first bad entry, with nothing stored, where one is malformed.
    """
    if not check_entries(engine, entries):
        return store(engine, queue, codec, entries, frame, None)
    claims = names.claim_here(engine, queue, codec, [options for options, _ in entries])
    pushed = store(engine, queue, codec, entries, frame, claims)
    names.finish(engine, queue, claims)
    return pushed


def check_entries(engine: Engine, entries: Entries) -> bool:
    """Whether any of the jobs has a custom id. Raises, naming the first bad entry, unless all are well-formed."""
    limits = engine.limits
    if len(entries) == 1:
        options, payload = entries[0]
        check_entry(limits, options, payload, None)
        if options.depends_on:
            check_known(engine, options, "")
        return options.job_id is not None
    named = False
    for k, (options, payload) in enumerate(entries):
        check_entry(limits, options, payload, k)
        if options.depends_on:
            check_known(engine, options, f"jobs[{k}]: ")
        if options.job_id is not None:
            named = True
    return named


def store(
    engine: Engine, queue: Queue, codec: int, entries: Entries, frame: bytes,
    claims: names.Claims | None,
) -> Pushed:  # fmt: skip
    """Store well-formed jobs, of whose custom ids `claims` tells. A live job of the same name stands for its entry."""
    ids: list[int] = []
    existing: list[int] = []
    held: list[Job] = []
    refused: list[tuple[int, RequestError]] = []
    for k, (options, payload) in enumerate(entries):
        if options.debounce_id is not None and (error := debounce.refusal(engine, queue, options.debounce_id)):
            refused.append((k, error))
            continue
        name = options.job_id
        if name is not None:
            assert claims is not None
            job_id = claims.there.get(name)
            if job_id is not None:
                ids.append(job_id)
                existing.append(k)
                continue
        key = options.unique_key
        if key is not None and key in queue.unique and (taken := uniqueness.refusal(queue, key)):
            refused.append((k, taken))
            continue
        if name is None:
            job = new_job(engine, queue, codec, options, payload)
        else:
            assert claims is not None
            job = named_job(engine, queue, claims, options, payload)
        admit(engine, job)
        ids.append(job.id)
        if job.link is not None:
            held.append(job)
    if len(ids) > len(existing):
        engine.record(events.JobsPushed(ids, [k for k, _ in refused], codec, frame, None, existing))
        engine.touch(queue)
        if held:
            watch(engine, held)
        if queue.waiters:
            serve(engine, queue)
    return Pushed(ids, refused)


def named_job(engine: Engine, queue: Queue, claims: names.Claims, options: JobOptions, payload: bytes) -> Job:
    """A record in the place that was put aside for its name."""
    name = options.job_id
    assert name is not None
    job_id = claims.mine.pop(name)
    claims.there[name] = job_id
    claims.used.append(job_id)
    seq = job_id >> 10
    page = queue.slot.pages[seq >> PAGE_BITS]
    job = decided(page, seq, options, payload, engine.now_ms)
    page.jobs[seq & (PAGE - 1)] = job
    page.records += 1
    return job


def new_job(engine: Engine, queue: Queue, codec: int, options: JobOptions, payload: bytes) -> Job:
    """A record in the next place of the queue's page."""
    page = queue.open_pages[codec]
    if page is None or len(page.jobs) == PAGE:
        page = engine.new_page(queue, codec)
    if page.last_ms != engine.now_ms:
        page.mark(engine.now_ms)
    job = decided(page, page.base + len(page.jobs), options, payload, engine.now_ms)
    page.jobs.append(job)
    page.live += 1
    page.records += 1
    return job


def decided(page: Page, seq: int, options: JobOptions, payload: bytes, now_ms: int) -> Job:
    """A record with everything settled that its options leave open, by the defaults of its page."""
    wait_ms = options.delay
    run_at = now_ms + wait_ms if wait_ms else now_ms
    job = Job(page.queue, seq, payload, page.codec, options, now_ms, run_at, options.priority or 0)
    if options.group_id or options.limit_key:
        job.bound = True
    if options.depends_on:
        job.link = Link(unmet=dict.fromkeys(options.depends_on, ASKED))
    defaults = page.defaults
    value = options.max_attempts
    job.max_attempts = defaults.max_attempts if value is None else value
    value = options.backoff
    job.backoff = defaults.backoff_ms if value is None else value
    value = options.ttl
    job.ttl = defaults.ttl_ms if value is None else value
    value = options.timeout
    job.timeout = defaults.timeout_ms if value is None else value
    return job


def admit(engine: Engine, job: Job) -> None:
    """A new record joins its lane, or waits for its moment; its keys are taken."""
    queue, totals, options = job.queue, engine.totals, job.options
    if job.bound:
        engine.bind(queue)
    queue.pushed_total += 1
    totals.pushed += 1
    if options.unique_key is not None:
        queue.unique[options.unique_key] = job.seq
    if options.debounce_id is not None:
        debounce.open_window(engine, queue, options)
    if queue.heard and (job.link is None or not job.link.draft):
        tell(engine, "pushed", queue.name, job.id, data=job.data, codec=job.codec)
        if job.run_at > engine.now_ms and job.link is None:
            tell(engine, "delayed", queue.name, job.id)
    if job.ttl:
        job.timer = engine.at_wall(job.created_at + job.ttl, expire, job)
    if job.link is not None:
        hold(engine, job)
    elif job.run_at > engine.now_ms:
        delay(engine, job)
    else:
        queue.line_up(job)
        totals.waiting += 1


def delay(engine: Engine, job: Job) -> None:
    """The record waits for its `run_at`; a timer stands for the first of its queue."""
    queue = job.queue
    queue.delay(job)
    engine.totals.delayed += 1
    arm(engine, queue)


def arm(engine: Engine, queue: Queue) -> None:
    """See to it that the queue is looked at when its first delayed job is due."""
    if queue.later and (not queue.next_due or queue.later[0][0] < queue.next_due):
        queue.next_due = queue.later[0][0]
        engine.at_wall(queue.next_due, due, queue)


def due(engine: Engine, queue: Queue) -> None:
    """The moment of a queue's first delayed job has come."""
    if queue.next_due > engine.now_ms:
        return
    queue.next_due = 0
    moved = queue.move_due(engine.now_ms)
    if moved:
        engine.totals.delayed -= moved
        engine.totals.waiting += moved
        engine.touch(queue)
        if queue.waiters:
            serve(engine, queue)
    arm(engine, queue)


def check_batch_size(limits: Limits, n: int) -> None:
    """Raise LimitExceeded for a batch of more than `max_batch`."""
    if n > limits.max_batch:
        raise LimitExceeded(f"Batch too large ({n} jobs, max {limits.max_batch})")
