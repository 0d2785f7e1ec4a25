"""KVMGET and KVMSET: each key is asked of, or stored by, the shard that has its slot.

KVMGET answers in the order of its keys. Its reply is bounded in bytes: beyond that it ends early, after one value at
least, and says `"truncated": true`; the rest is to be asked for again. KVMSET stores nothing at all if any entry is
invalid; if a shard is away its entries are named in `errors`, and the others are stored.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from flashq.engine import kv
from flashq.errors import LimitExceeded, OutOfMemory, ShardDown
from flashq.protocol.codec import check_binary, raw
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue
from flashq.shard.gathering import Part, gather
from flashq.shard.verbs import Fields, Request

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


def get_many(here: "ShardDispatcher", request: Request) -> Fields | None:
    """KVMGET."""
    keys, most = request.command.keys, here.engine.limits.max_batch
    if len(keys) > most:
        raise LimitExceeded(f"Too many keys ({len(keys)} > {most})")
    owners = _owners(here, keys, request)
    shards = dict.fromkeys(owners)
    if shards.keys() <= {here.shard}:
        return _values(here, keys, request.codec)
    of = {shard: [key for key, owner in zip(keys, owners, strict=True) if owner == shard] for shard in shards}
    bound = here.engine.limits.reply_bytes_max

    def merge(parts: list[Part], silent: list[int]) -> Fields:
        return _merged(owners, parts, silent, bound)

    asked: dict[int, Fields | None] = {shard: {"cmd": "KVMGET", "keys": some} for shard, some in of.items()}
    gather(here, request, asked, lambda: _values(here, of[here.shard], request.codec), merge)
    return None


def _owners(here: "ShardDispatcher", keys: Iterable[str], request: Request) -> list[int]:
    """The shard of each key; a part of another shard's command is all ours."""
    if request.local:
        return [here.shard for _ in keys]
    return [here.owner_of(slot_of_queue(key)) for key in keys]


def _values(here: "ShardDispatcher", keys: list[str], codec: int) -> Fields:
    engine = here.engine
    values: list[Raw | None] = []
    size = 0
    for key in keys:
        entry = kv.find(engine, key)
        if entry is None:
            values.append(None)
            continue
        size += len(entry.value)
        if values and size > engine.limits.reply_bytes_max:
            return {"values": values, "truncated": True}
        values.append(raw(entry.value, entry.codec, codec))
    return {"values": values}


def _merged(owners: list[int], parts: list[Part], silent: list[int], bound: int) -> Fields:
    """Values in the order in which they were asked for, up to the first that is not there or has no room."""
    left = {part.shard: iter(part.get("values", list[Raw])) for part in parts}
    values: list[Raw | None] = []
    size = 0
    for owner in owners:
        if owner in silent:
            values.append(None)
            continue
        value = next(left[owner], None)
        size += len(bytes(value)) if value is not None else 0
        if value is None or (values and size > bound):
            return {"values": values, "truncated": True}
        values.append(value)
    return {"values": values}


def set_many(here: "ShardDispatcher", request: Request) -> Fields | None:
    """KVMSET."""
    command, limits = request.command, here.engine.limits
    if len(command.entries) > limits.max_batch:
        raise LimitExceeded(f"Too many entries ({len(command.entries)} > {limits.max_batch})")
    puts = [_put(k, entry, request.codec) for k, entry in enumerate(command.entries)]
    kv.check_puts(limits, puts, batch=True)
    owners = _owners(here, (put.key for put in puts), request)
    shards = dict.fromkeys(owners)
    if shards.keys() <= {here.shard}:
        return _store(here, puts)
    of = {shard: [put for put, owner in zip(puts, owners, strict=True) if owner == shard] for shard in shards}

    def merge(parts: list[Part], silent: list[int]) -> Fields:
        fields: dict[str, Any] = {"count": sum(part.get("count", int, 0) for part in parts)}
        if silent:
            fields["errors"] = [_away(k, owner) for k, owner in enumerate(owners) if owner in silent]
        return fields

    asked = {shard: _part(some, command.idempotency_key) for shard, some in of.items()}
    gather(here, request, asked, lambda: _store(here, of[here.shard]), merge)
    return None


def _put(k: int, entry: Any, codec: int) -> kv.Put:
    value = bytes(entry.value)
    if codec == Codec.BINARY:
        value = check_binary(value, f"entries[{k}].value")
    return kv.Put(entry.key, codec, value, entry.ttl)


def _store(here: "ShardDispatcher", puts: list[kv.Put]) -> Fields:
    if here.refusal:
        raise OutOfMemory(here.refusal)
    kv.put_all(here.engine, puts)
    return {"count": len(puts)}


def _part(puts: list[kv.Put], key: str | None) -> Fields:
    """A smaller KVMSET; it takes its idempotency key along, so that each shard does its part once."""
    entries = [{"key": put.key, "value": Raw(put.value), "ttl": put.ttl_ms} for put in puts]
    return {"cmd": "KVMSET", "entries": entries, "idempotency_key": key}


def _away(index: int, shard: int) -> Fields:
    return {"index": index, "error": f"Shard {shard} is unavailable", "code": str(ShardDown.code)}
