"""The power is cut at any moment of a journal's life; whatever the disk then has, nothing promised is gone.

Each seed lives one journal through several power cuts. At each, many images are made of what the disk may have kept
(`flashq.testing.files`), every one is opened and compared with what was written, and life goes on with one of them.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Literal

import pytest

from flashq.errors import FlashqError
from flashq.storage.contract import Record
from flashq.storage.journal import SegmentJournal, read_segment
from flashq.testing.background import SteppedExecutor
from flashq.testing.files import SimulatedDisk

SHARD = "/data/shard-03"
SEGMENT = 12 << 10
IMAGES_EACH = 20
CUTS_EACH = 4


class PowerCut(BaseException):
    """The moment the power goes, in the middle of whatever was being done."""


@dataclass
class Life:
    """A journal's owner, what it may count on, and the disk."""

    random: Random
    disk: SimulatedDisk
    epoch: int = 0
    boot: str = ""
    durability: Literal["fsync", "commit"] = "fsync"
    written: list[bytes] = field(default_factory=list)
    """What each record holds, first record first; the last one may be in flight."""
    promised: int = 0
    """Records up to here have to be there, whatever happens."""
    tables: int = 0
    """Records up to here were folded into tables, which are on disk."""

    def start(self, disk: SimulatedDisk, *, new_boot: bool = True) -> SegmentJournal:
        """A new owner reads what is there and holds it against what was written."""
        self.epoch += 1
        if new_boot:
            self.boot = f"boot-{self.epoch}"
        self.durability = self.random.choice(["fsync", "commit"])
        journal = self.open(disk)
        self.check(list(journal.replay()), journal)
        return journal

    def open(self, disk: SimulatedDisk) -> SegmentJournal:
        return SegmentJournal.open(
            SHARD,
            shard=3,
            epoch=self.epoch,
            durability=self.durability,
            files=disk,
            boot=self.boot,
            segment_bytes=SEGMENT,
            reserve_bytes=0,
            replay_from=self.tables,
            background=SteppedExecutor(),
            salt=lambda: self.random.randbytes(8),
        )

    def check(self, records: list[Record], journal: SegmentJournal) -> None:
        last = journal.recovery.last_seq
        assert self.promised <= last <= len(self.written)
        assert [record.seq for record in records] == list(range(self.tables + 1, last + 1))
        for record in records:
            assert record.events == self.written[record.seq - 1]

    def work(self, journal: SegmentJournal, steps: int) -> None:
        for _ in range(steps):
            choice = self.random.random()
            if choice < 0.8:
                self.append(journal)
            elif choice < 0.9:
                self.random_background(journal)
            elif choice < 0.95:
                self.fold(journal)
            else:
                assert journal.check_room()

    def append(self, journal: SegmentJournal) -> None:
        size = self.random.choice([0, 20, 150, 420, 600, 2_000, self.random.randrange(SEGMENT * 2)])
        events = self.random.randbytes(self.random.randrange(size + 1))
        kind = self.random.random()
        self.written.append(events)
        seq = journal.append([events], at_ms=1, mono_ms=2, promise=kind < 0.6, sync=kind < 0.05)
        assert seq == len(self.written)
        if kind < 0.05 or (kind < 0.6 and self.durability == "fsync"):
            assert journal.synced_seq == seq
        self.promised = max(self.promised, journal.synced_seq)

    def random_background(self, journal: SegmentJournal) -> None:
        background = journal._supply._background
        assert isinstance(background, SteppedExecutor)
        background.step()

    def fold(self, journal: SegmentJournal) -> None:
        """A checkpoint: read some sealed segments into the tables, then let them be reused."""
        sealed = journal.sealed()
        for first, last, path in sealed[: self.random.randint(0, len(sealed))]:
            records = list(read_segment(path, last_seq=last, files=self.disk))
            assert [record.events for record in records] == self.written[first - 1 : last]
            self.tables = last
        journal.recycle(self.tables)


