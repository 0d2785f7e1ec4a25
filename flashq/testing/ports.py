"""Ports that stay ours while a server on them is down.

A port found by binding 0 is free only until somebody connects out: the kernel hands the same range to
outgoing connections, and a server that is killed and restarted finds its own port taken. So ports here come
from below that range and are held by a locked file, between all test processes of the machine.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

FIRST: Final = 15_000
LAST: Final = 32_000
"""Below 32768, where Linux starts to number outgoing connections."""


class PortLease:
    """One TCP port of the loopback interface, held until `release` or the end of the process."""

    def __init__(self) -> None:
        self.port, self._lock = _take()

    def release(self) -> None:
        """Give the port back. A second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _take() -> tuple[int, int]:
    for port in _candidates():
        lock = _locked(port)
        if lock >= 0:
            if _unused(port):
                return port, lock
            os.close(lock)
    raise OSError(f"no free port between {FIRST} and {LAST}")


def _candidates() -> Iterator[int]:
    # Not the seeded generator of a test: every process has to begin somewhere else.
    ports = list(range(FIRST, LAST))
    random.SystemRandom().shuffle(ports)
    yield from ports


def _locked(port: int) -> int:
    """The descriptor that holds the port's lock file, or -1 if another process holds it."""
    folder = Path(tempfile.gettempdir()) / f"flashq-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return -1
    return lock


def _unused(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
