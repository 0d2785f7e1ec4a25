"""The process that ships the end of each journal beside the archive, once a second: no more is lost with a disk.

It asks no shard, and may be killed at any moment. Told to stop, it ships once more: the shards have ended by then.
"""

import os
import time
from pathlib import Path
from typing import Final

import structlog

from flashq.cluster.backups.making import cut_now
from flashq.cluster.backups.process import stop_ordered
from flashq.cluster.layout import shard_folder
from flashq.cluster.slot_map import SlotMap, find_map
from flashq.errors import ConfigError, StorageError
from flashq.storage.shipping import Shipper, find_mark, write_mark
from flashq.transport.child import EXIT_STOPPED, ChildContext

EVERY_S: Final = 1.0
NICE: Final = 5
"""It gives way to shards, and others that have more time give way to it."""

log = structlog.get_logger()


def run(ctx: ChildContext) -> int:
    """The whole life of the process; its exit code."""
    os.nice(NICE)
    archive_dir = ctx.settings.archive_dir
    assert archive_dir is not None
    shipping = Shipping(ctx.settings.data, archive_dir)
    ctx.control.ready()
    due = time.monotonic()
    while not stop_ordered(ctx.control, max(0.0, due - time.monotonic())):
        due = max(due + EVERY_S, time.monotonic())
        shipping.ship()
    shipping.ship()
    return EXIT_STOPPED


class Shipping:
    """All shards' shippers."""

    def __init__(self, data: Path, archive_dir: Path) -> None:
        self._data = data
        self._archive_dir = archive_dir
        self._slots: SlotMap | None = None
        self._shippers: list[Shipper] = []
        self._fault = ""
        """Why the last attempt failed, so that it is said once."""

    def ship(self) -> bool:
        """Bring all copies up to now, then say so; False, with a line in the log, if that cannot be."""
        try:
            self._ship()
        except (StorageError, ConfigError, OSError) as fault:
            if self._fault != str(fault):
                self._fault = str(fault)
                log.error("journals are not shipped", reason=self._fault)
            return False
        if self._fault:
            self._fault = ""
            log.info("journals are shipped again")
        return True

    def _ship(self) -> None:
        slots = find_map(self._data)
        if slots is None:
            raise ConfigError(f"data = {self._data}: no cluster has kept anything here")
        if slots != self._slots:
            self._begin(slots)
        cut, at_ms = cut_now()
        for shipper in self._shippers:
            shipper.ship(cut)
        if find_map(self._data) == slots:
            write_mark(self._archive_dir, at_ms, slots.version, [shipper.position for shipper in self._shippers])

    def _begin(self, slots: SlotMap) -> None:
        """Journals count anew when slots have moved."""
        mark = find_mark(self._archive_dir)
        known = mark is not None and mark.slots_version == slots.version
        positions = mark.positions if mark is not None and known else (0,) * slots.shards
        self._shippers = [
            Shipper(shard_folder(self._data, shard), shard, self._archive_dir, position=positions[shard])
            for shard in range(slots.shards)
        ]
        self._slots = slots
