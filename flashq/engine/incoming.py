"""Webhooks that come in: which queues take jobs from requests of others, and how those prove who they are.

Kept in the queue's own slot. The proof itself is checked at the door (api/http/pages/incoming.py), before anything of a
request is looked at.
"""

from typing import TYPE_CHECKING

from flashq.engine import events
from flashq.errors import JobNotFound

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


def put(engine: "Engine", queue: str, scheme: str, secret: str) -> None:
    """A request that was checked: what was set before is replaced."""
    event = events.IncomingSet(queue, scheme, secret, engine.now_ms)
    set_(engine, event)
    engine.record(event)


def remove(engine: "Engine", queue: str) -> None:
    """The queue takes nothing in any more. Raises JobNotFound where it did not."""
    if queue not in engine.incoming:
        raise JobNotFound("Incoming webhook not found")
    put(engine, queue, "", "")


def set_(engine: "Engine", event: events.IncomingSet) -> None:
    """It was decided, live or in replay."""
    if event.scheme:
        engine.incoming[event.queue] = event
    else:
        engine.incoming.pop(event.queue, None)
