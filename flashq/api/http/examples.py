"""Objects of the protocol as examples in OpenAPI."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from flashq.protocol.jobs import JobView


def _job(**keys: Any) -> dict[str, Any]:
    view = JobView(id=1024, queue="mail", data=Raw(b'{"to":"a"}'), max_attempts=3, backoff=1000, **keys)
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    return found


_AT: Final = 1700000000000
JOB: Final = _job(created_at=_AT, run_at=_AT)
PULLED: Final = _job(created_at=_AT, run_at=_AT, started_at=_AT + 5, last_heartbeat=_AT + 5, lease=4294967297)
JOB_ITEM: Final = _job(created_at=_AT, run_at=_AT, state="waiting")
QUEUE: Final[dict[str, Any]] = {
    "name": "mail", "pending": 12, "processing": 2, "completed": 1000, "delayed": 1, "dlq": 0, "paused": False,
    "rate_limit": None, "concurrency_limit": None,
}  # fmt: skip
COUNTS: Final = {"waiting": 12, "active": 2, "delayed": 1, "completed": 1000, "failed": 0}
STATS: Final = {"queued": 12, "processing": 2, "delayed": 1, "dlq": 0, "completed": 1000}
METRICS: Final[dict[str, Any]] = {
    "total_pushed": 1015, "total_completed": 1000, "total_failed": 0, "jobs_per_second": 12.5, "avg_latency_ms": 8.25,
    "queues": [{"name": "mail", "pending": 13, "processing": 2, "dlq": 0, "rate_limit": None}],
}  # fmt: skip
FLOW: Final[dict[str, Any]] = {
    "data": {"month": 7}, "children": [{"queue": "pages", "data": {"page": 1}}, {"queue": "pages", "data": {"page": 2}}]
}  # fmt: skip
FLOW_IDS: Final = {"parent_id": 1024, "children_ids": [2048, 3072]}
CRON: Final[dict[str, Any]] = {
    "name": "morning", "queue": "mail", "data": {"to": "a"}, "schedule": "0 7 * * *", "repeat_every": None,
    "priority": 0, "next_run": _AT, "executions": 3, "limit": None,
}  # fmt: skip
WEBHOOK: Final[dict[str, Any]] = {
    "id": "wh_1", "url": "https://example.com/hook", "events": ["completed", "failed"], "queue": "mail",
    "secret": "********", "created_at": _AT, "waiting": 0, "failed": 1, "delivered": 1000, "dropped": 0,
}  # fmt: skip
DELIVERY: Final[dict[str, Any]] = {
    "delivery_id": "wh_1-8589934593", "state": "failed", "event": "completed", "queue": "mail", "job_id": 1024,
    "timestamp": _AT, "attempts": 40, "error": "HTTP 500", "next_at": None,
}  # fmt: skip
INCOMING: Final[dict[str, Any]] = {"queue": "mail", "scheme": "github", "secret": "********", "created_at": _AT}
