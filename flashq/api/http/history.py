"""Figures of the last minutes, a point each five seconds, from what shards write into shared memory anyway."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from flashq.transport.shard_region import ShardCounters
from flashq.transport.shared_memory import SharedState

STEP_S: Final = 5.0
POINTS: Final = 60


class Totals(NamedTuple):
    """Counters of all shards together."""

    pushed: int
    completed: int
    failed: int
    queued: int
    delayed: int
    active: int
    dead: int
    completed_now: int
    latency_ms: float
    """From creation to the ack, on average since the start."""


def totals_of(counters: Iterable[ShardCounters]) -> Totals:
    """The sums of what shards count."""
    sums = [0] * len(ShardCounters._fields)
    for one in counters:
        sums = [a + b for a, b in zip(sums, one, strict=True)]
    s = ShardCounters(*sums)
    latency = s.latency_sum_ms / s.latency_count if s.latency_count else 0.0
    return Totals(
        s.pushed, s.completed, s.failed, s.queued, s.delayed, s.active, s.dead, s.completed_now, round(latency, 2)
    )


def counters_of(state: SharedState) -> list[ShardCounters]:
    """What each shard counts; shards that never served are left out."""
    views = (state.shard(shard) for shard in range(state.layout.shards))
    return [view.counters for view in views if view is not None]


class History:
    """The points of one process."""

    def __init__(self, state: SharedState) -> None:
        self._state = state
        self.points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._last: tuple[float, int] = (time.monotonic(), self.totals().completed)
        self._timer: asyncio.TimerHandle | None = None

    def totals(self) -> Totals:
        """As they are now."""
        return totals_of(counters_of(self._state))

    @property
    def throughput(self) -> float:
        """Jobs completed a second, of late."""
        return float(self.points[-1]["throughput"]) if self.points else 0.0

    def start(self) -> None:
        """Look from now on."""
        self._timer = asyncio.get_running_loop().call_later(STEP_S, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.look(time.monotonic(), time.time_ns() // 1_000_000)
        self.start()

    def look(self, mono_s: float, wall_ms: int) -> None:
        """Add a point."""
        points = self._state.history_points() or POINTS
        if points != self.points.maxlen:
            self.points = deque(self.points, points)
        now = self.totals()
        before_s, before = self._last
        self._last = (mono_s, now.completed)
        rate = (now.completed - before) / max(mono_s - before_s, 0.001)
        self.points.append({
            "timestamp": wall_ms, "queued": now.queued, "processing": now.active, "completed": now.completed,
            "failed": now.failed, "throughput": round(max(rate, 0.0), 2), "latency_ms": now.latency_ms,
        })  # fmt: skip
