"""Pulls that wait: first come, first served, at each queue."""

from collections.abc import Callable
from typing import Any


class Waiter:
    """One blocked PULL or PULLB."""

    __slots__ = ("count", "deadline", "due", "gid", "lease_ms", "live", "queue", "takes_jobs", "ticket", "tied")

    def __init__(
        self, queue: Any, gid: int, ticket: Any, count: int, deadline: int, lease_ms: int | None, tied: bool
    ) -> None:
        self.queue = queue
        self.gid = gid
        self.ticket = ticket
        """Where the answer goes; opaque here but for `takes_jobs`."""
        self.takes_jobs: Callable[[], bool] = ticket.takes_jobs
        self.count = count
        """0: PULL, one job; else PULLB, up to so many."""
        self.deadline = deadline
        self.due = deadline
        self.live = 1
        self.lease_ms = lease_ms
        self.tied = tied
