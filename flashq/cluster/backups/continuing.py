"""From a backup on, to a later moment: what was archived and shipped since is folded into what was unpacked."""

from pathlib import Path
from typing import NamedTuple

from flashq.cluster.backups.manifest import Manifest
from flashq.cluster.backups.shelf import Point, shown
from flashq.cluster.layout import shard_folder
from flashq.engine.settings import Limits
from flashq.errors import ConfigError
from flashq.storage.checkpointer import Checkpointer
from flashq.storage.shipped_records import Behind, cut_at, until
from flashq.storage.shipping import find_mark
from flashq.storage.sites import FileSite


class Archived(NamedTuple):
    """What is to be added to a backup from an archive."""

    folder: Path
    key: str
    at_ms: int | None
    """Up to this wall time; None: all that was shipped."""


class Continuing:
    """What all shards did between a backup and a moment."""

    def __init__(self, manifest: Manifest, archived: Archived) -> None:
        """Raises ConfigError where the archive does not reach from the one to the other, StorageError."""
        mark = find_mark(archived.folder)
        if mark is None:
            raise ConfigError(f"archive {archived.folder}: nothing was shipped here")
        if mark.slots_version != manifest.slots_version:
            raise ConfigError(
                f"archive {archived.folder}: slots moved between the backup of "
                f"{manifest.name} and what was shipped last: take a backup from after that"
            )
        self.at_ms = mark.at_ms if archived.at_ms is None else archived.at_ms
        """What had been decided by then will be there."""
        if not manifest.cut_ms <= self.at_ms <= mark.at_ms:
            raise ConfigError(
                f"restore: the moment is {shown(self.at_ms)}: allowed is one from {shown(manifest.cut_ms)}, when the "
                f"backup was made, to {shown(mark.at_ms)}, up to which the archive was shipped"
            )
        self._whole = archived.at_ms is None
        self._behind = [
            Behind(
                archived.folder, part.shard, archived.key, position=part.position, at_ms=part.at_ms,
                through=max(part.position, mark.positions[part.shard]),
            )
            for part in manifest.shards
        ]  # fmt: skip

    def fold(self, work: Path, at: Point) -> None:
        """Into the tables that were unpacked to `work`. Raises JournalCorrupt where something is missing or damaged."""
        cut = None if self._whole else cut_at(self._behind, self.at_ms)
        if cut is None and not self._whole:
            return  # nothing was done since the backup
        for shard, behind in enumerate(self._behind):
            checkpointer = Checkpointer(FileSite(shard_folder(work, shard), shard), Limits())
            try:
                records = behind.records()
                checkpointer.fold_records(records if cut is None else until(records, cut, self.at_ms))
            finally:
                checkpointer.close()
            at(f"continued {shard}")
