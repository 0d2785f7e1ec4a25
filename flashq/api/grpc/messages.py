"""Messages of flashq.proto as commands and replies in JSON, payloads untouched.

Payloads are bytes that ought to be JSON. They are checked here, each on its own, as they are put between what is
written here: one that is more than one value must not become part of the command.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError, Message
from msgspec import Raw

from flashq.api.grpc import flashq_pb2 as pb
from flashq.api.grpc.failures import GrpcFailure, invalid
from flashq.protocol.codec import explained

BAD: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_check: Final = msgspec.json.Decoder(Raw).decode
encode: Final = msgspec.json.Encoder().encode
_OPTIONS: Final = {
    "priority": "priority", "delay_ms": "delay", "ttl_ms": "ttl", "timeout_ms": "timeout",
    "max_attempts": "max_attempts", "backoff_ms": "backoff", "unique_key": "unique_key", "depends_on": "depends_on",
    "lifo": "lifo",
}  # fmt: skip
"""Fields of a push -> fields of the command."""
_PLAIN_PUSH_FIELDS: Final = 2


class JobOut(msgspec.Struct, gc=False):
    """What is read of a job."""

    id: int
    queue: str
    data: Raw
    priority: int = 0
    created_at: int = 0
    run_at: int = 0
    started_at: int = 0
    attempts: int = 0
    max_attempts: int = 0
    backoff: int = 0
    ttl: int = 0
    timeout: int = 0
    unique_key: str | None = None
    depends_on: list[int] = []
    progress: int = 0
    progress_msg: str | None = None
    lifo: bool = False
    lease: int = 0
    trace: str | None = None


class Reply(msgspec.Struct, gc=False):
    """What is read of a reply."""

    ok: bool
    id: int = 0
    ids: list[int] = []
    count: int = 0
    job: JobOut | None = None
    jobs: list[JobOut] = []
    state: str = ""
    errors: Raw = Raw()


decode_reply: Final = msgspec.json.Decoder(Reply).decode


def parsed(kind: type[Message], raw: bytes) -> Any:
    """A message of this kind. Raises GrpcFailure for bytes that are none."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise invalid(f"Invalid: the request is no {kind.DESCRIPTOR.full_name}") from None


def sound(data: bytes, what: str) -> bytes:
    """A payload as one line of JSON. Raises GrpcFailure with `what` before the reason."""
    try:
        if not data.isascii():
            data.decode()
        _check(data)
        return msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data
    except BAD as error:
        raise invalid(f"{what}: {explained(error)}") from None


def push_command(request: Any, key: str | None, trace: str | None = None) -> bytes:
    """PUSH, of a PushRequest. Raises GrpcFailure."""
    data = sound(request.data, "Invalid JSON data")
    options = b""
    if key is not None or trace is not None or len(request.ListFields()) > _PLAIN_PUSH_FIELDS:
        given = _options_of(request)
        if key is not None:
            given["idempotency_key"] = key
        if trace is not None:
            given["trace"] = trace
        options = b"," + encode(given)[1:-1] if given else b""
    return b'{"cmd":"PUSH","queue":%b,"data":%b%b}' % (encode(request.queue), data, options)


def push_batch_command(request: Any, raw_bytes: int, key: str | None, trace: str | None = None) -> bytes:
    """PUSHB, of a PushBatchRequest that came in so many bytes. Raises GrpcFailure.

    Most batches are of jobs without options. That all of one are is seen at its size, with no look at each.
    """
    payloads = [job.data for job in request.jobs]
    before = b'{"cmd":"PUSHB","queue":%b,' % encode(request.queue)
    if key is not None:
        before += b'"idempotency_key":%b,' % encode(key)
    if trace is not None:
        before += b'"trace":%b,' % encode(trace)
    payloads = _all_sound(payloads)
    if raw_bytes == _plain_bytes(request):
        jobs = b'{"data":' + b'},{"data":'.join(payloads) + b"}" if payloads else b""
    else:
        jobs = encode([{"data": Raw(p), **_options_of(job)} for p, job in zip(payloads, request.jobs, strict=True)])
        jobs = jobs[1:-1]
    return before + b'"jobs":[%b]}' % jobs


def _options_of(request: Any) -> dict[str, Any]:
    found = {}
    for field, value in request.ListFields():
        name = _OPTIONS.get(field.name)
        if name is not None:
            found[name] = list(value) if name == "depends_on" else value
    return found


def _all_sound(payloads: list[bytes]) -> list[bytes]:
    whole = b"".join(payloads)
    if whole.isascii() and b"\n" not in whole and b"\r" not in whole:
        try:
            deque(map(_check, payloads), maxlen=0)
        except BAD:
            pass  # which of them it is, is said below
        else:
            return payloads
    return [sound(payload, f"Invalid JSON data in job {n}") for n, payload in enumerate(payloads)]


def _plain_bytes(request: Any) -> int:
    """The size of a request that has this queue and these payloads, and no options."""
    size = len(pb.PushBatchRequest(queue=request.queue).SerializeToString())
    lengths: dict[int, int] = {}
    for length in map(len, [job.data for job in request.jobs]):
        lengths[length] = lengths.get(length, 0) + 1
    for length, times in lengths.items():
        inner = 1 + _varint_bytes(length) + length if length else 0
        size += times * (1 + _varint_bytes(inner) + inner)
    return size


def _varint_bytes(value: int) -> int:
    return max(1, -(-value.bit_length() // 7))


def job_message(job: JobOut) -> Any:
    """A job as its message."""
    return pb.Job(
        id=job.id, queue=job.queue, data=bytes(job.data), priority=job.priority, created_at=job.created_at,
        run_at=job.run_at, started_at=job.started_at, attempts=job.attempts, max_attempts=job.max_attempts,
        backoff=job.backoff, ttl=job.ttl, timeout=job.timeout, unique_key=job.unique_key, depends_on=job.depends_on,
        progress=job.progress, progress_msg=job.progress_msg, lifo=job.lifo, trace=job.trace,
    )  # fmt: skip


_STATES: Final = {
    "waiting": pb.JOB_STATE_WAITING, "delayed": pb.JOB_STATE_DELAYED, "active": pb.JOB_STATE_ACTIVE,
    "completed": pb.JOB_STATE_COMPLETED, "failed": pb.JOB_STATE_FAILED,
    "waitingchildren": pb.JOB_STATE_WAITING_CHILDREN, "waitingparent": pb.JOB_STATE_WAITING_CHILDREN,
}  # fmt: skip


def state_message(state: str) -> pb.JobState:
    """A state's number; 0 for one that is unknown."""
    return _STATES.get(state.replace("-", "").replace("_", "").lower(), pb.JOB_STATE_UNKNOWN)


def jobs_of(reply: bytes) -> Sequence[JobOut]:
    """The jobs in the reply to PULL or PULLB."""
    seen = decode_reply(reply)
    return [seen.job] if seen.job is not None else seen.jobs


def ids_of(jobs: Iterable[JobOut]) -> list[int]:
    return [job.id for job in jobs]


__all__ = [
    "BAD", "GrpcFailure", "JobOut", "Reply", "decode_reply", "encode", "ids_of", "job_message", "jobs_of", "parsed",
    "push_batch_command", "push_command", "sound", "state_message",
]  # fmt: skip
