"""A shard's side of the checkpoints: it tells the checkpointer which segments are closed, and hears what is folded.

Words go both ways as notices, which may be lost with a process: so the shard repeats what was not answered, and each
word says all. That records up to a position are in the tables stays true whoever hears it, and how late.
"""

import os
from collections.abc import Callable
from typing import Final

import msgspec

from flashq.storage.contract import Journal

CHECKPOINTER: Final = "checkpointer"
"""The name of the process that folds."""
CLOSED: Final = 24
"""Notice to the checkpointer: the oldest closed segments, as `Journal.sealed` has them, in MessagePack."""
FOLDED: Final = 25
"""Notice to a shard: records up to this one are in its tables; 8 bytes little-endian."""
SEGMENTS_MAX: Final = 64
"""Told at once: what follows is told when those are folded."""
REPEAT_LOOKS: Final = 5

Segment = tuple[int, int, str]
encode_segments: Final = msgspec.msgpack.Encoder().encode
decode_segments: Final = msgspec.msgpack.Decoder(list[Segment]).decode


class Recycling:
    """One shard's closed segments, until they are reused."""

    def __init__(
        self, journal: Journal, notify: Callable[[str, int, bytes], None], *, bytes_min: int,
        size_of: Callable[[str], int] = os.path.getsize,
    ) -> None:  # fmt: skip
        """`bytes_min`: less than that is not worth a fold, as much of it may be over by the next.

        While the disk is nearly full every closed segment is: what is worked off gives its space back.
        """
        self._journal = journal
        self._notify = notify
        self._bytes_min = bytes_min
        self._size_of = size_of
        self._told = 0
        """The last record of what the checkpointer was told; 0: nothing, or it may have forgotten."""
        self._looks = 0
        self._present = False

    def came(self) -> None:
        """A checkpointer serves, which knows nothing yet."""
        self._present, self._told = True, 0

    def gone(self) -> None:
        """There is none for now."""
        self._present = False

    def look(self) -> None:
        """Once a second: tell what is closed, if that is new or there was no answer for some time."""
        if not self._present:
            return
        closed = self._journal.sealed()
        if not closed:
            return
        if self._journal.room and sum(self._size_of(path) for _, _, path in closed) < self._bytes_min:
            return
        segments = closed[:SEGMENTS_MAX]
        self._looks += 1
        if segments[-1][1] != self._told or self._looks >= REPEAT_LOOKS:
            self._looks, self._told = 0, segments[-1][1]
            self._notify(CHECKPOINTER, CLOSED, encode_segments(segments))

    def folded(self, payload: bytes) -> None:
        """The checkpointer's answer: these segments are free."""
        self._journal.recycle(int.from_bytes(payload, "little"))
        self.look()
