"""The commands, as they travel: one struct a command, its fields, their types and bounds.

Wire spellings turn into ours here and nowhere else; aliases of existing clients are fields of their own,
folded into their twin by `folded`. Decoding is by two decoders. The fast one knows only the frequent
commands in their plain form and refuses unknown keys; what it refuses goes to the full one, whose
errors are the ones that are reported. So a plain job is known by having decoded at all: no comparison
of options, and no time spent on defaults (a batch of 1000: 0.15 instead of 0.27 us a job).

Integers are strict (no floats, strings, booleans). `null` stands for "absent" where a default exists.
"""

from typing import Annotated, Any, Final, get_args

from msgspec import Meta, Raw, Struct, json, msgpack

from flashq.protocol.dispatch import Codec

I32 = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
U8 = Annotated[int, Meta(ge=0, le=255)]
U32 = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
U64 = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""What both codecs can write again. Bounded again where it is used: durations by ten years, ids by 2^53."""

NULL: Final = Raw(b"null")
ABSENT: Final = Raw(b"")
"""A field that was not sent."""


class Command(Struct, tag_field="cmd", kw_only=True, gc=False):
    """What every command may carry. `reqId` is echoed as it came, whatever its type."""

    reqId: Raw = ABSENT
    idempotency_key: str | None = None


class JobOptions(Struct, kw_only=True, gc=False):
    """The options of a job, for PUSH and each entry of PUSHB (docs/protocol.md, PUSH)."""

    priority: I32 | None = 0
    delay: U64 | None = None
    ttl: U64 | None = None
    timeout: U64 | None = None
    max_attempts: U32 | None = None
    backoff: U64 | None = None
    unique_key: str | None = None
    depends_on: list[U64] | None = None
    tags: list[str] | None = None
    lifo: bool | None = False
    remove_on_complete: bool | None = False
    remove_on_fail: bool | None = False
    stall_timeout: U64 | None = None
    debounce_id: str | None = None
    debounce_ttl: U64 | None = None
    job_id: str | None = None
    jobId: str | None = None
    keep_completed_age: U64 | None = None
    keepCompletedAge: U64 | None = None
    keep_completed_count: U64 | None = None
    keepCompletedCount: U64 | None = None
    group_id: str | None = None
    limit_key: str | None = None
    on_dependency_failure: str | None = None


class JobEntry(JobOptions, kw_only=True, gc=False):
    """One job of a batch."""

    data: Raw = NULL


class Push(JobOptions, tag_field="cmd", tag="PUSH", kw_only=True, gc=False):
    """Has what a `Command` has, but is an options struct first (one layout cannot have two bases)."""

    queue: str
    data: Raw
    reqId: Raw = ABSENT
    idempotency_key: str | None = None


class PushBatch(Command, tag="PUSHB", kw_only=True):
    queue: str
    jobs: list[JobEntry]


class Pull(Command, tag="PULL", kw_only=True, gc=False):
    queue: str
    timeout: U64 | None = None
    lease_ms: U64 | None = None
    release_on_disconnect: bool | None = False


class PullBatch(Command, tag="PULLB", kw_only=True, gc=False):
    queue: str
    count: U64
    timeout: U64 | None = None
    lease_ms: U64 | None = None
    release_on_disconnect: bool | None = False


class Ack(Command, tag="ACK", kw_only=True, gc=False):
    id: U64
    result: Raw = ABSENT
    lease: U64 | None = None


class AckBatch(Command, tag="ACKB", kw_only=True):
    ids: list[U64]
    results: list[Raw] | None = None
    leases: list[U64 | None] | None = None


class Fail(Command, tag="FAIL", kw_only=True, gc=False):
    id: U64
    error: str | None = None
    lease: U64 | None = None


class Heartbeat(Command, tag="HEARTBEAT", kw_only=True, gc=False):
    id: U64 | None = None
    job_id: U64 | None = None
    lease: U64 | None = None


class GetJob(Command, tag="GETJOB", kw_only=True, gc=False):
    id: U64


class GetState(Command, tag="GETSTATE", kw_only=True, gc=False):
    id: U64


class GetResult(Command, tag="GETRESULT", kw_only=True, gc=False):
    id: U64


class Count(Command, tag="COUNT", kw_only=True, gc=False):
    queue: str


class Pause(Command, tag="PAUSE", kw_only=True, gc=False):
    queue: str


class Resume(Command, tag="RESUME", kw_only=True, gc=False):
    queue: str


class Stats(Command, tag="STATS", kw_only=True, gc=False):
    pass


class ListQueues(Command, tag="LISTQUEUES", kw_only=True, gc=False):
    pass


class Ping(Command, tag="PING", kw_only=True, gc=False):
    pass


class Auth(Command, tag="AUTH", kw_only=True, gc=False):
    token: str


type_of_all = (
    Push | PushBatch | Pull | PullBatch | Ack | AckBatch | Fail | Heartbeat | GetJob | GetState | GetResult
    | Count | Pause | Resume | Stats | ListQueues | Ping | Auth
)  # fmt: skip
ALL: Final[tuple[type[Any], ...]] = get_args(type_of_all)


class _Fast(Struct, tag_field="cmd", kw_only=True, gc=False, forbid_unknown_fields=True):
    reqId: Raw = ABSENT


class PlainPush(_Fast, tag="PUSH", kw_only=True, gc=False, forbid_unknown_fields=True):
    queue: str
    data: Raw


class PlainEntry(Struct, gc=False, forbid_unknown_fields=True):
    data: Raw = NULL


class PlainPushBatch(_Fast, tag="PUSHB", kw_only=True, forbid_unknown_fields=True):
    queue: str
    jobs: list[PlainEntry]


class PlainPull(_Fast, tag="PULL", kw_only=True, gc=False, forbid_unknown_fields=True):
    queue: str
    timeout: U64 | None = None


class PlainPullBatch(_Fast, tag="PULLB", kw_only=True, gc=False, forbid_unknown_fields=True):
    queue: str
    count: U64
    timeout: U64 | None = None


class PlainAck(_Fast, tag="ACK", kw_only=True, gc=False, forbid_unknown_fields=True):
    id: U64
    result: Raw = ABSENT
    lease: U64 | None = None


class PlainAckBatch(_Fast, tag="ACKB", kw_only=True, forbid_unknown_fields=True):
    ids: list[U64]


type_of_fast = PlainPush | PlainPushBatch | PlainPull | PlainPullBatch | PlainAck | PlainAckBatch
FAST: Final[tuple[type[Any], ...]] = get_args(type_of_fast)

fast_text: Final = json.Decoder(type_of_fast).decode
full_text: Final = json.Decoder(type_of_all).decode
fast_binary: Final = msgpack.Decoder(type_of_fast).decode
full_binary: Final = msgpack.Decoder(type_of_all).decode
FULL: Final = {Codec.TEXT: full_text, Codec.BINARY: full_binary}

JOB_OPTION_ALIASES: Final = (
    ("jobId", "job_id"),
    ("keepCompletedAge", "keep_completed_age"),
    ("keepCompletedCount", "keep_completed_count"),
)


def folded(options: JobOptions) -> None:
    """Fold aliases into their twins and nulls into defaults, in place."""
    for alias, name in JOB_OPTION_ALIASES:
        value = getattr(options, alias)
        if value is not None:
            if getattr(options, name) is None:
                setattr(options, name, value)
            setattr(options, alias, None)
    if options.priority is None:
        options.priority = 0
    options.lifo = options.lifo or False
    options.remove_on_complete = options.remove_on_complete or False
    options.remove_on_fail = options.remove_on_fail or False
