"""The archive of one shard's journal: closed segments are kept, compressed, before they are used again.

    <archive_dir>/shard-03/manifest            what is kept, chained (archive_manifest.py)
                           0000000008.zst      entry 8: a segment's bytes up to its last record, zstandard

A segment is archived before anything of it is folded: so whatever the tables hold is in the archive, and a segment that
the journal uses again was archived for sure. Each step is on disk before the next: the file under its last name, then
its line. Killed anywhere, the segment is simply archived again.

What is older or more than is to be kept is trimmed from the front: first a manifest whose head says so takes the place
of the old one, then the files are removed. It is done by sixteenths, so that a manifest is not written anew each time.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from flashq.errors import DiskFull, JournalCorrupt, StorageError
from flashq.storage.archive_manifest import FORMAT, MANIFEST, Entry, Head, Manifest, Starts, entry_line, head_line
from flashq.storage.archive_manifest import read_manifest as parse_manifest
from flashq.storage.contract import File, Files, Lock
from flashq.storage.files import OsFiles, ReadOnlyFiles
from flashq.storage.journal_format import HEADER_BYTES, SEAL, SECTOR, frames, parse_header
from flashq.storage.journal_reader import check_not_recycled
from flashq.storage.journal_segments import FULL

LEVEL: Final = 1
PIECE: Final = 1 << 20
SHARE: Final = 16
"""Trimmed at a time: a sixteenth of what is kept."""
Point = Callable[[str], object]
"""Told the name of each point at which a process may be killed."""


class Kept(NamedTuple):
    """How much an archive keeps, a shard; 0: without bound."""

    ms: int = 0
    bytes: int = 0


ALL: Final = Kept()


class Archive:
    """One shard's, open for writing. One owner, one thread. All methods raise StorageError."""

    def __init__(self, folder: str, shard: int, key: bytes, kept: Kept, files: Files, lock: Lock, at: Point) -> None:
        self._folder = folder
        self._shard = shard
        self._key = key
        self._kept = kept
        self._files = files
        self._lock = lock
        self._at = at
        self._manifest: Manifest
        self._end = 0
        """Bytes of the manifest."""

    @classmethod
    def open(
        cls, folder: str | Path, shard: int, *, key: str = "", kept: Kept = ALL, files: Files | None = None,
        at: Point = bool,
    ) -> "Archive":  # fmt: skip
        """Take the archive in `folder` (`<archive_dir>/shard-NN`), made if it is not there; end what was begun.

        Raises Fenced if another process has it, JournalCorrupt if it was changed or `key` is not the one that it was
        made with, CheckpointTooNew, DiskFull or StorageError.
        """
        files = files or OsFiles()
        home = str(folder)
        try:
            files.make_folder(str(Path(home).parent))
            files.make_folder(home)
            files.sync_folder(str(Path(home).parent))
            archive = cls(home, shard, key.encode(), kept, files, files.lock(home), at)
        except OSError as fault:
            raise _error(shard, home, fault) from fault
        try:
            archive._look()
        except OSError as fault:
            archive.close()
            raise _error(shard, home, fault) from fault
        except BaseException:
            archive.close()
            raise
        return archive

    @property
    def last_seq(self) -> int:
        """The last record that is archived, of the journal's present life as far as that is known; 0: none."""
        entries = self._manifest.entries
        return entries[-1].last if entries else 0

    @property
    def entries(self) -> list[Entry]:
        """What is kept, in order."""
        return self._manifest.entries

    def close(self) -> None:
        """Give the folder back. Twice does no harm."""
        self._lock.release()

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _look(self) -> None:
        """Read the manifest, make one if there is none, and clear away what was begun and not ended."""
        names = self._files.list(self._folder)
        if MANIFEST not in names:
            # Without it nothing says what the files are: an archive begins in an empty folder.
            kept = [name for name in names if name.endswith(".zst") and name != f"{1:010}.zst"]
            if kept:
                raise JournalCorrupt(f"shard {self._shard}: {self._path(MANIFEST)} is missing, but {kept[0]} is there")
            self._write(Manifest(Head(FORMAT, self._shard, bool(self._key)), [], [], [], torn=False))
        else:
            manifest = read_manifest(self._folder, self._shard, self._key, files=self._files)
            for line, what in manifest.faults:
                raise JournalCorrupt(f"shard {self._shard}: {self._path(MANIFEST)} is damaged at line {line}: {what}")
            self._manifest = manifest
            self._end = self._size(MANIFEST)
            if manifest.torn:
                self._write(manifest)
        known = {MANIFEST, *(entry.name for entry in self._manifest.entries)}
        for name in names:
            if name not in known and name.endswith((".zst", ".new")):
                self._files.remove(self._path(name))

    def _size(self, name: str) -> int:
        file = self._files.open(self._path(name))
        try:
            return file.size()
        finally:
            file.close()

    # -- adding

    def add(self, first: int, last: int, path: str) -> bool:
        """Keep the records `first` to `last`, all that count of the closed segment at `path`; False: they were kept.

        On disk when it returns. Raises JournalCorrupt where the segment is damaged.
        """
        try:
            file = self._files.open(path)
            try:
                taken = _Taken(file, path, first, last)
                known = self._find(first, last)
                if known is not None and known.chain == taken.chain and known.sha256 == _sha256(file, taken.end):
                    return False
                self._add(taken)
            finally:
                file.close()
        except OSError as fault:
            raise _error(self._shard, self._folder, fault) from fault
        return True

    def _find(self, first: int, last: int) -> Entry | None:
        for entry in reversed(self._manifest.entries):
            if entry.first <= first:
                return entry if (entry.first, entry.last) == (first, last) else None
            if entry.starts == "life":
                break
        return None

    def _add(self, taken: "_Taken") -> None:
        no = self._manifest.head.trimmed + len(self._manifest.entries) + 1
        name = f"{no:010}.zst"
        making = self._path(f"{no:010}.new")
        made = self._files.open(making, create=True)
        try:
            stored, sha256, file_sha256 = taken.copy(made)
            made.datasync()
        except BaseException:
            made.close()
            self._files.remove(making)
            raise
        made.close()
        self._at("segment compressed")
        self._files.rename(making, self._path(name))
        self._files.sync_folder(self._folder)
        self._at("segment named")
        self._append(
            Entry(
                no, taken.header.number, taken.first, taken.last, taken.from_ms, taken.to_ms, taken.header.epoch,
                taken.chain, taken.end, stored, sha256, file_sha256,
                self._starts(taken),
            )
        )  # fmt: skip
        self._at("segment listed")

    def _starts(self, taken: "_Taken") -> Starts:
        if not self._manifest.entries:
            return "gap" if taken.first > 1 else ""
        before = self._manifest.entries[-1]
        if (taken.first, taken.chain[0]) == (before.last + 1, before.chain[1]):
            return ""
        return "gap" if taken.first > before.last + 1 else "life"

    def _append(self, entry: Entry) -> None:
        line, link = entry_line(entry, self._manifest.last_link, self._key)
        file = self._files.open(self._path(MANIFEST))
        try:
            file.pwritev((line,), self._end)
            file.datasync()
        finally:
            file.close()
        self._end += len(line)
        self._manifest.entries.append(entry)
        self._manifest.links.append(link)

    # -- trimming

    def trim(self, now_ms: int) -> list[Entry]:
        """Give back what is older or more than is to be kept; what that was."""
        entries = self._manifest.entries
        gone = self._over(now_ms)
        if not gone:
            return []
        trimmed, links = entries[:gone], self._manifest.links
        head = Head(
            FORMAT, self._shard, bool(self._key), trimmed[-1].no, trimmed[-1].to_ms, links[gone - 1]
        )  # fmt: skip
        try:
            self._write(Manifest(head, entries[gone:], links[gone:], [], torn=False))
            self._at("trimmed manifest")
            for entry in trimmed:
                self._files.remove(self._path(entry.name))
                self._at("trimmed segment")
        except OSError as fault:
            raise _error(self._shard, self._folder, fault) from fault
        return trimmed

    def _over(self, now_ms: int) -> int:
        """How many of the first entries are to go."""
        entries, kept = self._manifest.entries, self._kept
        gone = 0
        if kept.ms:
            gone = next((i for i, entry in enumerate(entries) if entry.to_ms >= now_ms - kept.ms), len(entries))
            if gone * SHARE < len(entries):
                gone = 0
        stored = sum(entry.stored for entry in entries)
        if kept.bytes and stored > kept.bytes:
            over = 0
            while over < len(entries) and stored > kept.bytes - kept.bytes // SHARE:
                stored -= entries[over].stored
                over += 1
            gone = max(gone, over)
        return min(gone, max(0, len(entries) - 1))  # the last one says where the archive ends

    def _write(self, manifest: Manifest) -> None:
        """Put a manifest in the place of the one that is there."""
        lines = [head_line(manifest.head, self._key)]
        behind = manifest.head.behind
        for entry in manifest.entries:
            line, behind = entry_line(entry, behind, self._key)
            lines.append(line)
        making = self._path(MANIFEST + ".new")
        if f"{MANIFEST}.new" in self._files.list(self._folder):
            self._files.remove(making)
        file = self._files.open(making, create=True)
        try:
            self._end = file.pwritev((b"".join(lines),), 0)
            file.datasync()
        finally:
            file.close()
        self._files.rename(making, self._path(MANIFEST))
        self._files.sync_folder(self._folder)
        self._manifest = manifest


