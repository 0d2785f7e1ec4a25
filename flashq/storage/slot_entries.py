"""Which entries a slot has, found in an engine: what the tables know by their column, a live engine has to be asked.

A kind that is not here belongs to shards, not to slots, or to a push that is half done, with which no slot leaves.
"""

from collections.abc import Callable, Iterable
from typing import Final

from flashq.engine.departure import queues_of
from flashq.engine.engine import Engine
from flashq.protocol.slots import slot_of_queue
from flashq.storage.hook_sections import delivery_key
from flashq.storage.sections import aimed_key, pair_key
from flashq.storage.thin import Key

OF_SHARDS: Final = frozenset(("defaults", "hook", "hooks_version", "chosen"))
"""Kinds that each shard has for itself."""
OF_MOMENTS: Final = frozenset(("draft", "part", "arriving"))
"""Kinds that end before a slot may leave."""


def _named(names: Iterable[str], slot: int) -> list[str]:
    return sorted(name for name in names if slot_of_queue(name) == slot)


def _windows(engine: Engine, slot: int) -> list[str]:
    return sorted(f"{queue.name} {window}" for queue in queues_of(engine, slot) for window in queue.debounced)


def _posted(engine: Engine, slot: int) -> list[str]:
    waiting = engine.outbox.waiting.items()
    return sorted(pair_key(pair[1], message.no) for pair, line in waiting if pair[0] == slot for message in line)


def _sent(engine: Engine, slot: int) -> list[str]:
    return [str(target) for source, target in sorted(engine.outbox.last_sent) if source == slot]


def _taken(engine: Engine, slot: int) -> list[str]:
    return [str(source) for source, target in sorted(engine.outbox.taken) if target == slot]


def _expiring(engine: Engine, slot: int) -> list[str]:
    return _named((key for key, entry in engine.kv.entries.items() if entry.expires_at), slot)


def _aimed(engine: Engine, slot: int) -> list[str]:
    return [
        aimed_key(queue, name) for queue in _named(engine.crons.aimed, slot) for name in engine.crons.aimed[queue]
    ]  # fmt: skip


def _deliveries(engine: Engine, slot: int) -> list[str]:
    return sorted(
        delivery_key("delivery", hook, delivery.no, delivery.happening.queue)[2]
        for hook, line in engine.hooks.lines.items()
        for delivery in (*line.waiting.values(), *line.failed.values())
        if slot_of_queue(delivery.happening.queue) == slot
    )


KEYS: Final[dict[str, Callable[[Engine, int], list[str]]]] = {
    "debounced": _windows,
    "posted": _posted,
    "sent": _sent,
    "taken": _taken,
    "kv": lambda engine, slot: _named(engine.kv.entries, slot),
    "kv_expiry": _expiring,
    "cron": lambda engine, slot: _named(engine.crons.by_name, slot),
    "aimed": _aimed,
    "name": lambda engine, slot: _named(engine.names.bound, slot),
    "incoming": lambda engine, slot: _named(engine.incoming, slot),
    "delivery": _deliveries,
    "delivery_try": _deliveries,
}
"""By kind: the keys of a slot, in the order in which they are put back."""


def entries_of(engine: Engine, slot: int) -> list[Key]:
    """All entries of a slot, in the order in which they are put back."""
    return [(kind, slot, key) for kind, keys in KEYS.items() for key in keys(engine, slot)]
