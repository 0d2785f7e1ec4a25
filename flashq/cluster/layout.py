"""The layout of a data folder: how many shards it has, and another number of them at a restart.

Slots move as files, while nothing serves: all journals are folded into tables, the shards that are to be are built
in a folder beside the old ones (`resharding-V`, V the version of their slot map), and checked. Then `slots.json` is
replaced: that is the moment, and the only one, at which slots change their owners. What is left is to put the new
folders into the places of the old ones.

Wherever that is killed, the next start finds out from the map and that folder where it was: of a version that the map
does not have it is a draft, which goes; of the map's own version, what is still in it has yet to take its place.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import structlog

from flashq.clock import SystemClock, boot_id
from flashq.cluster.apart import carry_out
from flashq.cluster.slot_map import SlotMap, find_map, first_map, rebalanced, write_map
from flashq.config import Settings
from flashq.errors import ConfigError, DiskFull, JournalCorrupt, StorageError
from flashq.protocol.slots import SLOTS
from flashq.shard.archiving import Archiving
from flashq.shard.process import limits_of, open_storage
from flashq.storage.checkpointer import Checkpointer
from flashq.storage.files import OsFiles
from flashq.storage.inspection import inspect_tables
from flashq.storage.journal_epoch import next_epoch
from flashq.storage.relocation import Carried, Moment, Origin, build_shard, carried_from
from flashq.storage.schema import FILE as TABLES_FILE
from flashq.storage.sites import FileSite

DRAFT: Final = "resharding-"
SPARE_BYTES: Final = 64 << 20

log = structlog.get_logger()
Point = Callable[[str], None]
"""Told the name of each point at which a process may be killed."""


def _nowhere(point: str) -> None:
    """Nobody wants to know."""


def shard_folder(data: Path, shard: int) -> Path:
    """Where a shard's journal and tables are."""
    return data / f"shard-{shard:02}"


def settled_map(data: Path, shards: int, *, at: Point = _nowhere) -> SlotMap:
    """The map of `data`, made if there is none, with all that an earlier start began ended or undone.

    It may have another number of shards than `shards`: then the slots are to be moved (`move_slots`).
    """
    found = find_map(data)
    if found is None:
        found = first_map(shards)
        write_map(data, found)
    for draft in sorted(data.glob(f"{DRAFT}*")):
        if draft.name == f"{DRAFT}{found.version}":
            _take_places(data, found, draft, at)
        else:
            shutil.rmtree(draft)
    return found


def move_slots(settings: Settings, old: SlotMap, *, at: Point = _nowhere) -> SlotMap:
    """Give the data folder `settings.shards` shards. Nothing may serve from it; the data lock is held.

    Raises JournalCorrupt or CheckpointTooNew where something is found damaged, DiskFull where there is no room for
    a second copy, StorageError if files cannot be read or written; the old shards are as they were.
    """
    data, new = settings.data, rebalanced(old, settings.shards)
    if not any(shard_folder(data, shard).exists() for shard in range(old.shards)):
        write_map(data, new)
        return new
    log.info("moving slots", shards_before=old.shards, shards=new.shards)
    with closing(Archiving(settings)) as archiving:
        clean = [_fold(settings, shard, archiving, at) for shard in range(old.shards)]
    _check_room(data, old)
    draft = data / f"{DRAFT}{new.version}"
    draft.mkdir(mode=0o700)
    clock = SystemClock()
    now = Moment(clock.wall_ms(), clock.mono_ms(), boot_id())
    carried = carried_from([(shard_folder(data, shard), shard) for shard in range(old.shards)])
    for shard in range(new.shards):
        origins = origins_of(data, old, new, shard, clean)
        mine = carried if shard == 0 else Carried(dict.fromkeys(carried.totals, 0), carried.last_token)
        rows = build_shard(
            shard_folder(draft, shard), shard, origins, now, mine, epoch=next_epoch(data),
            durability="commit" if settings.durability == "commit" else "fsync", segment_bytes=settings.segment_bytes,
        )  # fmt: skip
        _check_whole(shard_folder(draft, shard), shard)
        log.info("built", shard=shard, rows=rows)
        at(f"built {shard}")
    OsFiles().sync_folder(str(draft))
    OsFiles().sync_folder(str(data))
    at("all built")
    write_map(data, new)
    at("map written")
    _take_places(data, new, draft, at)
    return new


