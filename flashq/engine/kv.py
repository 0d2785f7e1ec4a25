"""The key-value store: a value under a key, perhaps until a moment.

Rules kept here
- An entry is gone once the time is past its expiry, in every command, whether it was swept yet or not.
- Values stay the bytes they came as, with their codec. JSON's null is a value like any other.
- Everything is one event a request; expired entries are swept in slices, one event a slice.

A key lives in the slot of its name; nothing here knows of queues.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from flashq.engine import events
from flashq.engine.agenda import Agenda
from flashq.engine.settings import Limits
from flashq.engine.validation import check_duration
from flashq.errors import InvalidArgument, LimitExceeded
from flashq.protocol.dispatch import Codec

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

KEY_BYTES_MAX: Final = 1024
SWEPT_AT_ONCE: Final = 256
I64_MIN, I64_MAX = -(1 << 63), (1 << 63) - 1
_decode: Final = (msgspec.json.decode, msgspec.msgpack.decode)


class Entry:
    """A value, as it came."""

    __slots__ = ("codec", "expires_at", "moment", "value")

    def __init__(self, codec: int, value: bytes, expires_at: int) -> None:
        self.codec = codec
        self.value = value
        self.expires_at = expires_at
        """0: never."""
        self.moment: Any = None
        """Its entry in the agenda, if it expires."""


class Put(NamedTuple):
    """What a request stores."""

    key: str
    codec: int
    value: bytes
    ttl_ms: int | None


class Store:
    """All keys of this shard."""

    __slots__ = ("agenda", "entries")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.agenda: Agenda[str] = Agenda(_sweep)


def find(engine: "Engine", key: str) -> Entry | None:
    """The entry of a key, unless it has expired."""
    entry = engine.kv.entries.get(key)
    if entry is None or (entry.expires_at and engine.now_ms > entry.expires_at):
        return None
    return entry


def check_key(key: str, where: str = "") -> None:
    """Raise unless it has 1 to 1024 bytes. `where` begins the error: the index in a batch."""
    if not key:
        raise InvalidArgument(f"{where}Key cannot be empty")
    if len(key) * 4 > KEY_BYTES_MAX:
        size = len(key.encode("utf-8", "surrogatepass"))
        if size > KEY_BYTES_MAX:
            raise LimitExceeded(f"{where}Key too long ({size} > {KEY_BYTES_MAX} bytes)")


def check_value(limits: Limits, value: bytes, where: str = "") -> None:
    """Raise LimitExceeded for a value over `data_bytes_max`."""
    if len(value) > limits.data_bytes_max:
        raise LimitExceeded(f"{where}Value too large ({len(value)} > {limits.data_bytes_max} bytes)")


def check_puts(limits: Limits, puts: Sequence[Put], *, batch: bool) -> None:
    """Raise, naming the index in a batch, for the first entry that cannot be stored."""
    for k, put in enumerate(puts):
        where = f"entries[{k}]: " if batch else ""
        check_key(put.key, where)
        check_value(limits, put.value, where)
        try:
            check_duration(limits, "ttl", put.ttl_ms)
        except InvalidArgument as e:
            raise InvalidArgument(f"{where}{e}") from None


def put_all(engine: "Engine", puts: Iterable[Put]) -> None:
    """Store entries that were checked; a key that comes twice has its last value. An older expiry is dropped."""
    now = engine.now_ms
    stored = [(p.key, p.codec, p.value, 0 if p.ttl_ms is None else now + p.ttl_ms) for p in puts]
    if stored:
        event = events.KvStored(stored)
        store(engine, event)
        engine.record(event)


def delete(engine: "Engine", key: str) -> bool:
    """Remove a key; whether it was there."""
    if find(engine, key) is None:
        return False
    event = events.KvRemoved([key])
    remove(engine, event)
    engine.record(event)
    return True


def expire_in(engine: "Engine", key: str, ttl_ms: int) -> bool:
    """The key is gone once `ttl_ms` have passed; whether it was there. Raises InvalidArgument."""
    check_duration(engine.limits, "ttl", ttl_ms)
    if find(engine, key) is None:
        return False
    event = events.KvExpirySet(key, engine.now_ms + ttl_ms)
    set_expiry(engine, event)
    engine.record(event)
    return True


def ttl_of(engine: "Engine", key: str) -> int:
    """Milliseconds that a key has left; -1: it does not expire, -2: there is none."""
    entry = find(engine, key)
    if entry is None:
        return -2
    return entry.expires_at - engine.now_ms if entry.expires_at else -1


def increase(engine: "Engine", key: str, by: int) -> int:
    """Add to a number; the sum. No entry and null count as 0; an expiry stays. Raises InvalidArgument, LimitExceeded.

    A value that is no number, no integer, or a sum outside 64 bits, changes nothing.
    """
    check_key(key)
    entry = find(engine, key)
    old = 0 if entry is None else _number(_decode[entry.codec](entry.value))
    new = old + by
    if not I64_MIN <= new <= I64_MAX:
        raise InvalidArgument(f"Value would overflow: {old} + {by} (`by`) is not within {I64_MIN} to {I64_MAX}")
    event = events.KvStored([(key, Codec.TEXT.value, str(new).encode(), entry.expires_at if entry is not None else 0)])
    store(engine, event)
    engine.record(event)
    return new


def _number(value: Any) -> int:
    if value is None:
        return 0
    if type(value) is int and I64_MIN <= value <= I64_MAX:
        return value
    raise InvalidArgument("Value is not an integer" if type(value) in (int, float) else "Value is not a number")


# -- what was decided, live or in replay


def store(engine: "Engine", event: events.KvStored) -> None:
    """These keys have these values."""
    entries, agenda = engine.kv.entries, engine.kv.agenda
    for key, codec, value, expires_at in event.entries:
        old = entries.get(key)
        if old is not None and old.moment is not None:
            agenda.cancel(old.moment)
        entry = entries[key] = Entry(codec, value, expires_at)
        if expires_at:
            entry.moment = agenda.add(engine, expires_at + 1, key)


def remove(engine: "Engine", event: events.KvRemoved) -> None:
    """These keys are gone."""
    for key in event.keys:
        entry = engine.kv.entries.pop(key)
        if entry.moment is not None:
            engine.kv.agenda.cancel(entry.moment)


def set_expiry(engine: "Engine", event: events.KvExpirySet) -> None:
    """A key expires at another moment."""
    entry = engine.kv.entries[event.key]
    if entry.moment is not None:
        engine.kv.agenda.cancel(entry.moment)
    entry.expires_at = event.expires_at
    entry.moment = engine.kv.agenda.add(engine, event.expires_at + 1, event.key)


def _sweep(engine: "Engine") -> None:
    """Forget what has expired, a slice of it."""
    keys = engine.kv.agenda.take(engine.now_ms, SWEPT_AT_ONCE)
    if keys:
        event = events.KvRemoved(keys)
        remove(engine, event)
        engine.record(event, promise=False)
