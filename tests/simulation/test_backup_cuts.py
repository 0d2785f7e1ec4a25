"""Journals of several shards, cut at one moment while they are written: whatever a record stands on is cut with it."""

from pathlib import Path
from random import Random

import pytest

from flashq.clock import boot_id
from flashq.storage.contract import Record
from flashq.storage.journal import SegmentJournal
from flashq.storage.journal_copy import Cut, JournalCopy

SHARDS = 3
Place = tuple[int, int]
"""(shard, record)"""


class Ticks:
    """Shards whose ticks overlap; one that is open hears of what others have ended since it began."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = Random(seed)
        self.folder = folder
        self.mono_ms = 1_000
        self.journals = [
            SegmentJournal.open(
                folder / f"shard-{n:02}", shard=n, epoch=n + 1, durability="commit", segment_bytes=1 << 16,
                reserve_bytes=0, boot=boot_id(),
            )
            for n in range(SHARDS)
        ]  # fmt: skip
        for journal in self.journals:
            assert journal.recovery.clean
        self.open: dict[int, tuple[int, set[Place]]] = {}
        """By shard: when its tick began, and what it has heard of."""
        self.told: list[set[Place]] = [set() for _ in range(SHARDS)]
        """What is on the way to each shard."""

    def step(self) -> None:
        """Time passes, and one shard does something."""
        self.mono_ms += self.random.choice((0, 0, 1, 3))
        shard = self.random.randrange(SHARDS)
        if shard not in self.open:
            self.open[shard] = (self.mono_ms, set())
        elif self.random.random() < 0.5:
            self.open[shard][1].update(self.told[shard])
            self.told[shard].clear()
        else:
            self._end(shard)

    def _end(self, shard: int) -> None:
        began, heard = self.open.pop(shard)
        words = b"".join(b"%d %d;" % place for place in sorted(heard)) or b";"
        seq = self.journals[shard].append(
            [words + bytes(self.random.randrange(600))], at_ms=began, mono_ms=began, promise=True,
            took_ms=self.mono_ms - began,
        )  # fmt: skip
        for other in range(SHARDS):
            if other != shard:
                self.told[other].add((shard, seq))

    def close(self) -> None:
        for journal in self.journals:
            journal.close(seal=False)


def stands_on(record: Record) -> list[Place]:
    words = record.events.rstrip(b"\0").rstrip(b";")
    return [(int(a), int(b)) for a, b in (pair.split() for pair in words.split(b";") if pair)]


def missing(cut: list[list[Record]]) -> list[Place]:
    """What records of a cut stand on that is not in it."""
    last = [records[-1].seq if records else 0 for records in cut]
    return [
        (shard, seq) for records in cut for record in records for shard, seq in stands_on(record) if seq > last[shard]
    ]


def test_a_cut_has_everything_that_its_records_stand_on(tmp_path: Path) -> None:
    """Also where a tick that had begun before heard of one that ended after; with the beginnings alone it has not."""
    by_beginning = 0
    for seed in range(40):
        ticks = Ticks(seed, tmp_path / f"{seed}")
        copies = [
            JournalCopy(ticks.folder / f"shard-{n:02}", n, ticks.folder / f"copy-{n:02}") for n in range(SHARDS)
        ]  # fmt: skip
        for _ in range(ticks.random.randrange(100, 700)):
            ticks.step()
        for n in ticks.random.sample(range(SHARDS), ticks.random.randrange(SHARDS + 1)):
            copies[n].take(0)  # some are copied before the moment, too
        for _ in range(ticks.random.randrange(100)):
            ticks.step()
        cut = Cut(boot_id(), ticks.mono_ms)
        ticks.mono_ms += 1
        for n in ticks.random.sample(range(SHARDS), SHARDS):
            for _ in range(ticks.random.randrange(60)):
                ticks.step()
            copies[n].take(0)
        records = [list(copy.records(0, cut)) for copy in copies]
        assert all(records)
        assert missing(records) == [], f"seed {seed}"
        begun = [
            [record for record in copy.records(0, None) if record.mono_ms <= cut.mono_ms] for copy in copies
        ]  # fmt: skip
        by_beginning += bool(missing(begun))
        ticks.close()
    assert by_beginning > 5


@pytest.mark.parametrize("durability", ["fsync", "commit"])
def test_a_copy_has_all_records_behind_a_position_over_segments_and_owners(tmp_path: Path, durability: str) -> None:
    folder = tmp_path / "shard-04"
    written: list[bytes] = []
    copy = JournalCopy(folder, 4, tmp_path / "copy")
    copy.take(0)
    assert list(copy.records(0, None)) == []
    for epoch in (1, 2, 3):
        journal = SegmentJournal.open(
            folder, shard=4, epoch=epoch, durability="fsync" if durability == "fsync" else "commit",
            segment_bytes=1 << 16, reserve_bytes=0,
        )  # fmt: skip
        assert len(list(journal.replay())) == len(written)
        for n in range(60):
            written.append(b"%d" % (epoch * 1_000 + n) * 900)
            journal.append([written[-1]], at_ms=1, mono_ms=1, promise=bool(n % 3))
            if n % 25 == 0:
                copy.take(0)
        copy.take(0)
        assert [record.events for record in copy.records(0, None)] == written
        assert [record.events for record in copy.records(50, None)] == written[50:]
        journal.close(seal=epoch == 2)
