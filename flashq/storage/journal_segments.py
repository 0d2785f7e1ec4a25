"""The files of a journal: how segments are made, reused and retired, so that a power cut at any point leaves sense.

Names in `<shard folder>/journal/`:

    0000000007.seg   a segment; its header is on disk before it has this name
    0000000009.new   in the making; found at start, it is removed
    0000000003.old   retired, kept to be reused; what is in it means nothing

A segment whose records are synced one by one is written in full once, when it is made, so that every later write is
an overwrite, which is synced without a change of the file's metadata. Where hardly anything is synced its space is
allocated only: the disk then writes each byte once, and 16 MiB are ready in 1 ms instead of 40. Reuse writes a new
header only: the old records carry another salt.
A retired segment loses its `.seg` name, on disk, before anything in it is changed.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashq.errors import JournalCorrupt
from flashq.storage.contract import File, Files
from flashq.storage.journal_format import HEADER_BYTES, RECORD_HEAD, SECTOR, Header, aligned, parse_header

FIRST_BYTES: Final = 1 << 20
"""Size of a shard's first segment; each one is twice the one before, up to the configured size."""
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
SPARES: Final = 2
"""Retired segments kept for reuse."""


@dataclass(slots=True, eq=False)
class Segment:
    """One open segment. Its records are `first_seq` to `last_seq`; none if `last_seq` is below."""

    header: Header
    path: str
    file: File
    size: int
    first_seq: int
    last_seq: int

    def fits(self, events_bytes: int) -> bool:
        """Whether a record and a seal fit into the segment while it is empty."""
        return self.size >= HEADER_BYTES + aligned(RECORD_HEAD + events_bytes) + RECORD_HEAD


def draw_salt() -> bytes:
    """Eight bytes that nobody can guess."""
    return os.urandom(8)


class SegmentFolder:
    """The folder of one shard's segments. Not thread-safe: one call at a time. All methods raise OSError."""

    def __init__(
        self,
        folder: str,
        shard: int,
        files: Files,
        segment_bytes: int,
        *,
        overwrite: bool,
        salt: Callable[[], bytes] = draw_salt,
    ) -> None:
        """`overwrite`: segments are written in full when made, for records that are synced one by one."""
        self.path = folder
        self._shard = shard
        self._files = files
        self._segment_bytes = segment_bytes
        self._overwrite = overwrite
        self._salt = salt
        self._spares: list[tuple[int, str]] = []
        """(bytes, path), smallest first."""

    def scan(self) -> list[Segment]:
        """Open all segments, in their order; take stock of spares, remove what was never finished.

        Raises JournalCorrupt or CheckpointTooNew for a header that cannot be used.
        """
        self._files.make_folder(self.path)
        self._files.sync_folder(str(Path(self.path).parent))
        segments: list[Segment] = []
        self._spares = []
        for name in self._files.list(self.path):
            path = os.path.join(self.path, name)
            if name.endswith(".seg"):
                segments.append(self._open(path))
            elif name.endswith(".old"):
                self._spares.append((self._size(path), path))
            elif name.endswith(".new"):
                self._files.remove(path)
        # Its last owner may have been killed between a rename and the sync of this folder: a power cut would take a
        # name back with all that was promised in it since.
        self._files.sync_folder(self.path)
        self._spares.sort()
        return segments

    def _open(self, path: str) -> Segment:
        file = self._files.open(path)
        try:
            header = parse_header(file.pread(SECTOR, 0), path, self._shard)
            if path != self._segment_path(header.number):
                raise JournalCorrupt(
                    f"shard {self._shard}: {path} is damaged at offset 0: it is segment {header.number}"
                )
        except BaseException:
            file.close()
            raise
        return Segment(header, path, file, file.size(), header.first_seq, header.first_seq - 1)

    def _segment_path(self, number: int) -> str:
        return os.path.join(self.path, f"{number:010}.seg")

    def _size(self, path: str) -> int:
        file = self._files.open(path)
        try:
            return file.size()
        finally:
            file.close()

    def free_bytes(self) -> int:
        """What the device still has room for."""
        return self._files.free_bytes(self.path)

    def size_after(self, size: int) -> int:
        """How large the segment behind one of `size` bytes is made."""
        return min(max(2 * size, FIRST_BYTES), self._segment_bytes)

    def make(self, number: int, size: int, *, epoch: int, boot: str, first_seq: int = 0, chain: int = 0) -> Segment:
        """A segment, ready to be written: on disk under its name, from a spare if there is one.

        A spare may have another size than `size`. `first_seq` and `chain` open a run.
        """
        path = self._segment_path(number)
        making = path.removesuffix(".seg") + ".new"
        file = self._raw(making, size)
        try:
            header = Header(self._shard, number, file.size(), self._salt(), first_seq, chain, epoch, boot)
            file.pwritev((header.pack(),), 0)
            file.datasync()
            self._files.rename(making, path)
            self._files.sync_folder(self.path)
        except BaseException:
            file.close()
            raise
        return Segment(header, path, file, header.size, first_seq, first_seq - 1)

    def _raw(self, path: str, size: int) -> File:
        """A file full of something: a spare that is large enough, a new one, or where the disk is full any spare."""
        if self._spares and self._spares[-1][0] >= size:
            return self._spare(path)
        try:
            return self._fresh(path, size)
        except OSError as fault:
            if not self._spares or fault.errno not in FULL:
                raise
            return self._spare(path)

    def _spare(self, path: str) -> File:
        self._files.rename(self._spares.pop()[1], path)
        return self._files.open(path)

    def _fresh(self, path: str, size: int) -> File:
        """A new file. Where space ends in the middle of it, it is given back."""
        file = self._files.open(path, create=True)
        try:
            self._extend(file, size)
        except BaseException:
            file.close()
            self._files.remove(path)
            raise
        return file

    def _extend(self, file: File, size: int) -> None:
        """Make a file longer, on disk when it returns."""
        if self._overwrite:
            file.fill(size)
        else:
            file.allocate(size)
        file.datasync()

    def reuse_blank(self, segment: Segment, *, epoch: int, boot: str, first_seq: int, chain: int) -> None:
        """Open a run in a segment that was made ahead and never written to.

        One sector changes, as a whole or not at all, so it is the old or the new segment at any moment.
        """
        header = Header(self._shard, segment.header.number, segment.size, self._salt(), first_seq, chain, epoch, boot)
        segment.file.pwritev((header.pack(),), 0)
        segment.file.datasync()
        segment.header, segment.first_seq, segment.last_seq = header, first_seq, first_seq - 1

    def grow(self, segment: Segment, events_bytes: int) -> None:
        """Make room for one record larger than the segment, which has no record yet."""
        size = aligned(HEADER_BYTES + RECORD_HEAD + events_bytes) + 2 * RECORD_HEAD
        self._extend(segment.file, size)
        segment.size = size

    def retire(self, segment: Segment, *, keep: bool = True) -> None:
        """Close a segment that nobody needs and keep its file for reuse, or remove it where it is one too many.

        `keep`: False where others need its space more.
        """
        segment.file.close()
        if not keep or segment.size > self._segment_bytes:  # the latter grew for one large record
            self._files.remove(segment.path)
            self._files.sync_folder(self.path)
            return
        spare = segment.path.removesuffix(".seg") + ".old"
        self._files.rename(segment.path, spare)
        self._files.sync_folder(self.path)
        self._spares.append((segment.size, spare))
        self._spares.sort()
        if len(self._spares) > SPARES:
            self._files.remove(self._spares.pop(0)[1])
