"""Everything that a shard's archive and journal still say, record by record, from the first one that is kept.

The journal is read beside its owner: while that works, a segment may go into the archive and be used again under the
reader, who then finds a gap, and what fills it in the archive.
"""

from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import select

from flashq.errors import CheckpointTooNew, JournalCorrupt
from flashq.storage import schema as s
from flashq.storage.archive_manifest import Entry
from flashq.storage.archive_reader import archived_records, find_manifest
from flashq.storage.contract import Record
from flashq.storage.deeds import Queues
from flashq.storage.journal_inspection import JournalLook
from flashq.storage.recovery import Tables
from flashq.storage.sites import ReadOnlySite, checked

LOOKS: Final = 10


class Source:
    """One shard's history."""

    def __init__(self, shard: int, folder: Path, archive: Path | None, *, from_ms: int = 0) -> None:
        """`from_ms`: whole segments of what is older need not be read."""
        self.shard = shard
        self.gaps: list[tuple[int, int]] = []
        """First and last record of what is missing."""
        self._folder = folder
        self._archive = archive
        self._from_ms = from_ms
        self._no = 0
        """The last entry of the archive that was read."""
        self._last: Entry | None = None
        self._seq = 0
        self._anew = False
        """The journal began to count anew after what is archived."""

    def records(self) -> Iterator[Record]:
        """In their order. Raises JournalCorrupt where an archived segment is not what it was, StorageError."""
        for look in range(LOOKS):
            with closing(JournalLook(self._folder, self.shard)) as journal:
                yield from self._archived()
                if (yield from self._behind(journal, last_look=look == LOOKS - 1)):
                    return

    def _archived(self) -> Iterator[Record]:
        """What has come into the archive since the last look."""
        manifest = find_manifest(self._archive, self.shard, None) if self._archive is not None else None
        for entry in manifest.entries if manifest is not None else ():
            if entry.no <= self._no:
                continue
            if entry.starts == "life" and not self._anew:
                self._seq = entry.first - 1
            elif self._seq and entry.first > self._seq + 1:
                self.gaps.append((self._seq + 1, entry.first - 1))
            self._no, self._last = entry.no, entry
            if entry.to_ms >= self._from_ms:
                assert self._archive is not None
                for record in archived_records(self._archive, self.shard, entry):
                    if record.seq > self._seq:
                        yield record
            self._seq = max(self._seq, entry.last)

    def _behind(self, journal: JournalLook, *, last_look: bool) -> Generator[Record, None, bool]:
        """What is in the journal alone; as its value whether that was all. Not so: it is in the archive by now."""
        if self._last is not None and not self._anew and not self._goes_on(journal, self._last):
            self._seq, self._anew = 0, True
        for record in journal.whole_records():
            if record.seq <= self._seq:
                continue
            if record.seq != self._seq + 1 and self._seq:
                if not last_look and self._archive is not None:
                    return False
                self.gaps.append((self._seq + 1, record.seq - 1))
            self._seq = record.seq
            yield record
        return True

    def _goes_on(self, journal: JournalLook, last: Entry) -> bool:
        """Whether the journal is in the life of what was archived last: it has the same record, or what follows."""
        if journal.first_kept > last.last or not journal.holds_records:
            return True
        assert self._archive is not None
        archived = next(
            record for record in archived_records(self._archive, self.shard, last) if record.seq == last.last
        )
        return any(record == archived for record in journal.whole_records() if record.seq == last.last)


def learn_pages(folder: Path, shard: int, queues: Queues) -> None:
    """What the tables know of jobs that are there: of which queue each page is. Damaged tables are no use here."""
    with suppress(JournalCorrupt, CheckpointTooNew):
        tables = Tables.find(ReadOnlySite(folder, shard))
        if tables is not None:
            with closing(tables), checked(tables.site):
                for page, queue in tables.connection.execute(select(s.PAGES.c.id, s.PAGES.c.queue)):
                    queues.learn_page(queue, page)
