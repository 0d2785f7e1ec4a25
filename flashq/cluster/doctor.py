"""The doctor: whether all that a data folder has is whole, shard by shard. It writes nothing, and holds nobody up.

A shard's tables are looked at row by row, its journal record by record; then both are put together as a start would do
it, and every count is compared. Where the cluster runs, what is found may only be the moment: so it is looked at again,
and counts if it is found twice.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from flashq.cluster.folders import owner_of
from flashq.cluster.layout import shard_folder
from flashq.cluster.linux import start_ticks
from flashq.cluster.slot_map import FILE as SLOTS_FILE
from flashq.cluster.slot_map import SlotMap, find_map
from flashq.engine.engine import Engine
from flashq.engine.replay import Replayer
from flashq.errors import CheckpointTooNew, ConfigError, JournalCorrupt, Unavailable
from flashq.storage.findings import Finding
from flashq.storage.inspection import inspect_found
from flashq.storage.journal_epoch import last_epoch
from flashq.storage.journal_inspection import JournalLook, finding_of
from flashq.storage.recovery import Tables
from flashq.storage.schema import FILE as TABLES_FILE
from flashq.storage.sites import ReadOnlySite

LOOKS: Final = 10
"""At a running shard, until two agree."""
PAUSE_S: Final = 0.3
"""Between them: what is only the moment has passed by then."""


class ShardReport(msgspec.Struct):
    """What was found of one shard."""

    shard: int
    folder: str
    tables_position: int = 0
    """The last record that is in the tables; 0: there are none."""
    last_record: int = 0
    jobs: int = 0
    note: str = ""
    """What is not wrong, but worth a word: the end of the journal that a power cut took."""
    findings: list[Finding] = []


class Examined:
    """One shard: its report, and if all is whole the state that a start would have."""

    def __init__(self, report: ShardReport, engine: Engine | None) -> None:
        self.report = report
        self.engine = engine
        """None if something is wrong."""


def examine(data: Path) -> Iterator[Examined]:
    """Look at each shard of a data folder. Raises ConfigError if it is no cluster's, Unavailable as `_settled` does."""
    slots = slots_of(data)
    folders = [shard_folder(data, shard) for shard in range(slots.shards)]
    begun = any(folder.is_dir() for folder in folders)
    running = _runs(data)
    for shard, folder in enumerate(folders):
        if folder.is_dir():
            yield _settled(slots, shard, folder) if running else _examined(slots, shard, folder)
        else:
            report = ShardReport(shard, str(folder))
            if begun:
                report.findings = [Finding(str(folder), "", "the folder of the shard is missing")]
            yield Examined(report, None)


def slots_of(data: Path) -> SlotMap:
    """The map of a data folder. Raises ConfigError if there is none, or it is damaged."""
    slots = find_map(data)
    if slots is None:
        raise ConfigError(f"data = {data}: no cluster has kept anything here: there is no {SLOTS_FILE}")
    return slots


def inspect_cluster(data: Path) -> Iterator[Finding]:
    """What is wrong with the files that belong to no shard: the epoch. Raises ConfigError for a damaged slot map."""
    slots_of(data)
    try:
        last_epoch(data)
    except JournalCorrupt as fault:
        yield finding_of(fault, str(data / "epoch"))


def _runs(data: Path) -> bool:
    pid, ticks = owner_of(data)
    return bool(pid) and start_ticks(pid) == ticks


def _settled(slots: SlotMap, shard: int, folder: Path) -> Examined:
    """Of a shard that runs, what two looks agree on.

    Raises Unavailable where none do: its journal moves on faster than it can be read.
    """
    before: list[Finding] | None = None
    for _ in range(LOOKS):
        examined = _examined(slots, shard, folder)
        found = examined.report.findings
        if not found or found == before:
            return examined
        before = found
        time.sleep(PAUSE_S)  # a command's wait: a shard tells nobody from outside when it has folded and recycled
    raise Unavailable(f"shard {shard}: it works faster than it can be looked at: try again, or stop the cluster")


def _examined(slots: SlotMap, shard: int, folder: Path) -> Examined:
    report = ShardReport(shard, str(folder))
    try:
        with closing(JournalLook(folder, shard)) as journal:
            engine = _put_together(report, slots, folder, journal)
    except OSError as fault:
        report.findings.append(Finding(str(fault.filename or folder), "", f"it cannot be read: {fault.strerror}"))
        engine = None
    return Examined(report, None if report.findings else engine)


def _put_together(report: ShardReport, slots: SlotMap, folder: Path, journal: JournalLook) -> Engine:
    """Tables first: their position says which records have to be there. The engine is whole if nothing is found."""
    shard = report.shard
    replayer = Replayer(Engine(epoch=0))
    path = folder / TABLES_FILE
    try:
        tables = Tables.find(ReadOnlySite(folder, shard))
    except (JournalCorrupt, CheckpointTooNew) as fault:
        report.findings.append(finding_of(fault, str(path)))
        tables = None
        report.tables_position = journal.first_kept - 1  # what the journal has is looked at all the same
    else:
        if tables is not None:
            with closing(tables):
                report.tables_position = tables.position
                report.findings += inspect_found(tables, replayer)
        elif journal.first_kept > 1:
            missing = f"it is missing, and records 1 to {journal.first_kept - 1} were nowhere else"
            report.findings.append(Finding(str(path), "", missing))
            report.tables_position = journal.first_kept - 1
    journal.look()
    whole = not report.findings
    for record in journal.records(report.tables_position):
        if not whole:
            continue
        try:
            replayer.apply(record.at_ms, record.mono_ms, record.boot, record.events)
        except (ValueError, KeyError, IndexError, msgspec.DecodeError) as fault:
            whole = False
            what = f"record {record.seq} cannot be applied: {type(fault).__name__}: {fault}"
            report.findings.append(Finding(str(folder / "journal"), f"record {record.seq}", what))
    report.findings += journal.findings
    report.last_record, report.note = max(journal.last_seq, report.tables_position), journal.note
    engine = replayer.engine
    if not report.findings:
        report.findings += _misplaced(engine, slots, report)
    report.jobs = sum(page.live for slot in engine.slots.values() for page in slot.pages.values())
    return engine


def _misplaced(engine: Engine, slots: SlotMap, report: ShardReport) -> Iterator[Finding]:
    """Jobs in slots that another shard has: nobody would ever ask for them here."""
    for slot in engine.slots.values():
        owner = slots.owners[slot.no]
        if owner != report.shard and any(page.live for page in slot.pages.values()):
            yield Finding(report.folder, f"slot {slot.no}", f"it has jobs here, but belongs to shard {owner}")
