"""WAITJOB: clients that wait for the end of a job, woken in the tick in which it ends.

A wait belongs to its connection and is not in the journal: whoever comes back asks again. It is looked for where jobs
end (endings.py, ack.py), and costs nothing in a queue where nobody waits for a job. Answers are left as data in
`engine.ended_waits`.
"""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flashq.engine.jobs import Job, State
from flashq.engine.queries import UNKNOWN, find, state_of

if TYPE_CHECKING:
    from flashq.engine.engine import Engine
    from flashq.engine.queues import Queue

COMPLETED: Final = "completed"
FAILED: Final = "failed"
REMOVED: Final = "removed"
TIMEOUT: Final = "timeout"


class Outcome(NamedTuple):
    """How a wait ended."""

    kind: str
    result: bytes | None = None
    """In `codec`."""
    codec: int = 0
    error: str | None = None
    """Why the job died, or was removed."""


class JobWait:
    """One client that waits for one job."""

    __slots__ = ("gid", "job_id", "queue", "ticket", "timeout_ms", "timer")

    def __init__(self, queue: "Queue", job_id: int, gid: int, ticket: Any, timeout_ms: int) -> None:
        self.queue = queue
        self.job_id = job_id
        self.gid = gid
        self.ticket = ticket
        """Where the answer goes; opaque here."""
        self.timeout_ms = timeout_ms
        self.timer: Any = None


def outcome_of(engine: "Engine", job_id: int) -> Outcome | None:
    """What a wait for this job would say at once; None: it has not ended."""
    seen = find(engine, job_id)
    if seen is None:
        # Of a job that completed long ago nothing is left but that it did.
        return Outcome(REMOVED if state_of(engine, job_id) == UNKNOWN else COMPLETED)
    if seen.done is not None:
        return Outcome(COMPLETED, seen.done.result, seen.done.codec)
    if seen.state is State.FAILED:
        job = seen.page.jobs[seen.place]
        assert type(job) is Job
        return Outcome(FAILED, error=job.error)
    return None


def wait_for(engine: "Engine", job_id: int, gid: int, ticket: Any, timeout_ms: int) -> JobWait:
    """Wait for a job that has not ended."""
    seen = find(engine, job_id)
    assert seen is not None
    queue = seen.page.queue
    wait = JobWait(queue, job_id, gid, ticket, timeout_ms)
    queue.watched.setdefault(job_id, {})[wait] = None
    engine.job_waits.setdefault(gid, {})[wait] = None
    wait.timer = engine.mono_timers.add(engine.mono_ms + timeout_ms, _timed_out, wait)
    return wait


def tell_waits(engine: "Engine", queue: "Queue", job_id: int, outcome: Outcome) -> None:
    """A job has ended. Callers look at `queue.watched` first."""
    waits = queue.watched.pop(job_id, None)
    if waits is None:
        return
    for wait in waits:
        engine.mono_timers.cancel(wait.timer)
        _drop(engine, wait)
        engine.ended_waits.append((wait, outcome))


def tell_waits_of_run(engine: "Engine", queue: "Queue", ids: range, outcome: Outcome) -> None:
    """Neighbouring jobs have ended alike."""
    watched = queue.watched
    ended = [i for i in watched if i in ids] if len(watched) < len(ids) else [i for i in ids if i in watched]
    for job_id in ended:
        tell_waits(engine, queue, job_id, outcome)


def withdraw_waits(engine: "Engine", gid: int) -> None:
    """The client has gone: nobody is told anything."""
    for wait in list(engine.job_waits.get(gid, ())):
        withdraw(engine, wait)


def give_up_waits_of(engine: "Engine", gid: int) -> None:
    """The client sends nothing more: its waits end as if their time were over."""
    for wait in list(engine.job_waits.get(gid, ())):
        withdraw(engine, wait)
        engine.ended_waits.append((wait, Outcome(TIMEOUT)))


def _timed_out(engine: "Engine", wait: JobWait) -> None:
    withdraw(engine, wait)
    engine.ended_waits.append((wait, Outcome(TIMEOUT)))


def withdraw(engine: "Engine", wait: JobWait) -> None:
    """It waits no longer, and is told nothing."""
    engine.mono_timers.cancel(wait.timer)
    waits = wait.queue.watched[wait.job_id]
    del waits[wait]
    if not waits:
        del wait.queue.watched[wait.job_id]
    _drop(engine, wait)


def _drop(engine: "Engine", wait: JobWait) -> None:
    mine = engine.job_waits[wait.gid]
    del mine[wait]
    if not mine:
        del engine.job_waits[wait.gid]
