"""What a backup says of itself: `manifest.json`, its last file, sealed by a SHA-256 of its own."""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from flashq.cluster.slot_map import SlotMap
from flashq.errors import CheckpointTooNew, JournalCorrupt, StorageError
from flashq.storage.packing import Packed

FORMAT: Final = 1
FILE: Final = "manifest.json"


class ShardPart(msgspec.Struct, frozen=True):
    """One shard's state, at a record of its journal."""

    shard: int
    position: int
    """The last record that is in it; 0: the shard had none."""
    at_ms: int
    """Wall time of that record."""
    counts: dict[str, int]
    """Jobs by state, and queues."""
    tables: Packed


class Manifest(msgspec.Struct, frozen=True):
    """One backup."""

    format: int
    flashq: str
    """The version that made it."""
    name: str
    cut_ms: int
    """Wall time of the cut: what all shards had decided by then is in it, and nothing else."""
    made_ms: int
    """When it was whole."""
    epoch: int
    """The last one that was drawn."""
    slots_version: int
    owners: tuple[int, ...]
    shards: tuple[ShardPart, ...]
    tokens: Packed | None
    """The book of tokens, if there was one."""
    sha256: str = ""
    """Of this document without it."""

    @property
    def slots(self) -> SlotMap:
        """Which shard had which slot."""
        return SlotMap(self.slots_version, len(self.shards), self.owners)

    @property
    def stored(self) -> int:
        """Bytes of all its files."""
        return sum(part.tables.stored for part in self.shards) + (self.tokens.stored if self.tokens else 0)

    @property
    def counts(self) -> dict[str, int]:
        """Of all shards."""
        total: dict[str, int] = {}
        for part in self.shards:
            for name, count in part.counts.items():
                total[name] = total.get(name, 0) + count
        return total


class _Versioned(msgspec.Struct):
    """What every format has."""

    format: int


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Seal it and write it. On disk when it returns. Raises OSError."""
    sealed = msgspec.structs.replace(manifest, sha256=_digest(manifest))
    with (folder / FILE).open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return sealed


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the backup in `folder`.

    Raises StorageError where there is none, JournalCorrupt if it is damaged, CheckpointTooNew for a later format.
    """
    path = folder / FILE
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise StorageError(f"{folder} is no backup: {path} cannot be read: {fault.strerror}") from fault
    try:
        found = msgspec.json.decode(content, type=_Versioned).format
        if found > FORMAT:
            raise CheckpointTooNew(f"{path} has format {found}, this flashq reads up to {FORMAT}: use a later flashq")
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise JournalCorrupt(f"{path} is damaged: {fault}") from fault
    if manifest.sha256 != _digest(manifest):
        raise JournalCorrupt(f"{path} is damaged: it has another SHA-256 than was written")
    return manifest


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(manifest, sha256=""))).hexdigest()
