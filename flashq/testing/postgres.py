"""A real PostgreSQL server for tests: its own folder, port and sockets, on loopback, gone with its owner.

    with PostgresServer() as server:
        url = server.database("one")
        server.kill(); server.start()

It runs as the user `postgres` where we are root, as the server refuses to be root. Its writes are not synced unless
`durable`, so that tests are quick; a killed server loses nothing either way, as the operating system lives.
"""

import contextlib
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg

from flashq.testing.ports import PortLease

FOLDERS: Final = "/usr/lib/postgresql"
START_S: Final = 30.0
_QUICK: Final = {"fsync": "off", "full_page_writes": "off"}
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1", "max_connections": "200", "shared_buffers": "64MB", "max_wal_size": "512MB",
    "logging_collector": "off", "log_min_messages": "error",
}  # fmt: skip


def programs() -> Path:
    """The folder of `postgres` and `initdb`, of the latest version installed. Raises FileNotFoundError."""
    found = [path.parent for path in Path(FOLDERS).glob("*/bin/initdb")]
    beside = shutil.which("initdb")
    if not found and beside is None:
        raise FileNotFoundError(f"no PostgreSQL in {FOLDERS} or on the PATH: install Debian's package postgresql")
    if not found:
        assert beside is not None
        return Path(beside).parent
    return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)])


class PostgresServer:
    """One server. Starts on entering its context."""

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self._lease = PortLease()
        self.port = self._lease.port
        self.folder = Path(tempfile.mkdtemp(prefix="fqpg-", dir="/tmp"))
        self.data = self.folder / "data"
        self._settings = {**_SETTINGS, **({} if durable else _QUICK), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _as_user(self, *line: str) -> list[str]:
        if os.getuid() != 0:
            return list(line)
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *line]

    def _make(self) -> None:
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        line = [str(programs() / "initdb"), "-D", str(self.data), "-U", "flashq", "--no-sync", "-E", "UTF8"]
        subprocess.run(  # noqa: S603  (our own command line)
            self._as_user(*line, "--locale=C.UTF-8", "-A", "trust"), check=True, stdout=subprocess.DEVNULL, cwd="/"
        )

    def start(self) -> None:
        """Start and wait until it answers."""
        line = [str(programs() / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", str(self.folder)]
        for name, value in self._settings.items():
            line += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  (our own command line)
                self._as_user(*line), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd="/"
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)  # a test's server, looked at from outside: it tells nobody when it is ready

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url("postgres"), connect_timeout=5):
            return True
        return False

    def kill(self) -> None:
        """Kill -9 of the postmaster; its children notice and end. Returns when they have."""
        assert self._process is not None
        children = [os.pidfd_open(pid) for pid in self._children()]
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for child in children:
            if not select.select([child], [], [], START_S)[0]:
                raise AssertionError("a process of a killed PostgreSQL does not end")
            os.close(child)

    def signal_all(self, how: signal.Signals) -> None:
        """Send a signal to the postmaster and all its processes: SIGSTOP makes it hang, SIGCONT go on."""
        assert self._process is not None
        for pid in (self._process.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)

    def _children(self) -> list[int]:
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]

    def stop(self) -> None:
        """An immediate shutdown, which leaves a recovery to the next start."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_S)

    def url(self, database: str, driver: str = "", *, port: int | None = None) -> str:
        """The URL of a database. `driver`: "psycopg2", or empty; `port`: of a proxy."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://flashq:secret@127.0.0.1:{port or self.port}/{database}"

    def database(self, driver: str = "") -> str:
        """The URL of a new, empty database."""
        self._number += 1
        name = f"d{os.getpid()}_{self._number}"
        self.run("postgres", f"CREATE DATABASE {name}")
        return self.url(name, driver)

    def run(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Carry out a statement on a database; its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

    def close(self) -> None:
        """End it, and remove its folder."""
        self.stop()
        self._lease.release()
        shutil.rmtree(self.folder, ignore_errors=True)
