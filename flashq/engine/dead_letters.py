"""Dead letters: jobs that were given up, kept with all they had, oldest first; and how they get another chance."""

from collections.abc import Callable, Iterator
from itertools import islice

from flashq.engine import events
from flashq.engine.endings import leave
from flashq.engine.engine import Engine
from flashq.engine.history import note
from flashq.engine.jobs import Job, State
from flashq.engine.pages import Page
from flashq.engine.pull import serve
from flashq.engine.queues import Queue
from flashq.engine.retry import requeue
from flashq.engine.slices import SLICE
from flashq.engine.telling import tell


def oldest(queue: Queue) -> Iterator[tuple[Page, int]]:
    """The places of a queue's dead letters, oldest first."""
    for seq in queue.dead:
        page, i = queue.slot.find(seq)
        assert page is not None
        yield page, i


def retry_one(engine: Engine, name: str, job_id: int) -> int:
    """A dead letter of this queue waits again; 1, or 0 if the queue has none of this id."""
    queue = engine.queues.get(name)
    if queue is None or job_id & 1023 != queue.slot.no or job_id >> 10 not in queue.dead:
        return 0
    return _revive_all(engine, queue, [job_id >> 10])


def _revive_all(engine: Engine, queue: Queue, seqs: list[int]) -> int:
    """Those of them that are dead letters wait again; how many were."""
    ids = []
    for seq in seqs:
        if seq in queue.dead:
            page, i = queue.slot.find(seq)
            assert page is not None
            revive(engine, page, i)
            ids.append(queue.slot.id_of(seq))
    if ids:
        engine.record(events.Revived(ids))
        if queue.waiters:
            serve(engine, queue)
    return len(ids)


def revive(engine: Engine, page: Page, i: int) -> None:
    """A dead letter waits again, with as many attempts before it as a new job. What it failed of stays known."""
    job = page.jobs[i]
    assert type(job) is Job
    assert job.state is State.FAILED
    leave(engine, page, i)
    job.attempts = job.crashes = job.stalls = job.crash_token = 0
    job.started_at = job.died_at = 0
    job.error = None
    job.run_at = engine.now_ms
    requeue(engine, job)
    note(job, "revived", engine.now_ms)
    if engine.heard:
        tell(engine, "retrying", job.queue.name, job.id)


class Retrying:
    """RETRYDLQ of a whole queue: the dead letters that it has now, oldest first, in slices."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._seqs = iter(list(queue.dead))
        self.count = 0
        """How many wait again."""
        self.on_done: Callable[[int], object] | None = None

    def step(self, engine: Engine) -> bool:
        """One slice; whether that was all. What died again meanwhile was asked for once, and is not asked for again."""
        seqs = list(islice(self._seqs, SLICE))
        self.count += _revive_all(engine, self._queue, seqs)
        if len(seqs) == SLICE:
            return False
        if self.on_done is not None:
            self.on_done(self.count)
        return True
