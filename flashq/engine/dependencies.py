"""Jobs that wait for others: what they learn, when they are released, and when they are given up.

Rules kept here
- A job waits while something that it depends on, or a child of it, has not completed; then it is ready, or delayed if
  it asked for that. It is in no line and in no count of its queue meanwhile.
- When what it waits for dies or is gone it becomes a dead letter. Retried, it waits for the rest again; for what is
  gone for good in vain, so then it dies at once. `on_dependency_failure: "run"` lets a dependency's failure count as
  completion; a child's `ignore_failure` does so for the child (links.py).
- News of a job that is not waited for (any more) does nothing, so a job is released once.
"""

from collections.abc import Iterable
from typing import Any, Final

from flashq.engine import events
from flashq.engine.endings import die, leave
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job, Link, State
from flashq.engine.links import DEAD, DONE, FAILED, GONE, hold, is_held, note
from flashq.engine.outbox import HANDLERS
from flashq.engine.parts import hear
from flashq.engine.pull import serve
from flashq.engine.push import delay
from flashq.engine.queues import Queue
from flashq.engine.telling import tell
from flashq.engine.watching import find_job

_NONE: Final[dict[int, int]] = {}


def _on_fates(engine: Engine, source: int, target: int, body: Any) -> None:
    event = events.Fates(body)
    engine.record(event)
    learn(engine, event)


def learn(engine: Engine, event: events.Fates) -> None:
    """Something came of jobs that others wait for, live and in replay."""
    ready: dict[Queue, None] = {}
    for watcher, fate, others in event.learnt:
        job = find_job(engine, watcher)
        if job is None or job.link is None:
            continue
        if job.link.draft:
            hear(engine, job, fate, others)
        elif _hear(engine, job, job.link, fate, others):
            ready[job.queue] = None
    serve_all(engine, ready)


def serve_all(engine: Engine, queues: Iterable[Queue]) -> None:
    """Jobs of these queues have become ready: pulls that wait get them."""
    for queue in queues:
        if queue.waiters:
            serve(engine, queue)


def _hear(engine: Engine, job: Job, link: Link, fate: int, others: Iterable[int]) -> bool:
    """A job learns of what it waits for; whether it is ready by that."""
    unmet, left = link.unmet or _NONE, link.left or _NONE
    failed = ""
    for other in others:
        if other in unmet:
            if note(job, unmet, other, fate):
                failed = failed or f"Dependency {other} failed"
        elif other in left:
            if fate == DONE:
                del left[other]
            else:
                left[other] = fate
                failed = failed or (f"Child {other} failed" if fate in FAILED else "")
    if not is_held(job):
        return False
    if failed:
        give_up(engine, job, failed)
        return False
    return look(engine, job, link)


def look(engine: Engine, job: Job, link: Link) -> bool:
    """Release a held job if there is nothing left that it waits for; whether it is ready by that."""
    if link.unmet or link.left:
        job.state = State.PARENT if link.left else State.HELD
        return False
    link.unmet = link.left = None
    if link.children is None and link.watchers is None and not link.parent:
        job.link = None
    queue = job.queue
    queue.held -= 1
    if job.run_at > engine.now_ms:
        delay(engine, job)
        kind = "delayed"
    else:
        job.run_at = engine.now_ms
        queue.line_up(job)
        engine.totals.waiting += 1
        kind = "promoted"
    engine.touch(queue)
    if queue.heard:
        tell(engine, kind, queue.name, job.id)
    return kind == "promoted"


def give_up(engine: Engine, job: Job, error: str) -> None:
    """A held job will not run: a dead letter."""
    page, i = job.queue.slot.find(job.seq)
    assert page is not None
    leave(engine, page, i)
    die(engine, page, i, error)


def hold_again(engine: Engine, job: Job) -> None:
    """A dead letter that is retried has still something to wait for. If that is gone for good it dies again."""
    link = job.link
    assert link is not None
    hold(engine, job)
    failed = first_failure(job, link, (GONE,))
    if failed:
        give_up(engine, job, failed)


def first_failure(job: Job, link: Link, fates: tuple[int, ...] = (DEAD, GONE)) -> str:
    """What a job that waits has to be given up for; empty: nothing."""
    for other, fate in (link.unmet or _NONE).items():
        if fate in fates:
            return f"Dependency {other} failed"
    for other, fate in (link.left or _NONE).items():
        if fate in fates:
            return f"Child {other} failed"
    return ""


HANDLERS["fates"] = _on_fates
