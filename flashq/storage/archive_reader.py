"""Reading an archive: the records of each segment, for audit and restoring to a moment, and what is wrong with it."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import zstandard

from flashq.errors import CheckpointTooNew, JournalCorrupt, StorageError
from flashq.storage.archive import read_manifest
from flashq.storage.archive_manifest import MANIFEST, Entry, Manifest
from flashq.storage.contract import Files, Record
from flashq.storage.files import ReadOnlyFiles
from flashq.storage.findings import Finding
from flashq.storage.journal_format import SEAL, SECTOR, frames, parse_header


class Content:
    """A segment's bytes in memory, to be read like its file."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def pread(self, size: int, offset: int) -> bytes:
        return self._content[offset : offset + size]

    def size(self) -> int:
        return len(self._content)


def archived_bytes(folder: str | Path, shard: int, entry: Entry, *, files: Files | None = None) -> bytes:
    """The bytes of an archived segment: its header, and its records up to the last.

    Raises JournalCorrupt if they are not those that were archived, StorageError if the file cannot be read.
    """
    path = os.path.join(folder, entry.name)
    try:
        file = (files or ReadOnlyFiles()).open(path)
        try:
            packed = file.pread(file.size(), 0)
        finally:
            file.close()
    except FileNotFoundError as fault:
        raise JournalCorrupt(f"shard {shard}: {path} is missing: it has records {_range(entry)}") from fault
    except OSError as fault:
        raise StorageError(f"shard {shard}: {path} cannot be read: {fault.strerror}") from fault
    if hashlib.sha256(packed).hexdigest() != entry.file_sha256:
        raise JournalCorrupt(f"shard {shard}: {path} is not what was archived: it has another SHA-256")
    try:
        if zstandard.get_frame_parameters(packed).content_size != entry.size:
            raise JournalCorrupt(f"shard {shard}: {path} is damaged: it is not of {entry.size} bytes")
        content = zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as fault:
        raise JournalCorrupt(f"shard {shard}: {path} is damaged: {fault}") from fault
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise JournalCorrupt(f"shard {shard}: {path} does not hold what was archived: that had another SHA-256")
    return content


def _range(entry: Entry) -> str:
    return f"{entry.first} to {entry.last}"


def archived_records(folder: str | Path, shard: int, entry: Entry, *, files: Files | None = None) -> Iterator[Record]:
    """The records of an archived segment, in order. Raises as `archived_bytes` does."""
    path = os.path.join(folder, entry.name)
    content = Content(archived_bytes(folder, shard, entry, files=files))
    header = parse_header(content.pread(SECTOR, 0), path, shard)
    seq = entry.first - 1
    for _, _, _, flags, _, record in frames(content, header):
        if flags & SEAL:
            break
        if record.seq != seq + 1:
            raise JournalCorrupt(f"shard {shard}: {path}: record {seq + 1} is missing")
        seq = record.seq
        yield record
    if seq != entry.last:
        raise JournalCorrupt(f"shard {shard}: {path}: it ends with record {seq} instead of {entry.last}")


def find_manifest(folder: str | Path, shard: int, key: bytes | None, *, files: Files | None = None) -> Manifest | None:
    """The manifest of an archive, None where there is none. Raises as `read_manifest`, and StorageError."""
    try:
        return read_manifest(folder, shard, key, files=files)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise StorageError(
            f"shard {shard}: {os.path.join(folder, MANIFEST)} cannot be read: {fault.strerror}"
        ) from fault


def inspect_archive(
    folder: str | Path, shard: int, key: str, *, tables_position: int = 0, files: Files | None = None
) -> Iterator[Finding]:
    """All that is wrong with the archive of a shard: what was changed, exchanged, taken out or is damaged.

    `tables_position`: how far the shard's tables are, if all that is folded was to be archived.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        manifest = find_manifest(folder, shard, key.encode(), files=files)
    except (JournalCorrupt, CheckpointTooNew) as fault:
        yield Finding(path, "", str(fault))
        return
    if manifest is None:
        yield Finding(path, "", "it is missing")
        return
    yield from (Finding(path, f"line {line}", what) for line, what in manifest.faults)
    chained: Entry | None = None
    for entry in manifest.entries:
        if chained is not None and not entry.starts and not _follows(chained, entry):
            yield Finding(path, f"entry {entry.no}", f"record {entry.first} does not follow record {chained.last}")
        chained = entry
        yield from _inspect_segment(folder, shard, entry, files)
    last = chained.last if chained is not None else 0
    if last < tables_position:
        yield Finding(
            path, "", f"it ends with record {last}, but the tables hold records up to {tables_position}: "
            "segments are missing at the end",
        )  # fmt: skip


def _follows(before: Entry, entry: Entry) -> bool:
    return (entry.first, entry.chain[0]) == (before.last + 1, before.chain[1])


def _inspect_segment(folder: str | Path, shard: int, entry: Entry, files: Files | None) -> Iterator[Finding]:
    path = os.path.join(folder, entry.name)
    try:
        for _ in archived_records(folder, shard, entry, files=files):
            pass
    except (JournalCorrupt, CheckpointTooNew) as fault:
        yield Finding(path, "", str(fault))
