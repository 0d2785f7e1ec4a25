"""A disk in memory that can lose what was not synced: `Files` for tests of power cuts, failing and full disks.

What a power cut leaves (`cut`) is what POSIX and a disk with whole sectors of 512 bytes allow:

- Of each sector written since its last sync, any of the versions it had since then: none of the writes, the first of
  them, the first two …, each sector on its own. So any subset of unsynced writes may be lost, and records torn.
- Of the names made, renamed and removed in a folder since its last `sync_folder`, any first part, in order, as
  journaling file systems keep it. What a name points to has nothing to do with it: a file may be there, but empty.
- A file's size is any that it had since its last sync.

A killed process (`kill`) loses nothing that was written. The idea of building every legal image is from ALICE
(T. S. Pillai and others, "All File Systems Are Not Created Equal", OSDI 2014).
"""

import errno
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import PurePath
from random import Random
from typing import Final

from flashq.errors import Fenced
from flashq.storage.contract import File, Lock

SECTOR: Final = 512


@dataclass(eq=False)
class _Inode:
    """A file's bytes: as a reader sees them, and as the disk has them."""

    now: bytearray = field(default_factory=bytearray)
    disk: bytearray = field(default_factory=bytearray)
    unsynced: dict[int, list[bytes]] = field(default_factory=dict)
    """Sector number -> the contents it had, one after another, since its last sync."""
    sizes: list[int] = field(default_factory=list)
    """Sizes since the last sync."""

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > len(self.now):
            self.resize(end)
        self.now[offset:end] = data
        for sector in range(offset // SECTOR, (end + SECTOR - 1) // SECTOR):
            self.unsynced.setdefault(sector, []).append(self.sector(sector))

    def sector(self, number: int) -> bytes:
        return bytes(self.now[number * SECTOR : (number + 1) * SECTOR])

    def resize(self, size: int) -> None:
        self.now.extend(bytes(size - len(self.now)))
        self.sizes.append(size)

    def sync(self) -> None:
        """Only what is known to be unsynced is written: not what a failed sync gave up."""
        self.disk.extend(bytes(len(self.now) - len(self.disk)))
        for number in self.unsynced:
            self.disk[number * SECTOR : (number + 1) * SECTOR] = self.sector(number)
        self.unsynced.clear()
        self.sizes.clear()

    def sync_range(self, offset: int, end: int) -> None:
        if self.sizes:  # a size on disk takes the metadata along, and so the whole file's
            self.disk.extend(bytes(len(self.now) - len(self.disk)))
            self.sizes.clear()
        for number in range(offset // SECTOR, (end + SECTOR - 1) // SECTOR):
            self.disk[number * SECTOR : (number + 1) * SECTOR] = self.sector(number)
            self.unsynced.pop(number, None)

    def fail_sync(self) -> None:
        """The kernel gave up on what was to be written and calls it clean all the same."""
        self.unsynced.clear()
        self.sizes.clear()
        self.disk.extend(bytes(len(self.now) - len(self.disk)))

    def forget(self) -> None:
        """Read from the disk again, but for what is still to be written to it."""
        kept = {number: self.sector(number) for number in self.unsynced}
        self.now = bytearray(self.disk).ljust(len(self.now), b"\0")
        for number, content in kept.items():
            self.now[number * SECTOR : number * SECTOR + len(content)] = content

    def cut(self, random: Random) -> "_Inode":
        """What is there after a power cut."""
        left = bytearray(self.disk)
        for number, versions in self.unsynced.items():
            choice = random.randrange(len(versions) + 1)
            if choice:
                left.extend(bytes(max(0, (number + 1) * SECTOR - len(left))))
                left[number * SECTOR : number * SECTOR + len(versions[choice - 1])] = versions[choice - 1]
        size = random.choice([len(self.disk), *self.sizes])
        del left[size:]
        left.extend(bytes(size - len(left)))
        return _Inode(left, bytearray(left))


_Names = dict[str, _Inode]
_Change = Callable[[_Names], object]


class SimulatedFile:
    """An open file of a `SimulatedDisk`."""

    def __init__(self, disk: "SimulatedDisk", path: str, inode: _Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode

    def pwritev(self, buffers: Sequence[bytes], offset: int, *, dsync: bool = False) -> int:
        data = b"".join(buffers)
        self._disk.reach("write", self._path)
        self._take_space(offset + len(data))
        self._inode.write(offset, data)
        if dsync:
            self._disk.reach("sync", self._path)
            self._inode.sync_range(offset, offset + len(data))
        return len(data)

    def store(self, head: bytes, body: bytes, offset: int) -> None:
        self._disk.reach("store", self._path)
        self._inode.write(offset, head + body)

    def map(self) -> None:
        """There is nothing to gain here."""

    def follow(self, at: int) -> None:
        """It is as ready as it can be."""

    def unmap(self) -> None:
        """Nor to give back."""

    def fill(self, size: int) -> None:
        self.allocate(size)
        self.datasync()

    def allocate(self, size: int) -> None:
        self._disk.reach("write", self._path)
        self._take_space(size)
        self._inode.resize(size)

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self._inode.now[offset : offset + size])

    def size(self) -> int:
        return len(self._inode.now)

    def datasync(self) -> None:
        try:
            self._disk.reach("sync", self._path)
        except OSError:
            self._inode.fail_sync()
            raise
        self._inode.sync()

    def forget(self) -> None:
        self._inode.forget()

    def close(self) -> None:
        """Open files are not counted."""

    def _take_space(self, end: int) -> None:
        if end - len(self._inode.now) > self._disk.free_bytes(self._path):
            raise OSError(errno.ENOSPC, "No space left on device")


class SimulatedDisk:
    """A file system in memory. Its folders are there when they are first used, and never lost."""

    def __init__(self, *, capacity_bytes: int = 1 << 40) -> None:
        self.capacity_bytes = capacity_bytes
        self.before: Callable[[str, str], None] | None = None
        """Called with "write", "store", "sync", "rename", "remove" or "sync_folder" and the path, before it is done.

        What it raises takes the place of the operation. An OSError before a sync loses what should have been synced.
        """
        self._now: _Names = {}
        self._disk: _Names = {}
        self._changes: dict[str, list[_Change]] = {}
        """Folder -> changes of its names since it was last synced, oldest first."""
        self._locked: set[str] = set()

    def reach(self, what: str, path: str) -> None:
        """The named points of a test."""
        if self.before is not None:
            self.before(what, path)

    def open(self, path: str, *, create: bool = False) -> File:
        inode = self._now.get(path)
        if inode is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "No such file", path)
            made = inode = _Inode()
            self._change(path, lambda names: names.__setitem__(path, made))
        return SimulatedFile(self, path, inode)

    def list(self, folder: str) -> list[str]:
        return sorted(PurePath(path).name for path in self._now if str(PurePath(path).parent) == folder)

    def rename(self, old: str, new: str) -> None:
        self.reach("rename", old)
        self._change(new, lambda names: names.__setitem__(new, names.pop(old)))

    def remove(self, path: str) -> None:
        self.reach("remove", path)
        self._change(path, lambda names: names.pop(path))

    def make_folder(self, path: str) -> None:
        """Folders are there."""

    def sync_folder(self, path: str) -> None:
        self.reach("sync_folder", path)
        for change in self._changes.pop(path, ()):
            change(self._disk)

    def lock(self, folder: str) -> Lock:
        if folder in self._locked:
            raise Fenced(f"{folder} is in use by another process")
        self._locked.add(folder)
        return _SimulatedLock(self._locked, folder)

    def free_bytes(self, folder: str) -> int:
        return self.capacity_bytes - sum(len(inode.now) for inode in self._now.values())

    def _change(self, path: str, change: _Change) -> None:
        change(self._now)
        self._changes.setdefault(str(PurePath(path).parent), []).append(change)

    # What a test does to it

    def paths(self) -> Sequence[str]:
        """All files."""
        return sorted(self._now)

    def read(self, path: str) -> bytes:
        return bytes(self._now[path].now)

    def replace(self, path: str, content: bytes) -> None:
        """Put other bytes in a file's place, for good: damage."""
        self._now[path] = self._disk[path] = _Inode(bytearray(content), bytearray(content))

    def kill(self) -> None:
        """The process that used the disk is gone; what it wrote is still there."""
        self._locked.clear()
        self.before = None

    def cut(self, random: Random) -> "SimulatedDisk":
        """A disk as a power cut at this moment might leave it. This one goes on."""
        left = SimulatedDisk(capacity_bytes=self.capacity_bytes)
        names = copy(self._disk)
        for changes in self._changes.values():
            for change in changes[: random.randint(0, len(changes))]:
                change(names)
        images = {id(inode): inode.cut(random) for inode in names.values()}
        left._now = {path: images[id(inode)] for path, inode in names.items()}
        left._disk = copy(left._now)
        return left


class _SimulatedLock:
    def __init__(self, locked: set[str], folder: str) -> None:
        self._locked, self._folder = locked, folder

    def release(self) -> None:
        self._locked.discard(self._folder)
