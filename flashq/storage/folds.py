"""What each event means for the tables: a fold for every type of event.

Nearly all of a fold is the replay that a shard starts with, on a thin engine. Pages, records, queues and slots that it
changes are noted by themselves; what lies in `entries` is noted here, key by key.

A type without a fold stops the checkpointer of its shard before the record that it is in: nothing is lost or recycled,
the journal grows until a version that knows it comes.
"""

from collections.abc import Callable
from typing import Any, Final

from flashq.engine import control_jobs
from flashq.engine import events as e
from flashq.engine.debounce import close_window
from flashq.engine.departure import queues_of
from flashq.engine.hook_deliveries import DELIVERED
from flashq.engine.queues import Queue
from flashq.engine.replay import APPLY
from flashq.engine.watching import find_job, part_of
from flashq.protocol.slots import slot_of_queue
from flashq.storage import schema as s
from flashq.storage.hook_sections import delivery_key, hook_key
from flashq.storage.parcels import arrived
from flashq.storage.rows import decode
from flashq.storage.sections import aimed_key, pair_key, part_key
from flashq.storage.slot_entries import OF_SHARDS
from flashq.storage.thin import TIMED, Key, ThinEngine

Answer = tuple[str, str, bytes, bytes, int, int]
"""(scope, key, digest, reply, at_ms, slot)"""


class Changes:
    """What changed since the last fold, beside the pages that the thin engine notes itself."""

    def __init__(self) -> None:
        self.slots: set[int] = set()
        self.queues: set[Queue] = set()
        self.purged: set[str] = set()
        """Queues whose dead letters were removed at one stroke."""
        self.answers: list[Answer] = []
        self.left: set[int] = set()
        """Slots of which all rows are to go: they are another shard's, or came anew, and are in the engine whole."""
        self.last_token = 0
        """Of all leases ever given."""

    def clear(self) -> None:
        """All of it is in the tables."""
        for changed in (self.slots, self.queues, self.purged, self.answers, self.left):
            changed.clear()


Fold = Callable[[ThinEngine, Changes, Any], None]
FOLDS: Final[dict[type[Any], Fold]] = {}


def folded(*types: type[Any], keys: Callable[[Any], list[Key]] | None = None) -> None:
    """Events of these types are replayed; `keys` says which entries they change."""

    def fold(engine: ThinEngine, changes: Changes, event: Any) -> None:
        if keys is not None:
            engine.entries.update(keys(event))
        APPLY[type(event)](engine, event)

    for kind in types:
        FOLDS[kind] = fold


def _answered(engine: ThinEngine, changes: Changes, event: e.Answered) -> None:
    """Replies to idempotency keys are many and die young: they go to the tables in blocks, and are not held here."""
    changes.answers.append((event.scope, event.key, event.digest, event.reply, engine.now_ms, event.slot))


def _leased(engine: ThinEngine, changes: Changes, event: e.Leases) -> None:
    changes.last_token = max(changes.last_token, event.token)
    APPLY[e.Leases](engine, event)


def _defaults_set(engine: ThinEngine, changes: Changes, event: e.DefaultsSet) -> None:
    engine.entries.add(("defaults", 0, ""))
    changes.queues.update(engine.queues.values())
    APPLY[e.DefaultsSet](engine, event)


def _reserved(engine: ThinEngine, changes: Changes, event: e.PagesReserved | e.PageOpened) -> None:
    changes.slots.add(event.slot)
    APPLY[type(event)](engine, event)


def _ids_unused(engine: ThinEngine, changes: Changes, event: e.IdsUnused) -> None:
    changes.slots.update(job_id & 1023 for job_id in event.ids)
    APPLY[e.IdsUnused](engine, event)


def _purged(engine: ThinEngine, changes: Changes, event: e.DeadPurged | e.Obliterated) -> None:
    changes.purged.add(event.queue)
    APPLY[type(event)](engine, event)


def _told(engine: ThinEngine, changes: Changes, event: e.Told) -> None:
    for message in engine.outbox.waiting.get((event.source, event.target), ()):
        if message.no > event.through:
            break
        engine.entries.add(("posted", event.source, pair_key(event.target, message.no)))
    APPLY[e.Told](engine, event)


