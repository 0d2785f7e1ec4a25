"""A record of two copies: what a reader may see while, or after, a writer was stopped anywhere in a write."""

from mmap import mmap
from struct import Struct

import pytest

from flashq.errors import Unavailable
from flashq.transport import records
from flashq.transport.records import RecordWriter, newest_copy, read_record

PAIR = Struct("<QQQQ")
"""sequence, two figures that are always equal, sequence."""


def fields(memory: mmap) -> tuple[int, ...] | None:
    return read_record(memory, 0, PAIR, PAIR.size)


def test_what_was_written_last_is_read() -> None:
    memory = mmap(-1, 4096)
    writer = RecordWriter(memory, 0, PAIR)
    assert fields(memory) is None
    for value in range(1, 6):
        writer.write(value, value)
        assert fields(memory) == (value, value, value, value)


def test_write_cut_at_any_byte_leaves_the_word_before() -> None:
    """A writer killed halfway through a store, wherever that is, never shows half of it."""
    for written in range(3):
        memory = mmap(-1, 4096)
        writer = RecordWriter(memory, 0, PAIR)
        for value in range(1, written + 1):
            writer.write(value, value)
        before = memory[: 2 * PAIR.size]
        writer.write(77, 77)
        after = memory[: 2 * PAIR.size]
        (at, *_) = [i for i in range(0, 2 * PAIR.size, PAIR.size) if before[i : i + 32] != after[i : i + 32]]
        for cut in range(PAIR.size):
            memory[: at + cut] = after[: at + cut]
            memory[at + cut : 2 * PAIR.size] = before[at + cut :]
            expected = (written, written, written, written) if written else None
            # The store is whole as soon as its last differing byte is there.
            if memory[: 2 * PAIR.size] == after:
                expected = (written + 1, 77, 77, written + 1)
            assert fields(memory) == expected, (written, cut)


def test_new_writer_goes_on_behind_a_torn_one() -> None:
    """Else the successor of a killed writer could write where readers look for the older copy."""
    memory = mmap(-1, 4096)
    writer = RecordWriter(memory, 0, PAIR)
    writer.write(1, 1)
    writer.write(2, 2)
    memory[PAIR.size : PAIR.size + 8] = (3).to_bytes(8, "little")  # the third was begun
    successor = RecordWriter(memory, 0, PAIR)
    assert fields(memory) == (2, 2, 2, 2)
    successor.write(9, 9)
    assert fields(memory) == (4, 9, 9, 4)


def test_copy_is_whole_only_if_its_sequences_agree() -> None:
    raw = PAIR.pack(4, 1, 1, 4) + PAIR.pack(5, 2, 2, 4)
    assert newest_copy(raw, 0, PAIR.size, PAIR.size) == 0
    assert newest_copy(PAIR.pack(4, 1, 1, 3) * 2, 0, PAIR.size, PAIR.size) is None


def test_record_that_never_holds_still_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: a reader is not caught for ever by what it reads."""
    monkeypatch.setattr(records, "TRIES_MAX", 50)
    memory = mmap(-1, 4096)
    memory[: 2 * PAIR.size] = PAIR.pack(4, 1, 1, 3) * 2
    with pytest.raises(Unavailable, match="faster than it can be read"):
        fields(memory)
