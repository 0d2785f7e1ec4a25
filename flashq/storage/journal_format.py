"""The bytes of a journal segment, format 1. Integers are little-endian; CRCs are CRC-32C.

A segment is a header in its first sector, zeros to 4096, then records, each at a multiple of 8:

    header  magic 8 | format 2 | shard 2 | crc 4 | number 8 | size 8 | salt 8 | first_seq 8 | epoch 8 | chain 4 |
            boot length 2, boot 64 | zeros to 512                   (crc: of all the other 508 bytes)
    record  salt 8 | crc 4 | length 4 | chain 4 | flags 1, took_ms 3 | seq 8 | epoch 8 | at_ms 8 | mono_ms 8 |
            synced_through 8 | events, `length` bytes               (crc: of everything behind it)

- `salt` is drawn at random whenever a segment is made or reused. It marks where a record starts, so that a search
  finds records behind damage; it tells them from what an earlier use left behind; and as no client knows it, no
  payload can pass for a record.
- `chain` is the crc of the record before. A header with `first_seq` opens a run: one owner's time with the journal.
  It says which record comes next and behind which crc; whatever an earlier run has from `first_seq` on was cut.
- `synced_through` is the last sequence known to be on disk when the record was written.

CRC-32C by google-crc32c, which uses the processor's instruction: 0.18 us for 200 B and 4.2 us for 100 kB here,
against 0.20 and 27 us of zlib.crc32. It takes `bytes` only.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from google_crc32c import extend as _extend

from flashq.errors import CheckpointTooNew, JournalCorrupt
from flashq.storage.contract import Readable, Record

FORMAT: Final = 1
MAGIC: Final = b"flashqJ\n"
HEADER_BYTES: Final = 4096
"""Records start here: a page of their own, so that no record shares a sector with the header."""
SECTOR: Final = 512
"""What a disk is counted on to write as a whole or not at all, as PostgreSQL counts on it for its log."""
RECORD_HEAD: Final = 64
ALIGNMENT: Final = 8
READ_BYTES: Final = 1 << 20

SEAL: Final = 1
"""The last word of an orderly stop: no events, the sequence of the record before."""
WRITTEN: Final = 2
"""Durability was "commit": being written was all that was promised, so only a power cut may take it back."""
TOOK_SHIFT: Final = 8
"""Above the flags: `Record.took_ms`, in 24 bits."""
TOOK_MAX: Final = (1 << 24) - 1

crc32c: Callable[[int, bytes], int] = _extend

PREFIX: Final = Struct("<8sI")
BODY: Final = Struct("<IIIQQqqQ")
_HEAD: Final = Struct("<8sIIIIQQqqQ")
_FRONT: Final = Struct("<8sHH")
_CRC: Final = Struct("<I")
_REST: Final = Struct("<QQ8sQQIH64s")

Frame: TypeAlias = tuple[int, int, int, int, int, Record]
"""A valid record as it lies in its segment: end (aligned), crc, chain, flags, synced_through, record."""


class Header(NamedTuple):
    """The first sector of a segment."""

    shard: int
    number: int
    """1, 2, 3 … in the order of use; also the file's name."""
    size: int
    """Bytes the file had when it was made. It may grow for one large record; it never shrinks."""
    salt: bytes
    first_seq: int
    """Opens a run with this record; 0: goes on where the segment before ends."""
    chain: int
    epoch: int
    boot: str

    def pack(self) -> bytes:
        """512 bytes. Raises ValueError if `boot` is longer than 64 bytes."""
        boot = self.boot.encode()
        if len(boot) > 64:
            raise ValueError(f"boot id of {len(boot)} bytes: at most 64 are kept")
        rest = _REST.pack(
            self.number, self.size, self.salt, self.first_seq, self.epoch, self.chain, len(boot), boot
        ).ljust(SECTOR - _FRONT.size - _CRC.size, b"\0")
        front = _FRONT.pack(MAGIC, FORMAT, self.shard)
        return front + _CRC.pack(crc32c(crc32c(0, front), rest)) + rest


