"""The two folders of a cluster, and the locks that make them its own.

- `data` has what must not be lost. Its lock (flock on `cluster.lock`) is inherited by every child, so it is
  free only when the last process that could write there has ended.
- `run` has what lives as long as the cluster: sockets, shared state, `cluster.json`. The supervisor alone
  holds its lock (flock on the folder itself), so whoever can take it knows that no cluster runs there.

A killed cluster leaves files but no locks: its children are killed by the kernel, milliseconds later perhaps,
which is what the short wait for a lock of a dead process is for.
"""

import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Final

import msgspec

from flashq.cluster.linux import start_ticks
from flashq.errors import ConfigError

LOCK_FILE: Final = "cluster.lock"
RECORD_FILE: Final = "cluster.json"
WAIT_S: Final = 5.0
"""How long the children of a killed supervisor may take to die."""
_LOOK_S: Final = 0.01
_OURS: Final = ("state", RECORD_FILE)


class ClusterRecord(msgspec.Struct, frozen=True):
    """Who runs the cluster of a run folder, in `cluster.json`."""

    pid: int
    start_ticks: int
    """With `pid`: the very process, not a later one of the same number."""
    data: str
    addresses: list[str]
    """Doors: "host:port" of TCP, the path of a Unix socket."""

    def alive(self) -> bool:
        """Whether that supervisor still runs."""
        return start_ticks(self.pid) == self.start_ticks


def lock_data(data: Path) -> int:
    """Take a data folder, made if missing; the lock's descriptor, to be kept open.

    Raises ConfigError, with the owner's pid, when another cluster has it.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"data = {data}: {error.strerror}") from error
    try:
        _wait_for_lock(fd, data)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d %d\n" % (os.getpid(), start_ticks(os.getpid()) or 0), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _wait_for_lock(fd: int, data: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not _try_lock(fd):
        pid, ticks = _owner(fd)
        if ticks and start_ticks(pid) == ticks:
            raise ConfigError(f"data = {data}: another cluster uses this folder (pid {pid})")
        if time.monotonic() > deadline:
            raise ConfigError(f"data = {data}: processes of a cluster that died (pid {pid}) still use this folder")
        time.sleep(_LOOK_S)  # at start, before any loop or child: nothing is held up, and flock cannot wait with an end


def _try_lock(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def owner_of(data: Path) -> tuple[int, int]:
    """(pid, start ticks) of the last cluster that took a data folder, zeros if none did. It may have ended."""
    try:
        fd = os.open(data / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0, 0
    try:
        return _owner(fd)
    finally:
        os.close(fd)


def _owner(fd: int) -> tuple[int, int]:
    """(pid, start ticks) as the owner wrote them; zeros while it has not."""
    words = os.pread(fd, 64, 0).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)


class RunFolder:
    """The run folder of the cluster of this process: ours alone, and clean."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Take the folder and remove what a dead cluster left there. Raises ConfigError if that cannot be."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"run = {path}: {error.strerror}") from error
        try:
            _check_owner(path, fd)
            _lock_run(path, fd)
            folder = cls(path, fd)
            folder.clean()
        except BaseException:
            os.close(fd)
            raise
        return folder

    def clean(self) -> None:
        """Remove sockets, state and record. Nothing else: the folder may be somebody's by mistake."""
        for path in list(self.path.iterdir()):
            if stat.S_ISSOCK(path.lstat().st_mode) or path.name in _OURS or path.name.startswith("state."):
                path.unlink()

    def write_record(self, data: Path, addresses: list[str]) -> None:
        """Say who we are and where our doors are."""
        pid = os.getpid()
        record = ClusterRecord(pid, start_ticks(pid) or 0, str(data), addresses)
        draft = self.path / f"state.{pid}.record"
        draft.write_bytes(msgspec.json.encode(record) + b"\n")
        draft.rename(self.path / RECORD_FILE)

    def close(self) -> None:
        """An orderly end: nothing of ours is left, not even the folder if it is empty."""
        self.clean()
        if not any(self.path.iterdir()):
            self.path.rmdir()
        os.close(self._fd)


def _check_owner(path: Path, fd: int) -> None:
    """/tmp is everybody's: a folder of this name may be a trap laid by another user."""
    found = os.fstat(fd)
    if found.st_uid != os.getuid():
        raise ConfigError(f"run = {path}: the folder belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o022:
        raise ConfigError(f"run = {path}: others may write to the folder (mode {stat.S_IMODE(found.st_mode):o})")


def _lock_run(path: Path, fd: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while not _try_lock(fd):
        record = read_record(path)
        if record is not None and record.alive():
            raise ConfigError(f"run = {path}: another cluster uses this folder (pid {record.pid}, data {record.data})")
        if time.monotonic() > deadline:
            raise ConfigError(f"run = {path}: the folder is locked by another process")
        time.sleep(_LOOK_S)  # at start, before any loop or child, as for the data folder: flock cannot wait with an end


def read_record(path: Path) -> ClusterRecord | None:
    """Whose run folder this is or was; None if it says nothing."""
    try:
        return msgspec.json.decode((path / RECORD_FILE).read_bytes(), type=ClusterRecord)
    except (FileNotFoundError, NotADirectoryError):
        return None
