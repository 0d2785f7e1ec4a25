"""What servers answer with: jobs, queues, figures. Keys a server adds later are passed over."""

from typing import Any, Literal, Required, TypedDict

from msgspec import Struct, field


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
    stall_timeout_ms: int
    """Silent for this long it is taken for lost; a heartbeat or its progress counts as a word."""
    unique_key: str
    """Refused (Duplicate) while another job of the queue has it and has not completed."""
    custom_id: str
    """A name for the whole server. While a job has it, a push gets that job's id and adds nothing."""
    debounce_id: str
    """Refused (Debounced) for `debounce_ttl_ms` after a push with the same one to the same queue was accepted."""
    debounce_ttl_ms: int
    """5000 if not given."""
    depends_on: list[int]
    """Waits until these jobs, of any queue, have completed."""
    on_dependency_failure: Literal["fail", "run"]
    """What becomes of it when one of them cannot complete any more: a dead letter (if not given), or it runs."""
    group_id: str
    """One job of a group runs at a time, in each queue."""
    limit_key: str
    """Whose limits it counts against: see `set_concurrency` and `set_rate_limit` with `per_key`."""
    keep_completed_age_ms: int
    """Completed jobs of the queue are kept this long, from its completion on."""
    keep_completed_count: int
    """So many completed jobs of the queue are kept."""
    trace: str
    """A `traceparent` (W3C Trace Context), given to the job's worker and to receivers of webhooks."""
    idempotency_key: str
    """A push with the same key and body within the server's window gets the first one's answer, and adds nothing."""


class FlowChild(PushOptions, total=False):
    """A job that another one waits for; with `children` of its own it waits for those first."""

    queue: Required[str]
    data: object
    children: list["FlowChild"]
    ignore_failure: bool
    """Its parent goes on even when it becomes a dead letter."""


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
    unique_key: str | None = None
    custom_id: str | None = None
    group_id: str | None = None
    depends_on: list[int] = []
    parent_id: int | None = None
    children_ids: list[int] = []
    children_completed: int = 0
    stall_timeout: int = 0
    stall_count: int = 0
    last_heartbeat: int = 0
    keep_completed_age: int = 0
    keep_completed_count: int = 0
    failed_at: int = 0
    """When it became a dead letter."""
    failures: list[tuple[int, str]] = []
    """Of a dead letter: (time, text) of each failed attempt."""
    result: Any = None
    error: str | None = None
    trace: str | None = None
    """The `traceparent` that its producer gave."""


class QueueInfo(Struct, frozen=True, kw_only=True):
    """A queue in figures: numbers of jobs by state."""

    name: str
    pending: int = 0
    delayed: int = 0
    processing: int = 0
    completed: int = 0
    dlq: int = 0
    paused: bool = False
    rate_limit: int | None = None
    """Jobs a second."""
    concurrency_limit: int | None = None


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
    errors: list[Refusal] = []
    """What another worker has by now, or a shard that does not answer would have to acknowledge."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a running job is."""

    progress: int
    """Percent."""
    message: str | None = None


class LogLine(Struct, frozen=True, kw_only=True):
    """What was written about a job."""

    timestamp: int
    message: str
    level: str


class Step(Struct, frozen=True, kw_only=True):
    """One transition of a job's life."""

    event: str
    at: int
    attempt: int = 0
    """From 1; 0 where none is meant."""
    lease: int = 0
    text: str | None = None


class Children(Struct, frozen=True, kw_only=True):
    """The jobs that a flow's parent waits for."""

    children: list[Job]
    """As far as anything is kept of them."""
    completed: int
    total: int
    children_ids: list[int] = []
    partial: bool = False
    """Some are not shown: their shard does not answer, or the reply is full."""


class JobList(Struct, frozen=True, kw_only=True):
    """One page of a listing."""

    jobs: list[Job]
    total: int
    """Before paging."""
    partial: bool = False
    """A shard did not answer."""


class JobCounts(Struct, frozen=True, kw_only=True):
    """Jobs of a queue by state."""

    waiting: int = 0
    active: int = 0
    delayed: int = 0
    completed: int = 0
    failed: int = 0


class QueueMetrics(Struct, frozen=True, kw_only=True):
    """A queue in `Metrics`."""

    name: str
    pending: int = 0
    """Delayed ones among them."""
    processing: int = 0
    dlq: int = 0
    rate_limit: int | None = None


class Metrics(Struct, frozen=True, kw_only=True):
    """What the server has done since its first start."""

    total_pushed: int
    total_completed: int
    total_failed: int
    """Dead letters, not retries."""
    jobs_per_second: float = 0.0
    avg_latency_ms: float = 0.0
    """From push to acknowledgement."""
    queues: list[QueueMetrics] = []


class FlowIds(Struct, frozen=True, kw_only=True):
    """A flow that was accepted."""

    parent_id: int
    children_ids: list[int]
    """In the order of the children."""


class Cron(Struct, frozen=True, kw_only=True):
    """A schedule, and the job it pushes."""

    name: str
    queue: str
    data: Any = None
    schedule: str | None = None
    repeat_every: int | None = None
    priority: int = 0
    next_run: int = 0
    executions: int = 0
    limit: int | None = None
    timezone: str | None = None
    misfire: str = "once"
    options: dict[str, Any] = {}
    """The other options of its jobs, as on the wire."""


class Event(Struct, frozen=True, kw_only=True):
    """What happened to a job, or to a queue (`job_id` 0)."""

    kind: str = field(name="event")
    """pushed, active, completed …; "lagged": `missed` events were left out, as they were not read fast enough."""
    queue: str = ""
    job_id: int = 0
    timestamp: int = 0
    data: Any = None
    """The job's data (pushed), its result (completed), or its chunk (partial)."""
    error: str | None = None
    progress: int | None = None
    missed: int = 0