def _kv(kind: str, key: str) -> Key:
    return kind, slot_of_queue(key), key


def _fates(engine: ThinEngine, changes: Changes, event: e.Fates) -> None:
    for watcher, _, _ in event.learnt:
        job = find_job(engine, watcher)
        if job is not None and job.link is not None and job.link.draft:
            engine.entries.add(("part", watcher & 1023, str(job.link.draft)))
    APPLY[e.Fates](engine, event)


def _watched(engine: ThinEngine, changes: Changes, event: e.Watched) -> None:
    for _, others in event.pairs:
        for other in others:
            page, _ = engine.slots[other & 1023].find(other >> 10)
            if page is not None and page.reserved:
                engine.entries.add(("part", other & 1023, str(part_of(engine, other).root)))
    APPLY[e.Watched](engine, event)


def _discarded(engine: ThinEngine, changes: Changes, event: e.Discarded) -> None:
    part = engine.parts[event.root, event.slot]
    for job_id in part.ids:
        job = find_job(engine, job_id)
        if job is not None and job.options.debounce_id is not None:
            engine.entries.add(TIMED[close_window]((job.queue, job.options.debounce_id)))
    engine.entries.add(("part", event.slot, str(event.root)))
    APPLY[e.Discarded](engine, event)


def _forgotten(engine: ThinEngine, changes: Changes, event: e.QueueForgotten) -> None:
    changes.queues.add(engine.queue(event.queue))
    APPLY[e.QueueForgotten](engine, event)


def _hook_removed(engine: ThinEngine, changes: Changes, event: e.HookRemoved) -> None:
    line = engine.hooks.lines.get(event.id)
    if line is not None:
        for delivery in (*line.waiting.values(), *line.failed.values()):
            engine.entries.update(_delivery(event.id, delivery.no, delivery.happening.queue))
    engine.entries.update((hook_key(event.id), _HOOKS_VERSION))
    APPLY[e.HookRemoved](engine, event)


def _hooks_tried(engine: ThinEngine, changes: Changes, event: e.HooksTried) -> None:
    """Of a delivery that stays, what happened is not written again: its payload is not held here any more."""
    ended = [(hook, number, outcome == DELIVERED) for hook, number, outcome, _, _ in event.tried]
    for hook, number, over in (*ended, *((*key, True) for key in event.forgotten)):
        line = engine.hooks.lines.get(hook)
        delivery = line.find(number) if line is not None else None
        engine.entries.add(hook_key(hook))
        if delivery is not None:
            keys = _delivery(hook, number, delivery.happening.queue)
            engine.entries.update(keys if over else keys[1:])
    APPLY[e.HooksTried](engine, event)


def _hooks_again(engine: ThinEngine, changes: Changes, event: e.HooksAgain) -> None:
    line = engine.hooks.lines.get(event.hook)
    for number in event.numbers:
        delivery = line.find(number) if line is not None else None
        if delivery is not None:
            engine.entries.add(delivery_key("delivery_try", event.hook, number, delivery.happening.queue))
    APPLY[e.HooksAgain](engine, event)


def _delivery(hook: int, number: int, queue: str) -> list[Key]:
    """What happened stands apart from how it is delivered, which changes, and is small."""
    return [delivery_key(kind, hook, number, queue) for kind in ("delivery", "delivery_try")]


def _slot_left(engine: ThinEngine, changes: Changes, event: e.SlotLeft) -> None:
    _leave(engine, changes, event.slot)
    APPLY[e.SlotLeft](engine, event)


def _slot_arrived(engine: ThinEngine, changes: Changes, event: e.SlotArrived) -> None:
    """All of it is new to the tables. What is put back is held until it is written."""
    slot = event.slot
    _leave(engine, changes, slot)
    hooks = set(engine.hooks.lines)
    engine.keeps_values = True
    try:
        rows = arrived(engine, event)
    finally:
        engine.keeps_values = False
    for queue in queues_of(engine, slot):
        changes.queues.add(queue)
        for kept in queue.kept:
            kept.row = 0
    changes.slots.add(slot)
    engine.entries.update((row.kind, slot, row.key) for row in rows.read(s.ENTRIES))
    hooks.update(engine.hooks.lines)  # those that are no more are not to stay in the tables
    engine.entries.update((*map(hook_key, hooks), ("chosen", 0, ""), _HOOKS_VERSION))
    changes.answers += (answer for row in rows.read(s.BLOCKS) for answer in decode(row.value))


