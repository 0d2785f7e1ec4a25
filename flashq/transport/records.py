"""Records that one process writes and any may read, without a lock: two copies, each between two sequence numbers.

Rules kept here
- The writer fills the copies in turn, so the one before the latest stays whole: a reader finds a whole
  copy also while the other is being written, and a writer killed halfway leaves its last word readable.
- A copy counts when the sequence numbers before and behind it agree. The reader takes the newer one, then
  looks a second time and accepts it only if the very same bytes are still there.

The first rule is a seqlock with two copies; the second look is there because Python has no fences: with the
store order of x86 the pair is proof enough, on other machines a store may be seen late, by nanoseconds, and
a second look in Python comes microseconds after the first.
"""

from mmap import mmap
from struct import Struct
from typing import Any, Final

from flashq.errors import Unavailable

_WORD: Final = Struct("<Q")
TRIES_MAX: Final = 10_000
"""Some 20 ms of looking. A writer would have to overtake every single look to get there."""


def newest_copy(raw: bytes, at: int, size: int, stride: int) -> int | None:
    """The offset in `raw` of the newer whole one of two copies at `at`; None if neither is whole or was written."""
    best, best_sequence = None, 0
    for offset in (at, at + stride):
        (before,) = _WORD.unpack_from(raw, offset)
        (behind,) = _WORD.unpack_from(raw, offset + size - 8)
        if before == behind and before > best_sequence:
            best, best_sequence = offset, before
    return best


def read_record(memory: mmap, at: int, record: Struct, stride: int) -> tuple[Any, ...] | None:
    """The latest whole copy's fields, both sequence numbers included; None if none was ever finished.

    Raises Unavailable if it was rewritten during every one of TRIES_MAX looks.
    """
    end = at + stride + record.size
    for _ in range(TRIES_MAX):
        raw = memory[at:end]
        copy = newest_copy(raw, 0, record.size, stride)
        if copy is not None:
            if memory[at + copy : at + copy + record.size] == raw[copy : copy + record.size]:
                return record.unpack_from(raw, copy)
        elif not any(raw[: record.size]) or not any(raw[stride:]):
            return None  # at most the very first write was begun
    raise Unavailable("Shared state is rewritten faster than it can be read")


def last_sequence(memory: mmap, at: int, size: int, stride: int) -> int:
    """The highest sequence number in either copy, whole or not: a new writer goes on behind it."""
    words = (at, at + size - 8, at + stride, at + stride + size - 8)
    return max(int(_WORD.unpack_from(memory, word)[0]) for word in words)


class RecordWriter:
    """Writes one record that changes seldom. Hot ones (`shard_region.py`) spell this out."""

    def __init__(self, memory: mmap, at: int, record: Struct) -> None:
        self._memory = memory
        self._at = at
        self._record = record
        self.sequence = last_sequence(memory, at, record.size, record.size)

    def write(self, *fields: int | bytes) -> None:
        """Write the fields between the two sequence numbers."""
        sequence = self.sequence + 1
        at = self._at + (sequence & 1) * self._record.size
        self._record.pack_into(self._memory, at, sequence, *fields, sequence)
        self.sequence = sequence
