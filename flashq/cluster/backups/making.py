"""`flashq backup`: all shards at one moment, while they serve or while nothing runs.

No shard is asked and none waits. Of each shard, in this order:
1. Its tables are looked at in a read transaction that stands until they are copied.
2. The segments of its journal behind them are copied, before they may be used again.
Then a moment is taken, the cut, and 3. what the journals got in between is copied as well. A record counts if its tick
had ended at the cut (`storage/journal_copy.py` says why no message between shards is in only one of two halves then).
4. The tables are copied, and 5. the records up to the cut folded into the copy, as the checkpointer does it. What
comes of it is compressed, unpacked again, tried row by row and counted, and only then the backup gets its name.

If a shard was faster than we, or slots moved meanwhile, all is begun anew.
"""

import shutil
import sqlite3
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from flashq import __version__
from flashq.access.book import BOOK, FOLDER
from flashq.clock import SystemClock, boot_id
from flashq.cluster.backups.checking import counts_in, unpack_shard
from flashq.cluster.backups.manifest import FORMAT, Manifest, ShardPart, write_manifest
from flashq.cluster.backups.shelf import DRAFT, Point, name_of, put, taken, trim
from flashq.cluster.layout import shard_folder
from flashq.cluster.slot_map import SlotMap, find_map
from flashq.config import Settings
from flashq.errors import ConfigError, DiskFull, JournalCorrupt, StorageError
from flashq.shard.process import limits_of
from flashq.storage import schema as s
from flashq.storage.checkpointer import Checkpointer
from flashq.storage.files import OsFiles
from flashq.storage.journal_copy import FOLDER as JOURNAL
from flashq.storage.journal_copy import Cut, JournalCopy, Overtaken
from flashq.storage.journal_epoch import last_epoch
from flashq.storage.packing import pack
from flashq.storage.recovery import Tables
from flashq.storage.sites import FileSite

TRIES: Final = 10
SPARE_BYTES: Final = 64 << 20
_PAGES: Final = 256
"""Of tables, copied at a time."""


class Made(NamedTuple):
    """A backup that was made."""

    path: Path
    manifest: Manifest
    removed: list[str]
    """Older ones that were removed."""


