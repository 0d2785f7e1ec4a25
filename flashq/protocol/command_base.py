"""What commands are made of: bounded integers, what every command may carry, a job's options."""

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

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
    trace: str | None = None


class JobEntry(JobOptions, kw_only=True, gc=False):
    """One job of a batch."""

    data: Raw = NULL


JOB_OPTION_ALIASES: Final = (
    ("jobId", "job_id"),
    ("keepCompletedAge", "keep_completed_age"),
    ("keepCompletedCount", "keep_completed_count"),
)


def folded(options: JobOptions) -> None:
    """Fold aliases into their twins and nulls into defaults, in place."""
    if options.jobId is not None or options.keepCompletedAge is not None or options.keepCompletedCount is not None:
        for alias, name in JOB_OPTION_ALIASES:
            value = getattr(options, alias)
            if value is not None:
                if getattr(options, name) is None:
                    setattr(options, name, value)
                setattr(options, alias, None)
    if options.priority is None:
        options.priority = 0
    if options.lifo is None:
        options.lifo = False
    if options.remove_on_complete is None:
        options.remove_on_complete = False
    if options.remove_on_fail is None:
        options.remove_on_fail = False


__all__ = [
    "ABSENT", "I32", "JOB_OPTION_ALIASES", "NULL", "U8", "U32", "U64", "Command", "JobEntry", "JobOptions", "folded",
]  # fmt: skip
