"""Failing and full disks: the first error ends the journal, nothing that was answered is lost, acks still fit."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from flashq.errors import DiskFull, StorageError
from flashq.storage.journal import SegmentJournal
from flashq.testing.background import InlineExecutor
from flashq.testing.files import SimulatedDisk

SHARD = "/data/shard-00"
Durability = Literal["fsync", "commit"]


def start(disk: SimulatedDisk, epoch: int, durability: Durability, *, reserve_bytes: int = 0) -> SegmentJournal:
    return SegmentJournal.open(
        SHARD,
        shard=0,
        epoch=epoch,
        durability=durability,
        files=disk,
        boot=f"boot-{epoch}",
        segment_bytes=16 << 10,
        reserve_bytes=reserve_bytes,
        background=InlineExecutor(),
    )


def count_operations(disk: SimulatedDisk) -> Counter[str]:
    seen: Counter[str] = Counter()
    disk.before = lambda what, path: seen.update([what])
    return seen


class FailAt:
    """Lets the n-th operation of one kind fail."""

    def __init__(self, kind: str, n: int, error: int) -> None:
        self.kind, self.n, self.error = kind, n, error
        self.failed = False

    def __call__(self, what: str, path: str) -> None:
        if what == self.kind:
            self.n -= 1
            if self.n == 0:
                self.failed = True
                raise OSError(self.error, os.strerror(self.error))


LEAST = {"write": 8, "store": 30, "sync": 8, "rename": 3, "sync_folder": 3}
"""How many operations of a kind the work below has at least, so that the test cannot pass by failing none."""


@pytest.mark.parametrize(
    ("kind", "durability"),
    [(kind, durability) for kind in LEAST for durability in ("fsync", "commit")],
)
def test_any_operation_that_fails_ends_the_journal_and_loses_nothing(kind: str, durability: Durability) -> None:
    """For every N: the N-th fails; nothing is written or synced any more; the next owner has what was answered."""
    n = 0
    while fails_at(n + 1, kind, durability):
        n += 1
    assert n >= LEAST[kind]


def fails_at(n: int, kind: str, durability: Durability) -> bool:
    """Work, with the n-th operation of a kind failing; False if there are not so many."""
    disk = SimulatedDisk()
    disk.before = fail = FailAt(kind, n, errno.EIO)
    synced, appended, error = 0, 0, None
    journal = None
    try:
        journal = start(disk, 1, durability)
        for number in range(1, 80):
            journal.append([bytes([number]) * 900], at_ms=0, mono_ms=0, promise=number % 2 == 0, sync=number % 9 == 0)
            appended, synced = number, journal.synced_seq
        journal.check_room()
    except StorageError as fault:
        error = fault
    if not fail.failed:
        assert error is None
        return False
    assert type(error) is StorageError
    assert re.fullmatch(r"shard 0: the (journal in|folder) \S+ (failed|cannot be used): Input/output error", str(error))
    if journal is not None:
        assert_dead(disk, journal)
    image = disk.cut(Random(n))
    recovered = start(image, 2, durability)
    records = list(recovered.replay())
    assert synced <= recovered.recovery.last_seq <= appended + 1
    assert [record.events for record in records] == [bytes([record.seq]) * 900 for record in records]
    return True


def assert_dead(disk: SimulatedDisk, journal: SegmentJournal) -> None:
    """No operation of any kind after the first error, and each word of it the same."""
    seen = count_operations(disk)
    for _ in range(3):
        with pytest.raises(StorageError, match="failed: Input/output error"):
            journal.append([b"x"], at_ms=0, mono_ms=0, promise=True, sync=True)
    assert not journal.check_room()
    assert not journal.room
    journal.close(seal=True)
    assert seen == Counter()


@pytest.mark.parametrize("durability", ["fsync", "commit"])
def test_failed_sync_whose_pages_the_kernel_gave_up_is_noticed_by_reading_the_disk(durability: Durability) -> None:
    """The page cache still shows the record; the disk does not have it, and the disk is what counts."""
    disk = SimulatedDisk()
    journal = start(disk, 1, durability)
    journal.append([b"safe"], at_ms=0, mono_ms=0, promise=True, sync=True)
    journal.append([b"lease"], at_ms=0, mono_ms=0, promise=False)
    disk.before = FailAt("sync", 1, errno.EIO)
    with pytest.raises(StorageError):
        journal.append([b"lost"], at_ms=0, mono_ms=0, promise=True, sync=True)
    journal.close(seal=False)
    disk.kill()
    assert [record.events for record in start(disk, 2, durability).replay()] == [b"safe"]


def test_failed_sync_in_the_background_ends_the_journal() -> None:
    """What was closed and not synced is not called sealed, and nobody goes on as if it were."""
    disk = SimulatedDisk()
    journal = start(disk, 1, "commit")
    journal.append([b"x" * 9_000], at_ms=0, mono_ms=0, promise=True)
    disk.before = FailAt("sync", 1, errno.EIO)
    journal.append([b"x" * 9_000], at_ms=0, mono_ms=0, promise=True)
    assert list(journal.sealed()) == []
    with pytest.raises(StorageError, match="Input/output error"):
        journal.check_room()
    with pytest.raises(StorageError, match="Input/output error"):
        journal.append([b"x"], at_ms=0, mono_ms=0, promise=True)


def test_segment_that_cannot_be_prepared_ends_the_journal_where_it_is_needed() -> None:
    disk = SimulatedDisk()
    journal = start(disk, 1, "fsync")
    _ = journal.recovery
    disk.before = FailAt("rename", 1, errno.EIO)
    journal.append([b"x" * 9_000], at_ms=0, mono_ms=0, promise=True)
    assert not journal.room
    disk.before = FailAt("rename", 1, errno.EIO)
    with pytest.raises(StorageError, match="Input/output error"):
        journal.append([b"x" * 9_000], at_ms=0, mono_ms=0, promise=True)


# The full disk


def append_until_full(journal: SegmentJournal, events: bytes) -> int:
    """How often it went well."""
    for done in range(10_000):
        try:
            journal.append([events], at_ms=0, mono_ms=0, promise=True)
        except DiskFull:
            return done
    raise AssertionError("the disk is never full")


@pytest.mark.parametrize("durability", ["fsync", "commit"])
def test_full_disk_shows_while_acks_still_fit(durability: Durability) -> None:
    """Whoever refuses pushes once there is no room can still write many acks."""
    disk = SimulatedDisk(capacity_bytes=90 << 10)
    journal = start(disk, 1, durability)
    pushes = 0
    while journal.room:
        pushes = journal.append([b"push" * 500], at_ms=0, mono_ms=0, promise=True)
    acks = append_until_full(journal, b"ack")
    assert acks >= 100  # what is left of a segment of 16 KiB
    disk.kill()
    disk.capacity_bytes += 64 << 10
    recovered = start(disk, 2, durability)
    records = list(recovered.replay())
    assert [record.events for record in records] == [b"push" * 500] * pushes + [b"ack"] * acks


def test_reserve_is_kept_for_what_empties_the_queue() -> None:
    """`room` ends while the device still has the reserve, and begins again by itself."""
    disk = SimulatedDisk(capacity_bytes=200 << 10)
    journal = start(disk, 1, "fsync", reserve_bytes=60 << 10)
    while journal.room:
        last = journal.append([b"push" * 500], at_ms=0, mono_ms=0, promise=True)
    assert disk.free_bytes(SHARD) >= 60 << 10 >> 1
    assert not journal.check_room()
    journal.recycle(last)  # all but the spares goes back to the device
    assert journal.check_room()
    journal.append([b"push" * 500], at_ms=0, mono_ms=0, promise=True)


def test_room_comes_back_when_the_next_segment_could_be_made() -> None:
    disk = SimulatedDisk(capacity_bytes=20 << 10)
    journal = start(disk, 1, "fsync")
    journal.append([b"x"], at_ms=0, mono_ms=0, promise=True)
    assert not journal.check_room()
    disk.capacity_bytes += 20 << 10
    journal.check_room()
    assert journal.check_room()
    for _ in range(20):
        journal.append([b"x" * 1_000], at_ms=0, mono_ms=0, promise=True)


def test_space_that_returns_in_time_is_used_without_a_word() -> None:
    """What could not be made ahead is tried once more where it is needed."""
    disk = SimulatedDisk(capacity_bytes=20 << 10)
    journal = start(disk, 1, "fsync")
    journal.append([b"x" * 9_000], at_ms=0, mono_ms=0, promise=True)
    assert not journal.room
    disk.capacity_bytes += 20 << 10
    assert journal.append([b"x" * 9_000], at_ms=0, mono_ms=0, promise=True) == 2


def test_segment_that_did_not_fit_gives_its_space_back() -> None:
    """Half a segment of zeros would be what acks are short of."""
    disk = SimulatedDisk()
    journal = start(disk, 1, "fsync")
    _ = journal.recovery

    def full_halfway(what: str, path: str) -> None:
        if what == "sync" and path.endswith("2.new"):
            raise OSError(errno.ENOSPC, "No space left on device")

    disk.before = full_halfway
    journal.append([b"x"], at_ms=0, mono_ms=0, promise=True)
    assert not journal.room
    assert disk.list(f"{SHARD}/journal") == ["0000000001.seg"]


def test_recycled_segments_serve_a_full_disk() -> None:
    """With a checkpointer that keeps up, a disk without a free byte serves for ever."""
    disk = SimulatedDisk()
    journal = start(disk, 1, "fsync")
    for _ in range(60):
        journal.append([b"x" * 1_000], at_ms=0, mono_ms=0, promise=True)
    disk.capacity_bytes = sum(len(disk.read(path)) for path in disk.paths())
    for _ in range(500):
        sealed = journal.sealed()
        if sealed:
            journal.recycle(sealed[-1][1])
        journal.append([b"x" * 1_000], at_ms=0, mono_ms=0, promise=True)


def test_record_too_large_for_the_disk_is_refused_before_anything_is_lost() -> None:
    disk = SimulatedDisk(capacity_bytes=64 << 10)
    journal = start(disk, 1, "fsync")
    journal.append([b"small"], at_ms=0, mono_ms=0, promise=True)
    with pytest.raises(DiskFull):
        journal.append([b"x" * (60 << 10)], at_ms=0, mono_ms=0, promise=True)
    disk.kill()
    assert [record.events for record in start(disk, 2, "fsync").replay()] == [b"small"]


def test_start_on_a_full_disk_says_so_and_reuses_what_the_tables_have() -> None:
    disk = SimulatedDisk()
    journal = start(disk, 1, "fsync")
    for _ in range(60):
        journal.append([b"x" * 1_000], at_ms=0, mono_ms=0, promise=True)
    journal.close(seal=False)
    for path in disk.paths():  # nothing is left that was made ahead
        if path == f"{SHARD}/journal/{len(disk.paths()):010}.seg":
            disk.remove(path)
            disk.sync_folder(f"{SHARD}/journal")
    disk.capacity_bytes = sum(len(disk.read(path)) for path in disk.paths())
    full = start(disk, 2, "fsync")
    with pytest.raises(DiskFull):
        list(full.replay())
    full.close(seal=False)
    reopened = SegmentJournal.open(
        SHARD, shard=0, epoch=3, durability="fsync", files=disk, replay_from=30, background=InlineExecutor(),
        segment_bytes=16 << 10, reserve_bytes=0,
    )  # fmt: skip
    assert [record.seq for record in reopened.replay()] == list(range(31, 61))
    assert reopened.append([b"ack"], at_ms=0, mono_ms=0, promise=True) == 61


# The real thing, with the kernel's answers changed by strace

WRITER = """
import sys
from flashq.errors import FlashqError
from flashq.storage.journal import SegmentJournal