def _leave(engine: ThinEngine, changes: Changes, slot: int) -> None:
    """Nothing that was noted of a slot counts any more."""
    changes.left.add(slot)
    changes.slots.discard(slot)
    changes.queues = {queue for queue in changes.queues if queue.slot.no != slot}
    changes.purged = {name for name in changes.purged if slot_of_queue(name) != slot}
    for page in [page for page in engine.changed if page.slot.no == slot]:
        engine.changed.discard(page)
    engine.entries.difference_update([key for key in engine.entries if key[1] == slot and key[0] not in OF_SHARDS])


_HOOKS_VERSION: Final[Key] = ("hooks_version", 0, "")
FOLDS[e.HookRemoved] = _hook_removed
FOLDS[e.HooksTried] = _hooks_tried
FOLDS[e.HooksAgain] = _hooks_again
folded(e.IncomingSet, keys=lambda x: [("incoming", slot_of_queue(x.queue), x.queue)])
folded(e.SettingsChosen, keys=lambda x: [("chosen", 0, ""), _HOOKS_VERSION])
folded(e.TotalsReset)
folded(e.HookSet, keys=lambda x: [hook_key(x.id), _HOOKS_VERSION])
folded(
    e.HooksFired,
    keys=lambda x: [
        *(delivery_key("delivery", hook, no, what.queue) for no, hooks, what in x.fired for hook in hooks),
        *(hook_key(hook) for hook, _ in x.dropped),
    ],
)
FOLDS[e.QueueForgotten] = _forgotten
folded(e.Outlived)
FOLDS.update(
    {
        e.Leases: _leased,
        e.Answered: _answered,
        e.DefaultsSet: _defaults_set,
        e.PagesReserved: _reserved,
        e.PageOpened: _reserved,
        e.IdsUnused: _ids_unused,
        e.Told: _told,
        e.DeadPurged: _purged,
        e.Obliterated: _purged,
        e.Fates: _fates,
        e.Watched: _watched,
        e.Discarded: _discarded,
        e.SlotLeft: _slot_left,
        e.SlotArrived: _slot_arrived,
    }
)
folded(
    e.Run, e.Acks, e.JobsPushed, e.Retried, e.Died, e.Released, e.Renewed, e.QueuePaused, e.Evicted, e.Expired,
    e.Uncrashed, e.LimitSet, e.Drained, e.Removed, e.Revived, *control_jobs.APPLY,
)  # fmt: skip
folded(
    e.Posted,
    keys=lambda x: [("posted", x.source, pair_key(x.target, x.no)), ("sent", x.source, str(x.target))],
)
folded(e.SlotPart, keys=lambda x: [("arriving", x.slot, part_key(x.no))])
folded(e.Taken, keys=lambda x: [("taken", x.target, str(x.source))])
folded(e.KvStored, keys=lambda x: [k for entry in x.entries for k in (_kv("kv", entry[0]), _kv("kv_expiry", entry[0]))])
folded(e.KvRemoved, keys=lambda x: [k for key in x.keys for k in (_kv("kv", key), _kv("kv_expiry", key))])
folded(e.KvExpirySet, keys=lambda x: [_kv("kv_expiry", x.key)])
folded(e.CronSet, e.CronRan, e.CronRemoved, keys=lambda x: [("cron", slot_of_queue(x.name), x.name)])
folded(e.CronAimed, keys=lambda x: [("aimed", slot_of_queue(x.queue), aimed_key(x.queue, x.name))])
folded(e.DraftBegun, e.DraftEnded, keys=lambda x: [("draft", x.root & 1023, str(x.root))])
folded(e.Stored, e.Accepted, e.PartNamed, keys=lambda x: [("part", x.slot, str(x.root))])
folded(e.NamesBound, e.NamesFreed, keys=lambda x: [("name", slot_of_queue(name), name) for name in x.names])
