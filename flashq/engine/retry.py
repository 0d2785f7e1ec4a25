"""FAIL, and leases that ended: an attempt is counted, and the job is tried again or given up."""

import contextlib
from collections.abc import Iterable
from random import Random

from flashq.engine import events
from flashq.engine.ack import find, holds, not_found
from flashq.engine.dependencies import hold_again
from flashq.engine.endings import as_record, die, leave
from flashq.engine.engine import Engine
from flashq.engine.history import note, note_run
from flashq.engine.jobs import Job
from flashq.engine.leases import Lease
from flashq.engine.links import must_wait
from flashq.engine.pages import PAGE, PAGE_BITS, Page
from flashq.engine.pull import end_wait, serve
from flashq.engine.push import delay
from flashq.engine.telling import tell
from flashq.engine.waits import withdraw_waits
from flashq.errors import JobNotFound

DOUBLINGS_MAX = 10
FAILURES_KEPT = 20
"""Texts of failed attempts that a job keeps; the latest."""


def next_delay_ms(backoff_ms: int, attempts: int, jitter: float, random: Random) -> int:
    """How long a job waits after its `attempts`-th failure: `backoff * 2^min(attempts, 10)`, as clients know it.

    `jitter` (0 to 1, 0 by default) is the share of it that is drawn evenly, so that jobs which failed together do not
    come back together (M. Brooker, Exponential Backoff and Jitter, 2015).
    """
    full = backoff_ms << min(attempts, DOUBLINGS_MAX)
    return full - int(full * jitter * random.random()) if jitter else full


def fail(engine: Engine, job_id: int, token: int | None, error: str | None) -> None:
    """A worker gives up an attempt. Raises JobNotFound or LeaseLost, having changed nothing."""
    page, i = find(engine, job_id)
    if holds(page, i, job_id, token) is None:
        if token is not None:
            shown_again(engine, as_record(page, i))
        raise not_found(job_id)
    spend_attempt(engine, page, i, error if error is not None else "", "failed")


def spend_attempt(engine: Engine, page: Page, i: int, error: str, cause: str) -> None:
    """An attempt of an active job is over: decide what follows, record it, do it."""
    job = as_record(page, i)
    attempts = job.attempts + 1
    if cause != "failed":
        tell(engine, cause, job.queue.name, job.id, error=error)
    if job.max_attempts and attempts >= job.max_attempts:
        engine.record(events.Died(job.id, attempts, error, cause))
        give_up(engine, page, i, attempts, error)
    else:
        wait_ms = next_delay_ms(job.backoff, attempts, engine.limits.backoff_jitter, engine.random)
        run_at = engine.now_ms + wait_ms
        engine.record(events.Retried(job.id, attempts, run_at, error, cause))
        try_again(engine, page, i, attempts, run_at, error)
    if job.queue.waiters:
        serve(engine, job.queue)


def note_failure(engine: Engine, job: Job, attempts: int, error: str) -> None:
    job.attempts = attempts
    if job.failures is None:
        job.failures = []
    job.failures.append((engine.now_ms, error))
    if len(job.failures) > FAILURES_KEPT:
        del job.failures[0]


def give_up(engine: Engine, page: Page, i: int, attempts: int, error: str) -> None:
    """The last attempt failed: a dead letter."""
    job = as_record(page, i)
    note_run(job)
    leave(engine, page, i)
    note_failure(engine, job, attempts, error)
    die(engine, page, i, error)


def try_again(engine: Engine, page: Page, i: int, attempts: int, run_at: int, error: str) -> None:
    """Back to its queue, at once or at `run_at`."""
    job = as_record(page, i)
    note_run(job)
    leave(engine, page, i)
    note_failure(engine, job, attempts, error)
    note(job, "retrying", engine.now_ms, attempt=attempts, lease=job.token, text=error)
    engine.totals.retried += 1
    tell(engine, "retrying", job.queue.name, job.id, error=error or None)
    job.started_at = 0
    job.progress_msg = error or None
    job.run_at = run_at
    requeue(engine, job)


def requeue(engine: Engine, job: Job) -> None:
    """A job that was active or dead waits again: behind those that were ready before, or for a moment or others."""
    if job.link is not None and must_wait(job.link):
        hold_again(engine, job)
    elif job.run_at > engine.now_ms:
        delay(engine, job)
    else:
        job.run_at = engine.now_ms
        job.queue.line_up(job, came_back=True)
        engine.totals.waiting += 1
    engine.touch(job.queue)


