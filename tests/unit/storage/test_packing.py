"""Packed files come out as they went in, or not at all."""

from pathlib import Path

import pytest

from flashq.errors import JournalCorrupt, StorageError
from flashq.storage.packing import pack, unpack


@pytest.mark.parametrize("size", [0, 1, 5_000, (1 << 20) + 1])
def test_what_is_packed_comes_out_again(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "one").write_bytes(content)
    packed = pack(tmp_path / "one", tmp_path / "one.zst")
    assert (packed.name, packed.size, packed.stored) == ("one.zst", size, (tmp_path / "one.zst").stat().st_size)
    unpack(tmp_path, packed, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content


def test_every_damaged_byte_and_every_shorter_file_is_noticed_and_named(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"abcdefgh" * 9)
    packed = pack(tmp_path / "one", tmp_path / "one.zst")
    whole = (tmp_path / "one.zst").read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"x"]
    damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    for number, content in enumerate(damaged):
        (tmp_path / "one.zst").write_bytes(content)
        with pytest.raises(JournalCorrupt, match=r"one\.zst is damaged"):
            unpack(tmp_path, packed, tmp_path / f"again-{number}")
    (tmp_path / "one.zst").unlink()
    with pytest.raises(JournalCorrupt, match=r"one\.zst is missing"):
        unpack(tmp_path, packed, tmp_path / "none")
    with pytest.raises(StorageError, match="cannot be written"):
        pack(tmp_path / "one", tmp_path / "no-folder" / "one.zst")
