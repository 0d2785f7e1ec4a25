"""Links: what a job waits for, and who waits for it. Kept on the records that have any; a plain job that somebody waits
for becomes a record. So nothing is looked up, and jobs that have no links cost nothing.

What is learnt of another job is its *fate*. The other job's slot finds it and tells (watching.py); the slot of the job
that waits acts on it (dependencies.py).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from flashq.engine.jobs import Job, Link, State

if TYPE_CHECKING:
    from flashq.engine.engine import Engine
    from flashq.engine.pages import Page

ASKED: Final = 0
"""Not answered yet."""
WAITING: Final = 1
"""It has not ended."""
DEAD: Final = 2
"""It is a dead letter, and may be retried."""
GONE: Final = 3
"""It was cancelled, removed, purged or has expired: it will never complete."""
DONE: Final = 4
UNKNOWN: Final = 5
"""There never was a job of this id."""
FAILED: Final = (DEAD, GONE, UNKNOWN)


class Ending(Struct, array_like=True, gc=False):
    """Jobs of one slot that another waits for have ended, or died."""

    watcher: int
    others: Sequence[int]
    fate: int


def link_of(job: Job) -> Link:
    """The job's links, made if it has none."""
    link = job.link
    if link is None:
        link = job.link = Link()
    return link


def is_held(job: Job) -> bool:
    """Whether it waits for other jobs, or for the acceptance of the push it came in."""
    return job.state is State.HELD or job.state is State.PARENT


def must_wait(link: Link) -> bool:
    return bool(link.draft or link.unmet or link.left)


def hold(engine: "Engine", job: Job) -> None:
    """The job stands in no line, and is in no count but `held`."""
    link = job.link
    assert link is not None
    job.state = State.PARENT if link.left else State.HELD
    job.queue.held += 1
    engine.touch(job.queue)


def ended(engine: "Engine", job: Job, fate: int) -> None:
    """A job with links completed, died or ceased to exist: its watchers and its parent are told when the tick settles.

    Those of a dead letter go on watching, as it may be retried.
    """
    link = job.link
    assert link is not None
    watchers = link.watchers
    if not engine.replaying:
        job_id = job.id
        if watchers:
            engine.endings += [Ending(watcher, (job_id,), fate) for watcher in watchers]
        if link.parent:
            engine.endings.append(Ending(link.parent, (job_id,), DONE if link.lenient else fate))
    if fate != DEAD:
        link.watchers = None


def run_ended(engine: "Engine", page: "Page", start: int, stop: int, fate: int) -> None:
    """Plain jobs in the places [start, stop) ended: if they are children, their parent is told."""
    parent = page.defaults.parent
    if parent and not engine.replaying:
        slot_no = page.slot.no
        ids = range((page.base + start) << 10 | slot_no, (page.base + stop) << 10 | slot_no, 1024)
        engine.endings.append(Ending(parent, ids, fate))


def note(job: Job, unmet: dict[int, int], other: int, fate: int) -> bool:
    """Write down what became of a dependency; whether that is a failure that counts."""
    if fate == DONE or (fate in FAILED and job.options.on_dependency_failure == "run"):
        del unmet[other]
        return False
    unmet[other] = GONE if fate == UNKNOWN else fate
    return fate in FAILED
