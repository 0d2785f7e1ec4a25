"""Whether the tables of a shard, as they come out of a backup, are whole and what its manifest says."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from flashq.cluster.backups.manifest import ShardPart
from flashq.engine.queues import Queue
from flashq.engine.settings import Limits
from flashq.errors import JournalCorrupt
from flashq.protocol.slots import SLOTS
from flashq.storage.inspection import inspect_tables
from flashq.storage.packing import unpack
from flashq.storage.resuming import ThinRestoring
from flashq.storage.schema import FILE
from flashq.storage.thin import ThinEngine

STATES: Final[Mapping[str, Callable[[Queue], int]]] = {
    "waiting": lambda queue: queue.waiting,
    "delayed": lambda queue: queue.delayed,
    "active": lambda queue: queue.active,
    "held": lambda queue: queue.held,
    "completed": lambda queue: queue.completed,
    "dead": lambda queue: queue.dead_count,
}


def counts_in(folder: Path, shard: int, slots: Collection[int] = range(SLOTS)) -> dict[str, int]:
    """Jobs by state in a shard's tables, every row of which was tried. Raises JournalCorrupt if anything is wrong.

    `slots`: those that count; a shard may still have what it has given to another one, or have it before it is its own.
    Payloads are looked at and not kept, so that this takes less memory than the shard.
    """
    engine = ThinEngine(Limits())
    for finding in inspect_tables(folder, shard, engine=engine, restoring=ThinRestoring):
        raise JournalCorrupt(f"shard {shard}: {finding}")
    queues = [queue for queue in engine.queues.values() if queue.slot.no in slots]
    return {"queues": len(queues), **{name: sum(map(count, queues)) for name, count in STATES.items()}}


def unpack_shard(backup: Path, part: ShardPart, into: Path) -> None:
    """The tables of a shard again, in the new folder `into`, and tried. Raises JournalCorrupt, with the file's name."""
    into.mkdir(parents=True)
    unpack(backup, part.tables, into / FILE)
    found = counts_in(into, part.shard)
    if found != part.counts:
        raise JournalCorrupt(f"{backup / part.tables.name} is damaged: it has {found} instead of {part.counts}")
