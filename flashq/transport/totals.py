"""Counts over the whole cluster, read from the shared state without asking any shard."""

from typing import Any

from flashq.transport.shard_region import NO_LIMIT
from flashq.transport.shared_memory import SharedState


class SharedTotals:
    """STATS, LISTQUEUES and METRICS."""

    def __init__(self, state: SharedState, shards: int) -> None:
        self._state = state
        self._shards = shards

    def stats(self) -> dict[str, Any]:
        """The fields of the reply to STATS."""
        sums = dict.fromkeys(("queued", "processing", "delayed", "dlq", "completed"), 0)
        for shard in range(self._shards):
            view = self._state.shard(shard)
            if view is None:
                continue
            n = view.counters
            sums["queued"] += n.queued
            sums["processing"] += n.active
            sums["delayed"] += n.delayed
            sums["dlq"] += n.dead
            sums["completed"] += n.completed_now
        queues = {
            q.name: {"waiting": q.waiting, "active": q.active, "completed": q.completed, "failed": q.dead,
                     "delayed": q.delayed, "paused": q.paused}
            for q in self._state.queues()
        }  # fmt: skip
        return {**sums, "queues": queues}

    def queues(self) -> list[dict[str, Any]]:
        """Every queue with any job or setting."""
        return [
            {"name": q.name, "pending": q.waiting, "processing": q.active, "completed": q.completed,
             "delayed": q.delayed, "dlq": q.dead, "paused": q.paused, "rate_limit": _limit(q.rate_limit),
             "concurrency_limit": _limit(q.concurrency_limit)}
            for q in self._state.queues()
        ]  # fmt: skip

    def metrics(self) -> dict[str, Any]:
        """What METRICS tells: totals since the first start, and how fast jobs are completed just now."""
        views = [view.counters for shard in range(self._shards) if (view := self._state.shard(shard)) is not None]
        latency_count = sum(n.latency_count for n in views)
        return {
            "total_pushed": sum(n.pushed for n in views),
            "total_completed": sum(n.completed for n in views),
            "total_failed": sum(n.failed for n in views),
            "jobs_per_second": sum(n.completed_per_1000_s for n in views) / 1000,
            "avg_latency_ms": sum(n.latency_sum_ms for n in views) / latency_count if latency_count else 0.0,
            "queues": [
                {"name": q.name, "pending": q.waiting + q.delayed, "processing": q.active, "dlq": q.dead,
                 "rate_limit": _limit(q.rate_limit)}
                for q in self._state.queues()
            ],
        }  # fmt: skip


def _limit(value: int) -> int | None:
    return None if value == NO_LIMIT else value
