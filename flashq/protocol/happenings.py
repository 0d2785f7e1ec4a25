"""Events that clients can listen to: their names, and how one is written."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from flashq.errors import InvalidArgument
from flashq.protocol.codec import raw
from flashq.protocol.dispatch import Codec

KINDS: Final = (
    "pushed", "delayed", "active", "progress", "partial", "completed", "retrying", "failed", "timeout", "stalled",
    "cancelled", "discarded", "promoted", "drained", "paused", "resumed", "removed",
)  # fmt: skip
_encode_text: Final = msgspec.json.Encoder().encode
_encode_binary: Final = msgspec.msgpack.Encoder().encode


class Happening(Struct, array_like=True, frozen=True, gc=False):
    """One transition of a job, or of a queue (`job_id` 0)."""

    kind: str
    queue: str
    job_id: int
    at_ms: int
    data: bytes | None
    """A payload in `codec`: the job's, its result, a partial's chunk."""
    codec: int
    error: str | None
    progress: int | None
    index: int | None
    trace: str | None = None
    """The job's, as far as somebody is told of it by a webhook."""


def kinds_of(names: Sequence[str] | None) -> frozenset[str] | None:
    """What a subscription asks for, a `job.` before a name aside; None: everything. Raises InvalidArgument."""
    if not names or "*" in names:
        return None
    kinds = frozenset(name.removeprefix("job.") for name in names)
    unknown = kinds.difference(KINDS)
    if unknown:
        raise InvalidArgument(f"invalid value: `events` has '{min(unknown)[:64]}', allowed are {', '.join(KINDS)}")
    return kinds


def event_of(happening: Happening, codec: int) -> dict[str, Any]:
    """The keys of an event; `data`, `error`, `progress` only where there are any."""
    h = happening
    event: dict[str, Any] = {"event_type": h.kind, "queue": h.queue, "job_id": h.job_id, "timestamp": h.at_ms}
    if h.data is not None:
        data = raw(h.data, h.codec, codec)
        event["data"] = data if h.kind != "partial" else _chunk(data, h.index)
    if h.error is not None:
        event["error"] = h.error
    if h.progress is not None:
        event["progress"] = h.progress
    return event


def _chunk(data: Raw, index: int | None) -> dict[str, Any]:
    return {"chunk": data} if index is None else {"chunk": data, "index": index}


def pushed_to_client(happening: Happening, codec: int) -> bytes:
    """An event as it is sent on a connection that subscribed: `event` names it, then come its keys."""
    whole = {"event": happening.kind, **event_of(happening, codec)}
    return _encode_text(whole) + b"\n" if codec == Codec.TEXT else _encode_binary(whole)


def lagged(missed: int, codec: int) -> bytes:
    """What a slow listener is told it missed."""
    whole = {"event": "lagged", "missed": missed}
    return _encode_text(whole) + b"\n" if codec == Codec.TEXT else _encode_binary(whole)


def event_text(happening: Happening) -> bytes:
    """The event as JSON in one line, whatever white space its payload came with."""
    text = _encode_text(event_of(happening, Codec.TEXT))
    return msgspec.json.format(text, indent=-1) if b"\r" in text or b"\n" in text else text
