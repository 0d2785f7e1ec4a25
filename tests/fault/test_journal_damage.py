"""Damaged journals: what was promised is never missed in silence, what was not promised never stops a shard."""

import re
from collections.abc import Sequence
from random import Random
from typing import Any, Literal

import pytest

from flashq.errors import CheckpointTooNew, Fenced, JournalCorrupt, StorageError
from flashq.storage.contract import Record, Recovery
from flashq.storage.journal import SegmentJournal, read_segment
from flashq.storage.journal_format import HEADER_BYTES, PREFIX, RECORD_HEAD, SECTOR, crc32c, frames, parse_header
from flashq.testing.background import InlineExecutor
from flashq.testing.files import SimulatedDisk

SHARD = "/data/shard-07"
Durability = Literal["fsync", "commit"]


def start(
    disk: SimulatedDisk,
    *,
    epoch: int,
    durability: Durability = "fsync",
    boot: str = "boot-1",
    shard: int = 7,
    replay_from: int = 0,
) -> SegmentJournal:
    return SegmentJournal.open(
        SHARD,
        shard=shard,
        epoch=epoch,
        durability=durability,
        files=disk,
        boot=boot,
        segment_bytes=16 << 10,
        reserve_bytes=0,
        replay_from=replay_from,
        background=InlineExecutor(),
    )


def written(
    count: int, *, durability: Durability = "fsync", promise: bool = True, size: int = 200, seal: bool = False
) -> SimulatedDisk:
    """A disk with a journal of `count` records, whose owner was killed, or stopped in order if `seal`."""
    disk = SimulatedDisk()
    journal = start(disk, epoch=1, durability=durability)
    for number in range(1, count + 1):
        journal.append([content(number, size)], at_ms=number, mono_ms=number, promise=promise)
    if seal:
        journal.close(seal=True)
    disk.kill()
    return disk


def content(number: int, size: int = 200) -> bytes:
    return Random(number).randbytes(size)


def path(number: int) -> str:
    return f"{SHARD}/journal/{number:010}.seg"


def places(disk: SimulatedDisk, number: int) -> list[tuple[int, int, int]]:
    """(seq, offset, end) of each record in a segment; `end` without the bytes that align the next one."""
    file = disk.open(path(number))
    found, at = [], HEADER_BYTES
    for end, _, _, _, _, record in frames(file, parse_header(file.pread(SECTOR, 0), path(number))):
        found.append((record.seq, at, at + RECORD_HEAD + len(record.events)))
        at = end
    return found


def last_place(disk: SimulatedDisk) -> tuple[str, int, int]:
    """File, offset and end of the last record."""
    for segment in sorted((p for p in disk.paths() if p.endswith(".seg")), reverse=True):
        found = places(disk, int(segment[-14:-4]))
        if found:
            return segment, *found[-1][1:]
    raise AssertionError("there is no record")


