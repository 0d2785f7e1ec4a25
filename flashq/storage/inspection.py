"""Whether tables are whole: SQLite's own structure, every row and checksum, and every count. Nothing is written."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, select

from flashq.engine.engine import Engine
from flashq.engine.queues import Queue
from flashq.engine.replay import Replayer
from flashq.errors import CheckpointTooNew, JournalCorrupt
from flashq.storage import schema as s
from flashq.storage.findings import Finding
from flashq.storage.recovery import Restoring, Tables
from flashq.storage.rows import crc_of, decode, payloads_of
from flashq.storage.sections import SECTIONS
from flashq.storage.sites import FileSite, checked

INTEGRITY_MAX: Final = 20
"""So many faults of a file's structure are named."""
_COUNTS: Final[dict[str, Callable[[Queue], int]]] = {
    "waiting": lambda queue: queue.waiting,
    "delayed": lambda queue: queue.delayed,
    "active": lambda queue: queue.active,
    "completed": lambda queue: queue.completed,
    "dead": lambda queue: queue.dead_count,
}


def inspect_tables(
    folder: Path, shard: int, *, engine: Engine | None = None, restoring: type[Restoring] | None = None
) -> Iterator[Finding]:  # fmt: skip
    """All that is wrong with the tables in a shard's folder; nothing where there are none.

    `engine`, a new one, is filled with what they hold, by `restoring`, if nothing is wrong. The shard may be running:
    what is looked at is what was committed when the look began.
    """
    try:
        tables = Tables.find(FileSite(folder, shard))
    except (JournalCorrupt, CheckpointTooNew) as fault:
        yield Finding(str(folder / s.FILE), "", str(fault))
        return
    if tables is None:
        return
    try:
        yield from inspect_found(tables, Replayer(Engine(epoch=0) if engine is None else engine), restoring)
    finally:
        tables.close()


def inspect_found(
    tables: Tables, replayer: Replayer, restoring: type[Restoring] | None = None
) -> Iterator[Finding]:  # fmt: skip
    """All that is wrong with these tables, as they were when they were found.

    `replayer`, of a new engine, is filled with what they hold, by `restoring`, if nothing is wrong.
    """
    found = False
    for finding in _inspected(tables):
        found = True
        yield finding
    if not found:
        yield from _counted(tables, replayer, restoring)


def _inspected(tables: Tables) -> Iterator[Finding]:
    path = tables.site.name
    try:
        with checked(tables.site):
            for (text,) in tables.connection.exec_driver_sql(f"PRAGMA integrity_check({INTEGRITY_MAX})").all():
                if text != "ok":
                    yield Finding(path, "", text)
            yield from _rows(path, tables.connection)
    except JournalCorrupt as fault:
        yield Finding(path, "", str(fault))


def _rows(path: str, connection: Connection) -> Iterator[Finding]:
    """Every row is read, and tried: what its checksum covers has to have it, the rest to be what it says it is."""
    for table, query, key, check in _CHECKS:
        for row in connection.execution_options(yield_per=512).execute(query):
            try:
                what = check(row)
            except (ValueError, TypeError, KeyError, IndexError, msgspec.DecodeError) as fault:
                what = f"it cannot be read: {fault}"
            if what:
                yield Finding(path, f"table {table}, row {' '.join(str(row._mapping[name]) for name in key)}", what)


def _has_crc(crc: int, *parts: bytes | str | None) -> str:
    return "" if crc_of(*parts) == crc else "it has another checksum"


def _page(row: Row[Any]) -> str:
    return _has_crc(row.crc, row.defaults, row.at, row.ms, row.kinds, row.leases)


def _chunk(row: Row[Any]) -> str:
    return _has_crc(row.crc, row.sizes, row.payloads) or (
        "" if len(payloads_of(row.payloads)) == row.places else f"it has not the {row.places} places that it says"
    )


def _job(row: Row[Any]) -> str:
    if row.data is None:
        return "its data is missing"
    if isinstance(row.data, str):
        msgspec.json.decode(row.data, type=msgspec.Raw)
    return _has_crc(row.crc, row.rest) or _slot(row)


def _slot(row: Row[Any]) -> str:
    return "" if row.id & 1023 == row.slot else f"slot {row.slot} is not that of its id"


def _readable(name: str) -> Callable[[Row[Any]], str]:
    """The blob of this column is MessagePack."""

    def check(row: Row[Any]) -> str:
        decode(row._mapping[name])
        return ""

    return check


def _entry(row: Row[Any]) -> str:
    decode(row.value)
    return "" if row.kind in SECTIONS else f"nothing is known of the kind {row.kind!r}"


_Check = tuple[str, Select[Any], tuple[str, ...], Callable[[Row[Any]], str]]
_CHECKS: Final[tuple[_Check, ...]] = (
    ("queues", select(s.QUEUES), ("name",), _readable("rest")),
    ("pages", select(s.PAGES), ("id",), _page),
    ("chunks", select(s.CHUNKS), ("id",), _chunk),
    ("jobs", select(s.JOBS), ("id",), _job),
    ("dead_letters", select(s.DEAD_LETTERS), ("no",), _slot),
    ("blocks", select(s.BLOCKS), ("no",), _readable("value")),
    ("entries", select(s.ENTRIES), ("kind", "slot", "key"), _entry),
)


def _counted(tables: Tables, replayer: Replayer, restoring: type[Restoring] | None) -> Iterator[Finding]:
    """Rows are whole, so there is a state; its counts must be those that the tables name."""
    path = tables.site.name
    try:
        tables.restore(replayer, restoring)
    except JournalCorrupt as fault:
        yield Finding(path, "", str(fault))
        return
    for row in tables.connection.execute(select(s.QUEUES)):
        queue = replayer.engine.queues[row.name]
        for name, count in _COUNTS.items():
            named, found = row._mapping[name], count(queue)
            if named != found:
                yield Finding(path, f"table queues, row {row.name}", f"{name} is {named}, but there are {found}")
