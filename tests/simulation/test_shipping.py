"""A journal is shipped while it is written, used again, killed, taken over: what is named as shipped is all there."""

from pathlib import Path
from random import Random

import pytest

from flashq.clock import boot_id
from flashq.errors import JournalCorrupt
from flashq.storage.archive import Archive
from flashq.storage.contract import Record
from flashq.storage.journal import SegmentJournal
from flashq.storage.journal_copy import Cut
from flashq.storage.shipped_records import Behind, cut_at, until
from flashq.storage.shipping import Shipper, find_mark, open_folder, write_mark


class Shard:
    """One shard's journal, its archive and its shipper, each of which may be killed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = Random(seed)
        self.folder = folder
        self.archive_dir = folder / "archive"
        self.written: list[bytes] = []
        self.epoch = 0
        self.mono_ms = 1_000
        self.journal = self._journal()
        self.archive = Archive.open(self.archive_dir / "shard-00", 0)
        self.shipper = self._shipper()

    def _journal(self) -> SegmentJournal:
        self.epoch += 1
        journal = SegmentJournal.open(
            self.folder / "data", shard=0, epoch=self.epoch, durability="fsync" if self.epoch % 2 else "commit",
            segment_bytes=1 << 16, reserve_bytes=0, boot=boot_id(), replay_from=self.recycled,
        )  # fmt: skip
        for _ in journal.replay():
            pass
        return journal

    recycled = 0

    def _shipper(self) -> Shipper:
        mark = find_mark(self.archive_dir)
        return Shipper(self.folder / "data", 0, self.archive_dir, position=mark.positions[0] if mark else 0)

    def step(self) -> None:
        dice = self.random.random()
        if dice < 0.8:
            for _ in range(self.random.randrange(20)):
                self.mono_ms += self.random.randrange(3)
                self.written.append(b"%d;" % len(self.written) + bytes(self.random.randrange(2_000)))
                seq = self.journal.append(
                    [self.written[-1]],
                    at_ms=self.mono_ms * 10,
                    mono_ms=self.mono_ms,
                    promise=self.random.random() < 0.7,
                )
                assert seq == len(self.written)
        elif dice < 0.9:
            for segment in list(self.journal.sealed())[: self.random.randrange(4)]:
                self.archive.add(*segment)
                self.journal.recycle(segment[1])
                self.recycled = segment[1]
        elif dice < 0.95:
            self.shipper = self._shipper()
        else:
            self.journal.close(seal=self.random.random() < 0.5)
            self.journal = self._journal()

    def ship(self) -> int:
        """How many records there were at the cut, as it is named."""
        cut = Cut(boot_id(), self.mono_ms)
        count = len(self.written)
        self.mono_ms += 1
        if self.random.random() < 0.5:
            self.step()
        self.shipper.ship(cut)
        write_mark(self.archive_dir, self.mono_ms * 10, 1, [self.shipper.position])
        assert self.shipper.position == count
        return count

    def behind(self, position: int, through: int) -> list[Record]:
        at_ms = 0
        return list(Behind(self.archive_dir, 0, "", position=position, at_ms=at_ms, through=through).records())


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_named_as_shipped_is_there_after_the_data_is_lost(seed: int, tmp_path: Path) -> None:
    shard = Shard(seed, tmp_path)
    for _ in range(60):
        shard.step()
        if shard.random.random() < 0.3:
            count = shard.ship()
            mark = find_mark(shard.archive_dir)
            assert mark is not None
            position = shard.random.randrange(count + 1)
            records = shard.behind(position, mark.positions[0])
            assert [record.events for record in records] == shard.written[position:count]
    shard.journal.close(seal=True)


def test_records_up_to_a_moment_are_those_whose_tick_had_ended(tmp_path: Path) -> None:
    shard = Shard(1, tmp_path)
    for _ in range(40):
        shard.step()
    count = shard.ship()
    behind = Behind(shard.archive_dir, 0, "", position=0, at_ms=0, through=count)
    records = list(behind.records())
    moment_ms = records[len(records) // 2].at_ms
    cut = cut_at([behind], moment_ms)
    assert cut is not None
    found = list(until(behind.records(), cut, moment_ms))
    assert [record.seq for record in found] == [record.seq for record in records if record.at_ms <= moment_ms]
    assert cut_at([behind], records[0].at_ms - 1) is None
    shard.journal.close(seal=True)


def test_a_missing_piece_is_named_wherever_it_is(tmp_path: Path) -> None:
    shard = Shard(2, tmp_path)
    while len(list((shard.archive_dir / "shard-00").glob("*.zst"))) < 2:
        shard.step()
    shard.written.append(b"the last one")
    shard.journal.append(shard.written[-1:], at_ms=shard.mono_ms * 10, mono_ms=shard.mono_ms, promise=True)
    count = shard.ship()
    for path in [*(shard.archive_dir / "shard-00").glob("*.zst"), open_folder(shard.archive_dir, 0)]:
        path.rename(tmp_path / "taken")
        with pytest.raises(JournalCorrupt, match=r"is missing|is neither in"):
            shard.behind(0, count)
        (tmp_path / "taken").rename(path)
    assert len(shard.behind(0, count)) == count
    shard.journal.close(seal=True)
