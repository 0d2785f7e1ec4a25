"""PUSHB of jobs with common options only, stored at once: the hot path of jobs with options.

It is `store` of push.py spelled out for a batch, for jobs of which is known that they have priority, delay, attempts,
tags and unique keys, and nothing else (flashq/protocol/commands_common.py): 1.2 us a job instead of 3. A replay, which
knows nothing of it, has to come to the same.
"""

from heapq import heappush

from flashq.engine import events, uniqueness
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job, State
from flashq.engine.pages import PAGE, Page
from flashq.engine.pull import serve
from flashq.engine.push import Entries, Pushed, arm, store
from flashq.engine.queues import Queue
from flashq.errors import RequestError


def store_common(engine: Engine, queue: Queue, codec: int, entries: Entries, frame: bytes) -> Pushed:
    """As `store`, for common jobs without custom ids."""
    if engine.defaults.ttl_ms or queue.heard:
        return store(engine, queue, codec, entries, frame, None)
    pushed = _put(engine, queue, codec, entries)
    if pushed.ids:
        engine.record(events.JobsPushed(pushed.ids, [k for k, _ in pushed.refused], codec, frame))
        engine.touch(queue)
        arm(engine, queue)
        if queue.waiters:
            serve(engine, queue)
    return pushed


def _put(engine: Engine, queue: Queue, codec: int, entries: Entries) -> Pushed:
    """Into pages, lanes and the heap of the delayed, counts included."""
    ids: list[int] = []
    refused: list[tuple[int, RequestError]] = []
    now, era, slot_no = engine.now_ms, queue.era, queue.slot.no
    unique, later = queue.unique, queue.later
    page = _open_page(engine, queue, codec)
    jobs, base, defaults, first = page.jobs, page.base, page.defaults, len(page.jobs)
    delayed = 0
    for k, (options, payload) in enumerate(entries):
        key = options.unique_key
        if key is not None and key in unique and (taken := uniqueness.refusal(queue, key)):
            refused.append((k, taken))
            continue
        if len(jobs) == PAGE:
            _add(page, PAGE - first)
            page = _open_page(engine, queue, codec)
            jobs, base, defaults, first = page.jobs, page.base, page.defaults, len(page.jobs)
        seq = base + len(jobs)
        wait_ms, priority, attempts = options.delay, options.priority or 0, options.max_attempts
        job = Job(
            queue, seq, payload, codec, options, now, now + wait_ms if wait_ms else now, priority, State.DELAYED, 0, 0,
            defaults.max_attempts if attempts is None else attempts, defaults.backoff_ms, 0, defaults.timeout_ms,
        )  # fmt: skip
        jobs.append(job)
        ids.append(seq << 10 | slot_no)
        if key is not None:
            unique[key] = seq
        if wait_ms:
            job.era = era
            heappush(later, (job.run_at, -priority, seq))
            delayed += 1
        else:
            queue.line_up(job)
    _add(page, len(jobs) - first)
    _count_in(engine, queue, len(ids), delayed)
    return Pushed(ids, refused)


def _open_page(engine: Engine, queue: Queue, codec: int) -> Page:
    page = queue.open_pages[codec]
    if page is None or len(page.jobs) == PAGE:
        page = engine.new_page(queue, codec)
    if page.last_ms != engine.now_ms:
        page.mark(engine.now_ms)
    return page


def _add(page: Page, n: int) -> None:
    page.live += n
    page.records += n


def _count_in(engine: Engine, queue: Queue, n: int, delayed: int) -> None:
    """`n` records came to be; those that are not delayed are in their lanes, which counted them for the queue."""
    totals = engine.totals
    queue.pushed_total += n
    queue.delayed += delayed
    totals.pushed += n
    totals.delayed += delayed
    totals.waiting += n - delayed
