"""What is whole of a damaged shard: each row and each record by itself, as nothing says any more how they fit together.

A job that was pushed in a record that can be read, or lies in a row that can, is saved unless a record says that it
ended. What became of it since is often not known; then its state is "unknown".
"""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.exc import DatabaseError

from flashq.engine import events as e
from flashq.engine.storing import decoded
from flashq.errors import CheckpointTooNew, FlashqError, JournalCorrupt
from flashq.protocol.codec import payload_of
from flashq.protocol.commands import FULL
from flashq.storage import schema as s
from flashq.storage.export import Line, cron_line, job_line, key_line
from flashq.storage.journal_inspection import JournalLook
from flashq.storage.recovery import Tables
from flashq.storage.rows import ACTIVE, COMPLETED, NOTHING, RECORD, WAITING, crc_of, decode, payloads_of
from flashq.storage.sites import ReadOnlySite

STEP = 1024
UNKNOWN = "unknown"
_STATES = {WAITING: "waiting", ACTIVE: "active"}
_FAULTS = (ValueError, TypeError, KeyError, IndexError, AttributeError, msgspec.DecodeError, FlashqError)
"""What comes of bytes that are not what they should be."""


def salvaged(folder: Path, shard: int) -> Iterator[Line]:
    """All that can be read in a shard's folder. Raises OSError."""
    with closing(JournalLook(folder, shard)) as journal:
        ended = _ended(journal)
        seen: set[int] = set()
        for line in _from_tables(folder, shard):
            if line["kind"] in ("job", "dead_letter"):
                if line["id"] in ended or line["id"] in seen:
                    continue
                seen.add(line["id"])
            yield line
        for line in _from_journal(journal):
            if line["kind"] != "job" or (line["id"] not in ended and line["id"] not in seen):
                yield line


# -- the journal


def _events(journal: JournalLook) -> Iterator[Any]:
    for record in journal.whole_records():
        with suppress(*_FAULTS):
            yield from e.parsed(record.events)


def _ended(journal: JournalLook) -> set[int]:
    """Jobs that are done, or ceased to exist."""
    ended: set[int] = set()
    for event in _events(journal):
        if isinstance(event, e.Acks | e.Expired | e.IdsUnused):
            ended.update(event.ids)
        elif isinstance(event, e.Cancelled):
            ended.add(event.id)
        elif isinstance(event, e.Removed | e.Evicted | e.Outlived):
            for first, count in event.runs:
                ended.update(range(first, first + count * STEP, STEP))
    return ended


def _from_journal(journal: JournalLook) -> Iterator[Line]:
    keys: dict[str, Line] = {}
    crons: dict[str, Line] = {}
    for event in _events(journal):
        if isinstance(event, e.Run | e.JobsPushed | e.Stored):
            yield from _pushed(event)
        elif isinstance(event, e.KvStored):
            keys |= {key: key_line(key, codec, value, at) for key, codec, value, at in event.entries}
        elif isinstance(event, e.KvRemoved):
            for key in event.keys:
                keys.pop(key, None)
        elif isinstance(event, e.CronSet):
            crons[event.name] = cron_line(msgspec.structs.asdict(event))
        elif isinstance(event, e.CronRemoved):
            crons.pop(event.name, None)
    yield from keys.values()
    yield from crons.values()


def _pushed(event: Any) -> Iterator[Line]:
    with suppress(*_FAULTS):
        if isinstance(event, e.Stored):
            pairs = [(child.queue, child, i) for (child, _), i in zip(decoded(event.codec, event.frame), event.ids)]  # noqa: B905
        else:
            command = FULL[event.codec](event.frame)
            entries = command.jobs if hasattr(command, "jobs") else [command]
            pairs = [(command.queue, entries[k], job_id) for k, job_id in _places(event, len(entries))]
        for queue, entry, job_id in pairs:
            yield job_line(job_id, queue, UNKNOWN, payload_of(entry.data, event.codec), event.codec)


