"""The process that makes backups at their time. It gives way to all others, and may be killed at any moment.

An order to stop ends it at once, whatever it is doing: what a backup in the making leaves is removed by the next one.
"""

import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Final

import structlog

from flashq.cluster.backups import shelf
from flashq.cluster.backups.making import back_up
from flashq.cluster.backups.manifest import read_manifest
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
            if _stop_ordered(ctx.control, min(wait_s, LOOK_S)):
                return EXIT_STOPPED
            continue
        done, theirs = socket.socketpair()
        threading.Thread(target=_make, args=(ctx.settings, folder, theirs), daemon=True).start()
        if _stop_ordered(ctx.control, None, done):
            os._exit(EXIT_STOPPED)
        done.close()
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


def _stop_ordered(control: Control, wait_s: float | None, done: socket.socket | None = None) -> bool:
    """Wait for the order to stop, so long, or until there is something in `done`; whether it came."""
    deadline = time.monotonic() + wait_s if wait_s is not None else None
    while True:
        left = max(0.0, deadline - time.monotonic()) if deadline is not None else None
        watched: list[Control | socket.socket] = [control] if done is None else [control, done]
        ready, _, _ = select.select(watched, [], [], left)
        if control in ready and any(isinstance(order, Stop) for order in control.orders()):
            return True
        if not ready or done in ready:
            return False


def _make(settings: Settings, folder: Path, done: socket.socket) -> None:
    """In a thread: one backup, and what became of it in the log."""
    try:
        began = time.monotonic()
        made = back_up(settings, folder, keep=settings.backup_keep)
        log.info(
            "backup made", backup=made.manifest.name, stored_bytes=made.manifest.stored, removed=len(made.removed),
            took_ms=int((time.monotonic() - began) * 1_000),
        )  # fmt: skip
    except FlashqError as fault:
        log.error("backup failed, older ones are kept", reason=str(fault))
    except Exception:  # the last frame of a thread: the log has it, and the next backup is tried at its time
        log.exception("backup failed, older ones are kept")
    finally:
        done.close()