class _Taken:
    """What is to be archived of a segment: its records `first` to `last`, looked at one by one."""

    def __init__(self, file: File, path: str, first: int, last: int) -> None:
        self.header = parse_header(file.pread(SECTOR, 0), path)
        self.first, self.last = first, last
        self.from_ms = self.to_ms = 0
        self._file, self._path = file, path
        at, seq, before, start = HEADER_BYTES, first - 1, 0, 0
        for end, crc, chain, flags, _, record in frames(file, self.header):
            sealed = flags & SEAL and (record.seq, chain) == (last, before)
            if not sealed and (record.seq != seq + 1 or record.seq > last or (seq >= first and chain != before)):
                break
            if not sealed:
                if record.seq == first:
                    start, self.from_ms = chain, record.at_ms
                seq, self.to_ms = record.seq, record.at_ms
            at, before = end, crc
            if sealed:
                break
        if seq != last:
            check_not_recycled(file, path, self.header)
            raise JournalCorrupt(
                f"shard {self.header.shard}: {path} is damaged at offset {at}: it ends with record {seq} "
                f"instead of {last}"
            )
        self.end = at
        self.chain = (start, before)

    def copy(self, made: File) -> tuple[int, str, str]:
        """Write it, compressed; how many bytes that are, the SHA-256 of what was compressed, and that of the file."""
        packing = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=self.end)
        digest, file_digest = hashlib.sha256(), hashlib.sha256()
        at = stored = 0
        while at < self.end:
            piece = self._file.pread(min(PIECE, self.end - at), at)
            at += len(piece)
            digest.update(piece)
            packed = packing.compress(piece) if at < self.end else packing.compress(piece) + packing.flush()
            file_digest.update(packed)
            if packed:
                stored += made.pwritev((packed,), stored)
        check_not_recycled(self._file, self._path, self.header)
        return stored, digest.hexdigest(), file_digest.hexdigest()


def _sha256(file: File, end: int) -> str:
    digest = hashlib.sha256()
    for at in range(0, end, PIECE):
        digest.update(file.pread(min(PIECE, end - at), at))
    return digest.hexdigest()


def read_manifest(folder: str | Path, shard: int, key: bytes | None, *, files: Files | None = None) -> Manifest:
    """The manifest of the archive in `folder`. See `archive_manifest.read_manifest`; raises OSError, too."""
    path = os.path.join(folder, MANIFEST)
    file = (files or ReadOnlyFiles()).open(path)
    try:
        return parse_manifest(file, path, shard, key)
    finally:
        file.close()


def _error(shard: int, folder: str, fault: OSError) -> StorageError:
    kind = DiskFull if fault.errno in FULL else StorageError
    return kind(f"shard {shard}: the archive in {folder} failed: {fault.strerror or fault}")