def _places(event: Any, entries: int) -> list[tuple[int, int]]:
    """(index of an entry, its job) of what a push made."""
    if isinstance(event, e.Run):
        ids = [first + k * STEP for first, count in event.runs for k in range(count)]
        return list(zip(range(entries), ids, strict=True))
    refused, existing = set(event.refused), set(event.existing)
    accepted = [k for k in range(entries) if k not in refused]
    return [(k, job_id) for k, job_id in zip(accepted, event.ids, strict=True) if k not in existing]


# -- the tables


def _from_tables(folder: Path, shard: int) -> Iterator[Line]:
    try:
        tables = Tables.find(ReadOnlySite(folder, shard))
    except (JournalCorrupt, CheckpointTooNew):
        return
    if tables is None:
        return
    with closing(tables):
        connection = tables.connection
        pages = {row.id: row for row in _rows(connection, select(s.PAGES)) if _page_is_whole(row)}
        for row in _rows(connection, select(s.QUEUES)):
            with suppress(*_FAULTS):
                yield {"kind": "queue", "queue": row.name, "paused": bool(row.paused)}
        for row in _rows(connection, select(s.JOBS)):
            with suppress(*_FAULTS):
                if crc_of(row.rest) == row.crc:
                    yield _job(row)
        for row in _rows(connection, select(s.CHUNKS)):
            if crc_of(row.sizes, row.payloads) == row.crc:
                with suppress(*_FAULTS):
                    yield from _chunk(row, pages)
        yield from _entries(connection)


def _rows(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows up to the first that SQLite cannot read."""
    with suppress(DatabaseError, *_FAULTS):
        yield from connection.execution_options(yield_per=64).execute(query)


def _page_is_whole(row: Row[Any]) -> bool:
    return bool(crc_of(row.defaults, row.at, row.ms, row.kinds, row.leases) == row.crc)


def _job(row: Row[Any]) -> Line:
    data = row.data.encode() if isinstance(row.data, str) else row.data
    line = job_line(row.id, row.queue, row.state, data, row.codec)
    names = ("priority", "created_at", "run_at", "attempts", "max_attempts", "error")
    return line | {name: row._mapping[name] for name in names} | {"options": decode(row.rest)[0]}


def _chunk(row: Row[Any], pages: dict[int, Row[Any]]) -> Iterator[Line]:
    """Plain jobs. Of those whose page is not readable only the payload is known, and JSON is tried for its codec."""
    page, start = pages.get(row.id >> 10), row.id & 1023
    slot, first = (row.id >> 10) & 1023, (row.id >> 20) * 1024 + start
    for k, payload in enumerate(payloads_of(row.payloads)):
        kind = NOTHING if payload is None else WAITING
        if page is not None and page.kinds and payload is not None:
            kind = page.kinds[start + k]
        if payload is None or kind in (NOTHING, COMPLETED, RECORD):
            continue
        queue, state, codec = (page.queue, _STATES[kind], page.codec) if page is not None else ("", UNKNOWN, 0)
        with suppress(*_FAULTS):
            yield job_line((first + k) * 1024 + slot, queue, state, payload, codec)


def _entries(connection: Connection) -> Iterator[Line]:
    expiries: dict[str, int] = {}
    c = s.ENTRIES.c
    for row in _rows(connection, select(s.ENTRIES).where(c.kind == "kv_expiry")):
        with suppress(*_FAULTS):
            expiries[row.key] = decode(row.value)
    for row in _rows(connection, select(s.ENTRIES).where(c.kind.in_(("kv", "cron", "name")))):
        with suppress(*_FAULTS):
            value = decode(row.value)
            if row.kind == "kv":
                yield key_line(row.key, value[0], value[1], expiries.get(row.key, 0))
            elif row.kind == "cron":
                yield cron_line(dict(zip(e.CronSet.__struct_fields__, value, strict=False)))
            else:
                yield {"kind": "custom_id", "custom_id": row.key, "id": value}
