"""StreamJobs and ProcessJobs: jobs pushed to a client as fast as it reads, and no faster.

Rules kept here
- A batch is pulled when the one before is written, and a write waits while the client does not read (HTTP/2 has its
  window for that): so no more jobs wait here than one batch.
- Whatever ends the call, jobs that were not written go back at once.
- A stream ends with UNAVAILABLE when the server stops: clients call again.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from flashq.api.grpc import flashq_pb2 as pb
from flashq.api.grpc.desk import Asker, Desk
from flashq.api.grpc.failures import GrpcFailure, invalid
from flashq.api.grpc.messages import JobOut, encode, job_message, parsed, sound

BATCH_MAX: Final = 100
PREFETCH_MAX: Final = 1_000
PREFETCH: Final = 100
"""Unfinished jobs that ProcessJobs hands a client who does not say."""
DEFAULT_QUEUE: Final = "default"
_NOT_ITS_JOB: Final = frozenset({"not_found", "lease_lost"})


class Streams:
    """The calls that stream."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def stream_jobs(self, request: Any, asker: Asker) -> None:
        """StreamJobs: until the client leaves, its deadline comes or the server stops."""
        size = min(max(request.batch_size, 1), BATCH_MAX)
        if request.prefetch:
            size = min(size, request.prefetch)
        while True:
            await self._write(asker, await self._desk.pull(asker, request.queue, size))

    async def _write(self, asker: Asker, jobs: list[JobOut]) -> None:
        written = 0
        try:
            for job in jobs:
                await asker.context.write(job_message(job).SerializeToString())
                written += 1
        finally:
            self._desk.give_back(jobs[written:])

    async def process_jobs(self, results: AsyncIterator[bytes], asker: Asker) -> None:
        """ProcessJobs: until the client says that no more results come, leaves, or the server stops."""
        process = _Process(self._desk, self._write, asker)
        tasks = [asyncio.create_task(process.take(results)), asyncio.create_task(process.give())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Process:
    """One call of ProcessJobs."""

    def __init__(self, desk: Desk, write: Any, asker: Asker) -> None:
        self._desk = desk
        self._write = write
        self._asker = asker
        self._queue = asker.metadata("flashq-queue") or DEFAULT_QUEUE
        self._room = _prefetch_of(asker)
        self._leases: dict[int, int] = {}
        """Jobs that the client has, and the token of each."""
        self._finished = asyncio.Event()

    async def give(self) -> None:
        """Pull and write, as long as there is room."""
        while True:
            while not (room := self._room - len(self._leases)):
                self._finished.clear()
                await self._finished.wait()
            jobs = await self._desk.pull(self._asker, self._queue, min(room, BATCH_MAX))
            self._leases.update((job.id, job.lease) for job in jobs)
            await self._write(self._asker, jobs)

    async def take(self, results: AsyncIterator[bytes]) -> None:
        """Acknowledge or fail. What is not the client's any more is left alone: another has it, or nobody need."""
        async for raw in results:
            result = parsed(pb.JobResult, raw)
            try:
                await self._desk.ask_ok(self._asker, self._command(result), result.id & 1023)
            except GrpcFailure as failure:
                if failure.code not in _NOT_ITS_JOB:
                    raise
            self._leases.pop(result.id, None)
            self._finished.set()

    def _command(self, result: Any) -> bytes:
        if result.id >= 1 << 63:
            raise invalid(f"Invalid: `id` is {result.id}, allowed is 0 to {(1 << 63) - 1}")
        lease = self._leases.get(result.id)
        held = b"" if lease is None else b',"lease":%d' % lease
        if not result.success:
            error = b',"error":%b' % encode(result.error) if result.HasField("error") else b""
            return b'{"cmd":"FAIL","id":%d%b%b}' % (result.id, held, error)
        value = _value_of(result)
        return b'{"cmd":"ACK","id":%d%b%b}' % (result.id, held, value)


def _value_of(result: Any) -> bytes:
    """A result as a field; what is no JSON counts as none, as clients of old know it."""
    if not result.HasField("result"):
        return b""
    try:
        return b',"result":%b' % sound(result.result, "Invalid result JSON")
    except GrpcFailure:
        return b""


def _prefetch_of(asker: Asker) -> int:
    text = asker.metadata("flashq-prefetch")
    if not text:
        return PREFETCH
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= PREFETCH_MAX:
        return int(text)
    raise invalid(f"Invalid: `flashq-prefetch` is {text[:64]!r}, allowed is a whole number from 1 to {PREFETCH_MAX}")