def flip(disk: SimulatedDisk, file: str, bit: int) -> None:
    damaged = bytearray(disk.read(file))
    damaged[bit // 8] ^= 1 << bit % 8
    disk.replace(file, bytes(damaged))


def overwrite(disk: SimulatedDisk, file: str, at: int, data: bytes) -> None:
    found = disk.read(file)
    disk.replace(file, found[:at] + data + found[at + len(data) :])


def read(disk: SimulatedDisk, *, epoch: int = 2, **options: Any) -> tuple[Sequence[Record], Recovery]:
    """Start, read all, and die again. What was changed on disk meanwhile is kept."""
    journal = start(disk, epoch=epoch, **options)
    try:
        return list(journal.replay()), journal.recovery
    finally:
        disk.kill()


def assert_refused(disk: SimulatedDisk, file: str, offset: int, **options: Any) -> None:
    """The shard does not start, and says where to look."""
    before = {p: disk.read(p) for p in disk.paths()}
    with pytest.raises(JournalCorrupt, match=f"^shard 7: {re.escape(file)} is damaged at offset {offset}: "):
        read(disk, **options)
    disk.kill()
    assert {p: disk.read(p) for p in disk.paths()} == before  # nothing is deleted in doubt


# The end of the log


@pytest.mark.parametrize("kept", range(264))
def test_last_record_cut_at_any_byte_costs_only_itself(kept: int) -> None:
    """A torn write is the normal end of a killed machine: all records before it are there, and it is reported."""
    disk = written(20)
    file, at, end = last_place(disk)
    assert end - at == 264
    overwrite(disk, file, at + kept, bytes(end - at - kept))
    records, recovery = read(disk, boot="boot-2")
    assert [record.events for record in records] == [content(n) for n in range(1, 20)]
    assert (recovery.last_seq, recovery.clean, recovery.dropped_records) == (19, False, 0)
    if kept >= 8:  # the mark of a record is there
        assert recovery.torn_bytes == 264 if kept >= 16 else recovery.torn_bytes >= RECORD_HEAD
        assert f"{file} was cut at offset {at}, behind record 19" in recovery.note


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 63, 64, 65, 200, 263])
def test_file_that_ends_inside_the_last_record_costs_only_that(kept: int) -> None:
    disk = written(20)
    file, at, _ = last_place(disk)
    disk.replace(file, disk.read(file)[: at + kept])
    records, recovery = read(disk, boot="boot-2")
    assert len(records) == 19
    assert recovery.torn_bytes == kept


@pytest.mark.parametrize("start_bit", range(0, 264 * 8, 264))
def test_last_record_with_any_bit_flipped_costs_only_itself(start_bit: int) -> None:
    """It cannot be told from a torn one, so it is cut; never is it taken for what it is not."""
    pristine = written(20)
    file, at, _ = last_place(pristine)
    good = pristine.read(file)
    for bit in range(start_bit, start_bit + 264):
        disk = written(0)
        for each in pristine.paths():
            disk.replace(each, pristine.read(each))
        disk.replace(file, good)
        flip(disk, file, at * 8 + bit)
        records, recovery = read(disk, boot="boot-2")
        assert [record.events for record in records] == [content(n) for n in range(1, 20)]
        assert recovery.last_seq == 19
        assert recovery.torn_bytes > 0
        assert f"{file} was cut at offset {at}" in recovery.note


def test_cut_record_never_comes_back() -> None:
    """What was cut once stays cut, even where the new owner wrote less than was there."""
    disk = written(20)
    file, at, _ = last_place(disk)
    overwrite(disk, file, at + 100, b"\xff")
    journal = start(disk, epoch=2)
    assert journal.append([b"new 20"], at_ms=0, mono_ms=0, promise=True) == 20
    disk.kill()
    overwrite(disk, file, at + 100, content(20)[36:37])  # as if the bit had only been misread
    records, recovery = read(disk, epoch=3)
    assert records[-1].events == b"new 20"
    assert recovery.last_seq == 20


def test_torn_seal_costs_the_word_clean_and_nothing_else() -> None:
    disk = written(20, seal=True)
    file, seal_at, _ = last_place(disk)
    flip(disk, file, (seal_at + 20) * 8)
    records, recovery = read(disk)
    assert (len(records), recovery.clean) == (20, False)


# In the middle


@pytest.mark.parametrize("start_bit", range(0, 264 * 8, 264))
def test_any_bit_flipped_in_the_middle_is_refused(start_bit: int) -> None:
    """Promised records behind it prove that it was there."""
    pristine = written(20)
    seq, at, _ = places(pristine, 1)[9]
    assert seq == 10
    for bit in range(start_bit, start_bit + 264):
        disk = written(0)
        for each in pristine.paths():
            disk.replace(each, pristine.read(each))
        flip(disk, path(1), at * 8 + bit)
        assert_refused(disk, path(1), at, boot="boot-2")


