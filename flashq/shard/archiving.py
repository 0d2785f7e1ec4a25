"""The archives of all shards' journals, for whoever folds: the checkpointer, or a start that moves slots."""

import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from flashq.config import Settings
from flashq.storage.archive import Archive, Kept, Point

Segment = tuple[int, int, str]

log = structlog.get_logger()


class Archiving:
    """Opens each archive when it is first needed. One thread."""

    def __init__(self, settings: Settings, *, at: Point = bool) -> None:
        self._folder = settings.archive_dir
        self._key = settings.archive_key
        self._kept = Kept(settings.archive_keep_ms, settings.archive_keep_bytes)
        self._at = at
        self._archives: dict[int, Archive] = {}

    @property
    def wanted(self) -> bool:
        """Whether anything is archived."""
        return self._folder is not None

    def keep(self, shard: int, segments: Sequence[Segment]) -> None:
        """Archive these closed segments, as `Journal.sealed` has them, where archives are wanted.

        To be done before anything of them is folded. Raises StorageError.
        """
        if self._folder is None or not segments:
            return
        archive = self._open(self._folder, shard)
        if sum(archive.add(*segment) for segment in segments):
            self._trim(shard, archive)

    def _open(self, folder: Path, shard: int) -> Archive:
        archive = self._archives.get(shard)
        if archive is None:
            archive = self._archives[shard] = Archive.open(
                archive_folder(folder, shard), shard, key=self._key, kept=self._kept, at=self._at
            )
        return archive

    def trim(self) -> None:
        """Give back what was kept for long enough, of shards that are no more, too. Raises StorageError."""
        if self._folder is None or not self._folder.is_dir():
            return
        for place in sorted(self._folder.glob("shard-*")):
            number = place.name.removeprefix("shard-")
            if number.isdigit():
                self._trim(int(number), self._open(self._folder, int(number)))

    def _trim(self, shard: int, archive: Archive) -> None:
        gone = archive.trim(time.time_ns() // 1_000_000)
        if gone:
            log.info("archive trimmed", shard=shard, segments=len(gone), records=f"{gone[0].first} to {gone[-1].last}")

    def close(self) -> None:
        """Give all archives back. Twice does no harm."""
        for archive in self._archives.values():
            archive.close()
        self._archives.clear()


def archive_folder(archive_dir: Path, shard: int) -> Path:
    """Where the archive of a shard is."""
    return archive_dir / f"shard-{shard:02}"
