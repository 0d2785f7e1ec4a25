"""`flashq restore`: a cluster's data folder from a backup, with as many shards as are wanted.

Each shard's tables are unpacked beside their place and tried, then the new shards are built from them as a start with
another number of shards does it (`storage/relocation.py`). The map of slots is written last; until then no cluster
starts on the folder, and a restore that was killed is simply done again.

Ids and lease tokens that the lost cluster gave after the backup are not given again. Nobody knows how many those were,
so what time could have been enough for is left out: in each slot `PAGES_S` pages of ids for each second since the cut,
and an epoch for each `EPOCH_S` seconds, and a good number of both besides.
"""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from flashq.access.book import BOOK, FOLDER
from flashq.clock import Clock, SystemClock, boot_id
from flashq.cluster.backups.checking import counts_in, unpack_shard
from flashq.cluster.backups.continuing import Archived, Continuing
from flashq.cluster.backups.manifest import Manifest, read_manifest
from flashq.cluster.backups.shelf import Point, find_backup
from flashq.cluster.folders import LOCK_FILE, lock_data
from flashq.cluster.layout import origins_of, shard_folder
from flashq.cluster.slot_map import FILE, begin_move, broken_off, rebalanced, write_map
from flashq.config import SHARDS_MAX, Settings
from flashq.errors import ConfigError, DiskFull, JournalCorrupt
from flashq.storage.files import OsFiles
from flashq.storage.journal_epoch import last_epoch, next_epoch
from flashq.storage.packing import unpack
from flashq.storage.relocation import Carried, Moment, build_shard, carried_from

WORK: Final = "restoring"
PAGES_S: Final = 64
"""65,536 ids a second in each slot, all the time since."""
PAGES_MORE: Final = 1 << 14
EPOCH_S: Final = 300
EPOCHS_MORE: Final = 1_000
SPARE_BYTES: Final = 64 << 20


class Restored(NamedTuple):
    """What there is now."""

    backup: Path
    manifest: Manifest
    shards: int
    counts: dict[str, int]
    """Jobs by state."""
    at_ms: int
    """What had been decided by this wall time is there."""


def restore(
    place: Path, data: Path, *, shards: int = 0, archived: Archived | None = None, at: Point = bool,
    clock: Clock | None = None,
) -> Restored:  # fmt: skip
    """Fill the empty folder `data` from a backup, or the latest of a folder of them. `shards`: 0 as it was.

    `archived`: then go on from there. Of a folder of backups the latest is taken that was made before the moment.

    Raises ConfigError where the folder is not empty or is in use; JournalCorrupt, with the file's name, where the
    backup is damaged, CheckpointTooNew where a later version made it; StorageError and DiskFull as they say.
    """
    if not 0 <= shards <= SHARDS_MAX:
        raise ConfigError(f"restore: shards = {shards}: allowed is a number from 1 to {SHARDS_MAX}")
    at_ms = archived.at_ms if archived is not None else None
    backup = find_backup(place, at_ms)
    manifest = read_manifest(backup)
    behind = Continuing(manifest, archived) if archived is not None else None
    with ExitStack() as stack:
        stack.callback(os.close, lock_data(data))
        _clear(data)
        _check_room(data, manifest)
        begin_move(data, "restore")
        at("begun")
        restoring = _Restoring(backup, manifest, data, shards or len(manifest.shards), clock or SystemClock(), at)
        restoring.unpack()
        if behind is not None:
            behind.fold(restoring.work, at)
        restoring.build(behind.at_ms if behind is not None else manifest.cut_ms)
        restoring.finish()
    reached = behind.at_ms if behind is not None else manifest.cut_ms
    return Restored(backup, manifest, shards or len(manifest.shards), restoring.counts, reached)


def _clear(data: Path) -> None:
    """Remove what a restore that was killed has left. Raises ConfigError if there is anything else."""
    if broken_off(data) == "restore":
        for path in [*data.glob("shard-*"), data / WORK, data / FOLDER]:
            if path.exists():
                shutil.rmtree(path)
        (data / "epoch").unlink(missing_ok=True)
        (data / f"{FILE}.new").unlink(missing_ok=True)
        (data / FILE).unlink()
    for path in sorted(data.iterdir()):
        if path.name != LOCK_FILE:
            raise ConfigError(f"restore: {data} is not empty: it has {path.name}; name a new folder")


def _check_room(data: Path, manifest: Manifest) -> None:
    needed = 2 * sum(part.tables.size for part in manifest.shards) + SPARE_BYTES
    free = OsFiles().free_bytes(str(data))
    if free < needed:
        raise DiskFull(f"{data}: {needed} bytes are needed to restore, there are {free}")


class _Restoring:
    """A restore that has begun."""

    def __init__(self, backup: Path, manifest: Manifest, data: Path, shards: int, clock: Clock, at: Point) -> None:
        self._backup = backup
        self._manifest = manifest
        self._data = data
        self.work = data / WORK
        self._at = at
        self._old = manifest.slots
        self._new = rebalanced(manifest.slots, shards)
        self._now = Moment(clock.wall_ms(), clock.mono_ms(), boot_id())
        self.counts: dict[str, int] = {}
        """What was restored."""

    def unpack(self) -> None:
        """All shards as they were, each tried."""
        for part in self._manifest.shards:
            unpack_shard(self._backup, part, shard_folder(self.work, part.shard))
            self._at(f"unpacked {part.shard}")
        if self._manifest.tokens is not None:
            (self._data / FOLDER).mkdir(mode=0o700)
            unpack(self._backup, self._manifest.tokens, self._data / FOLDER / BOOK)
            (self._data / FOLDER / BOOK).chmod(0o600)

    def build(self, at_ms: int) -> None:
        """All shards as they are to be, from what they were at `at_ms`.

        Raises JournalCorrupt if they do not hold what the old ones do.
        """
        since_s = max(0, self._now.at_ms - at_ms) // 1_000
        above = self._manifest.epoch + EPOCHS_MORE + max(0, self._now.at_ms - self._manifest.cut_ms) // 1_000 // EPOCH_S
        carried = carried_from([(shard_folder(self.work, shard), shard) for shard in range(self._old.shards)])
        clean = [False] * self._old.shards
        for shard in range(self._new.shards):
            folder = shard_folder(self._data, shard)
            build_shard(
                folder, shard, origins_of(self.work, self._old, self._new, shard, clean), self._now,
                carried if shard == 0 else Carried(dict.fromkeys(carried.totals, 0), carried.last_token),
                epoch=next_epoch(self._data, above=above), durability="fsync",
                segment_bytes=Settings(shards=1).segment_bytes, pages_skipped=PAGES_MORE + since_s * PAGES_S,
            )  # fmt: skip
            _add(self.counts, counts_in(folder, shard))
            self._at(f"built {shard}")
        expected: dict[str, int] = {}
        for shard in range(self._old.shards):
            mine = {slot for slot, owner in enumerate(self._old.owners) if owner == shard}
            _add(expected, counts_in(shard_folder(self.work, shard), shard, mine))
        if self.counts != expected:
            raise JournalCorrupt(f"restore: {self.counts} were restored instead of {expected}")

    def finish(self) -> None:
        """What is left is to say so."""
        assert last_epoch(self._data) > self._manifest.epoch
        shutil.rmtree(self.work)
        for folder in (self._data / FOLDER, self._data):
            if folder.is_dir():
                OsFiles().sync_folder(str(folder))
        self._at("built all")
        write_map(self._data, self._new)
        self._at("map written")


def _add(total: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count
