"""What happened to a job, step by step, as far as it is remembered: for HISTORY.

A plain job's life is in its page and its lease. A record keeps the latest `STEPS_KEPT` steps that are over; what it
is doing now is read from its lease, its mark of completion or its state.
"""

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from flashq.engine.jobs import Job, State

if TYPE_CHECKING:
    from flashq.engine.queries import Seen

STEPS_KEPT: Final = 64
TEXT_MAX: Final = 512
"""Characters of an error or a message that a step keeps."""


class Step(Struct, frozen=True, gc=False):
    """One transition. `attempt`: counted from 1, 0 where none is meant. `lease`: the token of who had the job."""

    event: str
    at: int
    attempt: int = 0
    lease: int = 0
    text: str | None = None


def note(job: Job, event: str, at_ms: int, *, attempt: int = 0, lease: int = 0, text: str | None = None) -> None:
    """It happened to the record. Called alike live and in replay."""
    steps = job.steps
    if steps is None:
        steps = job.steps = []
    if text is not None and len(text) > TEXT_MAX:
        text = text[:TEXT_MAX]
    steps.append((event, at_ms, attempt, lease, text))
    if len(steps) > STEPS_KEPT:
        del steps[0]


def note_run(job: Job) -> None:
    """An active record stops being one, and not by completion: when it had started is kept."""
    if job.started_at:
        note(job, "active", job.started_at, attempt=job.attempts + 1, lease=job.token)


def history_of(seen: "Seen") -> list[Step]:
    """All steps that are known, oldest first."""
    page, i = seen.page, seen.place
    job = page.jobs[i]
    steps = [Step("pushed", page.created_at(i))]
    attempt = 1
    if type(job) is Job:
        steps += [Step(*step) for step in job.steps or ()]
        attempt = job.attempts + 1
    if seen.done is not None:
        done = seen.done
        if done.started_at:
            steps.append(Step("active", done.started_at, attempt, done.token))
        steps.append(Step("completed", done.completed_at, attempt, done.token))
    elif seen.lease is not None:
        steps.append(Step("active", seen.lease.started_at, attempt, seen.lease.token))
    elif seen.state is State.DELAYED:
        steps.append(Step("delayed", job.run_at))
    return steps
