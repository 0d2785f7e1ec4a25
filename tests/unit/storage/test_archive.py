"""The archive keeps what the journal uses again, and no change of it goes unseen."""

import re
from collections.abc import Callable
from random import Random

import pytest

from flashq.errors import Fenced, JournalCorrupt, StorageError
from flashq.storage.archive import ALL, Archive, Kept, read_manifest
from flashq.storage.archive_manifest import Entry
from flashq.storage.archive_reader import archived_records, inspect_archive
from flashq.storage.contract import Record
from flashq.storage.journal import SegmentJournal
from flashq.testing.background import InlineExecutor
from flashq.testing.files import SimulatedDisk

SHARD = "/data/shard-07"
ARCHIVE = "/archive/shard-07"
MANIFEST = f"{ARCHIVE}/manifest"


def start(disk: SimulatedDisk, epoch: int, *, after: int = 0) -> SegmentJournal:
    journal = SegmentJournal.open(
        SHARD, shard=7, epoch=epoch, durability="commit", files=disk, boot="boot-1", segment_bytes=16 << 10,
        reserve_bytes=0, replay_from=after, background=InlineExecutor(),
    )  # fmt: skip
    list(journal.replay())
    return journal


def write(journal: SegmentJournal, count: int, *, size: int = 500) -> None:
    for _ in range(count):
        number = journal.durable_seq + 1
        journal.append([Random(number).randbytes(size)], at_ms=number, mono_ms=number, promise=True)
    journal.check_room()


def opened(disk: SimulatedDisk, *, key: str = "", kept: Kept = ALL) -> Archive:
    return Archive.open(ARCHIVE, 7, key=key, kept=kept, files=disk)


def kept_records(disk: SimulatedDisk) -> list[Record]:
    manifest = read_manifest(ARCHIVE, 7, None, files=disk)
    return [record for entry in manifest.entries for record in archived_records(ARCHIVE, 7, entry, files=disk)]


def filled(*, key: str = "", count: int = 200) -> tuple[SimulatedDisk, SegmentJournal, Archive]:
    """A journal, all closed segments of which are archived and used again."""
    disk = SimulatedDisk()
    journal, archive = start(disk, 1), opened(disk, key=key)
    write(journal, count)
    take(journal, archive)
    return disk, journal, archive


def take(journal: SegmentJournal, archive: Archive) -> None:
    for segment in journal.sealed():
        assert archive.add(*segment)
    journal.recycle(archive.last_seq)
    assert not journal.sealed()


def findings(disk: SimulatedDisk, *, key: str = "", position: int = 0) -> list[str]:
    return [str(finding) for finding in inspect_archive(ARCHIVE, 7, key, tables_position=position, files=disk)]


def test_archive_has_every_record_of_segments_that_were_used_again() -> None:
    disk, journal, archive = filled()
    write(journal, 200)
    take(journal, archive)
    records = kept_records(disk)
    assert [record.seq for record in records] == list(range(1, archive.last_seq + 1))
    assert archive.last_seq > 300
    assert all(record.events == Random(record.seq).randbytes(500) for record in records)
    assert {entry.starts for entry in archive.entries} == {""}
    assert findings(disk, position=archive.last_seq) == []


def test_segment_that_is_archived_already_is_not_archived_again() -> None:
    disk = SimulatedDisk()
    journal, archive = start(disk, 1), opened(disk)
    write(journal, 100)
    assert [archive.add(*segment) for segment in journal.sealed()] == [True] * len(journal.sealed())
    archive.close()
    archive = opened(disk)
    before = disk.read(MANIFEST)
    assert [archive.add(*segment) for segment in journal.sealed()] == [False] * len(journal.sealed())
    assert disk.read(MANIFEST) == before


def test_archive_goes_on_over_seals_kills_and_empty_runs() -> None:
    """Each start begins a run in a new segment; the chain holds over all of them."""
    disk, journal, archive = filled()
    for epoch, seal, count in ((2, True, 0), (3, False, 40), (4, True, 1), (5, True, 0), (6, False, 100)):
        journal.close(seal=seal)
        disk.kill()
        journal, archive = start(disk, epoch, after=archive.last_seq), opened(disk)
        write(journal, count)
        take(journal, archive)
    assert [record.seq for record in kept_records(disk)] == list(range(1, archive.last_seq + 1))
    assert {entry.starts for entry in archive.entries} == {""}
    assert findings(disk) == []


