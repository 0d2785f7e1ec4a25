"""State that is small and rarely changes, in the table `entries`: a value a key, the last one written wins.

A family of such state is a `Section`: how one key's value is read from an engine, and how it is put into one. Its
events note the keys they change (folds.py); nothing else has to know of it.
"""

from typing import Any, Final

import msgspec

from flashq.engine import crons, kv
from flashq.engine.debounce import close_window
from flashq.engine.drafts import begun
from flashq.engine.engine import Engine
from flashq.engine.events import CronAimed, CronSet, DraftBegun, KvExpirySet, KvStored, Posted
from flashq.engine.outbox import keep
from flashq.engine.parts import Part
from flashq.engine.settings import Defaults
from flashq.storage.hook_sections import HOOK_SECTIONS
from flashq.storage.section import Section
from flashq.storage.thin import ThinEngine


def _set_defaults(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.defaults = engine.recorded_defaults = msgspec.convert(value, Defaults)


# -- debounce windows, by queue and id


def _window(engine: Engine, slot: int, key: str) -> Any:
    name, _, debounce_id = key.partition(" ")
    queue = engine.queues.get(name)
    return queue.debounced.get(debounce_id) if queue is not None else None


def _set_window(engine: Engine, slot: int, key: str, value: Any) -> None:
    name, _, debounce_id = key.partition(" ")
    queue = engine.queue(name)
    queue.debounced[debounce_id] = value
    engine.at_wall(value, close_window, (queue, debounce_id))


# -- the outbox: `last_sent` and `taken` by the other slot, what waits by the other slot and its number


def pair_key(target: int, no: int) -> str:
    """Text that sorts as the numbers do."""
    return f"{target:04} {no:020}"


def _posted(engine: Engine, slot: int, key: str) -> Any:
    target, no = map(int, key.split())
    line = engine.outbox.waiting.get((slot, target))
    if not line or not line[0].no <= no <= line[-1].no:
        return None
    message = line[no - line[0].no]
    return message.word, message.body


def _post(engine: Engine, slot: int, key: str, value: Any) -> None:
    target, no = map(int, key.split())
    keep(engine, Posted(slot, target, no, *value))


def _sent(engine: Engine, slot: int, key: str) -> Any:
    return engine.outbox.last_sent.get((slot, int(key)))


def _set_sent(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.outbox.last_sent[slot, int(key)] = value


def _taken(engine: Engine, slot: int, key: str) -> Any:
    """By the receiving slot, which is ours."""
    return engine.outbox.taken.get((int(key), slot))


def _set_taken(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.outbox.taken[int(key), slot] = value


# -- keys and their values; crons, and which queue's slot knows of them


def _value(engine: Engine, slot: int, key: str) -> Any:
    """Once it is in the tables the checkpointer need not hold it: a fold that fails begins anew."""
    entry = engine.kv.entries.get(key)
    if entry is None:
        return None
    value = (entry.codec, entry.value)
    if isinstance(engine, ThinEngine):
        entry.value = b""
    return value


def _set_value(engine: Engine, slot: int, key: str, value: Any) -> None:
    codec, stored = value
    if isinstance(engine, ThinEngine) and not engine.keeps_values:
        stored = b""
    kv.store(engine, KvStored([(key, codec, stored, 0)]))


def _expiry(engine: Engine, slot: int, key: str) -> Any:
    entry = engine.kv.entries.get(key)
    return entry.expires_at or None if entry is not None else None


def _set_expiry(engine: Engine, slot: int, key: str, value: Any) -> None:
    kv.set_expiry(engine, KvExpirySet(key, value))


_CRON: Final = CronSet.__struct_fields__
_LIFE: Final = ("made_at", "executions", "behind")


def _cron(engine: Engine, slot: int, key: str) -> Any:
    cron = engine.crons.by_name.get(key)
    return [getattr(cron, name) for name in (*_CRON, *_LIFE)] if cron is not None else None


def _set_cron(engine: Engine, slot: int, key: str, value: Any) -> None:
    crons.set_(engine, CronSet(*value[: len(_CRON)]))
    for name, life in zip(_LIFE, value[len(_CRON) :], strict=True):
        setattr(engine.crons.by_name[key], name, life)


def aimed_key(queue: str, name: str) -> str:
    """Names of queues have no blanks."""
    return f"{queue} {name}"


def _aimed(engine: Engine, slot: int, key: str) -> Any:
    queue, _, name = key.partition(" ")
    return engine.crons.aimed.get(queue, {}).get(name)


def _set_aimed(engine: Engine, slot: int, key: str, value: Any) -> None:
    queue, _, name = key.partition(" ")
    crons.aim(engine, CronAimed(queue, name, value))


# -- pushes that are not accepted yet, by the id of their first job


def _draft(engine: Engine, slot: int, key: str) -> Any:
    draft = engine.drafts.get(int(key))
    return draft.slots if draft is not None else None


def _set_draft(engine: Engine, slot: int, key: str, value: Any) -> None:
    begun(engine, DraftBegun(int(key), value))


def _part(engine: Engine, slot: int, key: str) -> Any:
    return engine.parts.get((int(key), slot))


def _set_part(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.parts[int(key), slot] = msgspec.convert(value, Part)


# -- parts of slots that are about to come, by number


def part_key(no: int) -> str:
    """Text that sorts as the numbers do."""
    return f"{no:08}"


def _arriving(engine: Engine, slot: int, key: str) -> Any:
    parts = engine.arriving.get(slot, ())
    return parts[int(key)] if int(key) < len(parts) else None


def _set_arriving(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.arriving.setdefault(slot, []).append(value)


# -- custom ids, by name


def _bound(engine: Engine, slot: int, key: str) -> Any:
    return engine.names.bound.get(key)


def _set_bound(engine: Engine, slot: int, key: str, value: Any) -> None:
    engine.names.bound[key] = value


SECTIONS: Final[dict[str, Section]] = {
    "defaults": Section(lambda engine, *_: engine.recorded_defaults, _set_defaults),
    "debounced": Section(_window, _set_window),
    "posted": Section(_posted, _post),
    "sent": Section(_sent, _set_sent),
    "taken": Section(_taken, _set_taken),
    "kv": Section(_value, _set_value),
    "kv_expiry": Section(_expiry, _set_expiry),
    "cron": Section(_cron, _set_cron),
    "aimed": Section(_aimed, _set_aimed),
    "draft": Section(_draft, _set_draft),
    "part": Section(_part, _set_part),
    "arriving": Section(_arriving, _set_arriving),
    "name": Section(_bound, _set_bound),
    **HOOK_SECTIONS,
}
