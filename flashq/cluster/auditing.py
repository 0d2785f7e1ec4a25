"""Who did what when, over all shards: what archives and journals say, in the order of time, as far as asked for."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flashq.cluster.doctor import slots_of
from flashq.cluster.layout import shard_folder
from flashq.config import Settings
from flashq.errors import CheckpointTooNew, JournalCorrupt
from flashq.protocol.slots import SLOTS, slot_of_queue
from flashq.shard.archiving import archive_folder
from flashq.storage.archive_reader import inspect_archive
from flashq.storage.audit import Source, learn_pages
from flashq.storage.deeds import Deed, Queues, deeds, has_job
from flashq.storage.findings import Finding
from flashq.storage.recovery import Tables
from flashq.storage.sites import ReadOnlySite


class Asked(NamedTuple):
    """What an audit is about; what is not given is not asked."""

    queue: str = ""
    job: int = 0
    since_ms: int = 0


class Audit:
    """One audit of a data folder and its archive. Raises ConfigError if it is no cluster's."""

    def __init__(self, settings: Settings) -> None:
        self._data = settings.data
        self._archive_dir = settings.archive_dir
        self._key = settings.archive_key
        self._sources: list[Source] = []
        self.shards = sorted({*range(slots_of(settings.data).shards), *self._archived_shards()})

    def _archived_shards(self) -> Iterator[int]:
        """Also those that are no more, as their slots were moved."""
        if self._archive_dir is not None:
            for place in self._archive_dir.glob("shard-*"):
                if place.name.removeprefix("shard-").isdigit():
                    yield int(place.name.removeprefix("shard-"))

    def deeds(self, asked: Asked) -> Iterator[Deed]:
        """In the order of time. Raises JournalCorrupt where an archived segment is not what it was."""
        queues = Queues()
        skipped = 0 if asked.queue or asked.job else asked.since_ms  # else pages' queues have to be known
        self._sources = []
        for shard in self.shards:
            folder = shard_folder(self._data, shard)
            learn_pages(folder, shard, queues)
            archive = archive_folder(self._archive_dir, shard) if self._archive_dir is not None else None
            self._sources.append(Source(shard, folder, archive, from_ms=skipped))
        lines = [_deeds_of(source, queues) for source in self._sources]
        for deed in heapq.merge(*lines, key=lambda deed: (deed.at_ms, deed.shard, deed.record)):
            if deed.at_ms >= asked.since_ms:
                fitting = _fitting(deed, asked, queues)
                if fitting is not None:
                    yield fitting

    def gaps(self) -> list[str]:
        """After `deeds`: what is neither in an archive nor in a journal, in words."""
        return [
            f"shard {source.shard}: records {first} to {last} were not archived"
            for source in self._sources
            for first, last in source.gaps
        ]

    def verify(self) -> Iterator[tuple[int, Finding]]:
        """All that is wrong with the archives: (shard, what)."""
        if self._archive_dir is None:
            return
        for shard in self.shards:
            folder = archive_folder(self._archive_dir, shard)
            position = _position(shard_folder(self._data, shard), shard)
            if position or folder.exists():
                for finding in inspect_archive(folder, shard, self._key, tables_position=position):
                    yield shard, finding


def _position(folder: Path, shard: int) -> int:
    try:
        tables = Tables.find(ReadOnlySite(folder, shard))
    except (JournalCorrupt, CheckpointTooNew):
        return 0  # what is wrong with tables is for the doctor to say
    if tables is None:
        return 0
    tables.close()
    # Record 1 of tables that slots were moved into stands for no event.
    return tables.position if tables.position > 1 else 0


def _deeds_of(source: Source, queues: Queues) -> Iterator[Deed]:
    for record in source.records():
        yield from deeds(record, source.shard, queues)


def _fitting(deed: Deed, asked: Asked, queues: Queues) -> Deed | None:
    """The deed, with the jobs that are asked for; None if it is about others."""
    if asked.job:
        queue_wide = (
            not deed.jobs and deed.queue and deed.queue == queues.of(asked.job)
            and asked.job >> 20 < deed.details.get("below_page", 0)
        )  # fmt: skip
        if not (has_job(deed.jobs, asked.job) or queue_wide):
            return None
        return deed._replace(jobs=[(asked.job, 1)] if deed.jobs else [])
    if not asked.queue:
        return deed
    if deed.queue == asked.queue and not deed.jobs:
        return deed
    jobs = [
        run for run in deed.jobs if run[0] % SLOTS == slot_of_queue(asked.queue) and queues.of(run[0]) == asked.queue
    ]
    return deed._replace(queue=asked.queue, jobs=jobs) if jobs else None
