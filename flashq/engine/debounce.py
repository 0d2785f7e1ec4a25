"""Debouncing: after an accepted push, pushes with its `debounce_id` are refused for a while. Per queue.

A refused push neither opens a window nor makes one longer, whatever it was refused for. A window is part of the push's
event (its options and the record's time), and a timer forgets it when it has passed.
"""

from typing import Final

from flashq.engine.engine import Engine
from flashq.engine.queues import Queue
from flashq.errors import Debounced
from flashq.protocol.commands import JobOptions

DEBOUNCE_MS: Final = 5_000
"""How long a window is where `debounce_ttl` is absent. The protocol's, and for that reason no setting."""


def refusal(engine: Engine, queue: Queue, debounce_id: str) -> Debounced | None:
    """Why a job with this id cannot be pushed now."""
    if queue.debounced.get(debounce_id, 0) <= engine.now_ms:
        return None
    return debounced(debounce_id)


def debounced(debounce_id: str) -> Debounced:
    return Debounced(f"Debounced: job with id '{debounce_id}' was pushed recently")


def open_window(engine: Engine, queue: Queue, options: JobOptions) -> None:
    """A job with these options was accepted now. `debounce_ttl` 0 is no window at all."""
    debounce_id, ttl = options.debounce_id, options.debounce_ttl
    assert debounce_id is not None
    until = engine.now_ms + (DEBOUNCE_MS if ttl is None else ttl)
    if until > engine.now_ms:
        queue.debounced[debounce_id] = until
        engine.at_wall(until, close_window, (queue, debounce_id))


def close_window(engine: Engine, window: tuple[Queue, str]) -> None:
    """The moment of a window's end has come; a later one with the same id stays."""
    queue, debounce_id = window
    if queue.debounced.get(debounce_id, 0) <= engine.now_ms:
        queue.debounced.pop(debounce_id, None)