def parse_header(sector: bytes, path: str, shard: int | None = None) -> Header:
    """The header in the first 512 bytes of the file at `path`.

    Raises JournalCorrupt if it is damaged or belongs to another shard, CheckpointTooNew for a later format.
    """
    whose = "a journal" if shard is None else f"shard {shard}"
    if len(sector) < SECTOR:
        raise JournalCorrupt(f"{whose}: {path} ends at offset {len(sector)}, inside its header")
    front, rest = sector[: _FRONT.size], sector[_FRONT.size + _CRC.size : SECTOR]
    magic, version, found_shard = _FRONT.unpack(front)
    (crc,) = _CRC.unpack_from(sector, _FRONT.size)
    if magic != MAGIC or crc != crc32c(crc32c(0, front), rest):
        raise JournalCorrupt(f"{whose}: {path} is damaged at offset 0: its header does not add up")
    if version > FORMAT:
        raise CheckpointTooNew(
            f"{whose}: {path} has journal format {version}, this flashq reads up to {FORMAT}: use the later version"
        )
    number, size, salt, first_seq, epoch, chain, boot_bytes, boot = _REST.unpack_from(rest)
    if shard is not None and found_shard != shard:
        raise JournalCorrupt(f"{whose}: {path} is damaged at offset 0: it belongs to shard {found_shard}")
    return Header(found_shard, number, size, salt, first_seq, chain, epoch, boot[:boot_bytes].decode())


def frames(file: Readable, header: Header, at: int = HEADER_BYTES) -> Iterator[Frame]:
    """The valid records from offset `at` on, one behind the other, up to the first place that holds none.

    Valid means salt and crc; whether they belong together (sequence, chain) is for the caller to judge.
    """
    salt, boot, unpack = header.salt, header.boot, _HEAD.unpack_from
    new = tuple.__new__  # a named tuple's own constructor takes twice as long
    window, base = b"", at
    while True:
        start = at - base
        if start + RECORD_HEAD > len(window):
            window, base, start = file.pread(READ_BYTES, at), at, 0
            if len(window) < RECORD_HEAD:
                return
        mark, crc, size, chain, flags, seq, epoch, at_ms, mono_ms, synced_through = unpack(window, start)
        if mark != salt:
            return
        body, end = start + RECORD_HEAD, start + RECORD_HEAD + size
        if end > len(window):
            if at + RECORD_HEAD + size > file.size():
                return
            window, base = file.pread(max(READ_BYTES, RECORD_HEAD + size), at), at
            body, end = RECORD_HEAD, RECORD_HEAD + size
        events = window[body:end]
        if crc32c(crc32c(0, window[body - BODY.size : body]), events) != crc:
            return
        at = base + aligned(end)
        record = new(Record, (seq, epoch, at_ms, mono_ms, boot, events, flags >> TOOK_SHIFT))
        yield at, crc, chain, flags, synced_through, record


def search(file: Readable, header: Header, at: int) -> Iterator[tuple[int, Frame | None]]:
    """Every place from offset `at` on that is marked as a record, in order; its frame, None where damaged."""
    rest = file.pread(max(0, file.size() - at), at)
    found = rest.find(header.salt)
    while found >= 0:
        frame = None if (at + found) % ALIGNMENT else next(frames(file, header, at + found), None)
        yield at + found, frame
        found = rest.find(header.salt, found + 1 if frame is None else frame[0] - at)


def looks_torn(file: Readable, header: Header, at: int, seq: int, chain: int) -> int:
    """Bytes of the unfinished record at offset `at`, the one that should have been `seq`; 0 if there is none.

    Marked by our salt; or, if just that is damaged, by the sequence and chain that only this record can have.
    """
    head = file.pread(RECORD_HEAD, at)
    if len(head) < RECORD_HEAD:
        return len(head) if head[:8] == header.salt[: len(head)] else 0
    mark, _, size, found_chain, _, found_seq, *_ = _HEAD.unpack(head)
    if mark != header.salt and (found_seq, found_chain) != (seq, chain):
        return 0
    return int(min(RECORD_HEAD + size, file.size() - at))


def aligned(offset: int) -> int:
    """The next multiple of 8."""
    return (offset + ALIGNMENT - 1) & -ALIGNMENT
