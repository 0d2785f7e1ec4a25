"""QueueService: the calls of flashq.proto that are one request and one answer."""

from typing import Any, Final

import msgspec

from flashq.api.grpc import flashq_pb2 as pb
from flashq.api.grpc.desk import Asker, Desk
from flashq.api.grpc.failures import ERRORS_KEY, GrpcFailure, invalid, refused
from flashq.api.grpc.messages import (
    JobOut,
    decode_reply,
    encode,
    job_message,
    push_batch_command,
    push_command,
    sound,
    state_message,
)
from flashq.protocol.slots import slot_of_queue

PULL_BATCH_MAX: Final = 1_000
_OK: Final = b'{"ok":true'
_PUSH_REFUSED: Final = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "ALREADY_EXISTS"})
"""Clients of old know one status for a push that was judged and refused: INTERNAL. Its code is in the metadata."""


class QueueService:
    """The unary calls, each a function from a request to its answer. They raise GrpcFailure."""

    def __init__(self, desk: Desk, max_batch: int) -> None:
        self._desk = desk
        self._pull_max = min(PULL_BATCH_MAX, max_batch)

    async def push(self, request: Any, asker: Asker) -> Any:
        """Push."""
        frame = push_command(request, asker.key(), asker.trace())
        reply = await self._desk.ask(asker, frame, slot_of_queue(request.queue))
        if not reply.startswith(_OK):
            failure = refused(reply)
            raise failure if failure.status.name not in _PUSH_REFUSED else refused(reply, "INTERNAL")
        return pb.PushResponse(ok=True, id=decode_reply(reply).id)

    async def push_batch(self, request: Any, asker: Asker) -> Any:
        """PushBatch: what is refused of it is missing in `ids`, and told in the trailing metadata."""
        frame = push_batch_command(request, request.ByteSize(), asker.key(), asker.trace())
        reply = await self._desk.ask_ok(asker, frame, slot_of_queue(request.queue))
        seen = decode_reply(reply)
        if seen.errors:
            text = msgspec.json.encode(seen.errors).decode("ascii", "backslashreplace")
            asker.context.set_trailing_metadata(((ERRORS_KEY, text[:ERRORS_CHARS_MAX]),))
        return pb.PushBatchResponse(ok=True, ids=[job_id for job_id in seen.ids if job_id])

    async def pull(self, request: Any, asker: Asker) -> tuple[list[JobOut], Any]:
        """Pull: the job, and its message."""
        jobs = await self._desk.pull(asker, request.queue, 1)
        return jobs, job_message(jobs[0])

    async def pull_batch(self, request: Any, asker: Asker) -> tuple[list[JobOut], Any]:
        """PullBatch: the jobs, and their message."""
        if request.count == 0:
            raise invalid("Invalid: `count` is 0, allowed is a whole number from 1")
        jobs = await self._desk.pull(asker, request.queue, min(request.count, self._pull_max))
        return jobs, pb.PullBatchResponse(jobs=[job_message(job) for job in jobs])

    async def ack(self, request: Any, asker: Asker) -> Any:
        """Ack."""
        result = b""
        if request.HasField("result"):
            result = b',"result":%b' % sound(request.result, "Invalid result JSON")
        await self._desk.ask_ok(asker, b'{"cmd":"ACK","id":%d%b}' % (_checked(request.id), result), request.id & 1023)
        return pb.AckResponse(ok=True)

    async def ack_batch(self, request: Any, asker: Asker) -> Any:
        """AckBatch."""
        ids = [_checked(job_id) for job_id in request.ids]
        reply = await self._desk.ask_ok(asker, encode({"cmd": "ACKB", "ids": ids}))
        return pb.AckBatchResponse(ok=True, acked=decode_reply(reply).count)

    async def fail(self, request: Any, asker: Asker) -> Any:
        """Fail."""
        command: dict[str, Any] = {"cmd": "FAIL", "id": _checked(request.id)}
        if request.HasField("error"):
            command["error"] = request.error
        await self._desk.ask_ok(asker, encode(command), request.id & 1023)
        return pb.FailResponse(ok=True)

    async def get_state(self, request: Any, asker: Asker) -> Any:
        """GetState."""
        frame = b'{"cmd":"GETSTATE","id":%d}' % _checked(request.id)
        seen = decode_reply(await self._desk.ask_ok(asker, frame, request.id & 1023))
        return pb.GetStateResponse(id=request.id, state=state_message(seen.state))

    async def stats(self, request: Any, asker: Asker) -> Any:
        """Stats."""
        seen = _stats(await self._desk.ask_ok(asker, b'{"cmd":"STATS"}'))
        return pb.StatsResponse(**msgspec.structs.asdict(seen))


ERRORS_CHARS_MAX: Final = 4_000
"""Of the errors in the metadata, which has 8 KiB in all; the whole list is in the reply to the command PUSHB."""
_ID_MAX: Final = (1 << 63) - 1


def _checked(job_id: int) -> int:
    if job_id > _ID_MAX:
        raise GrpcFailure(f"Invalid: `id` is {job_id}, allowed is 0 to {_ID_MAX}", "invalid")
    return job_id


class _Stats(msgspec.Struct):
    queued: int = 0
    processing: int = 0
    delayed: int = 0
    dlq: int = 0
    completed: int = 0


_stats: Final = msgspec.json.Decoder(_Stats).decode
