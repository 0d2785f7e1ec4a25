"""PAUSE and RESUME: delivery from a queue stops and goes on. Pushes and active jobs are not touched."""

from flashq.engine import events
from flashq.engine.engine import Engine
from flashq.engine.pull import serve
from flashq.engine.queues import Queue
from flashq.engine.telling import tell


def pause(engine: Engine, name: str) -> None:
    """Nothing is delivered from the queue until it is resumed; survives a restart."""
    set_paused(engine, engine.queue(name), True)
    engine.record(events.QueuePaused(name, True))
    tell(engine, "paused", name, 0)


def resume(engine: Engine, name: str) -> None:
    """Delivery goes on; pulls that wait are served at once."""
    queue = engine.queue(name)
    set_paused(engine, queue, False)
    engine.record(events.QueuePaused(name, False))
    tell(engine, "resumed", name, 0)
    if queue.waiters:
        serve(engine, queue)


def set_paused(engine: Engine, queue: Queue, paused: bool) -> None:
    queue.paused = paused
    queue.look_at_gate()
    engine.touch(queue)
