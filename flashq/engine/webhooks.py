"""Webhooks: who is to be told of what happens, by a request to a URL.

Rules kept here
- A webhook is made and removed in slot 0, which tells every shard through the outbox; each change has the next number
  (`version`), which is a new webhook's id too, so that ids are never used again.
- Every shard knows all webhooks, for what happens is queued for delivery in the very record that makes it happen
  (hook_deliveries.py), where nobody else could be asked.
- A queue that no webhook is about pays nothing: it is not listened to (telling.py).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from flashq.engine import events
from flashq.engine.hook_lines import Line
from flashq.engine.outbox import HANDLERS, post
from flashq.engine.telling import hook as hear
from flashq.errors import JobNotFound, LimitExceeded
from flashq.protocol.happenings import kinds_of

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

HOME: Final = 0
"""The slot that decides."""
PREFIX: Final = "wh_"


def name_of(hook: int) -> str:
    """An id as clients see it."""
    return f"{PREFIX}{hook}"


def find(engine: "Engine", name: str) -> "Line":
    """The webhook that a client names. Raises JobNotFound."""
    digits = name.removeprefix(PREFIX)
    known = name.startswith(PREFIX) and digits.isascii() and digits.isdigit() and len(digits) <= 16
    line = engine.hooks.lines.get(int(digits)) if known else None
    if line is None:
        raise JobNotFound("Webhook not found")
    return line


def make(
    engine: "Engine", url: str, kinds: Sequence[str], queue: str | None, secret: str, shards: Iterable[int]
) -> int:  # fmt: skip
    """A webhook that was checked; its id. `shards`: a slot of each other shard. Raises LimitExceeded."""
    hooks = engine.hooks
    if len(hooks.lines) >= engine.limits.webhooks_max:
        raise LimitExceeded(f"Too many webhooks ({len(hooks.lines)}, max {engine.limits.webhooks_max})")
    event = events.HookSet(hooks.version + 1, url, list(kinds), queue, secret, engine.now_ms)
    set_(engine, event)
    engine.record(event)
    body = [event.id, event.url, event.events, event.queue, event.secret, event.created_at]
    for slot in shards:
        post(engine, HOME, slot, "hook", body)
    return event.id


def remove(engine: "Engine", hook: int, shards: Iterable[int]) -> int:
    """A webhook that is known ends, with all that waits for it; the version that this makes."""
    event = events.HookRemoved(hook, engine.hooks.version + 1)
    removed(engine, event)
    engine.record(event)
    for slot in shards:
        post(engine, HOME, slot, "unhook", [event.id, event.version])
    return event.version


def start(engine: "Engine") -> None:
    """The shard begins to serve: what webhooks are about is listened to."""
    _listen(engine)


# -- what was decided, live or in replay


def set_(engine: "Engine", event: events.HookSet) -> None:
    """The webhook is known."""
    engine.hooks.version = max(engine.hooks.version, event.id)
    engine.hooks.lines[event.id] = Line(event, kinds_of(event.events))
    _listen(engine)


def removed(engine: "Engine", event: events.HookRemoved) -> None:
    """It is no more."""
    hooks = engine.hooks
    hooks.version = max(hooks.version, event.version)
    line = hooks.lines.pop(event.id, None)
    if line is not None:
        for delivery in line.waiting.values():
            if delivery.moment is not None:
                hooks.agenda.cancel(delivery.moment)
    _listen(engine)


def _listen(engine: "Engine") -> None:
    """Sort webhooks by queue, and have those queues heard. Replay makes nothing happen, so it need not hear."""
    hooks = engine.hooks
    hooks.of_queue, hooks.everywhere = {}, []
    for line in hooks.lines.values():
        if line.hook.queue is None:
            hooks.everywhere.append(line)
        else:
            hooks.of_queue.setdefault(line.hook.queue, []).append(line)
    audience = engine.audience
    if not engine.replaying and (hooks.lines or audience.hooked or audience.hooked_all):
        hear(engine, hooks.of_queue, everything=bool(hooks.everywhere))


def _on_hook(engine: "Engine", source: int, target: int, body: Any) -> None:
    event = events.HookSet(*body)
    set_(engine, event)
    engine.record(event)


def _on_unhook(engine: "Engine", source: int, target: int, body: Any) -> None:
    event = events.HookRemoved(*body)
    removed(engine, event)
    engine.record(event)


HANDLERS["hook"] = _on_hook
HANDLERS["unhook"] = _on_unhook
