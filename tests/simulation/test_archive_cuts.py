"""The power is cut at any moment of archiving and trimming: what was folded is archived once, in a whole chain."""

from random import Random

import pytest

from flashq.storage.archive import Archive, Kept, read_manifest
from flashq.storage.archive_reader import archived_records, inspect_archive
from flashq.storage.journal import SegmentJournal
from flashq.testing.files import SimulatedDisk
from tests.simulation.test_power_cut import Life, PowerCut

ARCHIVE = "/archive/shard-03"
KEY = "a key of ours"
CUTS_EACH = 6
IMAGES_EACH = 6


class Archiving(Life):
    """A journal's owner that archives what it folds."""

    archive: Archive
    archived = 0

    def open_archive(self, disk: SimulatedDisk) -> None:
        kept = Kept(bytes=self.random.choice([0, 20_000, 60_000]))
        self.archive = Archive.open(ARCHIVE, 3, key=KEY, kept=kept, files=disk)

    def check_archive(self, disk: SimulatedDisk) -> None:
        """It is whole, and has every record that the tables have, but for what was trimmed from its front."""
        found = list(inspect_archive(ARCHIVE, 3, KEY, tables_position=self.tables, files=disk))
        assert found == []
        manifest = read_manifest(ARCHIVE, 3, KEY.encode(), files=disk)
        assert {entry.starts for entry in manifest.entries} <= {""}
        assert [entry.no for entry in manifest.entries] == list(
            range(manifest.head.trimmed + 1, manifest.head.trimmed + 1 + len(manifest.entries))
        )
        if not manifest.entries:
            assert self.tables == 0
            return
        seq = manifest.entries[0].first - 1
        assert seq == 0 or manifest.head.trimmed
        for entry in manifest.entries:
            for record in archived_records(ARCHIVE, 3, entry, files=disk):
                seq += 1
                assert (record.seq, record.events) == (seq, self.written[seq - 1])
        assert seq >= self.tables
        self.archived = max(self.archived, manifest.entries[-1].no)

    def fold(self, journal: SegmentJournal) -> None:
        """As the checkpointer does: archive, then fold."""
        sealed = journal.sealed()
        for first, last, path in sealed[: self.random.randint(0, len(sealed))]:
            self.archive.add(first, last, path)
            self.tables = last
            self.archive.trim(0)
        journal.recycle(self.tables)


def cut_somewhere(life: Life) -> None:
    left = life.random.randrange(300)

    def before(what: str, path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCut

    life.disk.before = before


def look_at_images(life: Archiving) -> None:
    """Open what the disk may have kept, and go on with the last of it."""
    known = (life.epoch, life.promised, list(life.written))
    for _ in range(IMAGES_EACH):
        life.epoch, life.promised, written = known
        life.written = list(written)
        image = life.disk.cut(life.random)
        life.open_archive(image)
        life.check_archive(image)
        life.epoch += 1
        life.boot = f"boot-{life.epoch}"
        journal = life.open(image)
        life.check(list(journal.replay()), journal)
        life.promised = journal.recovery.last_seq
        assert life.promised >= life.archive.last_seq, "what is archived was on disk"
        del life.written[life.promised :]
        image.kill()
    life.disk = image


@pytest.mark.parametrize("block", range(4))
def test_power_cut_at_any_moment_leaves_a_whole_chain_with_all_that_was_folded(block: int) -> None:
    archived = 0
    for seed in range(block * 15, block * 15 + 15):
        life = Archiving(Random(seed), SimulatedDisk())
        for _ in range(CUTS_EACH):
            cut_somewhere(life)
            try:
                life.open_archive(life.disk)
                journal = life.start(life.disk)
                for _ in range(8):
                    life.work(journal, 12)
                    life.fold(journal)
            except PowerCut:
                pass
            life.disk.before = None
            try:
                look_at_images(life)
            except AssertionError as fault:
                fault.add_note(f"seed {seed}")
                raise
        archived += life.archived
    assert archived > 100
