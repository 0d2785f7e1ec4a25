"""The blocking twins of the client's commands about single jobs and whole queues, by the same names."""

from collections.abc import Sequence
from typing import Any

from flashq.client.objects import Children, Job, JobCounts, JobList, LogLine, Metrics, Progress, Step
from flashq.client.sync_base import Waiting


class SyncJobCommands(Waiting):
    """As `JobCommands`."""

    # --- while it runs ---

    def heartbeat(self, job: Job | int, *, lease: int | None = None) -> None:
        """The job is still being worked on: its lease starts anew. Raises JobNotFound, LeaseLost."""
        self._wait(self._client.heartbeat(job, lease=lease))

    def set_progress(
        self, job: Job | int, percent: float, message: str | None = None, *, lease: int | None = None
    ) -> None:
        """How far the job is; renews its lease, too. Raises JobNotFound, LeaseLost."""
        self._wait(self._client.set_progress(job, percent, message, lease=lease))

    def get_progress(self, job_id: int) -> Progress:
        """How far a running job is. Raises JobNotFound."""
        return self._wait(self._client.get_progress(job_id))

    def send_partial(self, job: Job | int, data: object, *, index: int | None = None, lease: int | None = None) -> None:
        """A piece of a running job's result, for those who listen to `partial` events; it is not kept."""
        self._wait(self._client.send_partial(job, data, index=index, lease=lease))

    def log(self, job: Job | int, message: str, level: str = "info") -> None:
        """Write a line about a job; the last hundred are kept with it. Raises JobNotFound."""
        self._wait(self._client.log(job, message, level))

    def get_logs(self, job: Job | int) -> list[LogLine]:
        """What was written about a job, oldest first; nothing if nothing is known of it."""
        return self._wait(self._client.get_logs(job))

    def move_to_delayed(self, job: Job | int, delay_ms: int, *, lease: int | None = None) -> None:
        """A running job goes back to its queue for later, no attempt counted. Raises JobNotFound, LeaseLost."""
        self._wait(self._client.move_to_delayed(job, delay_ms, lease=lease))

    # --- control ---

    def cancel(self, job: Job | int) -> None:
        """The job ceases to exist, even while it runs. Raises JobNotFound, or RequestError if it has ended."""
        self._wait(self._client.cancel(job))

    def discard(self, job: Job | int) -> None:
        """The job becomes a dead letter. Raises JobNotFound."""
        self._wait(self._client.discard(job))

    def promote(self, job: Job | int) -> None:
        """A delayed job is ready now. Raises JobNotFound, or RequestError if it is not delayed."""
        self._wait(self._client.promote(job))

    def change_priority(self, job: Job | int, priority: int) -> None:
        """Higher goes first. Raises JobNotFound."""
        self._wait(self._client.change_priority(job, priority))

    def update(self, job: Job | int, data: object) -> None:
        """Replace a job's data; whoever has pulled it already has the old. Raises JobNotFound."""
        self._wait(self._client.update(job, data))

    # --- questions ---

    def wait_job(self, job: Job | int, *, timeout_ms: int | None = None) -> Any:
        """Wait until the job completes; its result."""
        return self._wait(self._client.wait_job(job, timeout_ms=timeout_ms))

    def find_by_custom_id(self, custom_id: str) -> Job | None:
        """The job that has this name; None if there is none."""
        return self._wait(self._client.find_by_custom_id(custom_id))

    def get_jobs(self, ids: Sequence[int]) -> list[Job]:
        """Those of these jobs of which anything is kept, in that order."""
        return self._wait(self._client.get_jobs(ids))

    def list_jobs(
        self, queue: str | None = None, *, state: str | None = None, limit: int = 100, offset: int = 0
    ) -> JobList:
        """Jobs of a queue, or of all, newest first; at most 1000 at a time."""
        return self._wait(self._client.list_jobs(queue, state=state, limit=limit, offset=offset))

    def get_children(self, parent: Job | int) -> Children:
        """The children of a flow's parent. Raises JobNotFound."""
        return self._wait(self._client.get_children(parent))

    def get_history(self, job: Job | int) -> list[Step]:
        """What happened to a job, step by step. Raises JobNotFound."""
        return self._wait(self._client.get_history(job))


class SyncQueueCommands(Waiting):
    """As `QueueCommands`."""

    # --- dead letters ---

    def get_dead_letters(self, queue: str, limit: int = 100) -> list[Job]:
        """The oldest dead letters, each with its `error` and `failures`."""
        return self._wait(self._client.get_dead_letters(queue, limit))

    def retry_dead_letters(self, queue: str, job: Job | int | None = None) -> int:
        """Back to the queue, with all attempts before them: one, or all; how many."""
        return self._wait(self._client.retry_dead_letters(queue, job))

    def purge_dead_letters(self, queue: str) -> int:
        """Forget all dead letters of the queue; how many."""
        return self._wait(self._client.purge_dead_letters(queue))

    # --- removal ---

    def drain(self, queue: str) -> int:
        """Remove what waits, delayed jobs too; how many. Running jobs and dead letters stay."""
        return self._wait(self._client.drain(queue))

    def obliterate(self, queue: str) -> int:
        """Remove the queue with its jobs (how many), limits and crons. Completed jobs stay."""
        return self._wait(self._client.obliterate(queue))

    def clean(self, queue: str, state: str = "completed", *, grace_ms: int = 0, limit: int | None = None) -> int:
        """Remove jobs that have been waiting, delayed, completed or failed for `grace_ms`; how many."""
        return self._wait(self._client.clean(queue, state, grace_ms=grace_ms, limit=limit))

    # --- limits ---

    def set_rate_limit(self, queue: str, limit: int, *, per_key: bool = False) -> None:
        """Deliver at most so many jobs a second; `per_key`: for each `limit_key` of jobs."""
        self._wait(self._client.set_rate_limit(queue, limit, per_key=per_key))

    def clear_rate_limit(self, queue: str, *, per_key: bool = False) -> None:
        """Deliver as fast as they are pulled."""
        self._wait(self._client.clear_rate_limit(queue, per_key=per_key))

    def set_concurrency(self, queue: str, limit: int, *, per_key: bool = False) -> None:
        """At most so many run at once, over all workers; `per_key`: for each `limit_key` of jobs."""
        self._wait(self._client.set_concurrency(queue, limit, per_key=per_key))

    def clear_concurrency(self, queue: str, *, per_key: bool = False) -> None:
        """Any number may run."""
        self._wait(self._client.clear_concurrency(queue, per_key=per_key))

    # --- figures ---

    def is_paused(self, queue: str) -> bool:
        """Whether the queue delivers nothing until `resume`."""
        return self._wait(self._client.is_paused(queue))

    def count_by_state(self, queue: str) -> JobCounts:
        """Jobs of the queue by state."""
        return self._wait(self._client.count_by_state(queue))

    def metrics(self) -> Metrics:
        """What the server has done since its first start."""
        return self._wait(self._client.metrics())
