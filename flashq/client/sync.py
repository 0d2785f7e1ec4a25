"""The blocking client: the asyncio one, in an event loop of its own thread. Any number of threads may share it."""

import asyncio
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from flashq.client.client import Client
from flashq.client.objects import BatchAck, BatchPush, Job, PushOptions, QueueInfo, Stats
from flashq.client.sync_events import SyncEvents
from flashq.client.sync_jobs import SyncJobCommands, SyncQueueCommands
from flashq.client.sync_store import SyncFlowCommands, SyncKvCommands
from flashq.client.wire import CodecName


class SyncClient(SyncJobCommands, SyncQueueCommands, SyncFlowCommands, SyncKvCommands):
    """Every method is `Client`'s of that name and blocks until the answer is there. Use it as a context manager."""

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        codec: CodecName = "msgpack",
        request_timeout_ms: int = 30_000,
        connect_timeout_ms: int = 5_000,
        resend: bool = True,
    ) -> None:
        self._client = Client(
            address,
            token=token,
            codec=codec,
            request_timeout_ms=request_timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
            resend=resend,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="flashq-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect now rather than with the first request."""
        self._wait(self._client.connect())

    def close(self) -> None:
        """Close. A second call does nothing."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def events(self, queue: str, kinds: Sequence[str] = ()) -> SyncEvents:
        """What happens in a queue from now on; use it as `with`, then iterate."""
        return SyncEvents(self, self._client.events(queue, kinds))

    def push(self, queue: str, data: object, **options: Unpack[PushOptions]) -> int:
        """Add a job; its id."""
        return self._wait(self._client.push(queue, data, **options))

    def push_batch(
        self, queue: str, data: Sequence[object], *, each: Sequence[PushOptions] = (), **options: Unpack[PushOptions]
    ) -> BatchPush:
        """Add many jobs in one commit."""
        return self._wait(self._client.push_batch(queue, data, each=each, **options))

    def pull(
        self,
        queue: str,
        *,
        timeout_ms: int | None = None,
        lease_ms: int | None = None,
        release_on_disconnect: bool = False,
    ) -> Job | None:
        """Take a job, waiting up to `timeout_ms` for one."""
        return self._wait(
            self._client.pull(
                queue, timeout_ms=timeout_ms, lease_ms=lease_ms, release_on_disconnect=release_on_disconnect
            )
        )

    def pull_batch(
        self,
        queue: str,
        limit: int,
        *,
        timeout_ms: int | None = None,
        lease_ms: int | None = None,
        release_on_disconnect: bool = False,
    ) -> list[Job]:
        """Take up to `limit` jobs as soon as there is at least one."""
        return self._wait(
            self._client.pull_batch(
                queue, limit, timeout_ms=timeout_ms, lease_ms=lease_ms, release_on_disconnect=release_on_disconnect
            )
        )

    def ack(self, job: Job | int, result: object = None, *, lease: int | None = None) -> None:
        """The job is done."""
        self._wait(self._client.ack(job, result, lease=lease))

    def ack_batch(
        self,
        jobs: Sequence[Job | int],
        *,
        results: Sequence[object] | None = None,
        leases: Sequence[int | None] | None = None,
    ) -> BatchAck:
        """Many jobs are done."""
        return self._wait(self._client.ack_batch(jobs, results=results, leases=leases))

    def fail(self, job: Job | int, error: str | None = None, *, lease: int | None = None) -> None:
        """The attempt failed."""
        self._wait(self._client.fail(job, error, lease=lease))

    def get_job(self, job_id: int) -> Job:
        """The job as it is, or was kept. Raises JobNotFound."""
        return self._wait(self._client.get_job(job_id))

    def find_job(self, job_id: int) -> Job | None:
        """The job as it is, or was kept; None if nothing is known of it."""
        return self._wait(self._client.find_job(job_id))

    def get_state(self, job_id: int) -> str:
        """The job's state; "unknown" if there is no such job."""
        return self._wait(self._client.get_state(job_id))

    def get_result(self, job_id: int) -> Any:
        """What the job was acknowledged with."""
        return self._wait(self._client.get_result(job_id))

    def count(self, queue: str) -> int:
        """Jobs that wait in the queue."""
        return self._wait(self._client.count(queue))

    def stats(self) -> Stats:
        """Jobs of the whole server, by state."""
        return self._wait(self._client.stats())

    def list_queues(self) -> list[QueueInfo]:
        """Every queue the server knows."""
        return self._wait(self._client.list_queues())

    def pause(self, queue: str) -> None:
        """Deliver nothing from the queue until `resume`."""
        self._wait(self._client.pause(queue))

    def resume(self, queue: str) -> None:
        """Deliver again."""
        self._wait(self._client.resume(queue))

    def ping(self) -> None:
        """Returns when the server has answered."""
        self._wait(self._client.ping())

    def auth(self, token: str) -> None:
        """Show a token, now and on later connections."""
        self._wait(self._client.auth(token))
