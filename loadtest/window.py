"""Window drivers: connections with a fixed number of requests in flight on each.

The compiled one (window.c, built with the machine's `cc` on first use) is what the table wants; where there is no
compiler, the one in Python does the same, and the table says so: its rows are then bounded by the client.
"""

import ctypes
import functools
import os
import select
import shutil
import subprocess
import tempfile
from array import array
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from time import perf_counter_ns
from typing import Final, NamedTuple, Protocol

from loadtest.sockets import RECEIVE_BYTES, SILENCE_S, Line, Requests, SilentServerError

REPLY_BYTES_MIN: Final = 12
"""No reply to a push is shorter, whoever answers."""
SOURCE: Final = Path(__file__).with_name("window.c")
ERRORS: Final = {
    -1: "the server closed the connection",
    -2: f"no reply in {SILENCE_S:.0f} s",
    -3: "replies are too long",
}


class Ending(NamedTuple):
    """How the end of a reply is seen: the byte that is its last one, as often as it is in a reply."""

    byte: bytes = b"\n"
    times: int = 1
    reply_bytes_max: int = 400
    """No reply is longer on average."""


LINE: Final = Ending()
"""A reply is a line."""


class Replies(NamedTuple):
    """What came back of a run."""

    elapsed_ns: int
    latencies_ns: Sequence[int]
    """One a request."""
    received: bytes
    """All replies, connection by connection."""


class Driver(Protocol):
    """Sends all requests, each as soon as there is room for it, and waits for all replies.

    Raises SilentServerError.
    """

    def __call__(self, lines: list[Line], depth: int, requests: Requests, ending: Ending = LINE) -> Replies: ...


def driver() -> Driver:
    """The best there is on this machine."""
    return run_python if library() is None else run_compiled


def run_compiled(lines: list[Line], depth: int, requests: Requests, ending: Ending = LINE) -> Replies:
    """The driver in C."""
    built = library()
    assert built is not None
    count, total = len(lines), requests.count
    room = (total if count == 1 else total * 4 // count) * ending.reply_bytes_max
    took = (ctypes.c_int64 * total)()
    replies = ctypes.create_string_buffer(room * count)
    received = (ctypes.c_long * count)()
    chunk = max(depth // 4, 1)
    job = _Job(
        requests.blob, requests.size, total, depth, chunk, chunk * REPLY_BYTES_MIN, took, ctypes.addressof(replies),
        room, received, ending.byte[0], ending.times,
    )  # fmt: skip
    elapsed = ctypes.c_int64()
    fds = (ctypes.c_int * count)(*(line.fileno() for line in lines))
    result = built.window_run(ctypes.byref(job), fds, count, ctypes.byref(elapsed))
    if result:
        raise SilentServerError(ERRORS.get(result, "a system call failed"))
    view = memoryview(replies)
    parts = [view[at * room : at * room + received[at]] for at in range(count)]
    return Replies(elapsed.value, array("q", bytes(took)), b"".join(parts))


class _Job(ctypes.Structure):
    """`struct job` of window.c."""

    _fields_ = [
        ("requests", ctypes.c_char_p),
        ("size", ctypes.c_long),
        ("total", ctypes.c_long),
        ("depth", ctypes.c_int),
        ("chunk", ctypes.c_int),
        ("low_water", ctypes.c_int),
        ("took_ns", ctypes.POINTER(ctypes.c_int64)),
        ("replies", ctypes.c_void_p),
        ("room", ctypes.c_long),
        ("received", ctypes.POINTER(ctypes.c_long)),
        ("end", ctypes.c_int),
        ("ends", ctypes.c_int),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """window.c, built; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(prefix="flashq-window-") as folder:
        built = os.fspath(Path(folder) / "window.so")
        subprocess.run([compiler, "-O2", "-std=gnu11", "-shared", "-fPIC", "-o", built, os.fspath(SOURCE)], check=True)
        return ctypes.CDLL(built)


def run_python(lines: list[Line], depth: int, requests: Requests, ending: Ending = LINE) -> Replies:
    """The driver in Python: about 10 us a request from 50 connections, a tenth of that 64 deep."""
    run = _PythonRun(lines, depth, requests, ending)
    with select.epoll() as poll:
        for fd in run.sockets:
            poll.register(fd, select.EPOLLIN)
        return run.drive(poll)


class _PythonRun:
    def __init__(self, lines: list[Line], depth: int, requests: Requests, ending: Ending) -> None:
        self.sockets = {line.fileno(): line for line in lines}
        self.depth = depth
        self.requests = requests
        self.view = memoryview(requests.blob)
        self.sent = 0
        self.flying: dict[int, deque[tuple[int, int]]] = {fd: deque() for fd in self.sockets}
        """Runs of requests sent at one moment: (when, how many)."""
        self.got: dict[int, list[bytes]] = {fd: [] for fd in self.sockets}
        self.took: list[int] = []
        self.ending = ending
        self.ends = dict.fromkeys(self.sockets, 0)
        """Ends that were seen of a reply that is not whole yet."""

    def drive(self, poll: select.epoll) -> Replies:
        start = perf_counter_ns()
        for fd in self.sockets:
            self.send(fd, self.depth)
        while len(self.took) < self.requests.count:
            ready = poll.poll(SILENCE_S)
            if not ready:
                raise SilentServerError(ERRORS[-2])
            for fd, _ in ready:
                data = self.sockets[fd].receive(RECEIVE_BYTES)
                if not data:
                    raise SilentServerError(ERRORS[-1])
                count, self.ends[fd] = divmod(self.ends[fd] + data.count(self.ending.byte), self.ending.times)
                self.got[fd].append(data)
                self.land(fd, count)
                self.send(fd, count)
        elapsed = perf_counter_ns() - start
        return Replies(elapsed, self.took, b"".join(chunk for chunks in self.got.values() for chunk in chunks))

    def send(self, fd: int, count: int) -> None:
        count = min(count, self.requests.count - self.sent)
        if not count:
            return
        size, at = self.requests.size, self.sent
        self.flying[fd].append((perf_counter_ns(), count))
        self.sockets[fd].send(self.view[at * size : (at + count) * size])
        self.sent += count

    def land(self, fd: int, count: int) -> None:
        """Take `count` replies, in order, off what is in flight."""
        moment, flying = perf_counter_ns(), self.flying[fd]
        while count:
            since, run = flying.popleft()
            if run > count:
                flying.appendleft((since, run - count))
                run = count
            self.took.extend(repeat(moment - since, run))
            count -= run
