"""The guard of a shard: whether somebody may do to these jobs what he asks.

What a command says itself (the queue in it) is looked at first, wherever the command arrives. Which queue a job or a
cron is of, only its own shard knows: a command that is sent on there is looked at again, by who sent it.
"""

from typing import Any

from flashq.access.access import Access
from flashq.access.needs import On, need_of
from flashq.access.scopes import Verb
from flashq.engine.engine import Engine
from flashq.engine.pages import PAGE_BITS


class Guard:
    """That of one shard. Only asked about principals that may not do everything."""

    def __init__(self, access: Access, engine: Engine) -> None:
        self._access = access
        self._engine = engine

    def check(self, principal: str, command: Any) -> None:
        """Raise Forbidden, or Unauthenticated, unless this principal may have the command carried out here."""
        self._access.check_command(principal, command)
        verb, on = need_of(type(command))
        if on is On.JOB:
            self.check_job(principal, verb, _id_of(command))
        elif on is On.JOBS:
            for job_id in command.ids:
                self.check_job(principal, verb, job_id)
        elif on is On.CRON:
            cron = self._engine.crons.by_name.get(command.name)
            if cron is not None:
                self._access.check_job(principal, verb, cron.queue)

    def check_job(self, principal: str, verb: Verb, job_id: int | None) -> None:
        """As `check`, for one job. One that is another shard's, or was never, passes: nothing is done to it here."""
        if job_id is None or principal in self._access.trusted:
            return
        queue = queue_of(self._engine, job_id)
        if queue is not None:
            self._access.check_job(principal, verb, queue)

    def check_dependency(self, principal: str, job_id: int) -> None:
        """Raise Forbidden unless a principal may know of a job, so that others may wait for it. As `check_job`."""
        if principal in self._access.trusted:
            return
        queue = queue_of(self._engine, job_id)
        if queue is not None:
            self._access.check_dependency(principal, queue, job_id)


def _id_of(command: Any) -> int | None:
    for name in ("id", "job_id", "parent_id"):
        job_id = getattr(command, name, None)
        if job_id is not None:
            return int(job_id)
    return None


def queue_of(engine: Engine, job_id: int) -> str | None:
    """The queue of a job, also of one that has ended, as long as its page is kept; None where nothing is known."""
    slot = engine.slots.get(job_id & 1023)
    page = slot.pages.get((job_id >> 10) >> PAGE_BITS) if slot is not None else None
    return page.queue.name if page is not None else None
