"""A whole cluster in processes of its own, for tests, load and crash campaigns.

    with Cluster(shards=2, durability="commit") as cluster:
        with cluster.connect() as client: ...
        cluster.kill("shard-00")

Ports and folders are the cluster's own, so any number of them run side by side. Nothing here is asyncio. It keeps
its port and its folders over kills and restarts; what it made it removes when it is closed.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from flashq.cluster.health import ProcessStatus, read_status
from flashq.protocol.slots import slot_of_queue
from flashq.testing.ports import PortLease
from flashq.transport.shared_memory import SharedState

READY: Final = "ready in"
"""What the supervisor's closing line of a start has in it."""
START_S: Final = 20.0
"""Generous: two cores may be shared by many clusters, and a recovery may be long."""
STOP_S: Final = 40.0
TICK_S: Final = 0.005


class ClusterError(AssertionError):
    """The cluster did not do what it was asked to in time; the text has the end of its output."""


class Cluster:
    """One `flashq cluster start`, from outside. Starts on entering its context, ends with it."""

    def __init__(
        self,
        *,
        shards: int = 2,
        durability: str = "fsync",
        data: Path | None = None,
        unix: bool = False,
        http: bool = False,
        grpc: bool = False,
        settings: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        """`settings` are environment variables on top (FLASHQ_DEFAULT_LEASE_MS …); `command` replaces `flashq`."""
        self.shards = shards
        self.durability = durability
        # Paths of sockets may have 107 bytes, and pytest's tmp_path alone comes near that.
        self._folder = Path(tempfile.mkdtemp(prefix="fq-", dir="/tmp"))
        self.data = data or self._folder / "data"
        self.run = self._folder / "run"
        self.unix_path = self._folder / "unix" if unix else None
        self._lease = PortLease()
        self.port = self._lease.port
        self._http_lease = PortLease() if http else None
        self.http_port = self._http_lease.port if self._http_lease else 0
        """0 without HTTP."""
        self.settings = dict(settings or {})
        """Environment variables on top of ours."""
        self._grpc_lease = PortLease() if grpc else None
        self.grpc_port = self._grpc_lease.port if self._grpc_lease else 0
        """0 without gRPC."""
        self._command = list(command or flashq_command())
        self._process: subprocess.Popen[bytes] | None = None
        self._output = _Output()
        self.ready_s = 0.0
        """Seconds from the last start to its "ready" line."""

    # -- life

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self, timeout_s: float = START_S) -> None:
        """Start and wait until every shard serves. Raises ClusterError."""
        self.launch()
        self.wait_ready(timeout_s)

    def launch(self) -> None:
        """Start without waiting."""
        if self.running():
            raise ClusterError("the cluster runs already")
        self._output = _Output()
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603  (our own command line)
            self.argv(),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its whole group can be killed, and we with it are not
        )
        self._output.follow(self._process)

    def argv(self) -> list[str]:
        """The command line that starts it."""
        line = [*self._command, "cluster", "start", "--shards", str(self.shards), "--port", str(self.port)]
        line += ["--data", str(self.data), "--run", str(self.run), "--durability", self.durability]
        line += ["--http-port", str(self.http_port)] if self.http_port else ["--no-http"]
        line += ["--grpc-port", str(self.grpc_port)] if self.grpc_port else ["--no-grpc"]
        return [*line, "--unix-socket", str(self.unix_path)] if self.unix_path else line

    def _environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("FLASHQ_")}
        return mine | {"PYTHONUNBUFFERED": "1"} | self.settings

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until every shard serves. Raises ClusterError."""
        if not self._output.wait_for(READY, timeout_s):
            raise ClusterError(f"not ready in {timeout_s:.0f} s:\n{self.output()[-4000:]}")
        self.ready_s = self._output.seen_at - self._started

    def stop(self, timeout_s: float = STOP_S) -> int:
        """Stop in order (SIGTERM); the exit code. Raises ClusterError, after killing it, if that takes too long."""
        process = self._running_process()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise ClusterError(f"did not stop in {timeout_s:.0f} s:\n{self.output()[-4000:]}") from None
        self._output.finish()
        return code

    def restart(self, timeout_s: float = START_S) -> None:
        """Start again on the same data, port and folders; stops first in order if it still runs."""
        if self.running():
            self.stop()
        self.start(timeout_s)

    def close(self) -> None:
        """End whatever runs and remove what was made. A second call does nothing."""
        if self.running():
            # Tests have asserted what they wanted by now: no need to wait for an orderly end.
            self.kill_all()
        self._lease.release()
        if self._http_lease is not None:
            self._http_lease.release()
        if self._grpc_lease is not None:
            self._grpc_lease.release()
        shutil.rmtree(self._folder, ignore_errors=True)

    def running(self) -> bool:
        """The supervisor lives."""
        return self._process is not None and self._process.poll() is None

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ClusterError(f"the cluster does not run:\n{self.output()[-4000:]}")
        return self._process

    # -- its processes

    def statuses(self) -> dict[str, ProcessStatus]:
        """What shared memory says of each process, by its name."""
        return {process.name: process for process in read_status(self.run).processes}

    def pids(self) -> dict[str, int]:
        """Pids by name: "supervisor", "router-0", "shard-00" …; those that do not live are left out."""
        live = {name: process.pid for name, process in self.statuses().items() if process.pid}
        return {"supervisor": self._running_process().pid, **live}

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to one process, kill -9 by default; its pid."""
        pid = self.pids()[name]
        os.kill(pid, how)
        return pid

    def kill_all(self) -> None:
        """Kill -9 of the whole process group at once; returns when all are gone."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:  # its number is nobody else's: we have not waited for it yet
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._output.finish()

    def wait_serving(self, name: str, *, other_than: int = 0, timeout_s: float = START_S) -> int:
        """Wait until a process serves, under another pid than `other_than`; its pid. Raises ClusterError."""

        def serving() -> int:
            process = self.statuses().get(name)
            return process.pid if process and process.state == "serving" and process.pid != other_than else 0

        return self._wait(serving, f"{name} to serve", timeout_s)

    def owner(self, queue: str) -> int:
        """The shard that has a queue."""
        with contextlib.closing(SharedState.attach(self.run)) as state:
            return state.owner(slot_of_queue(queue))

    def queues_of(self, shard: int, prefix: str = "q") -> Iterator[str]:
        """Names of queues that a shard has, as many as are asked for."""
        with contextlib.closing(SharedState.attach(self.run)) as state:
            owners = state.slots().owners
        number = 0
        while True:
            name = f"{prefix}{number}"
            if owners[slot_of_queue(name)] == shard:
                yield name
            number += 1

    # -- its doors and words

    def connect(self, timeout_s: float = 10.0) -> socket.socket:
        """A connection over TCP, with `timeout_s` for each of its operations."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout_s)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def output(self) -> str:
        """What it has printed since its last start."""
        return self._output.text()

    def wait_output(self, text: str, timeout_s: float = START_S) -> None:
        """Wait until it has printed `text` since its last start. Raises ClusterError."""
        if not self._output.wait_for(text, timeout_s):
            raise ClusterError(f"did not say {text!r} in {timeout_s:.0f} s:\n{self.output()[-4000:]}")

    def wait_until(self, true: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
        """Look again and again until it is so. Raises ClusterError, naming `what`."""
        self._wait(true, what, timeout_s)

    def _wait(self, found: Callable[[], int], what: str, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while not (answer := found()):
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {timeout_s:.0f} s for {what}:\n{self.output()[-4000:]}")
            time.sleep(TICK_S)  # a test looks from outside: shared memory and pids have nothing to wait on
        return answer


def flashq_command() -> list[str]:
    """`flashq` of the environment that runs us."""
    script = Path(sys.executable).with_name("flashq")
    if not script.exists():
        raise ClusterError(f"{script} is not there: install flashq into this environment first (pip install -e .)")
    return [str(script)]


class _Output:
    """What a process prints, read by a thread so that its pipe never fills."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._grown = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None
        self.seen_at = 0.0

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        self._thread = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._thread.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            for line in pipe:
                self._add(line.decode("utf-8", "replace"))
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    def _add(self, line: str) -> None:
        with self._grown:
            self._parts.append(line)
            self._grown.notify_all()

    def text(self) -> str:
        with self._grown:
            return "".join(self._parts)

    def wait_for(self, text: str, timeout_s: float) -> bool:
        """False if it does not come in time, or cannot come any more."""
        with self._grown:
            self._grown.wait_for(lambda: self._ended or self._has(text), timeout_s)
            self.seen_at = time.monotonic()
            return self._has(text)

    def _has(self, text: str) -> bool:
        return text in "".join(self._parts)

    def finish(self) -> None:
        """Wait for the end of the pipe: the last child has let go of it."""
        if self._thread is not None:
            self._thread.join(5.0)