def jobs_of(lease: Lease) -> list[tuple[Page, int]]:
    """The places of the jobs that are active under a lease."""
    slot = lease.queue.slot
    places = []
    for seqs in lease.seqs:
        for seq in seqs:
            page = slot.pages.get(seq >> PAGE_BITS)
            i = seq & (PAGE - 1)
            if page is None or page.leases is None or page.base < page.queue.void_base:
                continue
            if page.leases[i] is lease:
                places.append((page, i))
    return places


def end_leases(engine: Engine, mono_ms: int) -> None:
    """Leases whose deadline has come: each of their jobs has spent an attempt."""
    for lease in engine.lease_lines.expired(mono_ms):
        hard = lease.hard_at and lease.hard_at <= mono_ms
        text, cause = ("Job timed out", "timeout") if hard else ("Job stalled", "stalled")
        for page, i in jobs_of(lease):
            if cause == "stalled":
                as_record(page, i).stalls += 1
            spend_attempt(engine, page, i, text, cause)


# -- workers that are gone


def release(engine: Engine, lease: Lease, *, crash: bool) -> None:
    """The jobs of a lease go back to their queue at once. `crash`: their worker was lost, which is counted."""
    places = jobs_of(lease)
    if not places:
        return
    if crash:
        for page, i in places:
            lose_worker(engine, page, i)
    else:
        engine.record(events.Released([as_record(p, i).id for p, i in places], False), promise=False)
        for page, i in places:
            hand_back(engine, page, i)
    if lease.queue.waiters:
        serve(engine, lease.queue)


def release_some(engine: Engine, token: int, job_ids: Iterable[int]) -> None:
    """Some jobs of a lease go back to their queue at once, the others stay with their worker."""
    found: dict[int, tuple[Page, int, Lease]] = {}
    for job_id in job_ids:
        with contextlib.suppress(JobNotFound):  # it has ended meanwhile: there is nothing to give back
            page, i = find(engine, job_id)
            lease = page.leases[i] if page.leases is not None else None
            if type(lease) is Lease and lease.token == token:
                found[job_id] = page, i, lease
    if not found:
        return
    engine.record(events.Released(list(found), False), promise=False)
    for page, i, _ in found.values():
        hand_back(engine, page, i)
    for queue in {id(lease.queue): lease.queue for _, _, lease in found.values()}.values():
        if queue.waiters:
            serve(engine, queue)


def lose_worker(engine: Engine, page: Page, i: int) -> None:
    """A job's worker was lost: it waits again, or is given up after too many of these."""
    job = as_record(page, i)
    if job.crashes + 1 >= engine.limits.crash_limit > 0:
        engine.record(events.Died(job.id, job.attempts, "Worker lost", "crashed"))
        give_up_lost(engine, page, i, "Worker lost")
        return
    engine.record(events.Released([job.id], True), promise=False)
    crash_back(engine, page, i)


def give_up_lost(engine: Engine, page: Page, i: int, error: str) -> None:
    """It has lost too many workers: a dead letter."""
    job = as_record(page, i)
    job.crashes += 1
    note_run(job)
    leave(engine, page, i)
    die(engine, page, i, error)


def crash_back(engine: Engine, page: Page, i: int) -> None:
    """Back to its queue; the crash counts, unless the worker shows its token within `reconnect_grace`."""
    job = as_record(page, i)
    job.crashes += 1
    tell(engine, "retrying", job.queue.name, job.id, error="Worker lost")
    job.crash_token = job.token
    hand_back(engine, page, i, "crashed")


def hand_back(engine: Engine, page: Page, i: int, why: str = "released") -> None:
    """An active job waits again, as ready as if it had become so now."""
    job = as_record(page, i)
    note_run(job)
    note(job, why, engine.now_ms, attempt=job.attempts + 1, lease=job.token)
    leave(engine, page, i)
    job.started_at = 0
    job.run_at = engine.now_ms
    requeue(engine, job)


def connection_gone(engine: Engine, gid: int) -> None:
    """A client left: its waits are withdrawn, the leases tied to it end, after `disconnect_grace` if there is one."""
    withdraw_waits(engine, gid)
    waits = engine.waits_of.get(gid)
    if waits:
        for waiter in list(waits):
            end_wait(engine, waiter)
    leases = engine.tied.get(gid)
    if not leases:
        return
    lost = gid, list(leases)
    if engine.limits.disconnect_grace_ms:
        engine.mono_timers.add(engine.mono_ms + engine.limits.disconnect_grace_ms, worker_lost, lost)
    else:
        worker_lost(engine, lost)


def worker_lost(engine: Engine, lost: tuple[int, list[Lease]]) -> None:
    """Nobody came back for the leases that were tied to a connection. Those that were renewed on another stay."""
    gid, leases = lost
    for lease in leases:
        if lease.gid == gid:
            release(engine, lease, crash=True)


