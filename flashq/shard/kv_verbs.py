"""KVSET, KVGET, KVDEL, KVEXISTS, KVEXPIRE, KVTTL, KVINCR, KVKEYS; those of many keys are in kv_batches.py."""

from typing import TYPE_CHECKING, Any, Final

from flashq.engine import kv
from flashq.errors import OutOfMemory
from flashq.protocol import commands as c
from flashq.protocol.codec import check_binary, raw
from flashq.protocol.dispatch import Codec
from flashq.shard import kv_batches, kv_keys
from flashq.shard.verbs import Fields, Request, Verb, by_key

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


def _set(here: "ShardDispatcher", request: Request) -> Fields:
    command, engine = request.command, here.engine
    kv.check_key(command.key)
    value = bytes(command.value)
    if request.codec == Codec.BINARY:
        value = check_binary(value, "value")
    put = kv.Put(command.key, request.codec, value, command.ttl)
    kv.check_puts(engine.limits, [put], batch=False)
    if here.refusal:
        raise OutOfMemory(here.refusal)
    kv.put_all(engine, [put])
    return {}


def _get(here: "ShardDispatcher", request: Request) -> Fields:
    entry = kv.find(here.engine, request.command.key)
    return {"value": raw(entry.value, entry.codec, request.codec) if entry is not None else None}


def _delete(here: "ShardDispatcher", request: Request) -> Fields:
    return {"exists": kv.delete(here.engine, request.command.key)}


def _exists(here: "ShardDispatcher", request: Request) -> Fields:
    return {"exists": kv.find(here.engine, request.command.key) is not None}


def _expire(here: "ShardDispatcher", request: Request) -> Fields:
    return {"exists": kv.expire_in(here.engine, request.command.key, request.command.ttl)}


def _ttl(here: "ShardDispatcher", request: Request) -> Fields:
    return {"ttl": kv.ttl_of(here.engine, request.command.key)}


def _incr(here: "ShardDispatcher", request: Request) -> Fields:
    by = request.command.by
    return {"value": kv.increase(here.engine, request.command.key, 1 if by is None else by)}


VERBS: Final[dict[type[Any], Verb]] = {
    c.KvSet: Verb(_set, by_key, keyed=True),
    c.KvGet: Verb(_get, by_key),
    c.KvDel: Verb(_delete, by_key, keyed=True),
    c.KvExists: Verb(_exists, by_key),
    c.KvExpire: Verb(_expire, by_key, keyed=True),
    c.KvTtl: Verb(_ttl, by_key),
    c.KvIncr: Verb(_incr, by_key, keyed=True),
    c.KvKeys: Verb(kv_keys.find_keys),
    c.KvMget: Verb(kv_batches.get_many),
    c.KvMset: Verb(kv_batches.set_many, keyed=True),
}
