"""§2.11: the key-value store."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way

I64_MAX = 2**63 - 1
VALUES = [None, True, 0, -1, I64_MAX, 2.5, "", "é\n", [], {}, {"b": [1, {"a": None}]}]


@pytest.fixture
def key(way: Way) -> str:
    return way.name()


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_set_and_get(c: Peer, d: Peer, key: str, value: object) -> None:
    assert c.ok("KVSET", key=key, value=value) == {"ok": True, "success": True}
    assert d.ok("KVGET", key=key) == {"ok": True, "value": value, "success": True}
    assert d.ok("KVEXISTS", key=key)["exists"] is True


def test_missing_key(c: Peer, key: str) -> None:
    assert c.ok("KVGET", key=key) == {"ok": True, "value": None, "success": True}
    assert c.ok("KVEXISTS", key=key)["exists"] is False
    assert c.ok("KVDEL", key=key)["exists"] is False
    assert c.ok("KVEXPIRE", key=key, ttl=1000)["exists"] is False
    assert c.ok("KVTTL", key=key)["ttl"] == -2


def test_overwrite_and_delete(c: Peer, key: str) -> None:
    c.ok("KVSET", key=key, value=1)
    c.ok("KVSET", key=key, value=[2])
    assert c.ok("KVGET", key=key)["value"] == [2]
    assert c.ok("KVDEL", key=key)["exists"] is True
    assert c.ok("KVDEL", key=key)["exists"] is False
    assert c.ok("KVGET", key=key)["value"] is None


def test_ttl_is_told_and_dropped_by_a_set_without(c: Peer, key: str) -> None:
    c.ok("KVSET", key=key, value=1, ttl=60_000)
    assert 50_000 < c.ok("KVTTL", key=key)["ttl"] <= 60_000
    c.ok("KVSET", key=key, value=1)
    assert c.ok("KVTTL", key=key)["ttl"] == -1
    assert c.ok("KVEXPIRE", key=key, ttl=90_000)["exists"] is True
    assert 60_000 < c.ok("KVTTL", key=key)["ttl"] <= 90_000


def test_expired_key_is_gone(c: Peer, q: str, key: str) -> None:
    c.ok("KVSET", key=key, value=1, ttl=20)
    c.ok("PULL", queue=q, timeout=60)  # the time passes in which it expires
    assert c.ok("KVGET", key=key)["value"] is None
    assert c.ok("KVEXISTS", key=key)["exists"] is False
    assert c.ok("KVTTL", key=key)["ttl"] == -2
    assert key not in c.ok("KVKEYS", pattern=f"{key}*")["keys"]
    assert c.ok("KVMGET", keys=[key])["values"] == [None]
    assert c.ok("KVINCR", key=key)["value"] == 1
    assert c.ok("KVTTL", key=key)["ttl"] == -1


def test_key_limits(c: Peer) -> None:
    assert c.no("KVSET", key="", value=1) == "Key cannot be empty"
    assert c.no("KVSET", key="k" * 1025, value=1) == "Key too long (1025 > 1024 bytes)"
    assert c.no("KVSET", key="é" * 513, value=1) == "Key too long (1026 > 1024 bytes)"
    key = "é" * 512
    c.ok("KVSET", key=key, value=1)
    assert c.ok("KVDEL", key=key)["exists"] is True


def test_value_limit(c: Peer, key: str) -> None:
    limit = 10_485_760
    c.ok("KVSET", key=key, value="x" * (limit - 5))
    reply = c.refusal("KVSET", key=key, value="y" * (limit + 5))
    assert reply["error"].startswith("Value too large (")
    assert reply["error"].endswith("> 10485760 bytes)")
    assert reply["code"] == "too_large"
    assert c.ok("KVGET", key=key)["value"].startswith("x")
    c.ok("KVDEL", key=key)


def test_mset_and_mget_over_shards(c: Peer, d: Peer, way: Way) -> None:
    keys = [way.name() for _ in range(20)]
    reply = c.ok("KVMSET", entries=[{"key": key, "value": n} for n, key in enumerate(keys)])
    assert reply["count"] == 20
    assert d.ok("KVMGET", keys=keys)["values"] == list(range(20))
    missing = way.name()
    assert d.ok("KVMGET", keys=[keys[3], missing, keys[0], keys[3]])["values"] == [3, None, 0, 3]
    assert d.ok("KVMGET", keys=[])["values"] == []
    assert c.ok("KVMSET", entries=[])["count"] == 0


def test_mset_takes_a_ttl_an_entry(c: Peer, way: Way) -> None:
    one, two = way.name(), way.name()
    c.ok("KVMSET", entries=[{"key": one, "value": 1, "ttl": 60_000}, {"key": two, "value": 2}])
    assert 0 < c.ok("KVTTL", key=one)["ttl"] <= 60_000
    assert c.ok("KVTTL", key=two)["ttl"] == -1


@pytest.mark.parametrize(
    "entry", [{"key": "", "value": 1}, {"key": "k" * 1025, "value": 1}, {"value": 1}, {"key": 1, "value": 1},
              {"key": "k", "value": 1, "ttl": -1}, 5], ids=str,
)  # fmt: skip
def test_one_invalid_entry_refuses_mset(c: Peer, way: Way, entry: object) -> None:
    """F14: nothing is set, on any shard."""
    keys = [way.name() for _ in range(8)]
    entries: list[object] = [{"key": key, "value": 1} for key in keys]
    entries.insert(3, entry)
    reply = c.refusal("KVMSET", entries=entries)
    assert reply["code"] in ("invalid", "too_large")
    assert c.ok("KVMGET", keys=keys)["values"] == [None] * 8


def test_more_than_1000_keys_are_refused(c: Peer, key: str) -> None:
    """F14."""
    reply = c.refusal("KVMSET", entries=[{"key": key, "value": 1}] * 1001)
    assert reply["error"] == "Too many entries (1001 > 1000)"
    assert c.ok("KVEXISTS", key=key)["exists"] is False
    text = c.no("KVMGET", keys=[key] * 1001)
    assert "1001" in text
    assert "1000" in text
    assert c.ok("KVMGET", keys=[key] * 1000)["values"] == [None] * 1000


def test_keys_by_pattern_over_shards(c: Peer, key: str) -> None:
    names = [f"{key}:{x}" for x in ("a", "b", "aa", "é", "a*", "中é")]
    for name in names:
        c.ok("KVSET", key=name, value=1)
    for pattern, expected in (
        (f"{key}:*", names),
        (f"{key}:?", [f"{key}:a", f"{key}:b", f"{key}:é"]),
        (f"{key}:a*", [f"{key}:a", f"{key}:aa", f"{key}:a*"]),
        (f"{key}:*é", [f"{key}:é", f"{key}:中é"]),
        (f"*{key}*:?é", [f"{key}:中é"]),
        (f"{key}:b", [f"{key}:b"]),
        (f"{key}:", []),
        (f"{key}:[ab]", []),
        (f"{key}:A", []),
    ):
        assert sorted(c.ok("KVKEYS", pattern=pattern)["keys"]) == sorted(expected), pattern
    assert set(names) <= set(c.ok("KVKEYS")["keys"])
    assert set(names) <= set(c.ok("KVKEYS", pattern=None)["keys"])
    for name in names:
        c.ok("KVDEL", key=name)


def test_pattern_of_many_stars_takes_bounded_time(c: Peer, key: str) -> None:
    """A matcher that tries everything would run for years, with everybody waiting."""
    name = key + "a" * 200 + "é"
    c.ok("KVSET", key=name, value=1)
    assert c.ok("KVKEYS", pattern=key + "*a" * 60 + "*b")["keys"] == []
    assert c.ok("KVKEYS", pattern=key + "*a" * 60 + "*")["keys"] == [name]
    c.ok("KVDEL", key=name)


def test_incr(c: Peer, d: Peer, key: str) -> None:
    assert c.ok("KVINCR", key=key) == {"ok": True, "value": 1, "success": True}
    assert d.ok("KVINCR", key=key, by=41)["value"] == 42
    assert c.ok("KVINCR", key=key, by=-50)["value"] == -8
    assert c.ok("KVINCR", key=key, by=0)["value"] == -8
    assert c.ok("KVGET", key=key)["value"] == -8


def test_incr_of_null_counts_from_zero_and_keeps_the_expiry(c: Peer, key: str) -> None:
    c.ok("KVSET", key=key, value=None, ttl=60_000)
    assert c.ok("KVINCR", key=key)["value"] == 1
    assert 0 < c.ok("KVTTL", key=key)["ttl"] <= 60_000


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "Value is not a number"), ([], "Value is not a number"), (True, "Value is not a number"),
     ({}, "Value is not a number"), ("1", "Value is not a number"), (1.5, "Value is not an integer")],
    ids=str,
)  # fmt: skip
def test_incr_of_what_is_no_integer(c: Peer, key: str, value: object, text: str) -> None:
    c.ok("KVSET", key=key, value=value)
    assert c.no("KVINCR", key=key) == text
    assert c.ok("KVGET", key=key)["value"] == value


@pytest.mark.parametrize(("start", "by"), [(I64_MAX, 1), (-(2**63), -1), (1, I64_MAX), (I64_MAX - 5, 6)])
def test_incr_does_not_wrap(c: Peer, key: str, start: int, by: int) -> None:
    """F15."""
    c.ok("KVSET", key=key, value=start)
    assert c.refusal("KVINCR", key=key, by=by)["code"] == "invalid"
    assert c.ok("KVGET", key=key)["value"] == start


def test_many_increments_at_once_lose_none(c: Peer, d: Peer, key: str) -> None:
    for _ in range(50):
        c.send("KVINCR", key=key)
        d.send("KVINCR", key=key)
    seen = [peer.read()["value"] for peer in (c, d) for _ in range(50)]
    assert sorted(seen) == list(range(1, 101))
    c.ok("KVDEL", key=key)
