"""The asyncio client: every command a method. How requests travel is in `session.py`.

The frequent commands are here; the others are in the classes that `Client` is made of, a family each.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self, Unpack

import msgspec

from flashq.client import requests
from flashq.client.address import parse_address
from flashq.client.asking import Counted, Done
from flashq.client.events import Events
from flashq.client.flow_commands import FlowCommands
from flashq.client.job_commands import JobCommands, identified
from flashq.client.kv_commands import KvCommands
from flashq.client.objects import BatchAck, BatchPush, Job, PushOptions, QueueInfo, Stats
from flashq.client.queue import Queue
from flashq.client.queue_commands import QueueCommands
from flashq.client.session import Session
from flashq.client.wire import CodecName
from flashq.errors import JobNotFound

PULL_WAIT_MS: Final = 60_000
"""How long a pull waits at the server if nothing else is said."""


class Client(JobCommands, QueueCommands, FlowCommands, KvCommands):
    """A connection to a server, for any number of tasks of one event loop.

    `address`: `flashq://HOST:PORT` or the path of a Unix socket; None is what `FLASHQ_ADDRESS` and `FLASHQ_TOKEN` say.
    `request_timeout_ms` bounds each request (a pull: beside its own waiting), reconnects included. With `resend`
    off, a request whose reply is lost raises UnknownOutcome at once and no idempotency keys are sent.
    """

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
        self.address = parse_address(address)
        self._session = Session(
            self.address,
            token=token or self.address.token,
            codec=codec,
            request_timeout_s=request_timeout_ms / 1000,
            connect_timeout_s=connect_timeout_ms / 1000,
            resend=resend,
        )

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect now rather than with the first request. Raises Unreachable, Unauthenticated."""
        await self._session.connect()

    async def close(self) -> None:
        """Close; requests that wait raise UnknownOutcome, and pulls are withdrawn. A second call does nothing."""
        await self._session.close()

    async def finish(self, timeout_s: float = 1.0) -> None:
        """Ask nothing more, but take the answers to what was asked; waiting pulls are answered at once. Then close."""
        await self._session.finish(timeout_s)

    def queue(self, name: str) -> Queue:
        """The queue of that name; asks nothing of the server."""
        return Queue(self, name)

    def events(self, queue: str, kinds: Sequence[str] = ()) -> Events:
        """What happens in a queue from now on, over a connection of its own.

        `kinds`: pushed, active, completed, failed, …; all if empty. Use it as `async with`, then iterate.
        """
        return Events(self._session, queue, kinds)

    # --- jobs ---

    async def push(self, queue: str, data: object, **options: Unpack[PushOptions]) -> int:
        """Add a job; its id. `data` is anything JSON can express."""
        return (await self._session.change(requests.push(queue, data, options), _Pushed)).id

    async def push_batch(
        self,
        queue: str,
        data: Sequence[object],
        *,
        each: Sequence[PushOptions] = (),
        **options: Unpack[PushOptions],
    ) -> BatchPush:
        """Add many jobs in one commit (at most 1000 unless the server says otherwise).

        `options` are for all of them; `each`, if given, has one entry a job, and wins.
        """
        return await self._session.change(requests.push_batch(queue, data, each, options), BatchPush)

    async def pull(
        self,
        queue: str,
        *,
        timeout_ms: int | None = None,
        lease_ms: int | None = None,
        release_on_disconnect: bool = False,
    ) -> Job | None:
        """Take a job, waiting up to `timeout_ms` for one (None: a minute, 0: only look); None if there is none.

        The job is leased to the caller for `lease_ms` (else what the server is configured to). With
        `release_on_disconnect` it returns to its queue as soon as this connection ends.
        """
        timeout_ms = PULL_WAIT_MS if timeout_ms is None else timeout_ms
        wait = {"timeout": timeout_ms, "lease_ms": lease_ms, "release_on_disconnect": release_on_disconnect}
        pulled = await self._session.pull(requests.pull(queue, None, **wait), _Pulled, timeout_ms)
        return pulled.job

    async def pull_batch(
        self,
        queue: str,
        limit: int,
        *,
        timeout_ms: int | None = None,
        lease_ms: int | None = None,
        release_on_disconnect: bool = False,
    ) -> list[Job]:
        """Take up to `limit` jobs as soon as there is at least one; see `pull`."""
        timeout_ms = PULL_WAIT_MS if timeout_ms is None else timeout_ms
        wait = {"timeout": timeout_ms, "lease_ms": lease_ms, "release_on_disconnect": release_on_disconnect}
        return (await self._session.pull(requests.pull(queue, limit, **wait), _PulledBatch, timeout_ms)).jobs

    async def ack(self, job: Job | int, result: object = None, *, lease: int | None = None) -> None:
        """The job is done. A pulled `job` brings its lease. Raises JobNotFound, LeaseLost."""
        await self._session.change(requests.ack(*identified(job, lease, result)), Done)

    async def ack_batch(
        self,
        jobs: Sequence[Job | int],
        *,
        results: Sequence[object] | None = None,
        leases: Sequence[int | None] | None = None,
    ) -> BatchAck:
        """Many jobs are done; what was not found is told, not raised."""
        ids = [job.id if isinstance(job, Job) else job for job in jobs]
        if leases is None:
            own = [job.lease if isinstance(job, Job) else None for job in jobs]
            leases = own if any(lease is not None for lease in own) else None
        return await self._session.change(requests.ack_batch(ids, results, leases), BatchAck)

    async def fail(self, job: Job | int, error: str | None = None, *, lease: int | None = None) -> None:
        """The attempt failed: the job is retried, or kept as a dead letter. Raises JobNotFound, LeaseLost."""
        job_id, _, lease = identified(job, lease, None)
        await self._session.change(requests.fail(job_id, error, lease), Done)

    # --- questions ---

    async def get_job(self, job_id: int) -> Job:
        """The job as it is, or was kept. Raises JobNotFound."""
        job = await self.find_job(job_id)
        if job is None:
            raise JobNotFound(f"Job {job_id} not found")
        return job

    async def find_job(self, job_id: int) -> Job | None:
        """The job as it is, or was kept; None if nothing is known of it."""
        try:
            found = await self._session.ask({"cmd": "GETJOB", "id": job_id}, _Found)
        except JobNotFound:
            return None
        if found.job is None:
            return None
        beside = {name: value for name in ("result", "error") if (value := getattr(found, name)) is not None}
        return msgspec.structs.replace(found.job, state=found.state, **beside)

    async def get_state(self, job_id: int) -> str:
        """waiting, delayed, active, completed, failed …; "unknown" if there is no such job."""
        return (await self._session.ask({"cmd": "GETSTATE", "id": job_id}, _State)).state

    async def get_result(self, job_id: int) -> Any:
        """What the job was acknowledged with; None if nothing, or not yet."""
        return (await self._session.ask({"cmd": "GETRESULT", "id": job_id}, _Result)).result

    async def count(self, queue: str) -> int:
        """Jobs that wait in the queue, the delayed ones among them."""
        return (await self._session.ask({"cmd": "COUNT", "queue": queue}, Counted)).count

    async def stats(self) -> Stats:
        """Jobs of the whole server, by state."""
        return await self._session.ask({"cmd": "STATS"}, Stats)

    async def list_queues(self) -> list[QueueInfo]:
        """Every queue the server knows, in no order."""
        return (await self._session.ask({"cmd": "LISTQUEUES"}, _Queues)).queues

    # --- the rest ---

    async def pause(self, queue: str) -> None:
        """Deliver nothing from the queue until `resume`; pushes and running jobs go on."""
        await self._session.ask({"cmd": "PAUSE", "queue": queue}, Done)

    async def resume(self, queue: str) -> None:
        """Deliver again."""
        await self._session.ask({"cmd": "RESUME", "queue": queue}, Done)

    async def ping(self) -> None:
        """Returns when the server has answered."""
        await self._session.ask({"cmd": "PING"}, Done)

    async def auth(self, token: str) -> None:
        """Show a token, now and on later connections. Raises Unauthenticated."""
        await self._session.ask({"cmd": "AUTH", "token": token}, Done)
        self._session.token = token


class _Pushed(msgspec.Struct):
    id: int


class _Pulled(msgspec.Struct):
    job: Job | None = None


class _PulledBatch(msgspec.Struct):
    jobs: list[Job]


class _Found(msgspec.Struct):
    job: Job | None = None
    state: str = "unknown"
    result: Any = None
    error: str | None = None


class _State(msgspec.Struct):
    state: str


class _Result(msgspec.Struct):
    result: Any = None


class _Queues(msgspec.Struct):
    queues: list[QueueInfo]
