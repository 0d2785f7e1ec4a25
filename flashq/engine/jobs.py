"""The record of a job that is not plain: it has options, or a history."""

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from flashq.protocol.commands import JobEntry, JobOptions

if TYPE_CHECKING:
    from flashq.engine.queues import Queue


class State(IntEnum):
    """Where a job is in its life."""

    WAITING = 0
    DELAYED = 1
    ACTIVE = 2
    COMPLETED = 3
    FAILED = 4
    """A dead letter."""
    HELD = 5
    """Waiting for its dependencies."""
    PARENT = 6
    """A flow's parent, waiting for its children."""


NO_OPTIONS: Final = JobEntry()
"""The options of a job that was plain once. Shared: never changed."""


class Job:
    """A job with options or a history. Its id never changes; what a command may change is a field here."""

    __slots__ = (
        "attempts", "backoff", "bound", "codec", "crash_token", "crashes", "created_at", "data", "error", "failures",
        "last_heartbeat", "max_attempts", "options", "place", "priority", "progress", "progress_msg", "queue",
        "run_at", "seq", "stalls", "started_at", "state", "timeout", "timer", "token", "ttl", "died_at",
    )  # fmt: skip

    def __init__(self, queue: "Queue", seq: int, data: bytes, codec: int, options: JobOptions, created_at: int) -> None:
        self.queue = queue
        self.seq = seq
        self.data = data
        self.codec = codec
        self.options = options
        self.created_at = created_at
        self.run_at = created_at
        self.state = State.WAITING
        self.priority: int = options.priority or 0
        self.started_at = 0
        self.attempts = 0
        self.max_attempts = 0
        self.backoff = 0
        self.ttl = 0
        self.timeout = 0
        self.progress = 0
        self.progress_msg: str | None = None
        self.last_heartbeat = 0
        self.stalls = 0
        self.crashes = 0
        self.crash_token = 0
        """The token of the lease whose loss counted as a crash, while it may still be shown."""
        self.token = 0
        """The latest lease's token, also when it has ended."""
        self.error: str | None = None
        self.died_at = 0
        self.failures: list[tuple[int, str]] | None = None
        """(time, text) of each failed attempt."""
        self.bound = bool(options.group_id or options.limit_key)
        """Stands in a line of its group or key while it is ready, not in a lane: lines.py."""
        self.place = 0
        """The number of its entry in that line; 0: it has none."""
        self.timer: Any = None
        """The entry of its ttl, if it has one."""

    @property
    def id(self) -> int:
        return self.seq * 1024 + self.queue.slot.no
