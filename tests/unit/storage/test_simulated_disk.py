"""The disk that power-cut tests stand on loses what may be lost, and nothing else."""

import errno
from random import Random

import pytest

from flashq.errors import Fenced
from flashq.storage.contract import File
from flashq.testing.files import SimulatedDisk


def made(disk: SimulatedDisk, path: str = "/d/a", size: int = 2_048) -> File:
    """A file of zeros that is on disk, name and all."""
    file = disk.open(path, create=True)
    file.fill(size)
    disk.sync_folder("/d")
    return file


def images(disk: SimulatedDisk, path: str = "/d/a") -> set[bytes]:
    """What a power cut may leave of a file; b"gone" if it is not there."""
    cuts = [disk.cut(Random(seed)) for seed in range(400)]
    return {cut.read(path) if path in cut.paths() else b"gone" for cut in cuts}


def test_synced_bytes_are_never_lost() -> None:
    disk = SimulatedDisk()
    file = made(disk)
    file.pwritev((b"x" * 2_000,), 0)
    file.datasync()
    assert images(disk) == {b"x" * 2_000 + bytes(48)}


def test_each_sector_keeps_any_of_its_versions() -> None:
    """Two unsynced writes over two sectors: each sector may have none, one or both, whatever the other has."""
    disk = SimulatedDisk()
    file = made(disk, size=1_024)
    file.pwritev((b"a" * 1_024,), 0)
    file.store(b"b" * 512, b"b" * 512, 0)
    sectors = [bytes(512), b"a" * 512, b"b" * 512]
    assert images(disk) == {first + second for first in sectors for second in sectors}


def test_synced_write_syncs_its_own_range_only() -> None:
    """What `RWF_DSYNC` does: a hole in front of promised records is possible."""
    disk = SimulatedDisk()
    file = made(disk, size=1_024)
    file.pwritev((b"loose" * 10,), 0)
    file.pwritev((b"promise",), 600, dsync=True)
    found = images(disk)
    assert {image[600:607] for image in found} == {b"promise"}
    assert {image[:50] for image in found} == {bytes(50), b"loose" * 10}


def test_new_file_may_be_there_or_not_with_any_size() -> None:
    disk = SimulatedDisk()
    file = disk.open("/d/a", create=True)
    file.allocate(512)
    file.allocate(1_024)
    assert images(disk) == {b"gone", b"", bytes(512), bytes(1_024)}
    file.datasync()
    assert images(disk) == {b"gone", bytes(1_024)}
    disk.sync_folder("/d")
    assert images(disk) == {bytes(1_024)}


def test_names_change_in_order_and_are_lost_from_the_end() -> None:
    disk = SimulatedDisk()
    made(disk)
    disk.rename("/d/a", "/d/b")
    disk.rename("/d/b", "/d/c")
    names = {tuple(disk.cut(Random(seed)).paths()) for seed in range(100)}
    assert names == {("/d/a",), ("/d/b",), ("/d/c",)}
    disk.sync_folder("/d")
    disk.remove("/d/c")
    assert {tuple(disk.cut(Random(seed)).paths()) for seed in range(100)} == {("/d/c",), ()}


def test_failed_sync_loses_what_the_cache_still_shows() -> None:
    """And the next sync, which succeeds, does not bring it back."""
    disk = SimulatedDisk()
    file = made(disk, size=512)
    file.pwritev((b"lost",), 0)

    def fail(what: str, path: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    disk.before = fail
    with pytest.raises(OSError, match="Input/output"):
        file.datasync()
    disk.before = None
    assert file.pread(4, 0) == b"lost"
    file.datasync()
    assert images(disk) == {bytes(512)}
    file.forget()
    assert file.pread(4, 0) == bytes(4)


def test_killed_process_loses_its_locks_and_nothing_else() -> None:
    disk = SimulatedDisk()
    file = made(disk)
    file.store(b"head", b"body", 10)
    disk.lock("/d")
    with pytest.raises(Fenced):
        disk.lock("/d")
    disk.kill()
    disk.lock("/d").release()
    assert disk.open("/d/a").pread(8, 10) == b"headbody"


def test_full_disk_refuses_what_grows_and_takes_what_overwrites() -> None:
    disk = SimulatedDisk(capacity_bytes=3_000)
    file = made(disk)
    assert disk.free_bytes("/d") == 952
    with pytest.raises(OSError, match="No space left"):
        file.allocate(3_001)
    file.pwritev((b"x" * 100,), 0)
    assert disk.list("/d") == ["a"]
