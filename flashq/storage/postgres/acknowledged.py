"""How far a shard has promised, noted beside the database: a database that lacks what was acknowledged is found out.

A standby that was behind, or a backup, looks like a database that simply ends earlier. So the shard notes the cluster
and the last acknowledged record in `data/shard-NN/acknowledged`, before the replies leave: a store into a mapped file,
which survives a killed process. Two places are written in turn, so that one is always whole.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from flashq.errors import StorageError
from flashq.storage.journal_format import crc32c

FILE: Final = "acknowledged"
_MARK: Final = struct.Struct("<32sqI")
_PLACE: Final = 64


class Acknowledged:
    """The mark of one shard."""

    def __init__(self, folder: Path, cluster: str) -> None:
        """Open the mark in a shard's folder, both made if missing. Raises StorageError."""
        self.path = folder / FILE
        self._cluster = cluster.encode()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, 2 * _PLACE)
                self._map = mmap.mmap(fd, 2 * _PLACE)
            finally:
                os.close(fd)
        except OSError as fault:
            raise StorageError(f"{self.path}: {fault.strerror}") from fault
        self._turn = 0

    def last(self) -> int:
        """The last record that was acknowledged to anybody, as far as is known here; 0 for none of this cluster."""
        return max(self._read(0), self._read(_PLACE))

    def _read(self, at: int) -> int:
        cluster, seq, crc = _MARK.unpack_from(self._map, at)
        whole = crc == crc32c(0, self._map[at : at + _MARK.size - 4])
        return int(seq) if whole and cluster == self._cluster else 0

    def note(self, seq: int) -> None:
        """Records up to `seq` are about to be acknowledged."""
        mark = struct.pack("<32sq", self._cluster, seq)
        at = self._turn
        self._turn = _PLACE - at
        self._map[at : at + _MARK.size] = mark + crc32c(0, mark).to_bytes(4, "little")

    def close(self) -> None:
        self._map.close()
