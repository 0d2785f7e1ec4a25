"""Figures of the whole cluster, read from shared memory without a word to any shard."""

import time
from typing import Any, Final

from flashq.api.http import examples
from flashq.api.http.pages.page import Asked, Host, Page
from flashq.transport.shard_region import NO_LIMIT, OTHER

_GROUP: Final = "Figures"


async def _metrics(asked: Asked) -> Any:
    return metrics(asked.host)


def metrics(host: Host) -> dict[str, Any]:
    """Totals, rates and queues."""
    totals = host.history.totals()
    return {
        "total_pushed": totals.pushed, "total_completed": totals.completed, "total_failed": totals.failed,
        "jobs_per_second": host.history.throughput, "avg_latency_ms": totals.latency_ms,
        "queues": [
            {"name": q.name, "pending": q.waiting + q.delayed, "processing": q.active, "dlq": q.dead,
             "rate_limit": None if q.rate_limit == NO_LIMIT else q.rate_limit}
            for q in host.state.queues() if q.name != OTHER
        ],
    }  # fmt: skip


async def _history(asked: Asked) -> Any:
    return list(asked.host.history.points)


async def _memory(asked: Asked) -> Any:
    totals = asked.host.history.totals()
    return {
        "completed_jobs_count": totals.completed_now, "processing_count": totals.active,
        "total_queued_jobs": totals.queued + totals.delayed, "total_dlq_jobs": totals.dead,
        "workers_count": len(asked.host.workers.alive(now_ms())),
        "metrics_history_count": len(asked.host.history.points),
    }  # fmt: skip


def now_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000


PAGES: Final = [
    Page(method="GET", path="/metrics", group=_GROUP, summary="Totals, rates and queues", serve=_metrics,
         data=examples.METRICS),
    Page(method="GET", path="/metrics/history", group=_GROUP, summary="The last five minutes, a point each 5 s",
         serve=_history, data=[{"timestamp": 1700000000000, "queued": 12, "processing": 2, "completed": 1000,
                                "failed": 0, "throughput": 12.5, "latency_ms": 8.25}]),
    Page(method="GET", path="/debug/memory", group=_GROUP, summary="What is held in memory, counted", serve=_memory,
         data={"completed_jobs_count": 1000, "processing_count": 2, "total_queued_jobs": 13, "total_dlq_jobs": 0},
         plain=True),
]  # fmt: skip
