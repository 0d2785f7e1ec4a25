"""The records of a shard as they were archived and shipped: for a restore to a moment behind a backup."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from flashq.errors import JournalCorrupt
from flashq.storage.archive_reader import archived_records, find_manifest
from flashq.storage.contract import Record
from flashq.storage.files import ReadOnlyFiles
from flashq.storage.journal_copy import Cut
from flashq.storage.journal_format import SEAL, SECTOR, frames, parse_header
from flashq.storage.shipping import open_folder


class Behind:
    """What one shard did behind a backup, as far as it was shipped. Can be read more than once."""

    def __init__(
        self, archive_dir: Path, shard: int, key: str, *, position: int, at_ms: int, through: int
    ) -> None:  # fmt: skip
        """`position`, `at_ms`: the backup's last record and its time. `through`: the last one that counts."""
        self._archive = archive_dir / f"shard-{shard:02}"
        self._open = open_folder(archive_dir, shard)
        self._shard = shard
        self._key = key
        self._position = position
        self._at_ms = at_ms
        self._through = through

    def records(self) -> Iterator[Record]:
        """In order and without a gap. Raises JournalCorrupt where some are missing or damaged, StorageError."""
        last = self._position
        for record in self._found():
            if record.seq > self._through:
                break
            if record.seq <= last:
                continue
            if record.seq != last + 1:
                raise self._missing(last)
            last = record.seq
            yield record
        if last < self._through:
            raise self._missing(last)

    def _missing(self, last: int) -> JournalCorrupt:
        return JournalCorrupt(
            f"shard {self._shard}: record {last + 1} is neither in {self._archive} nor in {self._open}: the archive "
            "was not kept all the time since the backup"
        )

    def _found(self) -> Iterator[Record]:
        manifest = find_manifest(self._archive, self._shard, self._key.encode())
        for line, what in manifest.faults if manifest is not None else ():
            raise JournalCorrupt(f"shard {self._shard}: {self._archive}/manifest is damaged at line {line}: {what}")
        for entry in manifest.entries if manifest is not None else ():
            # What ended before the backup's last record is in it, or belongs to an earlier life of the journal.
            if entry.last > self._position and entry.to_ms >= self._at_ms:
                yield from archived_records(self._archive, self._shard, entry)
        yield from self._shipped()

    def _shipped(self) -> Iterator[Record]:
        """Of open segments. Where a run has begun anew, what was written behind that place does not count."""
        files = ReadOnlyFiles()
        if not self._open.is_dir():
            return
        paths = [str(self._open / name) for name in files.list(str(self._open)) if name.endswith(".seg")]
        opened = [files.open(path) for path in paths]
        try:
            headers = [
                parse_header(file.pread(SECTOR, 0), path, self._shard)
                for file, path in zip(opened, paths, strict=True)
            ]  # fmt: skip
            for number, (file, header) in enumerate(zip(opened, headers, strict=True)):
                limit = next((later.first_seq for later in headers[number + 1 :] if later.first_seq), None)
                for _, _, _, flags, _, record in frames(file, header):
                    if flags & SEAL or (limit is not None and record.seq >= limit):
                        break
                    yield record
        finally:
            for file in opened:
                file.close()


def cut_at(shards: Iterable[Behind], at_ms: int) -> Cut | None:
    """The last moment up to this wall time at which a tick ended, on the clock that all shards share, if any did."""
    latest: tuple[int, Cut] | None = None
    for shard in shards:
        for record in shard.records():
            ended_ms, mono_ms = record.at_ms + record.took_ms, record.mono_ms + record.took_ms
            if ended_ms <= at_ms and (latest is None or (ended_ms, mono_ms) >= (latest[0], latest[1].mono_ms)):
                latest = ended_ms, Cut(record.boot, mono_ms)
    return latest[1] if latest else None


def until(records: Iterable[Record], cut: Cut, at_ms: int) -> Iterator[Record]:
    """Up to a cut at this wall time. Of other lives of the machine, what came before by the wall clock."""
    for record in records:
        if not (cut.has(record) if record.boot == cut.boot else record.at_ms + record.took_ms <= at_ms):
            return
        yield record
