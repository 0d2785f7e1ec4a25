"""The record of a job that is not plain: it has options, or a history."""

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

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


class Link(Struct, array_like=True, gc=False):
    """What a job waits for, and who waits for it (links.py). Values of dictionaries are fates."""

    unmet: dict[int, int] | None = None
    """Jobs it depends on that have not completed."""
    left: dict[int, int] | None = None
    """Its children that have not completed."""
    children: list[int] | None = None
    """All of its children; None: it is no flow's parent."""
    parent: int = 0
    lenient: bool = False
    """Its failure counts as completion for its parent."""
    watchers: dict[int, None] | None = None
    """Jobs that depend on it."""
    draft: int = 0
    """The first job of the push that it came in, while not all of that is accepted (drafts.py); 0: it is."""


class Job(Struct, gc=False, eq=False):
    """A job with options or a history. Its id never changes; what a command may change is a field here.

    A struct, as it is made three times as fast as an object of a class (0.15 against 0.5 us), and never looked at by
    the garbage collector.
    """

    queue: "Queue"
    seq: int
    data: bytes
    codec: int
    options: JobOptions
    created_at: int
    run_at: int = 0
    priority: int = 0
    state: State = State.WAITING
    started_at: int = 0
    attempts: int = 0
    max_attempts: int = 0
    backoff: int = 0
    ttl: int = 0
    timeout: int = 0
    progress: int = 0
    progress_msg: str | None = None
    last_heartbeat: int = 0
    stalls: int = 0
    crashes: int = 0
    crash_token: int = 0
    """The token of the lease whose loss counted as a crash, while it may still be shown."""
    token: int = 0
    """The latest lease's token, also when it has ended."""
    error: str | None = None
    died_at: int = 0
    failures: list[tuple[int, str]] | None = None
    """(time, text) of each failed attempt."""
    steps: list[tuple[str, int, int, int, str | None]] | None = None
    """What happened to it since it was pushed, the latest: (event, time, attempt, lease, text), as in history.py."""
    logs: list[tuple[int, str, str]] | None = None
    """Lines about it, the latest: (time, message, level), as in logs.py."""
    bound: bool = False
    """Stands in a line of its group or key while it is ready, not in a lane: lines.py."""
    place: int = 0
    """The number of its entry in that line; 0: it has none."""
    era: int = 0
    """The queue's era in which it was last put into a line: eras.py."""
    link: Link | None = None
    timer: Any = None
    """The entry of its ttl, if it has one."""

    @property
    def id(self) -> int:
        return self.seq * 1024 + self.queue.slot.no