def cut_somewhere(life: Life) -> None:
    """Let the power go at one of the next operations on the disk."""
    left = life.random.randrange(60)

    def before(what: str, path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCut

    life.disk.before = before


def live(seed: int) -> int:
    """One seed; the number of images that were opened."""
    life = Life(Random(seed), SimulatedDisk())
    images = 0
    for _ in range(CUTS_EACH):
        cut_somewhere(life)
        try:
            journal = life.start(life.disk, new_boot=True)
            life.work(journal, life.random.randrange(80))
            if life.random.random() < 0.2:
                journal.close(seal=life.random.random() < 0.7)
                life.promised = len(life.written)
        except PowerCut:
            life.disk.before = None
        images += look_at_images(life)
    return images


def look_at_images(life: Life) -> int:
    """Open what the disk may have kept, and go on with the last of it."""
    known = (life.epoch, life.promised, life.tables, list(life.written))
    for _ in range(IMAGES_EACH):
        life.epoch, life.promised, life.tables, written = known
        life.written = list(written)
        image = life.disk.cut(life.random)
        life.epoch += 1
        life.boot = f"boot-{life.epoch}"
        journal = life.open(image)
        life.check(list(journal.replay()), journal)
        life.promised = journal.recovery.last_seq  # what was read is on disk, so it stays
        del life.written[life.promised :]
        if life.random.random() < 0.3:  # the new owner's records take the place of what was cut
            for _ in range(life.random.randrange(1, 5)):
                life.append(journal)
        image.kill()
    life.disk = image
    return IMAGES_EACH


@pytest.mark.parametrize("block", range(8))
def test_power_cut_at_any_moment_keeps_what_was_promised(block: int) -> None:
    """At least 5,000 images in all: each opens, has every promised record, and no record that was not written."""
    images = 0
    for seed in range(block * 10, block * 10 + 10):
        try:
            images += live(seed)
        except (AssertionError, FlashqError) as fault:
            fault.add_note(f"seed {seed}")
            raise
    assert images >= 640


@pytest.mark.parametrize("seed", [19, 21, 122])
def test_seeds_that_once_failed_stay_fixed(seed: int) -> None:
    """A stop without a record, a first segment recycled for nothing, unused segments given back from the front."""
    assert live(seed) == IMAGES_EACH * CUTS_EACH


def test_power_cut_while_unused_segments_are_given_back_leaves_no_hole() -> None:
    """Three segments without a record: whichever of them are gone when the power goes, the rest makes sense."""
    for moment in range(40):
        life = Life(Random(moment), SimulatedDisk(), epoch=1, boot="boot-1")
        journal = life.open(life.disk)
        for size in (SEGMENT * 2, SEGMENT * 2):  # each too large for the segment that was there
            journal.append([bytes(size)], at_ms=0, mono_ms=0, promise=False)
            while journal._supply._background.step():  # type: ignore[attr-defined]
                continue
        life.disk.kill()
        segments = [path for path in life.disk.paths() if path.endswith(".seg")]
        assert len(segments) == 4
        for path in segments[1:]:  # all that was not synced is lost
            content = life.disk.read(path)
            life.disk.replace(path, content[:4096] + bytes(len(content) - 4096))
        left = moment

        def before(what: str, path: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise PowerCut

        life.epoch, life.boot = 2, "boot-2"
        life.disk.before = before
        try:
            list(life.open(life.disk).replay())
            ended = True
        except PowerCut:
            ended = False
        for seed in range(10):
            image = life.disk.cut(Random(seed))
            life.epoch += 1
            assert list(life.open(image).replay()) == []
        if ended:
            assert moment > 5
            return
    raise AssertionError("starting took more operations than were cut")


@pytest.mark.parametrize("seed", range(60))
def test_kill_at_any_moment_keeps_what_was_written(seed: int) -> None:
    """Without a power cut every record that `append` returned for is there, whatever its promise."""
    life = Life(Random(seed), SimulatedDisk())
    for _ in range(6):
        cut_somewhere(life)
        before = len(life.written)
        try:
            journal = life.start(life.disk, new_boot=False)
            life.work(journal, 60)
        except PowerCut:
            before = max(before, len(life.written) - 1)
        else:
            before = len(life.written)
        life.disk.kill()
        life.promised = max(life.promised, min(before, len(life.written)))
        life.epoch += 1
        journal = life.open(life.disk)
        life.check(list(journal.replay()), journal)
        assert journal.recovery.dropped_records == 0
        del life.written[journal.recovery.last_seq :]
        life.disk.kill()
