"""What the engine is told by the configuration."""

from msgspec import Struct


class Defaults(Struct, frozen=True, array_like=True, gc=False):
    """What a job gets where it asks for nothing. Written into the journal whenever it changes, so that replay never
    judges by the configuration of a later day.
    """

    max_attempts: int = 3
    backoff_ms: int = 1000
    ttl_ms: int = 0
    timeout_ms: int = 0
    parent: int = 0
    """No setting, but a page's own: the parent whose children its plain jobs are (bundles.py); 0: they have none."""


class Chosen(Struct, frozen=True, array_like=True, gc=False):
    """What was chosen at run time (chosen.py); None: it is as configured."""

    max_attempts: int | None = None
    backoff_ms: int | None = None
    ttl_ms: int | None = None
    timeout_ms: int | None = None
    completed_max: int | None = None
    """Completed jobs that are remembered, a queue."""
    results_max: int | None = None
    """Results that are, a queue."""
    cleanup_interval_ms: int | None = None
    """How often it is looked for what is too old to be kept."""
    history_points: int | None = None
    """Points of `/metrics/history`."""


class Limits(Struct, frozen=True):
    """What a request may ask for, and what is kept of what has ended."""

    lease_ms: int = 1_800_000
    crash_limit: int = 3
    reconnect_grace_ms: int = 5_000
    disconnect_grace_ms: int = 0
    keep_completed_count: int = 1_000
    keep_completed_age_ms: int = 86_400_000
    keep_completed_bytes: int = 64 << 20
    cleanup_interval_ms: int = 0
    """How often what is too old is looked for; 0: as its age asks for."""
    data_bytes_max: int = 10 << 20
    max_batch: int = 1_000
    reply_bytes_max: int = 8 << 20
    name_bytes_max: int = 512
    text_bytes_max: int = 64 << 10
    tags_max: int = 64
    depends_on_max: int = 1_000
    duration_ms_max: int = 10 * 366 * 86_400_000
    idempotency_window_ms: int = 600_000
    idempotency_keys_max: int = 1_000_000
    idempotency_bytes_max: int = 256 << 20
    queues_max: int = 1_000_000
    timed_queues_max: int = 0
    """Queues with histograms of their own."""
    queue_forget_ms: int = 3_600_000
    memory_bytes_max: int = 0
    """Pushes are refused past 90 % of this; 0: no bound."""
    backoff_jitter: float = 0.0
    webhooks_max: int = 1_000
    webhook_waiting_max: int = 10_000
    webhook_waiting_bytes_max: int = 16 << 20
    webhook_failed_max: int = 1_000
    webhook_retry_ms: int = 1_000
    webhook_retry_max_ms: int = 3_600_000
    webhook_give_up_ms: int = 86_400_000