def test_records_from_before_the_archive_was_wanted_are_a_gap_that_is_told() -> None:
    disk = SimulatedDisk()
    journal = start(disk, 1)
    write(journal, 100)
    journal.recycle(journal.sealed()[1][1])
    archive = opened(disk)
    take(journal, archive)
    assert [entry.starts for entry in archive.entries] == ["gap", *[""] * (len(archive.entries) - 1)]
    assert findings(disk) == []


def test_journal_that_counts_anew_is_another_life() -> None:
    """As after slots were moved to other shards, or a backup was put in the place of the folder."""
    disk, journal, archive = filled()
    kept = len(archive.entries)
    journal.close(seal=True)
    for path in disk.paths():
        if path.startswith(SHARD):
            disk.remove(path)
    journal = start(disk, 2)
    write(journal, 100, size=499)
    take(journal, archive)
    assert [entry.starts for entry in archive.entries[kept:]][:2] == ["life", ""]
    assert archive.entries[kept].first == 1
    assert findings(disk) == []


# Tampering


def replaced_line(disk: SimulatedDisk, number: int, line: bytes | None) -> None:
    lines = disk.read(MANIFEST).split(b"\n")
    lines[number : number + 1] = [] if line is None else [line]
    disk.replace(MANIFEST, b"\n".join(lines))


def resigned(disk: SimulatedDisk, entry: int) -> None:
    """Somebody who knows how, but has no key, makes the records of an entry other ones, and all links anew."""
    manifest = read_manifest(ARCHIVE, 7, None, files=disk)
    entries = list(manifest.entries)
    fields = {name: getattr(entries[entry], name) for name in Entry.__struct_fields__}
    entries[entry] = Entry(**fields | {"to_ms": 12345})
    from flashq.storage.archive_manifest import entry_line, head_line

    lines, behind = [head_line(manifest.head, b"")], manifest.head.behind
    for each in entries:
        line, behind = entry_line(each, behind, b"")
        lines.append(line)
    disk.replace(MANIFEST, b"".join(lines))


def swapped(disk: SimulatedDisk) -> None:
    second, third = disk.read(f"{ARCHIVE}/0000000002.zst"), disk.read(f"{ARCHIVE}/0000000003.zst")
    disk.replace(f"{ARCHIVE}/0000000002.zst", third)
    disk.replace(f"{ARCHIVE}/0000000003.zst", second)


def changed_entry(disk: SimulatedDisk) -> None:
    line = disk.read(MANIFEST).split(b"\n")[3]
    replaced_line(disk, 3, line.replace(b'"from_ms":', b'"from_ms":1'))


def trimmed_by_somebody(disk: SimulatedDisk) -> None:
    replaced_line(disk, 1, None)


def changed_head(disk: SimulatedDisk) -> None:
    line = disk.read(MANIFEST).split(b"\n")[0]
    replaced_line(disk, 0, line.replace(b'"trimmed":0', b'"trimmed":9'))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda disk: disk.remove(f"{ARCHIVE}/0000000002.zst"), "0000000002.zst is missing"),
        (swapped, "0000000002.zst is not what was archived"),
        (changed_entry, "line 4: entry 3 was changed"),
        (trimmed_by_somebody, "line 2: it is entry 2 instead of 1"),
        (lambda disk: replaced_line(disk, 3, None), "line 4: it is entry 4 instead of 3"),
        (lambda disk: replaced_line(disk, 2, b"{}"), "line 3: it cannot be read"),
        (changed_head, "line 1: its seal does not hold"),
        (lambda disk: resigned(disk, 2), "line 1: its seal does not hold"),
        (lambda disk: disk.remove(MANIFEST), "manifest: it is missing"),
    ],
)
def test_what_was_changed_exchanged_or_taken_out_is_named(change: Callable[[SimulatedDisk], None], named: str) -> None:
    disk, _, _ = filled(key="a key of ours")
    assert findings(disk, key="a key of ours") == []
    change(disk)
    assert any(re.search(named, finding) for finding in findings(disk, key="a key of ours")), findings(disk)


