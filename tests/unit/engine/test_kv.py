"""The key-value store: exact expiry, numbers that do not wrap, and the same state after every replay."""

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flashq.engine import kv
from flashq.engine.kv import I64_MAX, I64_MIN, Put
from flashq.engine.settings import Limits
from flashq.errors import InvalidArgument, LimitExceeded
from flashq.testing.engine_kit import EngineKit, engine_facts


class Store(EngineKit):
    """A kit whose state is compared with its replay after every command."""

    def set(self, key: str, value: Any, ttl: int | None = None, codec: int = 0) -> None:
        encode = msgspec.msgpack.encode if codec else msgspec.json.encode
        self.carry_out(kv.put_all, [Put(key, codec, encode(value), ttl)])
        self.check()

    def get(self, key: str) -> bytes | None:
        entry = self.carry_out(kv.find, key)
        return entry.value if entry is not None else None

    def check(self) -> None:
        assert engine_facts(self.replayed()) == engine_facts(self.engine)


@pytest.fixture
def store() -> Store:
    return Store()


def test_key_is_gone_once_its_time_is_past_and_is_swept(store: Store) -> None:
    store.set("a", 1, ttl=100)
    store.advance(100)
    assert store.get("a") == b"1"
    assert store.carry_out(kv.ttl_of, "a") == 0
    store.advance(1)
    assert store.get("a") is None
    assert store.carry_out(kv.ttl_of, "a") == -2
    assert not store.engine.kv.entries
    store.check()


def test_key_that_was_not_swept_yet_is_gone_in_every_command(store: Store) -> None:
    store.set("a", 1, ttl=100)
    store.now_ms += 101  # and no timer has run
    assert store.get("a") is None
    assert store.carry_out(kv.delete, "a") is False
    assert store.carry_out(kv.expire_in, "a", 5) is False
    assert store.carry_out(kv.ttl_of, "a") == -2
    assert store.carry_out(kv.increase, "a", 5) == 5
    assert store.carry_out(kv.ttl_of, "a") == -1
    store.check()
    store.advance(1_000)
    assert store.get("a") == b"5"


def test_set_without_ttl_drops_the_expiry_and_expire_sets_a_new_one(store: Store) -> None:
    store.set("a", 1, ttl=100)
    store.set("a", 2)
    assert store.carry_out(kv.ttl_of, "a") == -1
    assert store.carry_out(kv.expire_in, "a", 50) is True
    store.carry_out(kv.expire_in, "a", 500)
    store.check()
    store.advance(51)
    assert store.get("a") == b"2"
    store.advance(450)
    assert store.get("a") is None


def test_expired_keys_are_swept_in_slices_with_one_event_each(store: Store) -> None:
    n = 5 * kv.SWEPT_AT_ONCE
    store.carry_out(kv.put_all, [Put(f"k{i}", 0, b"1", 10) for i in range(n)])
    before = len(store.memory.kept)
    store.advance(11)
    assert not store.engine.kv.entries
    assert len(store.memory.kept) == before + 1
    store.check()


def test_restart_brings_back_keys_and_sweeps_what_expired_meanwhile(store: Store) -> None:
    store.set("old", 1, ttl=100)
    store.set("new", None, ttl=10_000, codec=1)
    again = store.restarted(5_000)
    again.advance(0)
    assert list(again.engine.kv.entries) == ["new"]
    assert again.carry_out(kv.ttl_of, "new") == 5_000
    again.check()


@pytest.mark.parametrize(
    ("value", "by", "expected"),
    [(None, 1, 1), (41, 1, 42), (I64_MAX - 1, 1, I64_MAX), (I64_MIN + 1, -1, I64_MIN), (5, -9, -4)],
)
def test_increase(store: Store, value: Any, by: int, expected: int) -> None:
    for codec in (0, 1):
        store.set("a", value, ttl=1_000, codec=codec)
        assert store.carry_out(kv.increase, "a", by) == expected
        assert store.carry_out(kv.ttl_of, "a") == 1_000
        store.check()


@pytest.mark.parametrize(
    ("value", "by", "text"),
    [
        ("1", 1, "Value is not a number"), (True, 1, "Value is not a number"), ([1], 1, "Value is not a number"),
        (1.0, 1, "Value is not an integer"), (1e300, 1, "Value is not an integer"),
        (I64_MAX + 1, 1, "Value is not an integer"), (I64_MAX, 1, "Value would overflow"),
        (I64_MIN, -1, "Value would overflow"),
    ],
)  # fmt: skip
def test_refused_increase_changes_nothing(store: Store, value: Any, by: int, text: str) -> None:
    store.set("a", value)
    before = engine_facts(store.engine)
    with pytest.raises(InvalidArgument, match=text):
        kv.increase(store.engine, "a", by)
    assert engine_facts(store.engine) == before
    assert not store.engine.events


def test_errors_name_index_value_and_limit() -> None:
    limits = Limits(data_bytes_max=4)
    good = Put("k", 0, b"1", None)
    for put, error, text in (
        (Put("", 0, b"1", None), InvalidArgument, r"entries\[1\]: Key cannot be empty"),
        (Put("é" * 513, 0, b"1", None), LimitExceeded, r"entries\[1\]: Key too long \(1026 > 1024 bytes\)"),
        (Put("k", 0, b"12345", None), LimitExceeded, r"entries\[1\]: Value too large \(5 > 4 bytes\)"),
        (Put("k", 0, b"1", 1 << 60), InvalidArgument, r"entries\[1\]: invalid value: `ttl` is"),
    ):
        with pytest.raises(error, match=text):
            kv.check_puts(limits, [good, put], batch=True)
    kv.check_puts(limits, [Put("é" * 512, 0, b"1234", 0)], batch=True)


class AgainstADictionary(RuleBasedStateMachine):
    """Any commands at any times, beside a dictionary of (value, expiry)."""

    keys = st.sampled_from(("a", "b", "c"))
    spans = st.sampled_from((0, 1, 30, 1_000))

    def __init__(self) -> None:
        super().__init__()
        self.kit = Store()
        self.model: dict[str, tuple[bytes, int]] = {}

    def live(self, key: str) -> tuple[bytes, int] | None:
        found = self.model.get(key)
        return found if found and (not found[1] or found[1] >= self.kit.now_ms) else None

    @rule(key=keys, value=st.integers(-3, 3), ttl=st.none() | spans)
    def set(self, key: str, value: int, ttl: int | None) -> None:
        self.kit.set(key, value, ttl)
        self.model[key] = (b"%d" % value, 0 if ttl is None else self.kit.now_ms + ttl)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        assert self.kit.carry_out(kv.delete, key) is (self.live(key) is not None)
        self.model.pop(key, None)

    @rule(key=keys, ttl=spans)
    def expire(self, key: str, ttl: int) -> None:
        live = self.live(key)
        assert self.kit.carry_out(kv.expire_in, key, ttl) is (live is not None)
        if live:
            self.model[key] = (live[0], self.kit.now_ms + ttl)

    @rule(key=keys, by=st.integers(-3, 3))
    def increase(self, key: str, by: int) -> None:
        value, expires_at = self.live(key) or (b"0", 0)
        assert self.kit.carry_out(kv.increase, key, by) == int(value) + by
        self.model[key] = (b"%d" % (int(value) + by), expires_at)

    @rule(ms=spans)
    def advance(self, ms: int) -> None:
        self.kit.advance(ms)

    @invariant()
    def same(self) -> None:
        for key in ("a", "b", "c"):
            live = self.live(key)
            assert self.kit.get(key) == (live[0] if live else None)
        self.kit.check()


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
