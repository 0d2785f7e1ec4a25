"""A copy of a journal that somebody else owns and goes on writing: what is behind a position, up to a cut.

The owner is not asked and notices nothing. What that means here:
- Segments may be used again while they are copied: their first sector then has another salt, or their name is gone.
  The copy is worth nothing then, and the position has to be looked up anew (`Overtaken`).
- The last segment is written to meanwhile. A copy is made from the first byte to the last, so a record may be missing
  in it although a later one is there. That looks like damage, and is none if another copy does not show it.

A cut is a moment of the machine's monotonic clock, which all shards share: a record counts if its tick ended by then.
Nobody hears of a record before its tick has ended. So where a record counts, all that it stands on counts too,
whichever shard it is in, provided that the copies are made after that moment: what was on disk by then is in them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from flashq.clock import boot_id
from flashq.errors import StorageError
from flashq.storage.contract import Record
from flashq.storage.files import ReadOnlyFiles
from flashq.storage.journal_format import HEADER_BYTES, SECTOR, Header, parse_header
from flashq.storage.journal_recovery import Walk, first_needed
from flashq.storage.journal_segments import Segment

_PIECE: Final = 1 << 20
FOLDER: Final = "journal"


class Overtaken(StorageError):
    """The journal was used again faster than it was copied."""


class Cut(NamedTuple):
    """A moment of the monotonic clock, in one life of the machine, that parts what counts from what does not."""

    boot: str
    mono_ms: int

    def has(self, record: Record) -> bool:
        """Whether the tick of this record had ended. One of another boot comes from an earlier one."""
        return record.boot != self.boot or record.mono_ms + record.took_ms <= self.mono_ms


class JournalCopy:
    """The copy of one shard's journal, in a folder of its own."""

    def __init__(self, shard_folder: Path, shard: int, into: Path) -> None:
        self._from = shard_folder / FOLDER
        self._shard = shard
        self._into = into
        self._done: set[str] = set()
        """Segments behind which the journal had gone on before they were copied: nothing more comes into them."""

    def take(self, after_seq: int) -> None:
        """Copy what is behind `after_seq`, and new since the last time.

        Raises Overtaken, StorageError, JournalCorrupt.
        """
        try:
            self._into.mkdir(exist_ok=True)
            segments = self._opened()
            try:
                needed = segments[first_needed(segments, after_seq) :]
                begun = [segment for segment in needed if self._begun(segment)]  # before any is copied
                for segment in needed:
                    name = Path(segment.path).name
                    if name not in self._done:
                        self._copy(segment, self._into / name)
                self._done.update(Path(segment.path).name for segment in begun[:-1])
            finally:
                for segment in segments:
                    segment.file.close()
        except OSError as fault:
            raise StorageError(f"shard {self._shard}: {self._from} cannot be copied: {fault.strerror}") from fault

    def _opened(self) -> list[Segment]:
        return _open_all(self._from, self._shard, Overtaken) if self._from.is_dir() else []

    def _begun(self, segment: Segment) -> bool:
        """Whether it has a record by now."""
        return segment.file.pread(len(segment.header.salt), HEADER_BYTES) == segment.header.salt

    def _copy(self, segment: Segment, to: Path) -> None:
        size = segment.file.size()
        with to.open("wb") as file:
            for at in range(0, size, _PIECE):
                file.write(segment.file.pread(_PIECE, at))
        now = parse_header(segment.file.pread(SECTOR, 0), segment.path, self._shard)
        if now.salt != segment.header.salt:
            raise Overtaken(f"shard {self._shard}: {segment.path} was used again while it was copied")

    def records(self, after_seq: int, until: Cut | None) -> Iterator[Record]:
        """What was copied behind `after_seq`, up to a cut, in order. Raises JournalCorrupt, Overtaken."""
        segments = _open_all(self._into, self._shard, StorageError) if self._into.is_dir() else []
        try:
            walk = Walk(segments, shard=self._shard, boot=boot_id(), after_seq=after_seq)
            for record in walk.records():
                if record.seq <= after_seq:
                    continue
                if until is not None and not until.has(record):
                    return
                yield record
            if until is not None and walk.recovery().dropped_records and segments[-1].header.boot == until.boot:
                raise Overtaken(f"shard {self._shard}: {self._from} was written to while it was copied")
        finally:
            for segment in segments:
                segment.file.close()


def _open_all(folder: Path, shard: int, gone: type[StorageError]) -> list[Segment]:
    """The segments in a folder, in order, opened for reading; `gone` is raised if one goes meanwhile."""
    files = ReadOnlyFiles()
    segments: list[Segment] = []
    try:
        for name in files.list(str(folder)):
            if name.endswith(".seg"):
                path = str(folder / name)
                file = files.open(path)
                segments.append(Segment(_UNKNOWN, path, file, file.size(), 0, 0))
                header = segments[-1].header = parse_header(file.pread(SECTOR, 0), path, shard)
                segments[-1].first_seq, segments[-1].last_seq = header.first_seq, header.first_seq - 1
    except BaseException as fault:
        for segment in segments:
            segment.file.close()
        if isinstance(fault, FileNotFoundError):
            raise gone(f"shard {shard}: {fault.filename} is not there any more") from fault
        raise
    return segments


_UNKNOWN: Final = Header(0, 0, 0, b"", 0, 0, 0, "")