def origins_of(folder: Path, old: SlotMap, new: SlotMap, shard: int, clean: Sequence[bool]) -> list[Origin]:
    """Which old shards, whose folders are in `folder`, a new shard has its slots from. `clean`: see `Origin`."""
    return [
        Origin(shard_folder(folder, of), of, slots, clean[of])
        for of in range(old.shards)
        if (slots := [slot for slot in range(SLOTS) if (old.owners[slot], new.owners[slot]) == (of, shard)])
    ]


def _fold(settings: Settings, shard: int, archiving: Archiving, at: Point) -> bool:
    """Put all of a shard's journal into its tables, and its archive; whether it was stopped in order."""
    folder = shard_folder(settings.data, shard)
    if not folder.is_dir():
        raise JournalCorrupt(f"shard {shard}: the folder {folder} is missing, so its slots cannot be moved")
    journal, tables = open_storage(settings, shard, next_epoch(settings.data))
    if tables is not None:
        tables.close()
    checkpointer = Checkpointer(FileSite(folder, shard), limits_of(settings))
    try:
        if archiving.wanted and journal.recovery:  # which is complete when the journal was read
            archiving.keep(shard, journal.sealed())
        checkpointer.fold_records(journal.replay())
        clean = journal.recovery.clean
        if journal.recovery.note:
            log.warning(journal.recovery.note)
    finally:
        checkpointer.close()
        journal.close(seal=False)
    _check_whole(folder, shard)
    log.info("folded", shard=shard, records=checkpointer.position)
    at(f"folded {shard}")
    return clean


def _check_whole(folder: Path, shard: int) -> None:
    """Refuse to move what is damaged: nobody could say any more what it was."""
    for finding in inspect_tables(folder, shard):
        raise JournalCorrupt(f"shard {shard}: {finding}; slots are not moved")


def _check_room(data: Path, old: SlotMap) -> None:
    """Old and new lie side by side for a while."""
    paths = [shard_folder(data, shard) / TABLES_FILE for shard in range(old.shards)]
    needed = sum(path.stat().st_size for path in paths if path.exists()) + SPARE_BYTES
    free = OsFiles().free_bytes(str(data))
    if free < needed:
        raise DiskFull(
            f"{data}: {needed} bytes are needed to move slots, there are {free}: the shards are as they were"
        )


def _take_places(data: Path, new: SlotMap, draft: Path, at: Point) -> None:
    """Put the folders that were built where the old ones are. To be repeated until it ends."""
    for shard in range(new.shards):
        built, place = shard_folder(draft, shard), shard_folder(data, shard)
        if built.exists():
            if place.exists():
                shutil.rmtree(place)
            at(f"old {shard} gone")
            built.rename(place)
            at(f"new {shard} there")
    for place in data.glob("shard-*"):
        number = place.name.removeprefix("shard-")
        if number.isdigit() and int(number) >= new.shards:
            shutil.rmtree(place)
            at(f"old {number} gone")
    _sync_places(data, draft)
    draft.rmdir()
    at("draft gone")
    OsFiles().sync_folder(str(data))


def _sync_places(data: Path, draft: Path) -> None:
    """The new names are on disk before the folder that says what is to be done is removed."""
    OsFiles().sync_folder(str(data))
    OsFiles().sync_folder(str(draft))


def open_layout(settings: Settings) -> SlotMap:
    """The map to serve with, after moving slots if the configuration asks for another number of shards.

    Raises ConfigError where that cannot be done: a shard is damaged, or there is no room.
    """
    found = settled_map(settings.data, settings.shards)
    if found.shards == settings.shards:
        return found
    try:
        carry_out("resharding", lambda: move_slots(settings, found))
    except StorageError as fault:
        raise ConfigError(
            f"shards = {settings.shards}: the {found.shards} shards in {settings.data} stay as they are: {fault}"
        ) from fault
    return settled_map(settings.data, settings.shards)
