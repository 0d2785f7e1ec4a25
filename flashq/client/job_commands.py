"""A client's commands about single jobs, by id: control, progress, logs, waiting, listings."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flashq.client import requests
from flashq.client.asking import Asking, Done
from flashq.client.objects import Children, Job, JobList, LogLine, Progress, Step

JOB_WAIT_MS: Final = 30_000
"""How long `wait_job` waits if nothing else is said."""


class JobCommands(Asking):
    """Where a pulled `Job` is given for an id, its lease goes along, and LeaseLost may be raised."""

    # --- while it runs ---

    async def heartbeat(self, job: Job | int, *, lease: int | None = None) -> None:
        """The job is still being worked on: its lease starts anew. Raises JobNotFound, LeaseLost."""
        job_id, _, lease = identified(job, lease, None)
        await self._session.change(requests.given("HEARTBEAT", id=job_id, lease=lease), Done)

    async def set_progress(
        self, job: Job | int, percent: float, message: str | None = None, *, lease: int | None = None
    ) -> None:
        """How far the job is; renews its lease, too. Raises JobNotFound, LeaseLost."""
        job_id, _, lease = identified(job, lease, None)
        request = requests.given("PROGRESS", id=job_id, progress=percent, message=message, lease=lease)
        await self._session.change(request, Done)

    async def get_progress(self, job_id: int) -> Progress:
        """How far a running job is. Raises JobNotFound."""
        return (await self._session.ask(requests.given("GETPROGRESS", id=job_id), _Progress)).progress

    async def send_partial(
        self, job: Job | int, data: object, *, index: int | None = None, lease: int | None = None
    ) -> None:
        """A piece of a running job's result, for those who listen to `partial` events; it is not kept."""
        job_id, _, lease = identified(job, lease, None)
        request = requests.given("PARTIAL", id=job_id, index=index, lease=lease) | {"data": data}
        await self._session.change(request, Done)

    async def log(self, job: Job | int, message: str, level: str = "info") -> None:
        """Write a line about a job; the last hundred are kept with it. Raises JobNotFound."""
        await self._session.change(requests.given("LOG", id=id_of(job), message=message, level=level), Done)

    async def get_logs(self, job: Job | int) -> list[LogLine]:
        """What was written about a job, oldest first; nothing if nothing is known of it."""
        return (await self._session.ask(requests.given("GETLOGS", id=id_of(job)), _Logs)).logs

    async def move_to_delayed(self, job: Job | int, delay_ms: int, *, lease: int | None = None) -> None:
        """A running job goes back to its queue for later, no attempt counted. Raises JobNotFound, LeaseLost."""
        job_id, _, lease = identified(job, lease, None)
        await self._session.change(requests.given("MOVETODELAYED", id=job_id, delay=delay_ms, lease=lease), Done)

    # --- control ---

    async def cancel(self, job: Job | int) -> None:
        """The job ceases to exist, even while it runs. Raises JobNotFound, or RequestError if it has ended."""
        await self._session.change(requests.given("CANCEL", id=id_of(job)), Done)

    async def discard(self, job: Job | int) -> None:
        """The job becomes a dead letter. Raises JobNotFound."""
        await self._session.change(requests.given("DISCARD", id=id_of(job)), Done)

    async def promote(self, job: Job | int) -> None:
        """A delayed job is ready now. Raises JobNotFound, or RequestError if it is not delayed."""
        await self._session.change(requests.given("PROMOTE", id=id_of(job)), Done)

    async def change_priority(self, job: Job | int, priority: int) -> None:
        """Higher goes first. Raises JobNotFound."""
        await self._session.change(requests.given("CHANGEPRIORITY", id=id_of(job), priority=priority), Done)

    async def update(self, job: Job | int, data: object) -> None:
        """Replace a job's data; whoever has pulled it already has the old. Raises JobNotFound."""
        await self._session.change(requests.given("UPDATEJOB", id=id_of(job)) | {"data": data}, Done)

    # --- questions ---

    async def wait_job(self, job: Job | int, *, timeout_ms: int | None = None) -> Any:
        """Wait until the job completes; its result.

        Raises RequestError when it becomes a dead letter, JobNotFound when it is not there or removed, and
        DeadlineExceeded after `timeout_ms` (None: half a minute).
        """
        timeout_ms = JOB_WAIT_MS if timeout_ms is None else timeout_ms
        request = requests.given("WAITJOB", id=id_of(job), timeout=timeout_ms)
        return (await self._session.wait(request, _Result, timeout_ms)).result

    async def find_by_custom_id(self, custom_id: str) -> Job | None:
        """The job that has this name; None if there is none."""
        found = await self._session.ask(requests.given("GETJOBBYCUSTOMID", job_id=custom_id), _Found)
        return found.job

    async def get_jobs(self, ids: Sequence[int]) -> list[Job]:
        """Those of these jobs of which anything is kept, in that order."""
        return (await self._session.ask(requests.given("GETJOBSBATCH", ids=ids), _Jobs)).jobs

    async def list_jobs(
        self, queue: str | None = None, *, state: str | None = None, limit: int = 100, offset: int = 0
    ) -> JobList:
        """Jobs of a queue, or of all, newest first; at most 1000 at a time."""
        request = requests.given("GETJOBS", queue=queue, state=state, limit=limit, offset=offset)
        return await self._session.ask(request, JobList)

    async def get_children(self, parent: Job | int) -> Children:
        """The children of a flow's parent. Raises JobNotFound."""
        return await self._session.ask(requests.given("GETCHILDREN", parent_id=id_of(parent)), Children)

    async def get_history(self, job: Job | int) -> list[Step]:
        """What happened to a job, step by step. Raises JobNotFound."""
        return (await self._session.ask(requests.given("HISTORY", id=id_of(job)), _History)).history


def id_of(job: Job | int) -> int:
    """The id of what may be a pulled job."""
    return job.id if isinstance(job, Job) else job


def identified(job: Job | int, lease: int | None, result: object) -> tuple[int, object, int | None]:
    """A pulled job brings its lease, unless another is given."""
    if isinstance(job, Job):
        return job.id, result, job.lease if lease is None else lease
    return job, result, lease


class _Progress(msgspec.Struct):
    progress: Progress


class _Logs(msgspec.Struct):
    logs: list[LogLine]


class _Result(msgspec.Struct):
    result: Any = None


class _Found(msgspec.Struct):
    job: Job | None = None


class _Jobs(msgspec.Struct):
    jobs: list[Job]


class _History(msgspec.Struct):
    history: list[Step]
