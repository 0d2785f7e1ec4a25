"""Eras: how a million jobs cease to exist at one stroke, though each has to be cleared away by itself.

Rules kept here
- DRAIN begins a new era of a queue: what stood in its lines belongs to an era before, and does not exist any more. Its
  lines are new ones, so that nothing of it is delivered or counted.
- A plain job waits from its push until its first pull, and becomes a record when it comes back from one. So a plain
  job without a lease is of an era before exactly when its page is: pages that were open are closed at the stroke.
- A record carries the era in which it was last put into a line.
- OBLITERATE voids all that is not completed in the pages there are.
- A dead letter exists as long as its queue's `dead` has it: PURGEDLQ takes a new one.

What was removed is cleared away in slices (removal.py); until that is done `queue.sweep` is set, and whoever looks
for a job asks `is_removed`.
"""

from flashq.engine.jobs import Job, State
from flashq.engine.leases import Done, Lease
from flashq.engine.pages import Page


def is_removed(page: Page, i: int) -> bool:
    """Whether the job in this place, which is not empty, was removed and is only still to be cleared away."""
    mark = page.leases[i] if page.leases is not None else None
    if type(mark) is Done:
        return False
    queue = page.queue
    if page.base < queue.void_base:
        return True
    if type(mark) is Lease:
        return False
    job = page.jobs[i]
    if type(job) is not Job:
        return page.base < queue.era_base
    if job.state in (State.WAITING, State.DELAYED):
        return job.era < queue.era
    return job.state is State.FAILED and job.seq not in queue.dead
