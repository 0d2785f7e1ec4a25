"""What a client may do to a single job: cancel, discard, promote, change. Each costs O(log n) at most.

What was decided is an event, and one function an event carries it out, live and in replay (`APPLY`): a job that a
replay still holds for delayed though its moment has passed is as good as waiting, here as everywhere.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from flashq.engine import events
from flashq.engine.ack import not_found
from flashq.engine.endings import as_record, die, forget, leave
from flashq.engine.engine import Engine
from flashq.engine.history import note, note_run
from flashq.engine.jobs import Job, State
from flashq.engine.logs import write
from flashq.engine.pages import Page
from flashq.engine.pull import serve
from flashq.engine.push import delay
from flashq.engine.queries import Seen, state_of
from flashq.engine.queries import find as seen_of
from flashq.engine.retry import find_active, renew, requeue, tie_to
from flashq.engine.telling import tell
from flashq.engine.validation import check_data_size, check_duration, check_text_size
from flashq.engine.waits import REMOVED, Outcome, tell_waits
from flashq.errors import IllegalTransition, InvalidArgument, JobNotFound

PROGRESS_MAX: Final = 100
PROGRESS_ACCEPTED: Final = 255
NO_HOLDER: Final = "not found in processing"
CANCELLED: Final = "it was cancelled"
"""What those who wait for its end hear."""
DISCARDED: Final = "Discarded"
"""The error of a dead letter that a client made of a job."""
_ENDED: Final = (State.COMPLETED, State.FAILED)
_LIVE: Final = (State.WAITING, State.DELAYED, State.ACTIVE)


def cancel(engine: Engine, job_id: int) -> None:
    """The job ceases to exist. Raises JobNotFound; IllegalTransition where it has completed or died."""
    seen = seen_of(engine, job_id)
    if seen is None and state_of(engine, job_id) != "completed":
        raise not_found(job_id)
    if seen is None or seen.state in _ENDED:
        raise IllegalTransition(f"Job {job_id} cannot be cancelled (already completed/failed)")
    _decide(engine, seen.page, seen.place, events.Cancelled(job_id))


def discard(engine: Engine, job_id: int) -> None:
    """Given up: a dead letter (forgotten with `remove_on_fail`). Raises JobNotFound unless it is queued or active."""
    seen = _in_state(engine, job_id, _LIVE, "not found or already in DLQ/completed")
    _decide(engine, seen.page, seen.place, events.JobDiscarded(job_id, DISCARDED))


def promote(engine: Engine, job_id: int) -> None:
    """A delayed job is ready now. Raises IllegalTransition for one that is waiting, else JobNotFound."""
    seen = _in_state(engine, job_id, (State.DELAYED, State.WAITING), "not found or not in delayed state")
    if seen.state is State.WAITING:
        raise IllegalTransition(f"Job {job_id} is not delayed")
    _decide(engine, seen.page, seen.place, events.Promoted(job_id))


def change_priority(engine: Engine, job_id: int, priority: int) -> None:
    """It stands among the jobs of that priority by the moment it became ready. Raises JobNotFound once completed."""
    allowed = (*_LIVE, State.FAILED, State.HELD, State.PARENT)
    seen = _in_state(engine, job_id, allowed, "not found or cannot change priority")
    job = seen.page.jobs[seen.place]
    if priority != (job.priority if type(job) is Job else 0):
        _decide(engine, seen.page, seen.place, events.Prioritised(job_id, priority))


def update(engine: Engine, job_id: int, payload: bytes, codec: int) -> None:
    """Other data; a worker that has the job keeps what it was given. Raises JobNotFound, or LimitExceeded."""
    check_data_size(engine.limits, payload)
    seen = _in_state(engine, job_id, (*_LIVE, State.FAILED), "not found")
    _decide(engine, seen.page, seen.place, events.Updated(job_id, codec, payload))


def move_to_delayed(engine: Engine, job_id: int, delay_ms: int, token: int | None) -> None:
    """An active job waits for later, no attempt counted. Raises JobNotFound or LeaseLost."""
    check_duration(engine.limits, "delay", delay_ms)
    page, i = find_active(engine, job_id, token)
    _decide(engine, page, i, events.MovedToDelayed(job_id, engine.now_ms + delay_ms))


# -- progress


def set_progress(
    engine: Engine, job_id: int, value: float, message: str | None, token: int | None, gid: int
) -> None:  # fmt: skip
    """The worker says how far it is, and thereby that it is alive: the lease is renewed.

    Raises JobNotFound or LeaseLost; InvalidArgument for a value outside 0 to 255. A message replaces the one before,
    none clears it.
    """
    percent = _percent(value)
    if message is not None:
        check_text_size("message", message, engine.limits.text_bytes_max)
    page, i = find_active(engine, job_id, token, NO_HOLDER)
    # Needs no promise: what a power cut takes is said again with the next.
    _decide(engine, page, i, events.Progressed(job_id, percent, message), promise=False)
    tie_to(engine, page, i, gid)


def _percent(value: float) -> int:
    if not math.isfinite(value) or not 0 <= math.floor(value) <= PROGRESS_ACCEPTED:
        raise InvalidArgument(
            f"invalid value: `progress` is {value}, allowed are 0 to {PROGRESS_ACCEPTED} (over {PROGRESS_MAX} "
            f"counts as {PROGRESS_MAX})"
        )
    return min(math.floor(value), PROGRESS_MAX)


def progress_of(engine: Engine, job_id: int) -> tuple[int, str | None]:
    """How far an active job is, and its message. Raises JobNotFound."""
    seen = _in_state(engine, job_id, (State.ACTIVE,), "not found")
    job = seen.page.jobs[seen.place]
    return (job.progress, job.progress_msg) if type(job) is Job else (0, None)


def partial(engine: Engine, job_id: int, chunk: bytes, codec: int, index: int | None, token: int | None) -> None:
    """A piece of a result, for those who listen; nothing of it is kept. Raises JobNotFound or LeaseLost."""
    check_data_size(engine.limits, chunk, "Partial data")
    page, _ = find_active(engine, job_id, token, NO_HOLDER)
    tell(engine, "partial", page.queue.name, job_id, data=chunk, codec=codec, index=index)


# -- how


def _in_state(engine: Engine, job_id: int, allowed: tuple[State, ...], text: str) -> Seen:
    """The job, if it is in one of these states. Raises JobNotFound with this text."""
    seen = seen_of(engine, job_id)
    if seen is None or seen.state not in allowed:
        raise JobNotFound(f"Job {job_id} {text}")
    return seen


def _decide(engine: Engine, page: Page, i: int, event: Any, *, promise: bool = True) -> None:
    engine.record(event, promise=promise)
    APPLY[type(event)](engine, page, i, event)
    queue = page.queue
    if queue.waiters:
        serve(engine, queue)


def _cancelled(engine: Engine, page: Page, i: int, event: events.Cancelled) -> None:
    leave(engine, page, i)
    if page.queue.watched:
        tell_waits(engine, page.queue, event.id, Outcome(REMOVED, error=CANCELLED))
    forget(engine, page, i, bad=True)
    tell(engine, "cancelled", page.queue.name, event.id)


def _discarded(engine: Engine, page: Page, i: int, event: events.JobDiscarded) -> None:
    note_run(as_record(page, i))
    leave(engine, page, i)
    die(engine, page, i, event.error, "discarded")


def _promoted(engine: Engine, page: Page, i: int, event: events.Promoted) -> None:
    job = as_record(page, i)
    leave(engine, page, i)
    job.run_at = engine.now_ms
    job.queue.line_up(job, came_back=bool(job.token))
    engine.totals.waiting += 1
    note(job, "promoted", engine.now_ms)
    tell(engine, "promoted", page.queue.name, event.id)


def _prioritised(engine: Engine, page: Page, i: int, event: events.Prioritised) -> None:
    job = as_record(page, i)
    if job.state in (State.WAITING, State.DELAYED):
        leave(engine, page, i)
        job.priority = event.priority
        if job.run_at > engine.now_ms:
            delay(engine, job)
        else:
            job.queue.fall_in(job)
            engine.totals.waiting += 1
    else:
        job.priority = event.priority
    note(job, "priority", engine.now_ms, text=str(event.priority))


def _updated(engine: Engine, page: Page, i: int, event: events.Updated) -> None:
    job = as_record(page, i)
    job.data = event.data
    job.codec = event.codec
    note(job, "updated", engine.now_ms)


def _moved(engine: Engine, page: Page, i: int, event: events.MovedToDelayed) -> None:
    job = as_record(page, i)
    note_run(job)
    leave(engine, page, i)
    job.started_at = job.progress = 0
    job.progress_msg = None
    job.run_at = event.run_at
    requeue(engine, job)
    note(job, "moved", engine.now_ms)
    tell(engine, "delayed", page.queue.name, event.id)


def _progressed(engine: Engine, page: Page, i: int, event: events.Progressed) -> None:
    job = as_record(page, i)
    job.progress = event.progress
    job.progress_msg = event.message
    renew(engine, page, i)
    tell(engine, "progress", page.queue.name, event.id, progress=event.progress)


APPLY: Final[dict[type[Any], Callable[[Engine, Page, int, Any], None]]] = {
    events.Cancelled: _cancelled,
    events.JobDiscarded: _discarded,
    events.Promoted: _promoted,
    events.Prioritised: _prioritised,
    events.Updated: _updated,
    events.MovedToDelayed: _moved,
    events.Progressed: _progressed,
    events.Logged: write,
}
