"""How many jobs of a queue are in which state. Kept as they change: nothing is counted when it is asked for."""

from flashq.engine.engine import Engine


def counts(engine: Engine, name: str) -> dict[str, int]:
    """The fields of the reply to GETJOBCOUNTS; zeros for a queue that nobody knows."""
    queue = engine.queues.get(name)
    if queue is None:
        return dict.fromkeys(("waiting", "active", "delayed", "completed", "failed"), 0)
    return {
        "waiting": queue.waiting,
        "active": queue.active,
        "delayed": queue.delayed,
        "completed": queue.completed,
        "failed": queue.dead_count,
    }
