"""What a pull gets: its jobs, under one lease token, as data for whoever writes the reply."""

from collections.abc import Sequence
from typing import NamedTuple

from flashq.engine.jobs import Job
from flashq.engine.queues import Queue
from flashq.engine.settings import Defaults


class Part(NamedTuple):
    """Plain jobs that differ in id and payload only."""

    ids: range
    payloads: list[bytes]
    created_at: int
    codec: int
    defaults: Defaults


class Delivery(NamedTuple):
    """Jobs in order."""

    queue: Queue
    token: int
    started_at: int
    parts: Sequence[Part | Job]
    jobs: int
    """How many there are."""


class Lone(NamedTuple):
    """One plain job; what a worker that takes one at a time gets nearly always."""

    queue: Queue
    token: int
    started_at: int
    id: int
    payload: bytes
    created_at: int
    codec: int
    defaults: Defaults

    @property
    def parts(self) -> tuple[Part]:
        """As in `Delivery`."""
        ids = range(self.id, self.id + 1024, 1024)
        return (Part(ids, [self.payload], self.created_at, self.codec, self.defaults),)

    @property
    def jobs(self) -> int:
        """As in `Delivery`."""
        return 1