def back_up(settings: Settings, folder: Path, *, keep: int = 0, at: Point = bool) -> Made:
    """Make a backup in `folder`, then remove all but the latest `keep` (0: none).

    Raises ConfigError where there is nothing to back up, StorageError, DiskFull, JournalCorrupt or CheckpointTooNew as
    they say; what was there before is there still.
    """
    if settings.database_url:
        raise ConfigError("backup: the data is in PostgreSQL: back up the database with its own tools, and the folder")
    with taken(folder):
        _check_room(settings.data, folder)
        for attempt in range(1, TRIES + 1):
            draft = folder / f"{DRAFT}{attempt}"
            try:
                manifest = _Making(settings, draft, at).make()
                break
            except (Overtaken, JournalCorrupt) as fault:
                # Damage may be what a copy looks like that was made while its segment was written.
                if attempt == TRIES or (isinstance(fault, JournalCorrupt) and attempt >= TRIES // 3):
                    raise
            finally:
                shutil.rmtree(draft / "work", ignore_errors=True)
                if not (draft / "manifest.json").exists():
                    shutil.rmtree(draft, ignore_errors=True)
        at("tried")
        whole = put(draft, folder, manifest.name)
        at("named")
        removed = trim(folder, keep, at)
    return Made(whole, manifest, removed)


def _check_room(data: Path, folder: Path) -> None:
    """Two copies of the tables lie there for a while, and what is packed."""
    paths = [*data.glob(f"shard-*/{s.FILE}"), *data.glob(f"shard-*/{JOURNAL}/*.seg")]
    needed = SPARE_BYTES
    for path in paths:
        with suppress(FileNotFoundError):  # a segment that was used again meanwhile
            needed += 2 * path.stat().st_size
    free = OsFiles().free_bytes(str(folder))
    if free < needed:
        raise DiskFull(f"{folder}: {needed} bytes are needed for a backup, there are {free}")


def cut_now() -> tuple[Cut, int]:
    """A moment that is over, and its wall time."""
    clock = SystemClock()
    wall_ms, mono_ms = clock.both_ms()
    while clock.mono_ms() <= mono_ms:
        time.sleep(0.0005)  # until the millisecond is over, in a process of its own: nothing else tells of that
    return Cut(boot_id(), mono_ms), wall_ms


class _Making:
    """One attempt."""

    def __init__(self, settings: Settings, draft: Path, at: Point) -> None:
        self._settings = settings
        self._data = settings.data
        self._draft = draft
        self._work = draft / "work"
        self._at = at

    def make(self) -> Manifest:
        """The whole of it, but for its name."""
        slots = self._map()
        self._work.mkdir(parents=True, mode=0o700)
        sources = [_Source(self._data, shard, self._work / f"shard-{shard:02}") for shard in range(slots.shards)]
        with ExitStack() as stack:
            for source in sources:
                stack.callback(source.close)
                source.pin()
            self._at("pinned")
            cut, cut_ms = cut_now()
            for source in sources:
                source.journal.take(source.position)
            self._at("journals copied")
            for source in sources:
                source.copy_tables()
            self._at("tables copied")
        parts = [self._part(source, cut) for source in sources]
        tokens = self._data / FOLDER / BOOK
        manifest = Manifest(
            format=FORMAT, flashq=__version__, name=name_of(cut_ms), cut_ms=cut_ms, made_ms=SystemClock().wall_ms(),
            epoch=last_epoch(self._data), slots_version=slots.version, owners=slots.owners, shards=tuple(parts),
            tokens=pack(tokens, self._draft / "tokens.zst") if tokens.exists() else None,
        )  # fmt: skip
        if self._map() != slots:
            raise Overtaken(f"{self._data}: slots moved during the backup")
        shutil.rmtree(self._work)
        return write_manifest(self._draft, manifest)

    def _map(self) -> SlotMap:
        found = find_map(self._data)
        if found is None:
            raise ConfigError(f"data = {self._data}: no cluster has kept anything here")
        return found

    def _part(self, source: "_Source", cut: Cut) -> ShardPart:
        """What is packed of a shard, and was tried."""
        at_ms, position = self._fold(source, cut)
        counts = counts_in(source.into, source.shard)
        packed = pack(source.into / s.FILE, self._draft / f"shard-{source.shard:02}.tables.zst")
        self._at(f"packed {source.shard}")
        shutil.rmtree(source.into)
        part = ShardPart(source.shard, position, at_ms, counts, packed)
        unpack_shard(self._draft, part, self._work / f"tried-{source.shard:02}")
        self._at(f"tried {source.shard}")
        shutil.rmtree(self._work / f"tried-{source.shard:02}")
        return part

    def _fold(self, source: "_Source", cut: Cut) -> tuple[int, int]:
        """Bring the copy of the tables up to the cut: (wall time, number) of its last record."""
        site = FileSite(source.into, source.shard)
        checkpointer = Checkpointer(site, limits_of(self._settings))
        try:
            position = checkpointer.fold_records(source.journal.records(source.position, cut))
        finally:
            checkpointer.close()
        tables = Tables.find(site)
        assert tables is not None
        try:
            at_ms = tables.meta.get("at_ms", 0)
        finally:
            tables.close()
        return at_ms, position


class _Source:
    """One shard, while it is copied."""

    def __init__(self, data: Path, shard: int, into: Path) -> None:
        self.shard = shard
        self.into = into
        self.position = 0
        """Up to here its records are in the tables that are copied."""
        self._folder = shard_folder(data, shard)
        self.journal = JournalCopy(self._folder, shard, into / JOURNAL)
        self._tables: Tables | None = None

    def pin(self) -> None:
        """Hold the tables as they are, and copy what is behind them as yet."""
        self.into.mkdir(mode=0o700)
        self._tables = Tables.find(FileSite(self._folder, self.shard))
        self.position = self._tables.position if self._tables is not None else 0
        self.journal.take(self.position)

    def copy_tables(self) -> None:
        """From the transaction that stands since `pin`. Raises StorageError."""
        if self._tables is None:
            return
        target = sqlite3.connect(self.into / s.FILE)
        try:
            _raw(self._tables.connection).backup(target, pages=_PAGES)
        except sqlite3.Error as fault:
            raise StorageError(f"shard {self.shard}: {self._folder / s.FILE} cannot be copied: {fault}") from fault
        finally:
            target.close()
            self.close()

    def close(self) -> None:
        """Let the tables go. Twice does no harm."""
        if self._tables is not None:
            self._tables.close()
            self._tables = None


def _raw(connection: Connection) -> sqlite3.Connection:
    raw: Any = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw
