"""What happens, for those who listen: one entry a transition, made only while somebody listens to the queue.

`queue.heard` says whether anybody does, and is what hot paths look at; everybody else just calls `tell`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flashq.engine.jobs import Job
from flashq.protocol.happenings import Happening

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


class Audience:
    """Who is listened to, some queues or all: by those who follow what happens, and by webhooks."""

    __slots__ = ("everything", "followed", "followed_all", "hooked", "hooked_all", "queues")

    def __init__(self) -> None:
        self.everything = True
        self.queues: frozenset[str] = frozenset()
        self.followed: frozenset[str] = frozenset()
        self.followed_all = False
        self.hooked: frozenset[str] = frozenset()
        self.hooked_all = False

    def hears(self, queue: str) -> bool:
        return self.everything or queue in self.queues

    def follows(self, queue: str) -> bool:
        """Whether somebody else than a webhook listens."""
        return self.followed_all or queue in self.followed


def listen(engine: "Engine", queues: Iterable[str], *, everything: bool) -> None:
    """From now on these are followed, and no others."""
    engine.audience.followed, engine.audience.followed_all = frozenset(queues), everything
    _hear(engine)


def hook(engine: "Engine", queues: Iterable[str], *, everything: bool) -> None:
    """From now on webhooks are about these, and no others."""
    engine.audience.hooked, engine.audience.hooked_all = frozenset(queues), everything
    _hear(engine)


def _hear(engine: "Engine") -> None:
    audience = engine.audience
    audience.queues = audience.followed | audience.hooked
    audience.everything = audience.followed_all or audience.hooked_all
    engine.heard = audience.everything or bool(audience.queues)
    for name, queue in engine.queues.items():
        queue.heard = engine.heard and audience.hears(name)


def _trace(engine: "Engine", job_id: int) -> str | None:
    """The job's, where a webhook may tell somebody who wants to know."""
    audience = engine.audience
    if not (audience.hooked_all or audience.hooked) or not job_id:
        return None
    slot = engine.slots.get(job_id & 1023)
    page, i = slot.find(job_id >> 10) if slot is not None else (None, 0)
    job = page.jobs[i] if page is not None else None
    return job.options.trace if type(job) is Job else None


def tell(
    engine: "Engine", kind: str, queue: str, job_id: int, *, data: bytes | None = None, codec: int = 0,
    error: str | None = None, progress: int | None = None, index: int | None = None,
) -> None:  # fmt: skip
    """It happened, in this tick, to a job or to a queue (`job_id` 0)."""
    if engine.heard and not engine.replaying and engine.audience.hears(queue):
        engine.happenings.append(
            Happening(kind, queue, job_id, engine.now_ms, data, codec, error, progress, index, _trace(engine, job_id))
        )  # fmt: skip
