"""Webhooks, what is to be delivered to them, and what else every shard knows, in the table `entries`.

What happened is written once, and need not be held by the checkpointer afterwards; how far its delivery is, is an
entry of its own that changes with every attempt.
"""

from typing import Any, Final

import msgspec

from flashq.engine import webhooks
from flashq.engine.engine import Engine
from flashq.engine.events import HookSet, IncomingSet
from flashq.engine.hook_lines import Delivery, add, put_aside
from flashq.engine.settings import Chosen
from flashq.protocol.happenings import Happening
from flashq.protocol.slots import slot_of_queue
from flashq.storage.section import Section
from flashq.storage.thin import Key, ThinEngine

_HOOK: Final = HookSet.__struct_fields__


def hook_key(hook: int) -> Key:
    """Every shard has all webhooks: they are of no slot of their own."""
    return "hook", 0, f"{hook:016}"


def delivery_key(kind: str, hook: int, no: int, queue: str) -> Key:
    """In the slot of the queue that it happened in; text that sorts as the numbers do."""
    return kind, slot_of_queue(queue), f"{hook:016} {no:020}"


def _version(engine: Engine, slot: int, key: str) -> Any:
    return engine.hooks.version


def _set_version(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.hooks.version = value


def _hook(engine: Engine, slot: int, key: str) -> Any:
    line = engine.hooks.lines.get(int(key))
    if line is None:
        return None
    return [[getattr(line.hook, name) for name in _HOOK], line.delivered, line.dropped]


def _set_hook(engine: Engine, slot: int, key: str, value: Any) -> None:
    fields, delivered, dropped = value
    webhooks.set_(engine, HookSet(*fields))
    line = engine.hooks.lines[int(key)]
    line.delivered, line.dropped = delivered, dropped


def _find(engine: Engine, key: str) -> Delivery | None:
    hook, no = map(int, key.split())
    line = engine.hooks.lines.get(hook)
    return line.find(no) if line is not None else None


def _delivery(engine: Engine, slot: int, key: str) -> Any:
    found = _find(engine, key)
    if found is None:
        return None
    value = msgspec.to_builtins(found.happening, builtin_types=(bytes,))
    if isinstance(engine, ThinEngine):
        found.happening = msgspec.structs.replace(found.happening, data=None)
    return [value, found.bytes]


def _set_delivery(engine: Engine, slot: int, key: str, value: Any) -> None:
    hook, no = map(int, key.split())
    if hook not in engine.hooks.lines:
        return  # slots that moved may bring along deliveries of a webhook that was removed meanwhile
    happening, size = value
    what = msgspec.convert(happening, Happening)
    if isinstance(engine, ThinEngine) and not engine.keeps_values:
        what = msgspec.structs.replace(what, data=None)
    add(engine, hook, Delivery(no, hook, what, size))


def _try(engine: Engine, slot: int, key: str) -> Any:
    found = _find(engine, key)
    if found is None or not (found.attempts or found.failed or found.since != found.happening.at_ms):
        return None
    return [found.attempts, found.next_at, found.since, found.error, found.failed]


def _set_try(engine: Engine, slot: int, key: str, value: Any) -> None:
    found = _find(engine, key)
    if found is None:
        return  # as in `_set_delivery`
    found.attempts, next_at, found.since, found.error, failed = value
    put_aside(engine, found, next_at, failed=failed)


def _incoming(engine: Engine, slot: int, key: str) -> Any:
    found = engine.incoming.get(key)
    return [found.scheme, found.secret, found.made_at] if found is not None else None


def _set_incoming(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.incoming[key] = IncomingSet(key, *value)


def _set_chosen(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.chosen = msgspec.convert(value, Chosen)


HOOK_SECTIONS: Final[dict[str, Section]] = {
    "hooks_version": Section(_version, _set_version),
    "chosen": Section(lambda engine, *_: engine.chosen, _set_chosen),
    "incoming": Section(_incoming, _set_incoming),
    "hook": Section(_hook, _set_hook),
    "delivery": Section(_delivery, _set_delivery),
    "delivery_try": Section(_try, _set_try),
}
