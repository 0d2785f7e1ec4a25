"""What is known of a job and of a queue. Changes nothing."""

from typing import NamedTuple

from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.leases import Done, Lease
from flashq.engine.pages import PAGE, PAGE_BITS, Page

WIRE: dict[State, str] = {
    State.WAITING: "waiting",
    State.DELAYED: "delayed",
    State.ACTIVE: "active",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.HELD: "waiting-children",
    State.PARENT: "waiting-parent",
}
UNKNOWN = "unknown"


class Seen(NamedTuple):
    """A job as it stands; `record` where it has one, else what its page knows."""

    page: Page
    place: int
    state: State
    done: Done | None
    lease: Lease | None


def find(engine: Engine, job_id: int) -> Seen | None:
    """The job, if anything of it is kept."""
    slot = engine.slots.get(job_id & 1023)
    if slot is None:
        return None
    seq = job_id >> 10
    page = slot.pages.get(seq >> PAGE_BITS)
    i = seq & (PAGE - 1)
    if page is None or i >= len(page.jobs) or page.jobs[i] is None:
        return None
    if page.queue.sweep is not None and is_removed(page, i):
        return None
    return seen_at(engine, page, i)


def seen_at(engine: Engine, page: Page, i: int) -> Seen:
    """The job in a place that is not empty."""
    mark = page.leases[i] if page.leases is not None else None
    job = page.jobs[i]
    if type(mark) is Lease:
        return Seen(page, i, State.ACTIVE, None, mark)
    if type(mark) is Done:
        return Seen(page, i, State.COMPLETED, mark, None)
    state = job.state if type(job) is Job else State.WAITING
    if state is State.DELAYED and job.run_at <= engine.now_ms:
        state = State.WAITING
    return Seen(page, i, state, None, None)


def state_of(engine: Engine, job_id: int) -> str:
    """The job's state as it is written on the wire, also when nothing but its id is left."""
    seen = find(engine, job_id)
    if seen is not None:
        return WIRE[seen.state]
    slot = engine.slots.get(job_id & 1023)
    seq = job_id >> 10
    if slot is None or not slot.was_given(seq) or seq in slot.bad or seq in slot.gone:
        return UNKNOWN
    page, i = slot.find(seq)
    if page is not None and page.reserved:  # of a flow that is accepted, of which this slot has yet to hear
        return WIRE[State.HELD]
    if page is not None and page.jobs[i] is not None:  # removed, and still to be cleared away
        return UNKNOWN
    return WIRE[State.COMPLETED]
