"""Reading closed segments from another thread or process than their owner's: for checkpoints, archives and audit."""

from collections.abc import Iterator

from flashq.errors import JournalCorrupt, StorageError
from flashq.storage.contract import File, Files, Record
from flashq.storage.files import OsFiles
from flashq.storage.journal_format import HEADER_BYTES, SECTOR, Header, frames, parse_header


def read_segment(path: str, *, last_seq: int, files: Files | None = None) -> Iterator[Record]:
    """The records of a segment that `Journal.sealed` has named, up to `last_seq`, in order.

    Raises JournalCorrupt, with shard, file and offset, where one of them is damaged or missing, and StorageError
    if the segment was recycled meanwhile (its owner had been told that its records were safe) or cannot be read.
    """
    try:
        file = (files or OsFiles()).open(path)
        try:
            yield from _records(file, path, last_seq)
        finally:
            file.close()
    except OSError as fault:
        raise StorageError(f"{path} cannot be read: {fault.strerror}") from fault


def _records(file: File, path: str, last_seq: int) -> Iterator[Record]:
    header = parse_header(file.pread(SECTOR, 0), path)
    at, seq, chain_before = HEADER_BYTES, 0, 0
    for end, crc, chain, _, _, record in frames(file, header):
        if record.seq > last_seq or (seq and (record.seq, chain) != (seq + 1, chain_before)):
            break
        yield record
        at, seq, chain_before = end, record.seq, crc
        if seq == last_seq:
            return
    check_not_recycled(file, path, header)
    raise JournalCorrupt(
        f"shard {header.shard}: {path} is damaged at offset {at}: it ends with record {seq} instead of {last_seq}"
    )


def check_not_recycled(file: File, path: str, header: Header) -> None:
    """A file that is reused gets a new header before any new record; the old records carry the old salt."""
    if parse_header(file.pread(SECTOR, 0), path).salt != header.salt:
        raise StorageError(f"{path} was recycled while it was being read")
