"""What of a queue has no column of its own: its limits, how full their buckets are, and what was removed of it."""

from typing import Any

from flashq.engine.engine import Engine
from flashq.engine.queues import Queue, Sweep
from flashq.engine.rate_limits import Bucket


def queue_rest(queue: Queue) -> dict[str, Any]:
    """As MessagePack can say it; what is not set is left out."""
    rate = queue.rate
    rest: dict[str, Any] = {
        "rate": (rate.limit, rate.level, rate.at) if rate is not None else None,
        "eras": (queue.era, queue.era_base, queue.void_base) if queue.era or queue.void_base else None,
        "sweep": True if queue.sweep is not None else None,
        "concurrency": queue.concurrency,
        "key_rate": queue.key_rate,
        "key_concurrency": queue.key_concurrency,
        "buckets": {
            name: (key.bucket.level, key.bucket.at) for name, key in queue.lines.keys.items() if key.bucket is not None
        }
        if queue.lines is not None and queue.key_rate is not None
        else None,
    }
    return {name: value for name, value in rest.items() if value is not None}


def set_queue_rest(engine: Engine, queue: Queue, rest: dict[str, Any]) -> None:
    """Put limits back, before there is any job."""
    if "rate" in rest:
        limit, level, at = rest["rate"]
        queue.rate = Bucket(limit, at)
        queue.rate.level = level
    queue.era, queue.era_base, queue.void_base = rest.get("eras", (0, 0, 0))
    queue.sweep = Sweep() if rest.get("sweep") else None
    queue.concurrency = rest.get("concurrency")
    queue.key_rate, queue.key_concurrency = rest.get("key_rate"), rest.get("key_concurrency")
    queue.look_at_gate()


def set_buckets(engine: Engine, queue: Queue, rest: dict[str, Any]) -> None:
    """Keys' buckets are as full as they were, once the jobs that have keys are there."""
    for name, (level, at) in rest.get("buckets", {}).items():
        engine.bind(queue)
        assert queue.lines is not None
        bucket = queue.lines.key(name).bucket
        assert bucket is not None
        bucket.level, bucket.at = level, at


def shifted_rest(rest: dict[str, Any], by_ms: int) -> dict[str, Any]:
    """The same on a monotonic clock that shows `by_ms` more."""
    shifted = dict(rest)
    if "rate" in rest:
        limit, level, at = rest["rate"]
        shifted["rate"] = (limit, level, at + by_ms)
    if "buckets" in rest:
        shifted["buckets"] = {name: (level, at + by_ms) for name, (level, at) in rest["buckets"].items()}
    return shifted
