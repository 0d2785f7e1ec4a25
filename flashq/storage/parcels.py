"""A slot as it travels between shards: the rows that it would be in tables, in parts of about a megabyte.

Packed in two steps, as a slot may be large: `Parcel` takes what is small at once, before the slot leaves its engine
(departure.py); pages and their jobs, which nobody changes after that, become rows part by part, with other work in
between.

The receiver journals each part (`SlotPart`) and then that all are there (`SlotArrived`); only when the map of slots
says that the slot is its own it puts them into its engine (`unpack`). Replay does so at once, and a shard that finds a
slot that the map does not give it lets it go when it starts (`SlotLeft`).
"""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from msgspec import convert, to_builtins
from sqlalchemy import Table

from flashq.engine import chosen, webhooks
from flashq.engine.departure import depart, queues_of
from flashq.engine.engine import Engine
from flashq.engine.events import HookRemoved, HookSet, SettingsChosen, SlotArrived
from flashq.engine.jobs import Job
from flashq.engine.pages import Page
from flashq.engine.replay import APPLY
from flashq.engine.settings import Chosen
from flashq.storage.queue_rows import Row, kept_row, queue_row, runs_blob
from flashq.storage.recovery import Restoring
from flashq.storage.rows import chunks, decode, encode, job_row, page_row, text_or_bytes
from flashq.storage.sections import SECTIONS
from flashq.storage.slot_entries import entries_of

PART_BYTES: Final = 1 << 20
"""A part ends behind the row that brings it over this."""
_ROW_BYTES: Final = 100
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[str, dict[str, Any]]]).decode
_HOOKS: Final = "hooks"
"""Not a table: webhooks and settings that the sender knows, which the receiver may not have heard of yet."""


class Parcel:
    """What a slot holds, ready to be sent once, and put back if it is not wanted there."""

    def __init__(self, engine: Engine, slot: int) -> None:
        """To be made before the slot leaves, and in the same tick."""
        self.slot = slot
        self.mono_ms = engine.mono_ms
        """What the clock shows by which leases have their moments."""
        found = engine.slots.get(slot)
        self._pages = list(found.pages.values()) if found is not None else []
        self._small = list(_small_rows(engine, slot))

    def parts(self) -> Iterator[bytes]:
        """The parts, in order. Call it once the slot has left: until then jobs may change."""
        rows: list[tuple[str, Row]] = []
        size = 0
        for table, row in self._rows():
            rows.append((table, row))
            size += _ROW_BYTES + sum(len(value) for value in row.values() if isinstance(value, bytes | str))
            if size >= PART_BYTES:
                yield _encode(rows)
                rows, size = [], 0
        yield _encode(rows)

    def _rows(self) -> Iterator[tuple[str, Row]]:
        yield from self._small
        for page in self._pages:
            yield "pages", page_row(page, page.base | self.slot)
            # As a list: of a page that is one block each place would be cut out again and again.
            for row in chunks(page.base | self.slot, 0, page.jobs[:]):
                yield "chunks", row
            if page.records:
                yield from _job_rows(page)


def _job_rows(page: Page) -> Iterator[tuple[str, Row]]:
    for i, job in enumerate(page.jobs):
        if type(job) is Job:
            row = job_row(job, (page.base + i) << 10 | page.slot.no)
            yield "jobs", {**row, "data": text_or_bytes(job.data, job.codec)}


def _small_rows(engine: Engine, slot: int) -> Iterator[tuple[str, Row]]:
    found = engine.slots.get(slot)
    if found is not None:
        runs = {"bad": runs_blob(found.bad.runs()), "gone": runs_blob(found.gone.runs())}
        pages = {"next_page": found.next_page, "reserved_page": found.reserved_page}
        yield "slots", {"slot": slot, **pages, **runs}
    for queue in queues_of(engine, slot):
        yield "queues", queue_row(queue)
        for number, kept in enumerate(queue.kept, 1):
            yield "completed", kept_row(queue, kept, number)
        for seq in queue.dead:
            yield "dead_letters", {"id": seq << 10 | slot, "queue": queue.name}
    for kind, _, key in entries_of(engine, slot):
        value = SECTIONS[kind].dump(engine, slot, key)
        if value is not None:
            yield "entries", {"kind": kind, "slot": slot, "key": key, "value": encode(value)}
    window = engine.limits.idempotency_window_ms
    answers = [
        (scope, key, one.digest, one.reply, one.until_ms - window, slot)
        for scope, key, one in engine.answers.of_slot(slot)
    ]
    if answers:
        yield "blocks", {"kind": "answers", "value": encode(answers)}
    if engine.hooks.version:
        hooks = [[getattr(line.hook, name) for name in _HOOK] for line in engine.hooks.lines.values()]
        yield _HOOKS, {"kind": "", "value": encode((engine.hooks.version, hooks, to_builtins(engine.chosen)))}


_HOOK: Final = HookSet.__struct_fields__


class PartRows:
    """The rows of all parts of a slot."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._tables: dict[str, list[Any]] = {}
        for part in parts:
            for table, row in _decode(part):
                self._tables.setdefault(table, []).append(SimpleNamespace(**row))

    def read(
        self, table: Table, names: Sequence[str] = (), *, kind: str | None = None, order: Sequence[str] = ()
    ) -> Iterator[Any]:
        """See Rows. They were packed in the order in which they are wanted."""
        rows = self._tables.get(str(table.name), ())
        return (row for row in rows if kind is None or row.kind == kind)

    def hooks(self) -> tuple[int, list[HookSet], Chosen]:
        """(version, webhooks, settings) as the sender knows them."""
        for row in self._tables.get(_HOOKS, ()):
            version, hooks, settings = decode(row.value)
            return version, [HookSet(*fields) for fields in hooks], convert(settings, Chosen)
        return 0, [], Chosen()


def unpack(engine: Engine, slot: int, parts: Sequence[bytes], shift_ms: int) -> PartRows:
    """Put a slot into the engine; one that is there already is replaced. `shift_ms`: see Restoring.

    Raises ValueError, KeyError, IndexError or TypeError where the parts are not those of a slot.
    """
    depart(engine, slot)
    rows = PartRows(parts)
    _learn_hooks(engine, *rows.hooks())
    restoring = Restoring(rows, engine, shift_ms)
    restoring.run()
    if not engine.replaying:
        for queue in queues_of(engine, slot):
            if queue.lines is not None:
                queue.lines.replayed()
    return rows


def _learn_hooks(engine: Engine, version: int, hooks: list[HookSet], settings: Chosen) -> None:
    """Webhooks and settings are every shard's: one that has not heard the latest learns them with its slots.

    A shard without slots is told of none, as slot 0 tells it by one of its slots.
    """
    if version <= engine.hooks.version:
        return
    known = {hook.id for hook in hooks}
    for hook in hooks:
        if hook.id not in engine.hooks.lines:
            webhooks.set_(engine, hook)
    for line in list(engine.hooks.lines.values()):
        if line.hook.id not in known:
            webhooks.removed(engine, HookRemoved(line.hook.id, version))
    chosen.set_(engine, SettingsChosen(version, settings))


def arrived(engine: Engine, event: SlotArrived) -> PartRows:
    """Replay: the slot is here from this record on."""
    return unpack(engine, event.slot, engine.arriving.pop(event.slot, ()), engine.mono_ms - event.mono_ms)


_apply: Final[Callable[[Engine, SlotArrived], Any]] = arrived
APPLY[SlotArrived] = _apply
