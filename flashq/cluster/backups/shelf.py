"""The folder in which backups stand, each in a folder of its own, and nothing that is half a backup.

    flashq-20261124T201503.120Z/    a backup; it has this name only when it is whole and was tried
    .draft-…                        one in the making
    .gone-…                         one that is being removed

Names sort by the moment of their cut. One process at a time makes or removes anything here (flock on `.lock`), so
drafts that it finds were left by one that was killed.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from flashq.errors import ConfigError, StorageError
from flashq.storage.files import OsFiles

PREFIX: Final = "flashq-"
_NAME: Final = re.compile(rf"{PREFIX}\d{{8}}T\d{{6}}\.\d{{3}}Z")
"""What `name_of` gives: anything else that stands there is not ours to remove."""
DRAFT: Final = ".draft-"
GONE: Final = ".gone-"
LOCK: Final = ".lock"
Point = Callable[[str], object]
"""Told the name of each point at which a process may be killed."""


def name_of(cut_ms: int) -> str:
    """What a backup with this cut is called."""
    seconds, ms = divmod(cut_ms, 1_000)
    return f"{PREFIX}{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}.{ms:03}Z"


def shown(at_ms: int) -> str:
    """A wall time, as people write it and `--at` takes it."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """The folder is ours, and has no leftovers. It is made if it is not there. Raises ConfigError, StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise ConfigError(f"backup folder {folder}: {fault.strerror}") from fault
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"{folder}: another backup is being made or removed here") from None
        for leftover in [*folder.glob(f"{DRAFT}*"), *folder.glob(f"{GONE}*")]:
            shutil.rmtree(leftover)
        yield
    finally:
        os.close(fd)


def backups(folder: Path) -> list[Path]:
    """All whole ones, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def find_backup(place: Path, until_ms: int | None = None) -> Path:
    """The backup that is meant: itself, or the latest of a folder of backups, made up to a moment.

    Raises ConfigError.
    """
    if _NAME.fullmatch(place.name) or (place / "manifest.json").exists():
        return place
    found = backups(place)
    if not found:
        raise ConfigError(f"{place}: there is no backup here")
    if until_ms is not None:
        found = [path for path in found if path.name <= name_of(until_ms)]
        if not found:
            raise ConfigError(f"{place}: there is no backup here from before {shown(until_ms)}")
    return found[-1]


def put(draft: Path, folder: Path, name: str) -> Path:
    """A draft is whole: give it its name, on disk when it returns."""
    OsFiles().sync_folder(str(draft))
    whole = folder / name
    draft.rename(whole)
    OsFiles().sync_folder(str(folder))
    return whole


def trim(folder: Path, keep: int, at: Point) -> list[str]:
    """Remove all but the latest `keep`; the names of those removed. To be called with the folder taken."""
    old = backups(folder)[:-keep] if keep else []
    for path in old:
        gone = folder / f"{GONE}{path.name}"
        path.rename(gone)
        at(f"gone {path.name}")
        shutil.rmtree(gone)
    return [path.name for path in old]
