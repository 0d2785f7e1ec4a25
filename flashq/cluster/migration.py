"""Moving a cluster's data from a folder into a database, or back: `flashq migrate`.

Both sides are locked as a running cluster locks them. What is left of each shard's journal is folded into its tables,
then the tables are copied row by row, read again on both sides, and compared by count and checksum. The other side
begins a journal of its own, with one record that says nothing. While it is being filled it is marked: what a move that
was broken off has left is refused by the next start, and by the next move.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from sqlalchemy import Connection, Table, insert, select

from flashq.clock import SystemClock, boot_id
from flashq.cluster.folders import lock_data
from flashq.cluster.layout import settled_map
from flashq.cluster.slot_map import FILE, SlotMap, begin_move, shards_of, write_map
from flashq.config import Settings
from flashq.database_url import parse
from flashq.errors import ConfigError, StorageError
from flashq.shard.process import limits_of
from flashq.storage import schema as s
from flashq.storage.checkpointer import Checkpointer
from flashq.storage.contract import Journal
from flashq.storage.journal import SegmentJournal
from flashq.storage.journal_epoch import next_epoch
from flashq.storage.postgres import ownership
from flashq.storage.postgres.journal import DatabaseJournal
from flashq.storage.postgres.server import Server
from flashq.storage.postgres.site import DatabaseSite
from flashq.storage.recovery import Tables
from flashq.storage.sites import FileSite, Site, close

ROWS: Final = 256
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class Moved(NamedTuple):
    """What one table of one shard had."""

    shard: int
    table: str
    rows: int
    checksum: str


class Place(Protocol):
    """A folder or a database, locked."""

    name: str
    slots: SlotMap
    epoch: int
    """Larger than any that ever wrote here."""

    def site(self, shard: int) -> Site: ...

    def journal(self, shard: int, replay_from: int) -> Journal: ...


class FolderPlace:
    """A data folder."""

    def __init__(self, data: Path, slots: SlotMap, epoch: int) -> None:
        self.name = str(data)
        self.slots = slots
        self.epoch = epoch
        self._data = data

    def site(self, shard: int) -> Site:
        return FileSite(self._folder(shard), shard)

    def _folder(self, shard: int) -> Path:
        return self._data / f"shard-{shard:02}"

    def journal(self, shard: int, replay_from: int) -> Journal:
        folder = self._folder(shard)
        return SegmentJournal.open(folder, shard=shard, epoch=self.epoch, durability="fsync", replay_from=replay_from)


class DatabasePlace:
    """A database. `data`: the folder that stands beside it."""

    def __init__(self, server: Server, taken: ownership.Taken, shards: int, epoch: int, data: Path) -> None:
        self.name = server.url.shown
        self.slots = SlotMap(taken.slots_version, shards, taken.owners)
        self.epoch = epoch
        self._server = server
        self._taken = taken
        self._data = data

    def site(self, shard: int) -> Site:
        return DatabaseSite(self._server, shard, self._taken.run)

    def journal(self, shard: int, replay_from: int) -> Journal:
        return DatabaseJournal.open(
            self._server, self._data / f"shard-{shard:02}", shard=shard, epoch=self.epoch, boot=boot_id(),
            run=self._taken.run, replay_from=replay_from,
        )  # fmt: skip


def migrate(source: str, target: str, beside: Path, on_moved: Callable[[Moved], Any]) -> int:
    """Move everything; how many rows. `beside`: the data folder that stands beside the database, on either side.

    Raises ConfigError in one line where it cannot be: something runs, the source was not stopped in order, the target
    is not empty; StorageError and JournalCorrupt as the stores do.
    """
    if ("://" in source) == ("://" in target):
        raise ConfigError("migrate: one of --from and --to is a folder, the other a postgresql:// URL")
    with contextlib.ExitStack() as stack:
        if "://" in source:
            stack.callback(os.close, lock_data(beside))
            taken_from: Place = _from_database(source, beside)
            stack.callback(os.close, lock_data(Path(target)))
            _check_empty(Path(target))
            begin_move(Path(target))
            epoch = next_epoch(Path(target), above=taken_from.epoch)
            put_in: Place = FolderPlace(Path(target), taken_from.slots, epoch)
            rows = _move_all(taken_from, put_in, on_moved)
            write_map(Path(target), put_in.slots)
            return rows
        stack.callback(os.close, lock_data(Path(source)))
        shards = shards_of(Path(source))
        taken_from = FolderPlace(Path(source), settled_map(Path(source), shards), next_epoch(source))
        stack.callback(os.close, lock_data(beside))
        _check_empty(beside)
        server = Server(parse(target))
        ownership.check_empty(server)
        taken = ownership.take(server, shards, taken_from.slots.owners)
        ownership.set_moving(server, moving=True)
        epoch = next_epoch(beside, above=max(taken.epoch, taken_from.epoch))
        rows = _move_all(taken_from, DatabasePlace(server, taken, shards, epoch, beside), on_moved)
        ownership.set_moving(server, moving=False)
        return rows


def _from_database(url: str, beside: Path) -> DatabasePlace:
    server = Server(parse(url))
    shards = ownership.shards_of(server)
    taken = ownership.take(server, shards, ())
    return DatabasePlace(server, taken, shards, next_epoch(beside, above=taken.epoch), beside)


def _check_empty(data: Path) -> None:
    found = next(iter(sorted([*data.glob(FILE), *data.glob("shard-*")])), None)
    if found is not None:
        raise ConfigError(f"migrate: {data} is not empty: it has {found.name}; name a new folder")


def _move_all(source: Place, target: Place, on_moved: Callable[[Moved], Any]) -> int:
    total = 0
    for shard in range(source.slots.shards):
        _fold_rest(source, shard)
        for moved in _move(source.site(shard), target, shard):
            total += moved.rows
            on_moved(moved)
    return total


def _fold_rest(source: Place, shard: int) -> None:
    """Bring a shard's tables up to the end of its journal."""
    tables = Tables.find(source.site(shard))
    position = tables.position if tables is not None else 0
    if tables is not None:
        tables.close()
    journal = source.journal(shard, position)
    try:
        if not journal.recovery.clean:
            raise ConfigError(
                f"migrate: shard {shard} of {source.name} was not stopped in order: start its cluster once, and stop it"
            )
        checkpointer = Checkpointer(source.site(shard), limits_of(Settings(shards=1)))
        try:
            checkpointer.fold_records(journal.replay())
        finally:
            checkpointer.close()
    finally:
        journal.close(seal=True)