def test_every_record_notices_a_flipped_bit() -> None:
    """Ten thousand records, a bit in each: none is read as if nothing had happened."""
    disk = SimulatedDisk()
    journal = SegmentJournal.open(
        SHARD, shard=7, epoch=1, durability="commit", files=disk, boot="b", background=InlineExecutor()
    )
    for number in range(10_000):
        journal.append([number.to_bytes(8, "little") * 4], at_ms=0, mono_ms=0, promise=True)
    disk.kill()
    random = Random(4)
    checked = 0
    for segment in [p for p in disk.paths() if p.endswith(".seg")]:
        number = int(segment[-14:-4])
        found = places(disk, number)
        good = disk.read(segment)
        header = parse_header(good[:SECTOR], segment)
        one = SimulatedDisk()
        for _, at, end in found:
            damaged = bytearray(good[at:end])
            bit = random.randrange(len(damaged) * 8)
            damaged[bit // 8] ^= 1 << bit % 8
            one.replace("one", bytes(damaged))
            assert next(frames(one.open("one"), header, 0), None) is None
            checked += 1
    assert checked == 10_000


def test_zeroed_page_in_the_middle_is_refused() -> None:
    disk = written(40)
    overwrite(disk, path(1), 8192, bytes(4096))
    first_lost = next(place for place in places(written(40), 1) if place[2] > 8192)
    assert_refused(disk, path(1), first_lost[1])


def test_record_that_begins_a_segment_is_named_where_it_is() -> None:
    disk = written(100)
    overwrite(disk, path(2), HEADER_BYTES, bytes(300))
    assert_refused(disk, path(2), HEADER_BYTES)


def test_truncated_segment_in_the_middle_is_refused() -> None:
    disk = written(100)
    _, at, _ = places(disk, 1)[30]
    disk.replace(path(1), disk.read(path(1))[: at + 10])
    assert_refused(disk, path(1), at)


def test_segment_cut_to_nothing_is_refused() -> None:
    disk = written(100)
    disk.replace(path(1), b"")
    with pytest.raises(JournalCorrupt, match=f"^shard 7: {path(1)} ends at offset 0, inside its header"):
        read(disk)


@pytest.mark.parametrize("bit", range(0, 110 * 8, 7))
def test_flipped_bit_in_a_header_is_refused(bit: int) -> None:
    """Without its header nothing of a segment could be told from what an earlier use left there."""
    disk = written(100)
    flip(disk, path(2), bit)
    assert_refused(disk, path(2), 0)


def test_swapped_segments_are_refused() -> None:
    disk = written(150)
    second, third = disk.read(path(2)), disk.read(path(3))
    disk.replace(path(2), third)
    disk.replace(path(3), second)
    assert_refused(disk, path(2), 0)


def test_swapped_records_are_refused() -> None:
    """Each is whole, but they do not follow each other."""
    disk = written(40)
    (_, at, end), (_, next_at, next_end) = places(disk, 1)[9:11]
    assert end - at == next_end - next_at
    good = disk.read(path(1))
    overwrite(disk, path(1), at, good[next_at:next_end])
    overwrite(disk, path(1), next_at, good[at:end])
    assert_refused(disk, path(1), at)


def test_record_replaced_by_another_whole_one_is_refused() -> None:
    """Its own CRC adds up; the record behind it knows another."""
    disk = written(40)
    seq, at, end = places(disk, 1)[9]
    good = disk.read(path(1))
    fields = good[at + PREFIX.size : at + RECORD_HEAD]
    other = bytes(end - at - RECORD_HEAD)
    salt = good[at : at + 8]
    overwrite(disk, path(1), at, PREFIX.pack(salt, crc32c(0, fields + other)) + fields + other)
    with pytest.raises(JournalCorrupt, match=f"damaged at offset {places(disk, 1)[10][1]}: record {seq + 1} does not"):
        read(disk)


def test_record_before_the_last_is_missed_though_only_one_is_behind_it() -> None:
    """The last one knows that the one before it was on disk."""
    disk = written(20)
    _, at, _ = places(disk, 1)[18]
    flip(disk, path(1), (at + 100) * 8)
    assert_refused(disk, path(1), at, boot="boot-2")


def test_stale_segment_put_back_is_refused() -> None:
    """A copy from before the last records: what the segment behind it knows gives it away."""
    disk = written(40)
    stale = disk.read(path(1))
    journal = start(disk, epoch=2)
    for number in range(41, 120):
        journal.append([content(number)], at_ms=0, mono_ms=0, promise=True)
    disk.kill()
    stale_end = places(disk, 1)[-3]
    disk.replace(path(1), stale[: stale_end[1]] + bytes(len(stale) - stale_end[1]))
    assert_refused(disk, path(1), stale_end[1], epoch=3)


def test_missing_segment_is_refused() -> None:
    disk = written(150)
    disk.remove(path(2))
    assert_refused(disk, path(3), 0)


def test_missing_first_segment_is_refused() -> None:
    disk = written(150)
    disk.remove(path(1))
    with pytest.raises(JournalCorrupt, match="records 1 to 46 are missing"):
        read(disk)


def test_segment_of_another_shard_is_refused() -> None:
    disk = written(10)
    with pytest.raises(JournalCorrupt, match=f"shard 5: {path(1)} is damaged at offset 0: it belongs to shard 7"):
        read(disk, shard=5)


def test_segment_of_a_later_version_is_refused_as_such() -> None:
    """The words send people to the right program, not to a backup."""
    disk = written(10)
    sector = bytearray(disk.read(path(1))[:SECTOR])
    sector[8] = 2
    sector[12:16] = crc32c(crc32c(0, bytes(sector[:12])), bytes(sector[16:])).to_bytes(4, "little")
    overwrite(disk, path(1), 0, bytes(sector))
    with pytest.raises(CheckpointTooNew, match=f"{path(1)} has journal format 2, this flashq reads up to 1"):
        read(disk)


def test_journal_that_ends_before_the_tables_is_refused() -> None:
    """Somebody put an old journal beside newer tables: numbers must not be given out a second time."""
    disk = written(20)
    with pytest.raises(JournalCorrupt, match="ends with record 20, but the tables hold records up to 25"):
        read(disk, replay_from=25)


def test_vanished_journal_beside_tables_is_refused() -> None:
    with pytest.raises(JournalCorrupt, match="no segment was found: the journal ends with record 0"):
        read(SimulatedDisk(), replay_from=25)


def test_records_missing_between_tables_and_journal_are_refused() -> None:
    disk = written(150)
    for number in (1, 2):
        disk.remove(path(number))
    with pytest.raises(JournalCorrupt, match=f"{path(3)} .* records 51 to 92 are missing"):
        read(disk, replay_from=50)


# What a power cut may leave, and what it may not


def with_gap(durability: Durability, *, seal: bool = False) -> tuple[SimulatedDisk, int]:
    """Records 1 to 5 synced, 6 to 20 not; then the sector in which record 11 begins is lost. Its offset."""
    disk = SimulatedDisk()
    journal = start(disk, epoch=1, durability=durability)
    for number in range(1, 21):
        journal.append([content(number, 500)], at_ms=0, mono_ms=0, promise=False, sync=number <= 5)
    if seal:
        journal.close(seal=True)
    disk.kill()
    seq, at, _ = places(disk, 1)[10]
    assert (seq, len(places(disk, 1))) == (11, 20 + seal)
    overwrite(disk, path(1), at, bytes(64))
    return disk, at


@pytest.mark.parametrize("durability", ["fsync", "commit"])
def test_gap_above_what_was_synced_is_cut_and_counted(durability: Durability) -> None:
    """After a power cut an unsynced record may be missing while later ones are there."""
    disk, at = with_gap(durability)
    records, recovery = read(disk, boot="boot-2")
    assert [record.seq for record in records] == list(range(1, 11))
    assert (recovery.last_seq, recovery.dropped_records) == (10, 9)
    assert f"cut at offset {at}, behind record 10" in recovery.note
    assert "9 whole records behind a gap" in recovery.note


def test_first_record_lost_with_its_segment_is_no_damage() -> None:
    """It was too large for the first segment, which a checkpoint of nothing must not have given away."""
    disk = SimulatedDisk()
    journal = start(disk, epoch=1)
    journal.append([content(1, 20_000)], at_ms=0, mono_ms=0, promise=False)
    assert places(disk, 2)[0][0] == 1
    journal.recycle(0)
    disk.kill()
    overwrite(disk, path(2), HEADER_BYTES + 512, bytes(512))
    records, recovery = read(disk, boot="boot-2")
    assert (list(records), recovery.last_seq) == ([], 0)
    assert f"{path(2)} was cut at offset {HEADER_BYTES}" in recovery.note


def test_segment_behind_the_tables_may_have_lost_all_its_records() -> None:
    """All that was before it is recycled: its number is known from the tables."""
    disk = SimulatedDisk()
    journal = start(disk, epoch=1)
    for number in range(1, 51):
        journal.append([content(number)], at_ms=0, mono_ms=0, promise=True)
    _, last, _ = journal.sealed()[0]
    assert places(disk, 2)[0][0] == last + 1
    journal.recycle(last)
    disk.kill()
    overwrite(disk, path(2), HEADER_BYTES, bytes(12 << 10))
    records, recovery = read(disk, boot="boot-2", replay_from=last)
    assert (list(records), recovery.last_seq) == ([], last)
    journal = start(disk, epoch=3, replay_from=last)
    assert journal.append([b"next"], at_ms=0, mono_ms=0, promise=True) == last + 1
    disk.kill()
    assert [record.events for record in read(disk, epoch=4, replay_from=last)[0]] == [b"next"]


def test_dropped_records_stay_dropped() -> None:
    """Their numbers are given out again, and the old ones are no proof against the new."""
    disk, _ = with_gap("fsync")
    journal = start(disk, epoch=2, boot="boot-2")
    for number in range(11, 40):
        assert journal.append([b"new"], at_ms=0, mono_ms=0, promise=True) == number
    disk.kill()
    records, recovery = read(disk, epoch=3, boot="boot-3")
    assert [record.events for record in records[10:]] == [b"new"] * 29
    assert (recovery.last_seq, recovery.dropped_records, recovery.note) == (39, 0, "")


def test_gap_without_a_power_cut_is_refused_where_writing_was_the_promise() -> None:
    """Durability "commit", and the machine was not started anew: nothing but damage can have taken the record."""
    disk, at = with_gap("commit")
    assert_refused(disk, path(1), at, boot="boot-1")


def test_gap_before_a_seal_is_refused() -> None:
    """An orderly stop synced everything: after it nothing may be missing, promised or not."""
    disk, at = with_gap("fsync", seal=True)
    assert_refused(disk, path(1), at, boot="boot-2")


def test_gap_below_a_later_owner_is_refused() -> None:
    """What an owner found and went on from was on disk by then."""
    disk = written(20, promise=False)
    journal = start(disk, epoch=2)
    assert journal.recovery.last_seq == 20
    disk.kill()
    _, at, _ = places(disk, 1)[14]
    flip(disk, path(1), (at + 70) * 8)
    assert_refused(disk, path(1), at, epoch=3)


# Reuse, and owners that are not alone


def test_records_of_an_earlier_use_are_no_records() -> None:
    """A reused file is full of valid-looking records with higher and lower numbers than the next."""
    disk = SimulatedDisk()
    journal = start(disk, epoch=1)
    for number in range(1, 600):
        journal.append([content(number)], at_ms=0, mono_ms=0, promise=True)
        if number % 50 == 0:
            journal.recycle(number)
    disk.kill()
    assert sum(p.endswith((".seg", ".old")) for p in disk.paths()) <= 5
    records, recovery = read(disk, replay_from=550)
    assert [record.events for record in records] == [content(number) for number in range(551, 600)]
    assert recovery.note == ""


def test_payload_that_looks_like_a_record_is_none() -> None:
    """A client may send the bytes of a record: without the segment's salt they prove nothing behind a gap."""
    other = written(30)
    _, at, end = places(other, 1)[-1]
    forged = other.read(path(1))[at:end]
    disk = SimulatedDisk()
    journal = start(disk, epoch=1)
    for _ in range(3):
        journal.append([forged * 3], at_ms=0, mono_ms=0, promise=False)
    disk.kill()
    _, second, _ = places(disk, 1)[1]
    flip(disk, path(1), (second + 20) * 8)
    _, recovery = read(disk, boot="boot-2")
    assert (recovery.last_seq, recovery.dropped_records) == (1, 1)


def test_record_of_an_owner_that_was_replaced_is_not_read() -> None:
    """An owner that lost its folder, on a file system whose locks failed, still writes into its own run."""
    disk = SimulatedDisk()
    old = start(disk, epoch=1)
    old.append([b"one"], at_ms=0, mono_ms=0, promise=True)
    disk.kill()
    new = start(disk, epoch=2)
    new.append([b"two"], at_ms=0, mono_ms=0, promise=True)
    old.append([b"not two"], at_ms=0, mono_ms=0, promise=True)
    disk.kill()
    assert [record.events for record in read(disk, epoch=3)[0]] == [b"one", b"two"]


def test_folder_in_use_is_refused() -> None:
    disk = SimulatedDisk()
    start(disk, epoch=1)
    with pytest.raises(Fenced, match=f"{SHARD} is in use"):
        start(disk, epoch=2)


def test_epoch_that_is_not_new_is_refused() -> None:
    """Lease tokens are built from it: an epoch file that was lost or restored must not repeat them."""
    disk = written(3)
    with pytest.raises(Fenced, match="epoch 1 is not above 1"):
        start(disk, epoch=1)
    assert read(disk, epoch=2)[1].last_seq == 3


# Sealed segments read by others


def test_damaged_segment_is_not_folded_into_tables() -> None:
    disk = SimulatedDisk()
    journal = start(disk, epoch=1)
    for number in range(1, 100):
        journal.append([content(number)], at_ms=0, mono_ms=0, promise=True)
    first, last, file = journal.sealed()[0]
    assert [r.seq for r in read_segment(file, last_seq=last, files=disk)] == list(range(first, last + 1))
    _, at, _ = places(disk, 1)[7]
    flip(disk, file, (at + 100) * 8)
    with pytest.raises(JournalCorrupt, match=f"shard 7: {file} is damaged at offset {at}: it ends with record 7"):
        list(read_segment(file, last_seq=last, files=disk))


def test_reader_goes_as_far_as_it_was_told() -> None:
    """A segment may have more than its owner stands for."""
    disk = SimulatedDisk()
    journal = start(disk, epoch=1)
    for number in range(1, 100):
        journal.append([content(number)], at_ms=0, mono_ms=0, promise=True)
    first, last, file = journal.sealed()[1]
    assert [r.seq for r in read_segment(file, last_seq=last - 3, files=disk)] == list(range(first, last - 2))
    with pytest.raises(JournalCorrupt, match=f"it ends with record {last} instead of {last + 1}"):
        list(read_segment(file, last_seq=last + 1, files=disk))
    with pytest.raises(JournalCorrupt, match=f"it ends with record 0 instead of {first - 1}"):
        list(read_segment(file, last_seq=first - 1, files=disk))


def test_segment_that_is_recycled_under_its_reader_is_told_as_such() -> None:
    """Not as damage: nobody is to look for a broken disk."""
    disk = SimulatedDisk()
    journal = start(disk, epoch=1)
    for number in range(1, 100):
        journal.append([content(number)], at_ms=0, mono_ms=0, promise=True)
    _, last, file = journal.sealed()[0]
    reader = read_segment(file, last_seq=last + 1, files=disk)  # one more than there is, so that it looks twice
    next(reader)
    journal.recycle(last)
    for number in range(100, 200):
        journal.append([content(number)], at_ms=0, mono_ms=0, promise=True)
    with pytest.raises(StorageError, match=f"{file} was recycled while it was being read"):
        list(reader)
    with pytest.raises(StorageError, match=f"{file} cannot be read"):
        list(read_segment(file, last_seq=last, files=disk))
