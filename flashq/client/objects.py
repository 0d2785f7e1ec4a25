"""What servers answer with: jobs, queues, figures. Keys a server adds later are passed over."""

from typing import Any, TypedDict

from msgspec import Struct


class PushOptions(TypedDict, total=False):
    """How a job is to be treated; what is not given, the server's configuration says. Durations in milliseconds."""

    priority: int
    """Higher goes first; -2^31 to 2^31-1, 0 if not given."""
    delay_ms: int
    """Not before now plus this."""
    ttl_ms: int
    """Dropped if it still waits this long after the push; 0 never."""
    timeout_ms: int
    """May run this long; 0 without limit."""
    max_attempts: int
    """Failures until it is a dead letter; 0 retries for ever."""
    backoff_ms: int
    """Base of the retry delay, which doubles with each attempt; 0 retries at once."""
    lifo: bool
    """Goes before the waiting jobs of its priority."""
    remove_on_complete: bool
    """Nothing of it is kept once it is acknowledged."""
    remove_on_fail: bool
    """Forgotten when its attempts are used up, instead of kept as a dead letter."""
    tags: list[str]
    """Kept with the job and returned, never interpreted."""
    idempotency_key: str
    """A push with the same key and body within the server's window gets the first one's answer, and adds nothing."""


class Job(Struct, frozen=True, kw_only=True):
    """A job as the server tells it. Times are Unix milliseconds, durations milliseconds; 0 is "none"."""

    id: int
    queue: str
    data: Any = None
    lease: int | None = None
    """The right to finish it; only in a pulled job."""
    state: str = "unknown"
    """waiting, delayed, active, completed, failed …; "active" in a pulled job."""
    priority: int = 0
    created_at: int = 0
    run_at: int = 0
    started_at: int = 0
    completed_at: int = 0
    attempts: int = 0
    """Failures so far."""
    max_attempts: int = 0
    backoff: int = 0
    ttl: int = 0
    timeout: int = 0
    tags: list[str] = []
    lifo: bool = False
    remove_on_complete: bool = False
    remove_on_fail: bool = False
    progress: int = 0
    progress_msg: str | None = None
    """The last message; after a failure its text."""
    result: Any = None
    error: str | None = None


class QueueInfo(Struct, frozen=True, kw_only=True):
    """A queue in figures: numbers of jobs by state."""

    name: str
    pending: int = 0
    delayed: int = 0
    processing: int = 0
    completed: int = 0
    dlq: int = 0
    paused: bool = False


class Stats(Struct, frozen=True, kw_only=True):
    """The whole server: numbers of jobs by state."""

    queued: int = 0
    delayed: int = 0
    processing: int = 0
    completed: int = 0
    dlq: int = 0


class Refusal(Struct, frozen=True):
    """A job of a batch that was not accepted."""

    index: int
    error: str


class BatchPush(Struct, frozen=True, kw_only=True):
    """What became of a batch: the ids of what was accepted, in order, and what was not."""

    ids: list[int]
    errors: list[Refusal] = []


class BatchAck(Struct, frozen=True, kw_only=True):
    """What became of a batch of acknowledgements."""

    count: int
    not_found: list[int] = []
