"""Shipping: the end of each journal, which is in no archived segment yet, is copied beside the archive every second.

    <archive_dir>/open/shard-03/0000000012.seg    a segment, as far as it was written
    <archive_dir>/open/shipped.json               how far all of that reaches, together

A copy grows as its segment does: bytes are added, never changed, and synced before `shipped.json` speaks of them. It
goes when the segment is used again, for then it was archived: nothing is folded that was not. A segment that was never
written to may get another header; its copy then begins anew.

What `shipped.json` names is one cut through all shards (`storage/journal_copy.py`), taken before they were read.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from flashq.errors import CheckpointTooNew, JournalCorrupt, StorageError
from flashq.storage.contract import File
from flashq.storage.files import OsFiles
from flashq.storage.journal_copy import FOLDER as JOURNAL
from flashq.storage.journal_copy import Cut
from flashq.storage.journal_format import HEADER_BYTES, SEAL, SECTOR, Header, frames, parse_header

FORMAT: Final = 1
OPEN: Final = "open"
MARK: Final = "shipped.json"


class Shipped(msgspec.Struct, frozen=True):
    """How far all shards were shipped at one moment."""

    format: int
    at_ms: int
    """Wall time of the cut."""
    slots_version: int
    positions: tuple[int, ...]
    """The last record of each shard that is before the cut."""


class _Copied(msgspec.Struct):
    """How much there is of one segment."""

    salt: bytes
    end: int = HEADER_BYTES
    seq: int = 0
    """The last record; 0: none yet."""
    crc: int = 0
    done: bool = False
    """The journal has gone on behind it."""


class Shipper:
    """Ships the journal of one shard. One at a time."""

    def __init__(self, shard_folder: Path, shard: int, archive_dir: Path, *, position: int = 0) -> None:
        """`position`: what an earlier one has shipped or found archived."""
        self.position = position
        """The last record before the cut, as of the last `ship`."""
        self._from = shard_folder / JOURNAL
        self._shard = shard
        self._into = open_folder(archive_dir, shard)
        self._files = OsFiles()
        self._copies: dict[str, _Copied] = {}

    def ship(self, cut: Cut) -> None:
        """Copy what is new. What was there at `cut` is on disk in the copy, or archived, when it returns.

        Raises StorageError.
        """
        try:
            self._into.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = [name for name in self._names(self._from) if not self._copies.get(name, _NONE).done]
            begun = [name for name in names if self._ship_segment(name, cut)]
            for name in begun[:-1]:
                self._copies[name].done = True
            self._remove_gone()
        except OSError as fault:
            raise StorageError(f"shard {self._shard}: {self._from} cannot be shipped: {fault.strerror}") from fault

    def _names(self, folder: Path) -> list[str]:
        return [name for name in self._files.list(str(folder)) if name.endswith(".seg")] if folder.is_dir() else []

    def _ship_segment(self, name: str, cut: Cut) -> bool:
        """Whether the segment has a record by now."""
        try:
            file = self._files.open(str(self._from / name))
        except FileNotFoundError:
            return False  # used again: it is archived
        try:
            header = parse_header(file.pread(SECTOR, 0), str(self._from / name), self._shard)
            self.position = max(self.position, header.first_seq - 1)
            copied = self._copies.get(name)
            if copied is None or copied.salt != header.salt:
                copied = self._copies[name] = self._begin(name, file, header)
            self._add(name, file, header, copied, cut)
        finally:
            file.close()
        return copied.seq > 0

    def _begin(self, name: str, file: File, header: Header) -> _Copied:
        """Go on with a copy that is there, if it is of this segment; else begin one."""
        path = str(self._into / name)
        copy = self._files.open(path, create=True)
        try:
            copied = _Copied(header.salt)
            if copy.pread(SECTOR, 0) == file.pread(SECTOR, 0):
                for end, crc, _, _, _, record in frames(copy, header):
                    copied.end, copied.crc, copied.seq = end, crc, record.seq
                    self.position = max(self.position, record.seq)
                os.truncate(path, max(copied.end, HEADER_BYTES))
            else:
                os.truncate(path, 0)
                copy.pwritev((file.pread(HEADER_BYTES, 0),), 0)
            copy.datasync()
        finally:
            copy.close()
        self._files.sync_folder(str(self._into))
        return copied

    def _add(self, name: str, file: File, header: Header, copied: _Copied, cut: Cut) -> None:
        """Records behind those that are there."""
        end, seq, crc, position = copied.end, copied.seq, copied.crc, self.position
        for frame_end, frame_crc, chain, flags, _, record in frames(file, header, end):
            if seq and (chain != crc or record.seq != seq + (not flags & SEAL)):
                raise JournalCorrupt(
                    f"shard {self._shard}: {self._from / name} is damaged at offset {end}: record {seq + 1} is missing"
                )
            if not cut.has(record):
                break  # the next cut will have it
            end, seq, crc = frame_end, record.seq, frame_crc
            position = max(position, seq)
        if end > copied.end:
            content = file.pread(end - copied.end, copied.end)
            if parse_header(file.pread(SECTOR, 0), str(self._from / name), self._shard).salt != header.salt:
                return  # used again meanwhile: it is archived
            copy = self._files.open(str(self._into / name))
            try:
                copy.pwritev((content,), copied.end)
                copy.datasync()
            finally:
                copy.close()
        copied.end, copied.seq, copied.crc, self.position = end, seq, crc, position

    def _remove_gone(self) -> None:
        there = set(self._names(self._from))
        for name in self._names(self._into):
            if name not in there:
                (self._into / name).unlink()
                self._copies.pop(name, None)


_NONE: Final = _Copied(b"")


def open_folder(archive_dir: Path, shard: int) -> Path:
    """Where the open segments of a shard are."""
    return archive_dir / OPEN / f"shard-{shard:02}"


def write_mark(archive_dir: Path, at_ms: int, slots_version: int, positions: Sequence[int]) -> None:
    """Say how far all was shipped. On disk when it returns. Raises OSError."""
    folder = archive_dir / OPEN
    draft = folder / f"{MARK}.new"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(Shipped(FORMAT, at_ms, slots_version, tuple(positions))) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / MARK)
    OsFiles().sync_folder(str(folder))


def find_mark(archive_dir: Path) -> Shipped | None:
    """How far all was shipped; None where nothing was. Raises StorageError."""
    path = archive_dir / OPEN / MARK
    try:
        mark = msgspec.json.decode(path.read_bytes(), type=Shipped)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise StorageError(f"{path} cannot be read: {fault.strerror}") from fault
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise JournalCorrupt(f"{path} is damaged: {fault}") from fault
    if mark.format > FORMAT:
        raise CheckpointTooNew(f"{path} has format {mark.format}, this flashq reads up to {FORMAT}: use a later one")
    return mark
