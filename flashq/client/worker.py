"""A worker: pulls jobs of one queue, runs them, and says how they ended.

Rules kept here
- Never more than `concurrency` jobs at once, and none is pulled that could not start at once.
- Jobs are pulled with `release_on_disconnect`: a worker that dies, or loses its server, gives them back at once.
- Their leases are short (`lease_ms`) and renewed three times in each, so that a worker that hangs or is cut off loses
  its jobs soon, and a long job keeps its own. A handler that blocks the event loop hangs; plain functions do not.
- Every ack and fail carries the job's lease; one that is lost by then was given to another worker, which is logged.
- `stop` pulls nothing more and waits for what runs; what is not done in time returns to its queue.

The pull that still waits when everything is done is ended by closing our half of the connection: the server answers
it at once, so stopping takes no longer than the jobs do.
"""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from flashq.client.client import Client
from flashq.client.errors import UnknownOutcome
from flashq.client.objects import Job
from flashq.client.wire import CodecName
from flashq.errors import FlashqError, InvalidArgument, JobNotFound, LeaseLost, LimitExceeded, Unavailable

Handler = Callable[[Job], Awaitable[object]] | Callable[[Job], object]
"""Runs a job; what it returns is the job's result. A plain function runs in a thread."""

LEASE_MS: Final = 30_000
LEASE_MS_MIN: Final = 100
_RETRY_S: Final = 1.0
_ERROR_TEXT_MAX: Final = 1_000
_log = logging.getLogger("flashq.worker")


class Worker:
    """Runs the jobs of a queue. A `Service`, and a context manager; `run` works until it is stopped."""

    def __init__(
        self,
        queue: str,
        handler: Handler,
        *,
        address: str | None = None,
        token: str | None = None,
        codec: CodecName = "msgpack",
        concurrency: int = 1,
        lease_ms: int = LEASE_MS,
        stop_timeout_ms: int = 30_000,
    ) -> None:
        """`lease_ms`: after how long a silence of this worker others may have its jobs; not how long they may take."""
        if concurrency < 1:
            raise ValueError(f"concurrency = {concurrency}: allowed is 1 or more")
        if lease_ms < LEASE_MS_MIN:
            raise ValueError(f"lease_ms = {lease_ms}: allowed is {LEASE_MS_MIN} or more")
        self.queue = queue
        self._handler = handler
        self._client = Client(address, token=token, codec=codec)
        self._concurrency = concurrency
        self._lease_ms = lease_ms
        self._stop_timeout_s = stop_timeout_ms / 1000
        self._running: dict[asyncio.Task[None], Job] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._leaving = False
        self._pulling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Worker":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Returns when connected and pulling. Raises Unavailable, Unauthenticated."""
        if self._pulling is None:
            await self._client.connect()
            self._pulling = asyncio.create_task(self._pull())
            self._renewing = asyncio.create_task(self._renew())

    async def run(self) -> None:
        """Start, and work until `stop` is called or the server refuses the worker (RequestError)."""
        await self.start()
        assert self._pulling is not None
        await asyncio.shield(self._pulling)

    async def stop(self) -> None:
        """Returns when what runs has ended, or `stop_timeout_ms` have passed."""
        if self._pulling is None or self._stopping.is_set():
            return
        self._stopping.set()
        await self._settle()
        self._leaving = True
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        await self._client.finish()
        await asyncio.wait([self._pulling])
        if (error := self._pulling.exception()) is not None:
            _log.error("queue %s could not be pulled from any more: %s", self.queue, error)

    async def _settle(self) -> None:
        """Wait for what runs, jobs included that a pull brings meanwhile; then cut it off."""
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                while self._running:
                    await asyncio.wait(self._running)
        except TimeoutError:
            _log.warning("%d jobs did not end in time and return to queue %s", len(self._running), self.queue)
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)

    async def _pull(self) -> None:
        while not self._stopping.is_set():
            free = self._concurrency - len(self._running)
            if free == 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                jobs = await self._client.pull_batch(
                    self.queue, free, lease_ms=self._lease_ms, release_on_disconnect=True
                )
            except Unavailable as error:
                await self._lost(error)
                continue
            # Once we leave, what still comes returns to its queue with the connection.
            for job in [] if self._leaving else jobs:
                self._begin(job)

    async def _lost(self, error: Unavailable) -> None:
        if self._stopping.is_set():
            return
        _log.warning("queue %s cannot be pulled from, trying again: %s", self.queue, error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), _RETRY_S)

    async def _renew(self) -> None:
        """Say of each job that runs that it is worked on, while there is time left."""
        lost: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            lost &= self._running.keys()
            for task, job in list(self._running.items()):
                if task in lost or task.done():
                    continue
                try:
                    await self._client.heartbeat(job)
                except (JobNotFound, LeaseLost) as error:
                    if not task.done():
                        lost.add(task)
                        _log.warning("job %d is not this worker's any more: %s", job.id, error)
                except FlashqError as error:
                    _log.warning("the lease of job %d could not be renewed: %s", job.id, error)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._carry_out(job), name=f"job-{job.id}")
        self._running[task] = job
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._changed.set()

    async def _carry_out(self, job: Job) -> None:
        try:
            result = await self._call(job)
        except Exception as error:
            _log.info("job %d failed", job.id, exc_info=error)
            await self._tell_failed(job, error)
            return
        try:
            await self._tell(job, self._client.ack(job, result))
        except (InvalidArgument, LimitExceeded) as error:
            await self._tell_failed(job, error)

    async def _tell_failed(self, job: Job, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"[:_ERROR_TEXT_MAX]
        await self._tell(job, self._client.fail(job, text))

    async def _call(self, job: Job) -> Any:
        if inspect.iscoroutinefunction(self._handler):
            return await self._handler(job)
        result = await asyncio.to_thread(self._handler, job)
        return await result if inspect.isawaitable(result) else result

    async def _tell(self, job: Job, telling: Awaitable[None]) -> None:
        """Raises only what says that the result itself cannot be taken."""
        try:
            await telling
        except (InvalidArgument, LimitExceeded):
            raise
        except UnknownOutcome as error:
            _log.warning("whether the end of job %d was heard is not known: %s", job.id, error)
        except FlashqError as error:
            _log.warning("the end of job %d was not taken: %s", job.id, error)