def _move(source: Site, target: Place, shard: int) -> Iterator[Moved]:
    """Copy and compare the tables of a shard, then begin its journal."""
    site = target.site(shard)
    clock = SystemClock()
    journal = target.journal(shard, 0)
    try:
        journal.append([], at_ms=clock.wall_ms(), mono_ms=clock.mono_ms(), promise=True)
    finally:
        journal.close(seal=True)
    reading = source.read()
    if reading is None:
        return
    try:
        site.make()
        writing = site.write()
        try:
            site.begin(writing, 0)
            for table in s.metadata.sorted_tables:
                _copy(reading, writing, table)
            row = s.META.c.key == "position"
            # The journal here is a new one: its first record says nothing, and is in the tables.
            moved_to = 1 if s.read_meta(reading).get("position", 0) else 0
            writing.execute(s.META.update().where(row).values(value=moved_to))
            site.commit(writing)
        finally:
            close(writing)
        again = site.read()
        assert again is not None
        try:
            for table in s.metadata.sorted_tables:
                yield _compared(shard, reading, again, table)
        finally:
            close(again)
    finally:
        close(reading)


def _copy(reading: Connection, writing: Connection, table: Table) -> None:
    if table is s.META:
        writing.execute(table.delete())
    result = reading.execution_options(yield_per=ROWS).execute(select(table))
    for rows in result.mappings().partitions(ROWS):
        writing.execute(insert(table), [dict(row) for row in rows])


def _compared(shard: int, one: Connection, other: Connection, table: Table) -> Moved:
    """Raises StorageError if a table is not the same on both sides."""
    (before, checksum), after = _summed(one, table), _summed(other, table)
    if (before, checksum) != after:
        raise StorageError(
            f"migrate: table {table.name} of shard {shard} differs: {before} rows with checksum {checksum}, but "
            f"{after[0]} with {after[1]} on the other side"
        )
    return Moved(shard, table.name, before, checksum)


def _summed(connection: Connection, table: Table) -> tuple[int, str]:
    """Number of rows, and a sum of their hashes, which no order changes."""
    count = total = 0
    for row in connection.execution_options(yield_per=ROWS).execute(select(table)):
        if table is s.META and row.key == "position":
            continue
        values = [value.encode() if isinstance(value, str) else value for value in row]
        total += int.from_bytes(hashlib.sha256(_encode(values)).digest()[:16], "big")
        count += 1
    return count, f"{total % (1 << 128):032x}"
