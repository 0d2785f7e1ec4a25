"""A client's commands about whole queues: dead letters, removal, limits, figures."""

import msgspec

from flashq.client import requests
from flashq.client.asking import Asking, Counted, Done
from flashq.client.objects import Job, JobCounts, Metrics


class QueueCommands(Asking):
    """None of them minds a queue that nobody has used yet."""

    # --- dead letters ---

    async def get_dead_letters(self, queue: str, limit: int = 100) -> list[Job]:
        """The oldest dead letters, each with its `error` and `failures`."""
        return (await self._session.ask(requests.given("DLQ", queue=queue, count=limit), _Jobs)).jobs

    async def retry_dead_letters(self, queue: str, job: Job | int | None = None) -> int:
        """Back to the queue, with all attempts before them: one, or all; how many."""
        job_id = job.id if isinstance(job, Job) else job
        return (await self._session.change(requests.given("RETRYDLQ", queue=queue, id=job_id), Counted)).count

    async def purge_dead_letters(self, queue: str) -> int:
        """Forget all dead letters of the queue; how many."""
        return (await self._session.change(requests.given("PURGEDLQ", queue=queue), Counted)).count

    # --- removal ---

    async def drain(self, queue: str) -> int:
        """Remove what waits, delayed jobs too; how many. Running jobs and dead letters stay."""
        return (await self._session.change(requests.given("DRAIN", queue=queue), Counted)).count

    async def obliterate(self, queue: str) -> int:
        """Remove the queue with its jobs (how many), limits and crons. Completed jobs stay."""
        return (await self._session.change(requests.given("OBLITERATE", queue=queue), Counted)).count

    async def clean(self, queue: str, state: str = "completed", *, grace_ms: int = 0, limit: int | None = None) -> int:
        """Remove jobs that have been waiting, delayed, completed or failed for `grace_ms`; how many."""
        request = requests.given("CLEAN", queue=queue, state=state, grace=grace_ms, limit=limit)
        return (await self._session.change(request, Counted)).count

    # --- limits ---

    async def set_rate_limit(self, queue: str, limit: int, *, per_key: bool = False) -> None:
        """Deliver at most so many jobs a second; `per_key`: for each `limit_key` of jobs."""
        await self._session.change(_limit("RATELIMIT", queue, limit, per_key), Done)

    async def clear_rate_limit(self, queue: str, *, per_key: bool = False) -> None:
        """Deliver as fast as they are pulled."""
        await self._session.change(_limit("RATELIMITCLEAR", queue, None, per_key), Done)

    async def set_concurrency(self, queue: str, limit: int, *, per_key: bool = False) -> None:
        """At most so many run at once, over all workers; `per_key`: for each `limit_key` of jobs."""
        await self._session.change(_limit("SETCONCURRENCY", queue, limit, per_key), Done)

    async def clear_concurrency(self, queue: str, *, per_key: bool = False) -> None:
        """Any number may run."""
        await self._session.change(_limit("CLEARCONCURRENCY", queue, None, per_key), Done)

    # --- figures ---

    async def is_paused(self, queue: str) -> bool:
        """Whether the queue delivers nothing until `resume`."""
        return (await self._session.ask(requests.given("ISPAUSED", queue=queue), _Paused)).paused

    async def count_by_state(self, queue: str) -> JobCounts:
        """Jobs of the queue by state."""
        return await self._session.ask(requests.given("GETJOBCOUNTS", queue=queue), JobCounts)

    async def metrics(self) -> Metrics:
        """What the server has done since its first start."""
        return (await self._session.ask(requests.given("METRICS"), _Metrics)).metrics


def _limit(cmd: str, queue: str, limit: int | None, per_key: bool) -> requests.Request:
    return requests.given(cmd, queue=queue, limit=limit, per_key=True if per_key else None)


class _Jobs(msgspec.Struct):
    jobs: list[Job]


class _Paused(msgspec.Struct):
    paused: bool


class _Metrics(msgspec.Struct):
    metrics: Metrics
