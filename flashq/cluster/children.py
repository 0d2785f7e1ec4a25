"""Children: how one is born, what it says, how it ends. The supervisor decides; this carries out.

A child is forked from the supervisor, which has everything imported and runs no thread, event loop or ZeroMQ
context: what those leave in memory does not survive a fork. So a child costs two milliseconds, not the half
second of a fresh interpreter, and shares the pages of all code (`gc.freeze` keeps the collector off them).
"""

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from flashq.cluster.backoff import Backoff
from flashq.cluster.linux import close_all_but, die_with_parent, set_process_name
from flashq.cluster.roles import Component
from flashq.errors import CheckpointTooNew, ConfigError, JournalCorrupt
from flashq.transport.child import (
    EXIT_REFUSED,
    EXIT_STOPPED,
    ChildContext,
    Control,
    Report,
    Sent,
    control_pair,
    decode_report,
    encode,
)
from flashq.transport.shared_memory import ProcessState

log = structlog.get_logger()
SUPERVISED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that mean the supervisor."""
EXIT_FAILED: Final = 1
"""An exception of ours that nobody expected."""
_PACKET_BYTES: Final = 16 * 1024
_PERMANENT: Final = (ConfigError, JournalCorrupt, CheckpointTooNew)
"""What a restart cannot cure."""


class Child:
    """One component and, while it lives, its process."""

    def __init__(self, component: Component, row: int) -> None:
        self.component = component
        self.name = component.name
        self.row = row
        """In the shared state."""
        self.state = ProcessState.DOWN
        self.since_ms = 0
        """Wall time of the last change of `state`."""
        self.started_mono_ms = 0
        self.ready_mono_ms = 0
        """0 until this incarnation serves."""
        self.probed_mono_ms = 0
        """Since when an answer to a `Probe` is due; 0: none is."""
        self.reason = ""
        """Why it is down, or refused."""
        self.note = ""
        self.restarts = 0
        self.backoff = Backoff()
        self.incarnation = 0
        self.pid = 0
        self.pidfd = -1
        self.control: socket.socket | None = None
        self._unsent: deque[bytes] = deque()

    @property
    def alive(self) -> bool:
        """It has a process."""
        return self.pid != 0

    def born(self, pid: int, incarnation: int, control: socket.socket, mono_ms: int) -> None:
        """Note the process it now has."""
        self.pid, self.incarnation, self.control = pid, incarnation, control
        self.pidfd = os.pidfd_open(pid)
        self.started_mono_ms, self.ready_mono_ms, self.note, self.reason = mono_ms, 0, "", ""
        self.probed_mono_ms = 0
        control.setblocking(False)

    def kill(self) -> None:
        """Kill -9; its death is then noticed like any other. Does nothing if it does not live."""
        if self.alive:
            # By descriptor: the number may be another process's by now.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def tell(self, orders: Iterable[Sent]) -> bool:
        """Send orders, never waiting; True if some have to wait until its socket is writable (`flush`)."""
        if self.control is not None:
            self._unsent.extend(encode(order) for order in orders)
        return self.flush()

    def flush(self) -> bool:
        """Send what had to wait; True if some still has to."""
        while self._unsent and self.control is not None:
            try:
                self.control.send(self._unsent[0])
            except BlockingIOError:
                return True
            except ConnectionError:
                # It is dying; its death is noticed by its descriptor.
                self._unsent.clear()
                return False
            self._unsent.popleft()
        return False

    def reports(self) -> tuple[list[Report], bool]:
        """What it has said, and whether it may say more."""
        found: list[Report] = []
        while self.control is not None:
            try:
                packet = self.control.recv(_PACKET_BYTES)
            except BlockingIOError:
                return found, True
            except ConnectionError:
                packet = b""
            if not packet:
                return found, False
            found.append(decode_report(packet))
        return found, False

    def buried(self) -> int:
        """Reap a process that has ended; its exit code, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        if self.control is not None:
            self.control.close()
        self.pid, self.pidfd, self.control = 0, -1, None
        self._unsent.clear()
        return os.waitstatus_to_exitcode(status)


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return "ended without being asked to" if code == EXIT_STOPPED else f"ended with exit code {code}"


def spawn(
    component: Component, make_context: Callable[[Control], ChildContext], keep: set[int]
) -> tuple[int, socket.socket]:
    """Fork a child; its pid and our end of its control socket. `keep`: descriptors it has besides that socket."""
    ours, theirs = control_pair()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal to the whole group must not meet a child that still has our handlers, and our wake-up socket.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISED)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        code = 70  # for what not even a log line could be written about
        try:
            die_with_parent(parent)
            _reset_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            code = _live(component, make_context(Control(theirs)), keep | {theirs.fileno()})
        finally:
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return pid, ours


def _live(component: Component, ctx: ChildContext, keep: set[int]) -> int:
    """The child's whole life; its exit code."""
    set_process_name(f"flashq-{ctx.name}")
    close_all_but(keep)
    structlog.contextvars.bind_contextvars(process=ctx.name)
    try:
        code = component.role.run(ctx)
    except _PERMANENT as error:
        ctx.control.refused(str(error))
        code = EXIT_REFUSED
    except BaseException as error:
        log.exception("process failed")
        ctx.control.failed(f"{type(error).__name__}: {error}")
        code = EXIT_FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _reset_signals() -> None:
    """Ctrl-C, and a service manager that signals the whole group, mean the supervisor: it stops us in order."""
    signal.set_wakeup_fd(-1)
    for number in SUPERVISED:
        signal.signal(number, signal.SIG_IGN)


def preload(modules: Iterable[str]) -> None:
    """Make this process worth forking: import what children use, and take all of it out of the collector's way."""
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def mono_ms() -> int:
    """Monotonic time in milliseconds: what heartbeats and back-offs are measured in."""
    return time.monotonic_ns() // 1_000_000
