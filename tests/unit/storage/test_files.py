"""Real files do what the journal counts on."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flashq.errors import Fenced
from flashq.storage.files import OsFiles

FILES = OsFiles()


def test_stores_and_writes_show_the_same_bytes_at_once(tmp_path: Path) -> None:
    """A mapping and `pwritev` share the page cache: whatever way a byte came, every reader sees it."""
    random = Random(1)
    file = FILES.open(str(tmp_path / "a"), create=True)
    file.fill(300_000)
    model = bytearray(300_000)
    for step in range(300):
        if step == 50:
            file.map()
        if step == 250:
            file.unmap()
        head, body = random.randbytes(random.randrange(70)), random.randbytes(random.randrange(5_000))
        at = random.randrange(300_000 - len(head) - len(body))
        if step % 2:
            file.store(head, body, at)
        else:
            assert file.pwritev((head, body), at, dsync=step % 4 == 0) == len(head) + len(body)
        model[at : at + len(head) + len(body)] = head + body
        if step % 10 == 0:
            file.datasync()
        assert file.pread(300_000, 0) == model
    file.forget()
    assert (tmp_path / "a").read_bytes() == file.pread(300_000, 0) == model
    file.close()


@pytest.mark.parametrize("make", ["fill", "allocate"])
def test_new_space_reads_as_zeros_and_belongs_to_the_file(tmp_path: Path, make: str) -> None:
    """Later writes must not fail for want of space."""
    file = FILES.open(str(tmp_path / "a"), create=True)
    file.pwritev((b"abc",), 0)
    getattr(file, make)(600_001)
    assert file.size() == 600_001
    assert file.pread(700_000, 0) == b"abc" + bytes(599_998)
    assert (tmp_path / "a").stat().st_blocks * 512 >= 600_001
    file.close()


def test_write_in_pieces_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take a part of what it is given."""
    real = os.pwritev

    def stingy(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        return real(fd, (b"".join(buffers)[:7],), offset, flags)

    monkeypatch.setattr(os, "pwritev", stingy)
    file = FILES.open(str(tmp_path / "a"), create=True)
    for dsync in (False, True):
        data = Random(dsync).randbytes(100)
        assert file.pwritev((data[:30], data[30:]), 5, dsync=dsync) == 100
        assert file.pread(100, 5) == data
    file.close()


def test_file_system_without_synced_writes_is_synced_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, real_sync = os.pwritev, os.fdatasync
    calls = []

    def write(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        calls.append("write" if not flags else "synced write")
        if flags:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real_write(fd, buffers, offset)

    def sync(fd: int) -> None:
        calls.append("sync")
        real_sync(fd)

    monkeypatch.setattr(os, "pwritev", write)
    monkeypatch.setattr(os, "fdatasync", sync)
    file = FILES.open(str(tmp_path / "a"), create=True)
    file.pwritev((b"one",), 0, dsync=True)
    file.pwritev((b"two",), 3, dsync=True)
    assert calls == ["synced write", "write", "sync", "write", "sync"]
    assert file.pread(6, 0) == b"onetwo"
    file.close()


def test_error_of_a_synced_write_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        raise OSError(errno.EIO, "Input/output error")

    file = FILES.open(str(tmp_path / "a"), create=True)
    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(OSError, match="Input/output error"):
        file.pwritev((b"one",), 0, dsync=True)
    file.close()


def test_closed_file_is_not_written_by_mistake(tmp_path: Path) -> None:
    """Its number may belong to another file by then."""
    file = FILES.open(str(tmp_path / "a"), create=True)
    file.close()
    file.close()
    with pytest.raises((OSError, ValueError)):
        file.pwritev((b"x",), 0)


def test_missing_file_is_not_made_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FILES.open(str(tmp_path / "a"))


def test_names_are_listed_renamed_and_removed(tmp_path: Path) -> None:
    folder = str(tmp_path / "x" / "y")
    FILES.make_folder(folder)
    FILES.make_folder(folder)
    for name in "cab":
        FILES.open(f"{folder}/{name}", create=True).close()
    FILES.rename(f"{folder}/a", f"{folder}/d")
    FILES.remove(f"{folder}/b")
    FILES.sync_folder(folder)
    assert FILES.list(folder) == ["c", "d"]
    assert FILES.free_bytes(folder) > 0
    assert (tmp_path / "x" / "y" / "c").stat().st_mode & 0o077 == 0  # jobs are nobody else's business


HOLDER = """
import sys
from flashq.storage.files import OsFiles

lock = OsFiles().lock(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_folder_is_locked_against_other_processes_until_they_end(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Fenced, match=f"{folder} is in use by another process"):
            FILES.lock(folder)
        holder.kill()
        holder.wait()
        lock = FILES.lock(folder)
        with pytest.raises(Fenced):
            FILES.lock(folder)
        lock.release()
        lock.release()
        FILES.lock(folder).release()


def resident_bytes(path: Path) -> int:
    """What the mappings of this file count for in this process."""
    found = 0
    mine = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            mine = line.endswith(str(path))
        elif mine and line.startswith("Rss:"):
            found += int(line.split()[1]) << 10
    return found


def test_mapped_file_counts_for_a_few_megabytes_wherever_it_is_written(tmp_path: Path) -> None:
    """A journal's segments are no memory of its jobs; and what was given back is still in the file."""
    path = tmp_path / "a"
    file = FILES.open(str(path), create=True)
    size = 16 << 20
    file.allocate(size)
    file.map()
    block = bytes(range(256)) * 1024
    for at in range(0, size, len(block)):
        file.store(block[:64], block[64:], at)
        assert resident_bytes(path) <= 6 << 20
        if not at % (1 << 20):
            file.follow(at)
    assert resident_bytes(path) > 0
    file.follow(size)
    assert resident_bytes(path) == 0
    assert file.pread(size, 0) == block * (size // len(block))
    file.unmap()
    file.follow(0)
    file.close()
