"""Epochs never repeat: lease tokens stand on them."""

import subprocess
import sys
from pathlib import Path

import pytest

from flashq.errors import JournalCorrupt, StorageError
from flashq.storage.journal_epoch import last_epoch, next_epoch

DRAWER = """
import sys
from flashq.storage.journal_epoch import next_epoch

for _ in range(50):
    print(next_epoch(sys.argv[1]))
"""


def test_epochs_rise_by_one_from_one(tmp_path: Path) -> None:
    assert last_epoch(tmp_path / "data") == 0
    assert [next_epoch(tmp_path / "data") for _ in range(5)] == [1, 2, 3, 4, 5]
    assert last_epoch(tmp_path / "data") == 5


def test_processes_at_the_same_time_draw_different_epochs(tmp_path: Path) -> None:
    """32 shards start at once."""
    drawers = [
        subprocess.Popen([sys.executable, "-c", DRAWER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    drawn = sorted(int(line) for drawer in drawers for line in drawer.communicate(timeout=60)[0].split())
    assert drawn == list(range(1, 201))


@pytest.mark.parametrize("damage", [b"", b"0", b"\0" * 30, b"00000000000000000007 deadbeef\n"])
def test_damaged_epoch_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    """Counting from one again would hand out tokens that are in use."""
    for _ in range(7):
        next_epoch(tmp_path)
    file = tmp_path / "epoch"
    good = file.read_bytes()
    if damage:
        file.write_bytes(damage)
    else:
        file.write_bytes(good[:-1])
    with pytest.raises(JournalCorrupt, match=f"{file} is damaged at offset 0"):
        next_epoch(tmp_path)
    file.write_bytes(good)
    assert next_epoch(tmp_path) == 8


def test_every_flipped_bit_of_the_epoch_file_is_noticed(tmp_path: Path) -> None:
    next_epoch(tmp_path)
    file = tmp_path / "epoch"
    good = file.read_bytes()
    for bit in range(len(good) * 8):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(JournalCorrupt):
            next_epoch(tmp_path)


def test_epoch_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "epoch").mkdir()
    with pytest.raises(StorageError, match="no epoch could be drawn: Is a directory"):
        next_epoch(tmp_path)
