"""The process that makes backups at their time. It gives way to all others, and may be killed at any moment.

An order to stop ends it at once, whatever it is doing: what a backup in the making leaves is removed by the next one.
"""

import os
import select
import signal
import time
from pathlib import Path
from typing import Final

import structlog

from flashq.cluster.backups import shelf
from flashq.cluster.backups.making import back_up
from flashq.cluster.backups.manifest import read_manifest
from flashq.cluster.children import how_it_ended
from flashq.cluster.linux import die_with_parent, set_process_name
from flashq.config import Settings
from flashq.errors import FlashqError, StorageError
from flashq.transport.child import EXIT_STOPPED, ChildContext, Control, Stop

NICE: Final = 19
RETRY_MS: Final = 60_000
"""A backup that failed is tried again so soon, if its time does not come sooner."""
LOOK_S: Final = 60.0
"""The wall clock may be set: it is looked at so often."""

log = structlog.get_logger()


def run(ctx: ChildContext) -> int:
    """The whole life of the process; its exit code."""
    os.nice(NICE)
    folder = ctx.settings.backup_dir
    assert folder is not None
    ctx.control.ready()
    due_ms = next_due_ms(folder, ctx.settings.backup_every_ms)
    while True:
        wait_s = (due_ms - _wall_ms()) / 1_000
        if wait_s > 0:
            if stop_ordered(ctx.control, min(wait_s, LOOK_S)):
                return EXIT_STOPPED
            continue
        if not _ended(ctx.control, _begun(ctx.settings, folder)):
            return EXIT_STOPPED
        due_ms = next_due_ms(folder, ctx.settings.backup_every_ms)
        if due_ms <= _wall_ms():  # it failed
            due_ms = _wall_ms() + min(RETRY_MS, ctx.settings.backup_every_ms)


def next_due_ms(folder: Path, every_ms: int) -> int:
    """When the next backup is to be made: at once where there is none yet, or the latest cannot be read."""
    found = shelf.backups(folder)
    if not found:
        return 0
    try:
        return read_manifest(found[-1]).cut_ms + every_ms
    except StorageError as fault:
        log.error("the latest backup cannot be read", reason=str(fault))
        return 0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _begun(settings: Settings, folder: Path) -> int:
    """Have a backup made by a process of its own, so that its memory is given back; the pid."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 70  # for what not even a log line could be written about
        try:
            die_with_parent(parent)
            set_process_name("flashq-backup")
            code = _make(settings, folder)
        finally:
            os._exit(code)
    return pid


def _ended(control: Control, pid: int) -> bool:
    """Wait for the end of a backup; False if the order to stop came before, which ends it."""
    pidfd = os.pidfd_open(pid)
    try:
        ended = not stop_ordered(control, None, pidfd)
    finally:
        os.close(pidfd)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if ended and code not in (0, 1):
        log.error("backup failed, older ones are kept", reason=how_it_ended(code))
    return ended


def stop_ordered(control: Control, wait_s: float | None, done: int | None = None) -> bool:
    """Wait for the order to stop, so long, or until descriptor `done` is readable; whether it came."""
    deadline = time.monotonic() + wait_s if wait_s is not None else None
    while True:
        left = max(0.0, deadline - time.monotonic()) if deadline is not None else None
        watched: list[Control | int] = [control] if done is None else [control, done]
        ready, _, _ = select.select(watched, [], [], left)
        if control in ready and any(isinstance(order, Stop) for order in control.orders()):
            return True
        if not ready or done in ready:
            return False


def _make(settings: Settings, folder: Path) -> int:
    """One backup, and what became of it in the log; the exit code."""
    try:
        began = time.monotonic()
        made = back_up(settings, folder, keep=settings.backup_keep)
    except FlashqError as fault:
        log.error("backup failed, older ones are kept", reason=str(fault))
        return 1
    except Exception:  # the last frame of a process of its own: the log has it
        log.exception("backup failed, older ones are kept")
        return 1
    log.info(
        "backup made", backup=made.manifest.name, stored_bytes=made.manifest.stored, removed=len(made.removed),
        took_ms=int((time.monotonic() - began) * 1_000),
    )  # fmt: skip
    return 0
