"""Files that are kept for long: compressed by zstandard, and known again by the SHA-256 of what is stored."""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from flashq.errors import JournalCorrupt, StorageError

LEVEL: Final = 3
_PIECE: Final = 1 << 20


class Packed(msgspec.Struct, frozen=True):
    """One file, as it was packed."""

    name: str
    size: int
    """Bytes, unpacked."""
    stored: int
    """Bytes of the file."""
    sha256: str
    """Of the file."""


def pack(source: Path, to: Path) -> Packed:
    """Write `source`, compressed, to the new file `to`. On disk when it returns. Raises StorageError."""
    digest = hashlib.sha256()
    size = stored = 0
    try:
        with source.open("rb") as reading, to.open("xb") as writing:
            compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
            while True:
                piece = reading.read(_PIECE)
                size += len(piece)
                out = compressor.compress(piece) if piece else compressor.flush()
                digest.update(out)
                stored += writing.write(out)
                if not piece:
                    break
            writing.flush()
            os.fsync(writing.fileno())
    except OSError as fault:
        raise StorageError(f"{to} cannot be written: {fault.strerror}") from fault
    return Packed(to.name, size, stored, digest.hexdigest())


def unpack(folder: Path, packed: Packed, to: Path) -> None:
    """Write what was packed to the new file `to`.

    Raises JournalCorrupt, with the file's name, if it is not what was written; StorageError if it cannot be read, or
    `to` not be written.
    """
    path = folder / packed.name
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as reading, to.open("xb") as writing:
            decompressor = zstandard.ZstdDecompressor().decompressobj()
            while piece := reading.read(_PIECE):
                digest.update(piece)
                size += writing.write(decompressor.decompress(piece))
    except FileNotFoundError as fault:
        raise JournalCorrupt(f"{fault.filename} is missing") from fault
    except OSError as fault:
        raise StorageError(f"{path} cannot be unpacked to {to}: {fault.strerror}") from fault
    except zstandard.ZstdError as fault:
        raise JournalCorrupt(f"{path} is damaged: {fault}") from fault
    if digest.hexdigest() != packed.sha256:
        raise JournalCorrupt(f"{path} is damaged: it has another SHA-256 than was written")
    if size != packed.size:
        raise JournalCorrupt(f"{path} is damaged: it has {size} bytes instead of {packed.size}")
