"""Slots move between shards that are stopped: the tables of new shards, made from those of old ones.

All rows carry their slot, so what a slot has (jobs, leases, dead letters, names, crons, keys, outbox, what is known of
ended ids) is copied as it is. Not as it is: replies to idempotency keys lie in blocks of many slots and are sorted out;
moments of the monotonic clock (leases, how full buckets are) are put on the clock of this boot, for two shards may have
counted theirs differently; webhooks, which every shard knows, go to all (hook_moves.py); numbers of dead letters are
given anew, in their order.

The tables begin with record 1 of a journal of their own, which is empty: what came before is in no journal any more.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    case,
    func,
    insert,
    literal,
    select,
    update,
)

from flashq.errors import JournalCorrupt
from flashq.storage import schema as s
from flashq.storage.files import OsFiles
from flashq.storage.hook_moves import EVERYWHERE, HOME, MovedHooks
from flashq.storage.journal import SegmentJournal
from flashq.storage.queue_rest import shifted_rest
from flashq.storage.rows import crc_of, decode, encode, shifted_leases
from flashq.storage.sites import FileSite, checked

_OLD: Final = "old"
_COPIED: Final = (s.QUEUES, s.JOBS, s.COMPLETED, s.SLOTS, s.PAGES, s.CHUNKS)
"""Tables of which rows are copied as they are."""
_SEEN: Final = MetaData()
_MOVING: Final = Table("moving", _SEEN, Column("slot", Integer, primary_key=True))
"""The slots that are copied now."""
_OLD_TABLES: Final = {table.name: table.to_metadata(_SEEN, schema=_OLD) for table in s.metadata.sorted_tables}


class Origin(NamedTuple):
    """Tables of a shard into which its whole journal is folded."""

    folder: Path
    shard: int
    slots: Collection[int]
    """The slots to be taken from it."""
    clean: bool
    """It was stopped in order; else ids that were reserved ahead may have been told to somebody."""


class Moment(NamedTuple):
    """When it is done: the clocks that the new tables are put on."""

    at_ms: int
    mono_ms: int
    boot: str


class Carried(NamedTuple):
    """What belongs to shards, not to slots, and goes with one of the new ones."""

    totals: dict[str, int]
    last_token: int


def build_shard(
    folder: Path, shard: int, origins: Sequence[Origin], now: Moment, carried: Carried, *, epoch: int,
    durability: Literal["fsync", "commit"], segment_bytes: int, pages_skipped: int = 0,
) -> int:  # fmt: skip
    """Make the folder of a shard from its slots in `origins`; how many rows it has. On disk when it returns.

    `pages_skipped`: so many pages of ids are left out in each slot, used or not: they may have been given since.
    Raises JournalCorrupt where an origin's rows cannot be read or are not all found again.
    """
    OsFiles().make_folder(str(folder))
    path = folder / s.FILE
    rows = 0
    with _building(path) as connection:
        s.prepare(connection, str(path), shard)
        tables = _Tables(connection, now)
        for origin in origins:
            with checked(FileSite(origin.folder, origin.shard)):
                rows += tables.take(origin)
        if pages_skipped:
            tables.skip([slot for origin in origins for slot in origin.slots], pages_skipped)
        tables.finish(carried)
    _sync(path)
    _begin_journal(folder, shard, now, epoch, durability, segment_bytes)
    return rows


def carried_from(folders: Sequence[tuple[Path, int]]) -> Carried:
    """The totals of some shards, and the latest lease token that any of them has given."""
    totals: dict[str, int] = {}
    token = 0
    for folder, shard in folders:
        path = folder / s.FILE
        with checked(FileSite(folder, shard)), _reading(path) as connection:
            meta = s.read_meta(connection)
            if not meta.get("position"):
                continue
            for name, value in decode(meta["totals"]).items():
                totals[name] = totals.get(name, 0) + value
            token = max(token, meta["last_token"])
    return Carried(totals, token)


@contextmanager
def _reading(path: Path) -> Iterator[Connection]:
    engine = s.connect(path)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _building(path: Path) -> Iterator[Connection]:
    """A file that nobody else has, and that is worth nothing before it is whole: so it is synced once, at the end."""
    with _reading(path) as connection:
        for pragma in ("journal_mode=MEMORY", "synchronous=OFF", "temp_store=MEMORY"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.exec_driver_sql("CREATE TEMP TABLE moving (slot INTEGER PRIMARY KEY)")
        yield connection
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    OsFiles().sync_folder(str(path.parent))


def _begin_journal(
    folder: Path, shard: int, now: Moment, epoch: int, durability: Literal["fsync", "commit"], segment_bytes: int
) -> None:
    """One empty record, and a seal: nothing of it may be missing."""
    journal = SegmentJournal.open(
        folder, shard=shard, epoch=epoch, durability=durability, boot=now.boot, segment_bytes=segment_bytes
    )
    with closing(_Sealing(journal)):
        journal.append([], at_ms=now.at_ms, mono_ms=now.mono_ms, promise=True, sync=True)


class _Sealing(NamedTuple):
    journal: SegmentJournal

    def close(self) -> None:
        self.journal.close(seal=True)


class _Tables:
    """The tables in the making."""

    def __init__(self, connection: Connection, now: Moment) -> None:
        self._connection = connection
        self._now = now
        self._answers: list[tuple[int, Any]] = []
        """(when, answer) of all origins."""
        self._dead = 0
        """The highest number of a dead letter so far."""
        self._defaults: tuple[int, Any] = (-1, None)
        """(when, value): the latest that any origin knows."""
        self._hooks = MovedHooks(_OLD_TABLES["entries"])

    def take(self, origin: Origin) -> int:
        """Copy the slots of one origin; how many rows that were."""
        connection = self._connection
        connection.exec_driver_sql("ATTACH ? AS old", (str(origin.folder / s.FILE),))
        try:
            meta = {row.key: row.value for row in connection.execute(select(_OLD_TABLES["meta"]))}
            s.check_meta(meta, str(origin.folder / s.FILE), origin.shard)
            if not meta.get("position"):
                return 0
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            rows = self._copy(origin, meta)
            connection.exec_driver_sql("COMMIT")
        finally:
            if connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("DETACH old")
        return rows

    def _copy(self, origin: Origin, meta: dict[str, Any]) -> int:
        connection = self._connection
        connection.exec_driver_sql("DELETE FROM moving")
        connection.exec_driver_sql("INSERT INTO moving VALUES (?)", [(slot,) for slot in origin.slots] or [(-1,)])
        rows = sum(self._copy_table(table, origin) for table in _COPIED)
        rows += self._copy_entries(meta["at_ms"])
        self._hooks.take(connection, leads=HOME in origin.slots)
        rows += self._copy_dead()
        self._take_answers(frozenset(origin.slots))
        if not origin.clean:
            ahead = s.SLOTS.c.reserved_page > s.SLOTS.c.next_page
            connection.execute(update(s.SLOTS).where(ahead, _moving(s.SLOTS)).values(next_page=s.SLOTS.c.reserved_page))
        boot, offset, last = decode(meta["clock"])
        self._shift(-offset if boot == self._now.boot else self._now.mono_ms - last)
        return rows

    def _copy_table(self, table: Table, origin: Origin) -> int:
        old = _OLD_TABLES[table.name]
        names = [column.name for column in table.columns]
        query = select(*(old.c[name] for name in names)).where(_moving(old))
        expected = self._connection.execute(select(func.count()).select_from(old).where(_moving(old))).scalar_one()
        copied = self._connection.execute(insert(table).from_select(names, query)).rowcount
        if copied != expected:
            raise JournalCorrupt(
                f"shard {origin.shard}: {origin.folder / s.FILE} is damaged: {table.name} has {expected} rows of its"
                f" slots by their number, but {copied} were read"
            )
        return copied

    def _copy_entries(self, at_ms: int) -> int:
        """What the shard's defaults were goes by its own rule: each shard has an entry, the latest one holds."""
        old, kind = _OLD_TABLES["entries"], "defaults"
        apart = (kind, *EVERYWHERE)
        names = [column.name for column in s.ENTRIES.columns]
        query = select(*(old.c[name] for name in names)).where(_moving(old), old.c.kind.not_in(apart))
        found = self._connection.execute(select(old.c.value).where(old.c.kind == kind)).scalar()
        if found is not None and at_ms > self._defaults[0]:
            self._defaults = at_ms, found
        return self._connection.execute(insert(s.ENTRIES).from_select(names, query)).rowcount

    def _copy_dead(self) -> int:
        old = _OLD_TABLES["dead_letters"]
        names = [column.name for column in s.DEAD_LETTERS.columns]
        columns = [old.c.no + literal(self._dead) if name == "no" else old.c[name] for name in names]
        query = select(*columns).where(_moving(old))
        copied = self._connection.execute(insert(s.DEAD_LETTERS).from_select(names, query)).rowcount
        self._dead = self._connection.execute(select(func.coalesce(func.max(s.DEAD_LETTERS.c.no), 0))).scalar_one()
        return copied

    def _take_answers(self, slots: frozenset[int]) -> None:
        old = _OLD_TABLES["blocks"]
        query = select(old.c.value).where(old.c.kind == "answers").order_by(old.c.no)
        for row in self._connection.execute(query):
            self._answers += [(answer[4], answer) for answer in decode(row.value) if answer[5] in slots]

    def _shift(self, by_ms: int) -> None:
        """Put monotonic moments of the rows that were just copied on the clock of this boot."""
        if not by_ms:
            return
        connection, pages, queues = self._connection, s.PAGES.c, s.QUEUES.c
        leased = select(s.PAGES).where(_moving(s.PAGES), func.length(pages.leases) > 0)
        for row in connection.execute(leased).all():
            leases = shifted_leases(row.leases, by_ms)
            crc = crc_of(row.defaults, row.at, row.ms, row.kinds, leases)
            connection.execute(update(s.PAGES).where(pages.id == row.id).values(leases=leases, crc=crc))
        for row in connection.execute(select(queues.name, queues.rest).where(_moving(s.QUEUES))).all():
            rest = encode(shifted_rest(decode(row.rest), by_ms))
            if rest != row.rest:
                connection.execute(update(s.QUEUES).where(queues.name == row.name).values(rest=rest))

    def skip(self, slots: Sequence[int], pages: int) -> None:
        """Count ids on from further ahead."""
        c = s.SLOTS.c
        ahead = case((c.reserved_page > c.next_page, c.reserved_page), else_=c.next_page) + pages
        connection = self._connection
        connection.execute(update(s.SLOTS).values(next_page=ahead, reserved_page=ahead))
        known = set(connection.execute(select(c.slot)).scalars())
        fresh = [
            {"slot": slot, "next_page": pages, "reserved_page": pages, "bad": b"", "gone": b""}
            for slot in slots if slot not in known
        ]  # fmt: skip
        if fresh:
            connection.execute(insert(s.SLOTS), fresh)

    def finish(self, carried: Carried) -> None:
        """What is left when all origins are copied."""
        connection, now = self._connection, self._now
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if self._answers:
            self._answers.sort(key=lambda timed: timed[0])
            value = encode([answer for _, answer in self._answers])
            row = {"no": 1, "kind": "answers", "at_ms": self._answers[-1][0], "value": value}
            connection.execute(insert(s.BLOCKS), [row])
        if self._defaults[1] is not None:
            connection.execute(
                insert(s.ENTRIES), [{"kind": "defaults", "slot": 0, "key": "", "value": self._defaults[1]}]
            )
        hooks = self._hooks.rows()
        if hooks:
            connection.execute(insert(s.ENTRIES), hooks)
        meta = {
            "position": 1, "clock": encode((now.boot, 0, now.mono_ms)), "at_ms": now.at_ms,
            "totals": encode(carried.totals), "last_token": carried.last_token,
        }  # fmt: skip
        rows = [{"key": key, "value": value} for key, value in meta.items()]
        connection.execute(insert(s.META).prefix_with("OR REPLACE"), rows)
        connection.exec_driver_sql("COMMIT")


def _moving(table: Table) -> ColumnElement[bool]:
    """A row of a slot that moves now."""
    return table.c.slot.in_(select(_MOVING.c.slot))