# -- leases that go on


def heartbeat(engine: Engine, job_id: int, token: int | None, gid: int) -> None:
    """The worker is alive: the soft deadline moves on. Raises JobNotFound or LeaseLost, having changed nothing."""
    page, i = find_active(engine, job_id, token)
    renew(engine, page, i)
    tie_to(engine, page, i, gid)
    engine.record(events.Renewed(job_id), promise=False)


def find_active(
    engine: Engine, job_id: int, token: int | None, text: str = "not in processing"
) -> tuple[Page, int]:  # fmt: skip
    """The place of a job that this worker holds. Raises JobNotFound with this text, or LeaseLost."""
    try:
        page, i = find(engine, job_id)
        if holds(page, i, job_id, token) is not None:
            return page, i
        if token is not None:
            shown_again(engine, as_record(page, i))
        raise not_found(job_id)
    except JobNotFound:
        raise JobNotFound(f"Job {job_id} {text}") from None


def shown_again(engine: Engine, job: Job) -> None:
    """A worker that was thought lost shows its token in time: the crash does not count."""
    in_time = engine.now_ms - job.run_at <= engine.limits.reconnect_grace_ms  # it came back to its queue at `run_at`
    if in_time and job.crash_token and job.crash_token == job.token:
        engine.record(events.Uncrashed(job.id), promise=False)
        uncrash(job)


def uncrash(job: Job) -> None:
    job.crashes -= 1
    job.crash_token = 0


def renew(engine: Engine, page: Page, i: int) -> None:
    """The lease lasts its soft duration from now, but no longer than the job's `timeout`."""
    leases = page.leases
    assert leases is not None
    lease = leases[i]
    if lease.live > 1:
        lease = leases[i] = split(engine, page, i, lease)
    until = engine.mono_ms + lease.soft_ms
    lease.deadline = min(until, lease.hard_at) if lease.hard_at else until
    job = page.jobs[i]
    if type(job) is Job:
        job.last_heartbeat = engine.now_ms
        job.stalls = 0


def split(engine: Engine, page: Page, i: int, shared: Lease) -> Lease:
    """A job leaves the lease it shares, and has one of its own with the same token."""
    lease = Lease(shared.token, shared.queue, shared.started_at, shared.soft_ms, shared.deadline, shared.gid)
    lease.hard_at = shared.hard_at
    lease.live = 1
    seq = page.base + i
    lease.seqs.append(range(seq, seq + 1))
    lease.deadline = engine.mono_ms + lease.soft_ms
    engine.lease_lines.add(lease, lease.soft_ms)
    if lease.gid:
        engine.tied.setdefault(lease.gid, {})[lease] = None
    shared.live -= 1
    return lease


def tie_to(engine: Engine, page: Page, i: int, gid: int) -> None:
    """A lease that is tied to a connection, and was just renewed, is tied to the one it was renewed on (0: none)."""
    lease = page.leases[i] if page.leases is not None else None
    if gid and type(lease) is Lease and lease.gid and lease.gid != gid:
        tie(engine, lease, gid)


def tie(engine: Engine, lease: Lease, gid: int) -> None:
    """The worker came back on another connection: the lease lives and dies with that one."""
    mine = engine.tied.get(lease.gid)
    if mine is not None:
        mine.pop(lease, None)
        if not mine:
            del engine.tied[lease.gid]
    lease.gid = gid
    engine.tied.setdefault(gid, {})[lease] = None


def start_grace(engine: Engine) -> None:
    """After a restart the connections that leases were tied to are gone: they may be claimed again for a while."""
    for gid in list(engine.tied):
        start_grace_of(engine, gid)


def start_grace_of(engine: Engine, gid: int) -> None:
    """A connection ended with the process that held it: what is tied to it may be claimed again for a while."""
    leases = engine.tied.get(gid)
    if leases and gid not in engine.in_grace:
        # Those leases and no others: a connection that lives in another process goes on under its id, with new ones.
        held = engine.in_grace[gid] = list(leases)
        engine.mono_timers.add(engine.mono_ms + engine.limits.reconnect_grace_ms, grace_over, (gid, held))


def still_there(engine: Engine, gid: int) -> None:
    """The connection lives, in a process that outlived ours: what is tied to it stays."""
    engine.in_grace.pop(gid, None)


def grace_over(engine: Engine, grace: tuple[int, list[Lease]]) -> None:
    """Nobody came back for them: the jobs wait again, no attempt counted. Not if another grace has begun since."""
    gid, held = grace
    if engine.in_grace.get(gid) is not held:
        return
    del engine.in_grace[gid]
    for lease in held:
        if lease.gid == gid:
            release(engine, lease, crash=False)
