"""The servers that are measured, all at once, idle in turn: flashq in each durability, and what it is held against."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashq.testing.cluster import Cluster
from flashq.testing.ports import PortLease
from flashq.testing.postgres import PostgresServer
from loadtest.dialects import Beanstalkd, Dialect, Echo, Flashq
from loadtest.processes import family

START_S: Final = 10.0
STOP_S: Final = 10.0
ECHO: Final = "echo"
SYNCED_ECHO: Final = "echo + fdatasync"
BEANSTALKD: Final = "beanstalkd"
BARE_HTTP: Final = "bare ASGI"
BARE_RPC: Final = "bare grpc.aio"
DATABASES: Final = ("psycopg", "psycopg2")
"""Drivers, in the place of a durability: flashq on PostgreSQL with its syncs on."""


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    port: int
    dialect: Dialect
    root: int
    """Pid of the process from which all of its processes descend."""
    durability: str = ""
    cluster: Cluster | None = None

    def pids(self) -> list[int]:
        return family(self.root)


def flashq_name(durability: str) -> str:
    return f"flashq {durability}"


def reference_name(durability: str) -> str:
    return f"reference {durability}"


class Servers(contextlib.ExitStack):
    """Starts servers; ends them all when it is left."""

    def __init__(self, folder: Path, shards: int = 2) -> None:
        super().__init__()
        self._folder = folder
        self._shards = shards

    def flashq(self, durability: str) -> Server:
        """A cluster in a durability, or on a PostgreSQL of its own, by the driver of that name."""
        settings: dict[str, str] = {}
        if durability in DATABASES:
            settings["DATABASE_URL"] = self.enter_context(PostgresServer(durable=True)).database(durability)
        cluster = Cluster(
            shards=self._shards, durability="fsync" if settings else durability,
            data=self._folder / flashq_name(durability), settings=settings,
        )  # fmt: skip
        self.enter_context(cluster)
        return Server(
            flashq_name(durability), cluster.port, Flashq(), cluster.pids()["supervisor"], durability, cluster
        )

    def reference(self, script: Path, durability: str) -> Server:
        """Another server of JSON lines: a script with --port, --shards, --durability and --data."""
        name = reference_name(durability)
        argv = [sys.executable, str(script), "--shards", str(self._shards), "--durability", durability]
        return self._start(name, Flashq(), [*argv, "--data", str(self._folder / name), "--port"], durability)

    def echo(self) -> Server:
        return self._start(ECHO, Echo(), [sys.executable, "-m", "loadtest.echo"])

    def synced_echo(self) -> Server:
        """Appends to a file on the disk that the others use."""
        argv = [sys.executable, "-m", "loadtest.echo"]
        return self._start(SYNCED_ECHO, Echo(), argv, tail=[str(self._folder / "synced-echo")])

    def bare_http(self) -> Server:
        """A bare ASGI function."""
        return self._start(BARE_HTTP, Echo(), [sys.executable, "-m", "loadtest.bare"])

    def bare_rpc(self) -> Server:
        """A bare grpc.aio method."""
        return self._start(BARE_RPC, Echo(), [sys.executable, "-m", "loadtest.bare_rpc"])

    def beanstalkd(self) -> Server:
        """In memory, as it is by default. Raises SystemExit if it is not installed."""
        program = shutil.which("beanstalkd")
        if program is None:
            raise SystemExit("beanstalkd is not installed: apt-get install beanstalkd")
        return self._start(BEANSTALKD, Beanstalkd(), [program, "-z", "1000000", "-l", "127.0.0.1", "-p"])

    def _start(
        self, name: str, dialect: Dialect, argv: list[str], durability: str = "", *, tail: Sequence[str] = ()
    ) -> Server:
        lease = self.enter_context(PortLease())
        process = self.enter_context(_process([*argv, str(lease.port), *tail], lease.port))
        return Server(name, lease.port, dialect, process.pid, durability)


@contextlib.contextmanager
def _process(argv: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            _wait_listening(process, port)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r} does not listen on {port}")
        time.sleep(0.02)
