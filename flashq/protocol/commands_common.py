"""PUSHB of jobs that have only the options that nearly all jobs with options have: known by having decoded at all.

As with plain jobs (commands.py) no time is spent on what was not sent: an entry has seven fields instead of
twenty-five, the decoder checks their bounds, and what it refuses goes to the full decoder, whose errors are the ones
that are reported. The other options of such a job are attributes of its class.
"""

from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta, MsgspecError, Raw, Struct, json, msgpack

from flashq.protocol.command_base import ABSENT, I32, NULL, U32
from flashq.protocol.commands import FULL
from flashq.protocol.dispatch import Codec

DELAY_MS_MAX: Final = 10 * 366 * 86_400_000
NAME_CHARS_MAX: Final = 128
"""Characters that are never more than `NAME_BYTES_MAX` bytes."""
NAME_BYTES_MAX: Final = 512
TAGS_MAX: Final = 64
ShortName = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Tag = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]


class CommonEntry(Struct, kw_only=True, gc=False, forbid_unknown_fields=True):
    """Reads like `JobEntry`; nothing can be set but `data`."""

    data: Raw = NULL
    priority: I32 = 0
    delay: Annotated[int, Meta(ge=0, le=DELAY_MS_MAX)] | None = None
    max_attempts: U32 | None = None
    unique_key: ShortName | None = None
    job_id: ShortName | None = None
    tags: Annotated[list[Tag], Meta(max_length=TAGS_MAX)] | None = None

    ttl: ClassVar[int | None] = None
    timeout: ClassVar[int | None] = None
    backoff: ClassVar[int | None] = None
    depends_on: ClassVar[list[int] | None] = None
    lifo: ClassVar[bool | None] = False
    remove_on_complete: ClassVar[bool | None] = False
    remove_on_fail: ClassVar[bool | None] = False
    stall_timeout: ClassVar[int | None] = None
    debounce_id: ClassVar[str | None] = None
    debounce_ttl: ClassVar[int | None] = None
    jobId: ClassVar[str | None] = None
    keep_completed_age: ClassVar[int | None] = None
    keepCompletedAge: ClassVar[int | None] = None
    keep_completed_count: ClassVar[int | None] = None
    keepCompletedCount: ClassVar[int | None] = None
    group_id: ClassVar[str | None] = None
    limit_key: ClassVar[str | None] = None
    on_dependency_failure: ClassVar[str | None] = None
    trace: ClassVar[str | None] = None


class CommonPushBatch(Struct, tag_field="cmd", tag="PUSHB", kw_only=True, forbid_unknown_fields=True):
    """As `PushBatch`."""

    queue: str
    jobs: list[CommonEntry]
    reqId: Raw = ABSENT
    idempotency_key: str | None = None


_text: Final = json.Decoder(CommonPushBatch).decode
_binary: Final = msgpack.Decoder(CommonPushBatch).decode


def may_be_common(frame: bytes) -> bool:
    """Whether it is worth a try; looks at the beginning only."""
    return b"PUSHB" in frame[:64]


def decoded_push_batch(frame: bytes, codec: int) -> Any:
    """A `CommonPushBatch`, or whatever command it is. Raises what the full decoder raises."""
    try:
        return _text(frame) if codec == Codec.TEXT else _binary(frame)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return FULL[Codec(codec)](frame)