journal = SegmentJournal.open(sys.argv[1], shard=0, epoch=1, durability=sys.argv[2], segment_bytes=1 << 20)
try:
    for number in range(1, 401):
        journal.append([b"%05d" % number * 2000], at_ms=0, mono_ms=0, promise=number % 3 > 0, sync=number % 50 == 0)
        print("answered", number, journal.synced_seq, flush=True)
except FlashqError as fault:
    print("failed", type(fault).__name__, fault, flush=True)
    try:
        journal.append([b"after"], at_ms=0, mono_ms=0, promise=True)
    except FlashqError:
        print("refused", flush=True)
"""

ENDLESS_WRITER = """
import os
import sys
from flashq.storage.journal import SegmentJournal

journal = SegmentJournal.open(sys.argv[1], shard=0, epoch=1, durability=sys.argv[2], segment_bytes=1 << 20)
number = 0
while True:
    number += 1
    journal.append([b"%07d" % number * 20], at_ms=0, mono_ms=0, promise=number % 3 > 0)
    os.write(1, b"%07d" % number)
"""


@pytest.mark.parametrize("durability", ["fsync", "commit"])
@pytest.mark.parametrize("answers", [1, 500, 20_000])
def test_killed_process_loses_nothing_it_answered(tmp_path: Path, durability: Durability, answers: int) -> None:
    """What is stored through a mapping is in the page cache like what is written: `kill -9` takes none of it."""
    shard = tmp_path / "shard-00"
    if durability == "fsync":
        answers = min(answers, 2_000)
    writer = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, str(shard), durability], stdout=subprocess.PIPE, bufsize=0
    )
    assert writer.stdout is not None
    with writer, writer.stdout as replies:
        heard = b""
        while len(heard) < answers * 7:
            piece = replies.read(1 << 16)
            assert piece, "the writer ended by itself"
            heard += piece
        writer.kill()
        heard += replies.read() or b""
    answered = len(heard) // 7
    journal = SegmentJournal.open(shard, shard=0, epoch=2, durability=durability)
    records = list(journal.replay())
    journal.close(seal=True)
    assert answers <= answered <= journal.recovery.last_seq <= answered + 1
    assert [record.events for record in records] == [b"%07d" % record.seq * 20 for record in records]
    assert (journal.recovery.clean, journal.recovery.dropped_records) == (False, 0)


INJECTIONS = [
    ("fsync", "pwritev2:error=EIO:when=1", "StorageError"),
    ("fsync", "pwritev2:error=EIO:when=20", "StorageError"),
    ("fsync", "pwritev2:error=EIO:when=150+", "StorageError"),
    ("fsync", "pwritev2:error=ENOSPC:when=40+", "DiskFull"),
    ("fsync", "fdatasync:error=EIO:when=4", "StorageError"),
    ("fsync", "fdatasync:error=EIO:when=40", "StorageError"),
    ("fsync", "fdatasync:error=EIO:when=100+", "StorageError"),
    ("commit", "fdatasync:error=EIO:when=4", "StorageError"),
    ("commit", "fdatasync:error=EIO:when=8", "StorageError"),
    ("commit", "fallocate:error=ENOSPC:when=2+", "DiskFull"),
]


@pytest.mark.parametrize(("durability", "injection", "error"), INJECTIONS)
def test_error_of_the_kernel_ends_the_journal_and_loses_nothing(
    tmp_path: Path, durability: Durability, injection: str, error: str
) -> None:
    """A writer under strace: what it was told of the disk's errors it tells, and what it answered is there."""
    strace = shutil.which("strace")
    assert strace is not None, "strace is missing: install the Debian package strace (`make test` does it)"
    shard = tmp_path / "shard-00"
    log = tmp_path / "strace.log"
    call = injection.split(":", 1)[0]
    ran = subprocess.run(
        [
            *(strace, "-f", "-qq", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={injection}"),
            *(sys.executable, "-c", WRITER, str(shard), durability),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = ran.stdout.splitlines()
    assert "INJECTED" in log.read_text(), ran.stderr
    assert lines[-1] == "refused", ran.stderr + ran.stdout[-500:]
    assert lines[-2].startswith(f"failed {error} shard 0: the journal in {shard}/journal failed: ")
    answered = int(lines[-3].split()[1]) if len(lines) > 2 else 0
    journal = SegmentJournal.open(shard, shard=0, epoch=2, durability=durability)
    records = list(journal.replay())
    journal.close(seal=True)
    assert answered <= journal.recovery.last_seq <= answered + 1
    assert [record.events for record in records] == [b"%05d" % record.seq * 2000 for record in records]
