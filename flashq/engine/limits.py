"""RATELIMIT and SETCONCURRENCY, for a queue and for each of its keys. Limits survive a restart."""

from flashq.engine import events
from flashq.engine.engine import Engine
from flashq.engine.pull import serve
from flashq.engine.queues import Queue
from flashq.engine.rate_limits import Bucket

RATE = 0
CONCURRENCY = 1
KEY_RATE = 2
KEY_CONCURRENCY = 3


def set_limit(engine: Engine, name: str, kind: int, limit: int | None) -> None:
    """From now on at most so many (a second, or active); None: no limit. Setting a rate again fills its bucket."""
    if limit is None and name not in engine.queues:
        return
    queue = engine.queue(name)
    apply(engine, queue, kind, limit)
    engine.record(events.LimitSet(name, kind, limit))
    serve(engine, queue)


def apply(engine: Engine, queue: Queue, kind: int, limit: int | None) -> None:
    """Decided, live or in replay."""
    if kind == RATE:
        queue.rate = Bucket(limit, engine.mono_ms) if limit is not None else None
    elif kind == CONCURRENCY:
        queue.concurrency = limit
    elif kind == KEY_RATE:
        queue.key_rate = limit
    else:
        queue.key_concurrency = limit
    if queue.lines is not None and kind == KEY_RATE:
        queue.lines.refill()
    if queue.lines is not None and kind in (KEY_RATE, KEY_CONCURRENCY):
        queue.lines.limits_changed()
    queue.look_at_gate()
    engine.touch(queue)


def has_limits(queue: Queue) -> bool:
    """Whether anything was set that the queue has to be remembered for."""
    return (queue.rate, queue.concurrency, queue.key_rate, queue.key_concurrency) != (None,) * 4


def clear_limits(engine: Engine, queue: Queue) -> None:
    """All limits of the queue end, without an event of their own: OBLITERATE."""
    for kind in (RATE, CONCURRENCY, KEY_RATE, KEY_CONCURRENCY):
        apply(engine, queue, kind, None)