def test_any_flipped_bit_of_an_archived_segment_is_found() -> None:
    disk, _, archive = filled(count=60)
    path = f"{ARCHIVE}/{archive.entries[0].name}"
    good = disk.read(path)
    for at in range(0, len(good), 7):
        damaged = bytearray(good)
        damaged[at] ^= 1 << at % 8
        disk.replace(path, bytes(damaged))
        assert findings(disk), f"byte {at}"
    disk.replace(path, good)
    assert findings(disk) == []


def test_entries_missing_at_the_end_are_known_by_the_tables() -> None:
    disk, _, archive = filled()
    position = archive.last_seq
    lines = disk.read(MANIFEST).split(b"\n")
    disk.replace(MANIFEST, b"\n".join([*lines[:-2], b""]))
    assert findings(disk) == [], "the chain that is left is whole"
    assert "segments are missing at the end" in findings(disk, position=position)[0]


def test_nothing_is_added_to_an_archive_that_was_changed_or_has_another_key() -> None:
    disk, _, archive = filled(key="a key of ours")
    archive.close()
    before = {path: disk.read(path) for path in disk.paths()}
    with pytest.raises(JournalCorrupt, match="line 1: its seal does not hold: it was changed, or made with another"):
        opened(disk, key="another")
    changed_entry(disk)
    with pytest.raises(JournalCorrupt, match="line 4: entry 3 was changed"):
        opened(disk, key="a key of ours")
    disk.replace(MANIFEST, before[MANIFEST])
    disk.remove(MANIFEST)
    with pytest.raises(JournalCorrupt, match=r"manifest is missing, but 000000000\d.zst is there"):
        opened(disk, key="a key of ours")


def test_two_cannot_write_one_archive() -> None:
    disk, _, _ = filled()
    with pytest.raises(Fenced):
        opened(disk)


def test_damaged_segment_is_not_archived() -> None:
    disk = SimulatedDisk()
    journal, archive = start(disk, 1), opened(disk)
    write(journal, 100)
    first, last, path = journal.sealed()[0]
    content = disk.read(path)
    disk.replace(path, content[:6000] + b"x" + content[6001:])
    with pytest.raises(JournalCorrupt, match="is damaged at offset"):
        archive.add(first, last, path)
    assert archive.entries == []


def test_full_disk_leaves_the_archive_as_it_was() -> None:
    disk, journal, archive = filled()
    write(journal, 100)
    before, last = findings(disk), archive.last_seq
    disk.capacity_bytes = disk.capacity_bytes - disk.free_bytes("/") + 1_000
    with pytest.raises(StorageError, match="shard 7: the archive in /archive/shard-07 failed: No space"):
        archive.add(*journal.sealed()[0])
    assert (findings(disk), archive.last_seq) == (before, last)
    disk.capacity_bytes = 1 << 40
    take(journal, archive)
    assert findings(disk) == []


# Trimming


def test_archive_keeps_no_more_bytes_than_asked_for() -> None:
    """Its size stays flat, and what is left is a chain."""
    disk = SimulatedDisk()
    bound = 60_000
    journal, archive = start(disk, 1), opened(disk, key="k", kept=Kept(bytes=bound))
    for _ in range(40):
        write(journal, 60)
        take(journal, archive)
        archive.trim(0)
        stored = sum(len(disk.read(path)) for path in disk.paths() if path.endswith(".zst"))
        assert stored <= bound
        assert stored >= bound * 3 // 5 or archive.entries[0].no == 1
        assert findings(disk, key="k") == []
    assert archive.entries[0].no > 50
    assert len(disk.read(MANIFEST)) < 6_000
    archive.close()
    archive = opened(disk, key="k", kept=Kept(bytes=bound))
    assert [record.seq for record in kept_records(disk)] == list(range(archive.entries[0].first, archive.last_seq + 1))


def test_archive_keeps_no_longer_than_asked_for() -> None:
    disk, _, archive = filled()
    archive.close()
    archive = opened(disk, kept=Kept(ms=50))
    before = list(archive.entries)
    gone = archive.trim(now_ms=before[3].to_ms + 51)
    assert gone == before[:4]
    assert archive.entries == before[4:]
    assert archive.trim(now_ms=before[3].to_ms + 51) == []
    archive.trim(now_ms=1 << 40)
    assert archive.entries == before[-1:], "the last one says where the archive ends"
    assert findings(disk) == []
