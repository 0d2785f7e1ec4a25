"""Commands about whole queues: dead letters, removal, limits, listings, subscriptions."""

from flashq.protocol.command_base import U32, U64, Command


class DeadLetters(Command, tag="DLQ", kw_only=True, gc=False):
    queue: str
    count: U64 | None = None


class RetryDeadLetters(Command, tag="RETRYDLQ", kw_only=True, gc=False):
    """`id` absent: all of the queue."""

    queue: str
    id: U64 | None = None


class PurgeDeadLetters(Command, tag="PURGEDLQ", kw_only=True, gc=False):
    queue: str


class Drain(Command, tag="DRAIN", kw_only=True, gc=False):
    queue: str


class Obliterate(Command, tag="OBLITERATE", kw_only=True, gc=False):
    queue: str


class Clean(Command, tag="CLEAN", kw_only=True, gc=False):
    queue: str
    grace: U64
    state: str | None = "completed"
    limit: U64 | None = None


class RateLimit(Command, tag="RATELIMIT", kw_only=True, gc=False):
    """`limit`: jobs a second. `per_key`: for each `limit_key` of the queue instead of the queue."""

    queue: str
    limit: U32
    per_key: bool | None = False


class RateLimitClear(Command, tag="RATELIMITCLEAR", kw_only=True, gc=False):
    queue: str
    per_key: bool | None = False


class SetConcurrency(Command, tag="SETCONCURRENCY", kw_only=True, gc=False):
    queue: str
    limit: U32
    per_key: bool | None = False


class ClearConcurrency(Command, tag="CLEARCONCURRENCY", kw_only=True, gc=False):
    queue: str
    per_key: bool | None = False


class IsPaused(Command, tag="ISPAUSED", kw_only=True, gc=False):
    queue: str


class GetJobCounts(Command, tag="GETJOBCOUNTS", kw_only=True, gc=False):
    queue: str


class Metrics(Command, tag="METRICS", kw_only=True, gc=False):
    pass


class Subscribe(Command, tag="SUBSCRIBE", kw_only=True):
    """`events` absent or empty: all of the queue."""

    queue: str
    events: list[str] | None = None


class Unsubscribe(Command, tag="UNSUBSCRIBE", kw_only=True, gc=False):
    queue: str


__all__ = [
    "Clean", "ClearConcurrency", "DeadLetters", "Drain", "GetJobCounts", "IsPaused", "Metrics", "Obliterate",
    "PurgeDeadLetters", "RateLimit", "RateLimitClear", "RetryDeadLetters", "SetConcurrency", "Subscribe",
    "Unsubscribe",
]  # fmt: skip
