"""A client's commands about the key-value store. Where a shard does not answer, they raise Unavailable."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flashq.client import requests
from flashq.client.asking import Asking, Done
from flashq.client.objects import Refusal
from flashq.errors import Unavailable


class KvCommands(Asking):
    """Keys belong to the whole server, not to a queue; a value is anything JSON can express."""

    async def kv_set(self, key: str, value: object, *, ttl_ms: int | None = None) -> None:
        """Store a value, for `ttl_ms` or for good."""
        await self._session.change(requests.given("KVSET", key=key, ttl=ttl_ms) | {"value": value}, Done)

    async def kv_get(self, key: str) -> Any:
        """The value; None if there is none."""
        return (await self._session.ask(requests.given("KVGET", key=key), _Value)).value

    async def kv_delete(self, key: str) -> bool:
        """Forget it; whether it was there."""
        return (await self._session.change(requests.given("KVDEL", key=key), _Exists)).exists

    async def kv_exists(self, key: str) -> bool:
        """Whether it is there."""
        return (await self._session.ask(requests.given("KVEXISTS", key=key), _Exists)).exists

    async def kv_expire(self, key: str, ttl_ms: int) -> bool:
        """Keep it for `ttl_ms` from now; whether it is there."""
        return (await self._session.change(requests.given("KVEXPIRE", key=key, ttl=ttl_ms), _Exists)).exists

    async def kv_ttl(self, key: str) -> int:
        """Milliseconds that it is kept yet; -1 for good, -2 there is none."""
        return (await self._session.ask(requests.given("KVTTL", key=key), _Ttl)).ttl

    async def kv_increase(self, key: str, by: int = 1) -> int:
        """Add to an integer; what it is then. None there counts as 0. Raises RequestError for other values."""
        return int((await self._session.change(requests.given("KVINCR", key=key, by=by), _Value)).value)

    async def kv_get_many(self, keys: Sequence[str]) -> list[Any]:
        """The values of at most 1000 keys, in their order; None where there is none."""
        values: list[Any] = []
        while len(values) < len(keys):
            some = await self._session.ask(requests.given("KVMGET", keys=keys[len(values) :]), _Values)
            if some.partial:
                raise Unavailable("a shard does not answer, so some values could not be read")
            values += some.values
            if not some.truncated:
                break
        return values

    async def kv_set_many(self, entries: Mapping[str, object], *, ttl_ms: int | None = None) -> int:
        """Store at most 1000 values; how many.

        If one is refused none is stored. Raises Unavailable if a shard does not answer: the others have done theirs.
        """
        wire = [requests.given_fields(key=key, ttl=ttl_ms) | {"value": value} for key, value in entries.items()]
        stored = await self._session.change({"cmd": "KVMSET", "entries": wire}, _Stored)
        if stored.errors:
            raise Unavailable(f"{stored.count} of {len(entries)} were stored: {stored.errors[0].error}")
        return stored.count

    async def kv_keys(self, pattern: str = "*") -> list[str]:
        """The keys that fit (`*` any run, `?` one character), in no order."""
        found = await self._session.ask(requests.given("KVKEYS", pattern=pattern), _Keys)
        if found.partial:
            raise Unavailable("a shard does not answer, so these would not be all keys")
        return found.keys


class _Value(msgspec.Struct):
    value: Any = None


class _Exists(msgspec.Struct):
    exists: bool


class _Ttl(msgspec.Struct):
    ttl: int


class _Values(msgspec.Struct):
    values: list[Any]
    truncated: bool = False
    partial: bool = False


class _Stored(msgspec.Struct):
    count: int
    errors: list[Refusal] = []


class _Keys(msgspec.Struct):
    keys: list[str]
    partial: bool = False
