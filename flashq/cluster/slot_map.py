"""Which shard owns each slot: the one durable answer, `slots.json` in the data folder.

Shared memory has a copy for everybody; this file is the commit point of every change. It is replaced as a
whole (written beside, synced, renamed, folder synced), so it is the old one or the new one, never half of it.

On the first start slot i goes to shard i modulo N, round robin. CRC-32 spreads queues over slots evenly
whatever the pattern. Another number of shards gives no slot another owner that need not have one (`rebalanced`).
"""

import json
import os
from pathlib import Path
from typing import Final, Literal, NamedTuple

from flashq.errors import ConfigError
from flashq.protocol.slots import SLOTS

FILE: Final = "slots.json"
FORMAT: Final = 1
Move = Literal["migration", "restore"]


class SlotMap(NamedTuple):
    """Owners by slot."""

    version: int
    """Grows with every change of an owner."""
    shards: int
    owners: tuple[int, ...]

    @property
    def slots_of_shard(self) -> tuple[int, ...]:
        """How many slots each shard has."""
        return tuple(self.owners.count(shard) for shard in range(self.shards))


def first_map(shards: int) -> SlotMap:
    """The map of a new cluster."""
    return SlotMap(1, shards, tuple(slot % shards for slot in range(SLOTS)))


def rebalanced(old: SlotMap, shards: int) -> SlotMap:
    """The next map, for another number of shards: even shares, and no slot moves that need not."""
    share, more = divmod(SLOTS, shards)
    room = [share + (shard < more) for shard in range(shards)]
    owners = [-1] * SLOTS
    for slot, owner in enumerate(old.owners):
        if owner < shards and room[owner]:
            owners[slot] = owner
            room[owner] -= 1
    vacant = (shard for shard in range(shards) for _ in range(room[shard]))
    return SlotMap(old.version + 1, shards, tuple(owner if owner >= 0 else next(vacant) for owner in owners))


def find_map(data: Path) -> SlotMap | None:
    """The map of `data`; None before the first start. Raises ConfigError if the file cannot be understood."""
    path = data / FILE
    return _parse(path) if path.exists() else None


def begin_move(data: Path, what: Move = "migration") -> None:
    """Until `write_map`, what is in `data` is part of a migration or a restore, and no cluster starts on it."""
    with (data / FILE).open("wb") as file:
        file.write(json.dumps({"moving": what}).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def broken_off(data: Path) -> str:
    """Of what `data` has a part, which was never ended ("migration", "restore"); empty: of nothing."""
    try:
        content = json.loads((data / FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return ""
    return str(content.get("moving", "")) if isinstance(content, dict) else ""


def shards_of(data: Path) -> int:
    """How many shards the data is laid out for. Raises ConfigError if it is no cluster's."""
    if not (data / FILE).exists():
        raise ConfigError(f"data = {data}: no cluster has kept anything here: there is no {FILE}")
    return _parse(data / FILE).shards


def _parse(path: Path) -> SlotMap:
    try:
        content = json.loads(path.read_bytes())
        if "moving" in content:
            again = "restore it again" if content["moving"] == "restore" else "remove it, and migrate again"
            raise ConfigError(f"{path.parent}: a {content['moving']} into this folder was broken off: {again}")
        form, version, shards, owners = (content[key] for key in ("format", "version", "shards", "owners"))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error!r}): restore it from a backup of the data folder") from error
    if form != FORMAT:
        raise ConfigError(f"{path} has format {form}, this flashq knows {FORMAT}: it was written by a later one")
    ints = isinstance(owners, list) and all(isinstance(owner, int) for owner in (version, shards, *owners))
    if not ints or len(owners) != SLOTS or not all(0 <= owner < shards for owner in owners):
        raise ConfigError(f"{path} is damaged: it needs {SLOTS} owners, each a number of a shard")
    return SlotMap(version, shards, tuple(owners))


def write_map(data: Path, slots: SlotMap) -> None:
    """Make a map the durable one. When this returns, a power cut cannot bring the old one back."""
    draft = data / (FILE + ".new")
    body = {"format": FORMAT, "version": slots.version, "shards": slots.shards, "owners": slots.owners}
    with draft.open("wb") as file:
        file.write(json.dumps(body, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(data / FILE)
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
