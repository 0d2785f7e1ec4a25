"""Epochs: numbers that every start of a shard draws anew, unique and rising over the whole cluster.

Lease tokens are built from them, so a number is on disk before anyone sees it.
"""

import fcntl
import os
from pathlib import Path

from flashq.errors import JournalCorrupt, StorageError
from flashq.storage.journal_format import crc32c


def next_epoch(data_folder: str | Path, *, above: int = 0) -> int:
    """The next epoch of the cluster whose data is in `data_folder`: 1, 2, 3 … It is larger than `above`.

    Waits for others that draw one at the same time. The file is one line, a number and its CRC-32C, overwritten
    in place within one sector. Raises JournalCorrupt if it is damaged, StorageError if it cannot be written.
    """
    path = Path(data_folder) / "epoch"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            return _draw(fd, path, above)
        finally:
            os.close(fd)
    except OSError as fault:
        raise StorageError(f"{path}: no epoch could be drawn: {fault.strerror}") from fault


def last_epoch(data_folder: str | Path) -> int:
    """The last epoch that was drawn, 0 if none was. Raises JournalCorrupt, StorageError."""
    path = Path(data_folder) / "epoch"
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return 0
    except OSError as fault:
        raise StorageError(f"{path} cannot be read: {fault.strerror}") from fault
    return _parse(found, path) if found else 0


def _draw(fd: int, path: Path, above: int) -> int:
    found = os.pread(fd, 64, 0)
    epoch = max(_parse(found, path) if found else 0, above) + 1
    os.pwrite(fd, _line(epoch), 0)
    os.fsync(fd)
    if not found:
        _sync_name(path.parent)
    return epoch


def _line(epoch: int) -> bytes:
    digits = b"%020d" % epoch
    return b"%s %08x\n" % (digits, crc32c(0, digits))


def _parse(line: bytes, path: Path) -> int:
    digits = line[:20]
    if not digits.isdigit() or line != _line(int(digits)):
        raise JournalCorrupt(f"{path} is damaged at offset 0: epochs that were given out are not known any more")
    return int(digits)


def _sync_name(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
