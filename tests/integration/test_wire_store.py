"""Keys and crons on a real cluster: over shards, in both codecs, over kills."""

import os
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.calls import until
from tests.integration.wire import CODECS, Place, Reply, Wire

WAIT_MS = 20_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", settings={"FLASHQ_DATA_BYTES_MAX": "6MiB"}) as one:
        yield one


def names(place: Place, n: int) -> list[str]:
    """New names, of both shards in turn."""
    return [place.queue() if k % 2 else place.foreign() for k in range(n)]


def crons_of(wire: Wire) -> dict[str, Reply]:
    return {cron["name"]: cron for cron in wire.ok("CRONLIST")["crons"]}


def pulled(wire: Wire, queue: str) -> Reply:
    job: Reply = wire.ok("PULL", queue=queue, timeout=WAIT_MS)["job"]
    assert job is not None
    return job


# -- keys


def test_value_set_in_one_codec_is_read_in_the_other(place: Place, wire: Wire) -> None:
    values = [None, 2**63 - 1, -(2**63), 2.5, "é\n\U0001f600", [1, [{}]], {"b": {"a": None}}]
    for value, key in zip(values, names(place, len(values)), strict=True):
        wire.ok("KVSET", key=key, value=value)
        for codec in CODECS:
            with Wire(place.cluster.connect(), codec) as other:
                assert other.ok("KVGET", key=key)["value"] == value
                assert other.ok("KVMGET", keys=[key])["values"] == [value]


def test_batches_go_to_both_shards_and_keep_their_order(place: Place, wire: Wire) -> None:
    keys = names(place, 40)
    assert wire.ok("KVMSET", entries=[{"key": k, "value": [k]} for k in keys])["count"] == 40
    asked = [*reversed(keys), "none", keys[3]]
    assert wire.ok("KVMGET", keys=asked)["values"] == [*([k] for k in reversed(keys)), None, [keys[3]]]


def test_batch_with_one_bad_entry_names_it_and_stores_nothing(place: Place, wire: Wire) -> None:
    keys = names(place, 6)
    entries: list[Any] = [{"key": k, "value": 1} for k in keys]
    for bad, text in (
        ({"key": "", "value": 1}, "entries[4]: Key cannot be empty"),
        ({"key": "k" * 1025, "value": 1}, "entries[4]: Key too long (1025 > 1024 bytes)"),
        ({"key": "k", "value": "x" * (6 << 20)}, "entries[4]: Value too large"),
        ({"key": "k", "value": 1, "ttl": 1 << 60}, "entries[4]: invalid value: `ttl`"),
    ):
        error = wire.refused("KVMSET", entries=[*entries[:4], bad, *entries[4:]])["error"]
        assert text in error
    assert wire.ok("KVMGET", keys=keys)["values"] == [None] * 6


def test_reply_of_many_large_values_ends_early_and_says_so(place: Place, wire: Wire) -> None:
    """One reply has 8 MiB of values at most; what is asked for again comes then."""
    keys = names(place, 5)
    large = "v" * (3 << 20)
    for key in keys:
        wire.ok("KVSET", key=key, value=large)
    first = wire.ok("KVMGET", keys=keys)
    assert (first["values"], first["truncated"]) == ([large] * 2, True)
    assert wire.ok("KVMGET", keys=keys[2:4]).get("truncated") is None
    for key in keys:
        wire.ok("KVDEL", key=key)


def test_repeated_key_of_idempotency_stores_once(place: Place, wire: Wire) -> None:
    one, two = names(place, 2)
    entries = [{"key": one, "value": 1}, {"key": two, "value": 1}]
    token = os.urandom(6).hex()
    first = wire.ok("KVMSET", entries=entries, idempotency_key=token)
    for key in (one, two):
        assert wire.ok("KVINCR", key=key, idempotency_key=token)["value"] == 2
        assert wire.ok("KVINCR", key=key, idempotency_key=token)["value"] == 2
    assert wire.ok("KVMSET", entries=entries, idempotency_key=token) == first
    assert wire.ok("KVMGET", keys=[one, two])["values"] == [2, 2]
    assert "idempotency_key" in wire.refused("KVMSET", entries=entries[:1], idempotency_key=token)["error"]


def test_keys_of_both_shards_are_listed_in_slices(place: Place, wire: Wire) -> None:
    tag = f"many-{os.urandom(4).hex()}-"
    keys = [f"{tag}{n}" for n in range(8_000)]
    for start in range(0, 8_000, 1_000):
        wire.ok("KVMSET", entries=[{"key": k, "value": 0, "ttl": 600_000} for k in keys[start : start + 1_000]])
    assert set(wire.ok("KVKEYS", pattern=f"{tag}*")["keys"]) == set(keys)
    nineties = {f"{tag}{n}" for n in range(100, 1_000) if n // 10 % 10 == 9}
    assert set(wire.ok("KVKEYS", pattern=f"*{tag[3:]}?9?")["keys"]) == nineties
    assert "pattern" in wire.refused("KVKEYS", pattern="*" * 1025)["error"]


# -- crons


def test_cron_fires_for_a_queue_of_another_shard(place: Place, wire: Wire) -> None:
    """With all that a job can be told, also where the options are an object of their own."""
    crons = ((place.queue(), place.foreign()), (place.foreign(), place.queue()))
    for name, queue in crons:
        wire.ok("CRON", name=name, queue=queue, data={"é": 1}, schedule="*/1", priority=5, tags=["t"],
                options={"max_attempts": 8, "limit": 2})  # fmt: skip
    for name, queue in crons:
        jobs = [pulled(wire, queue) for _ in range(2)]
        assert [(j["data"], j["priority"], j["tags"], j["max_attempts"]) for j in jobs] == [({"é": 1}, 5, ["t"], 8)] * 2
        assert jobs[0]["id"] != jobs[1]["id"]
        assert wire.ok("PULL", queue=queue, timeout=1_500)["job"] is None
        assert name not in crons_of(wire)


def test_listing_has_the_crons_of_all_shards_under_both_keys(place: Place, wire: Wire) -> None:
    made = names(place, 4)
    for name in made:
        wire.ok("CRON", name=name, queue="listed", data=[name], schedule="0 3 * * *", timezone="Europe/Berlin", limit=7,
                misfire="all", unique_key="u")  # fmt: skip
    reply = wire.ok("CRONLIST")
    assert reply["crons"] == reply["jobs"]
    found = crons_of(wire)
    for name in made:
        cron = found[name]
        assert cron.pop("next_run") > time.time_ns() // 1_000_000
        assert cron == {
            "name": name, "queue": "listed", "data": [name], "schedule": "0 3 * * *", "repeat_every": None,
            "priority": 0, "executions": 0, "limit": 7, "timezone": "Europe/Berlin", "misfire": "all",
            "options": {"unique_key": "u"},
        }  # fmt: skip
        wire.ok("CRONDELETE", name=name)
    assert not crons_of(wire).keys() & set(made)


@pytest.mark.parametrize("away", [False, True], ids=["one shard", "name and cron on the other shard"])
def test_runs_with_a_custom_id_make_a_job_while_none_has_it(
    cluster: Cluster, place: Place, wire: Wire, away: bool
) -> None:
    queue = place.queue()
    name, custom = (place.foreign(), place.foreign()) if away else (place.queue(), place.queue())
    wire.ok("CRON", name=name, queue=queue, data="run", repeat_every=200, job_id=custom)
    assert crons_of(wire)[name]["options"] == {"job_id": custom}
    first = pulled(wire, queue)
    assert (first["custom_id"], first["data"]) == (custom, "run")
    # A name on another shard hears of the job behind its push.
    until(cluster, lambda: wire.ok("GETJOBBYCUSTOMID", job_id=custom)["job"] is not None, "the name to have its job")
    assert wire.ok("GETJOBBYCUSTOMID", job_id=custom)["job"]["id"] == first["id"]
    assert wire.ok("PULL", queue=queue, timeout=700)["job"] is None, "the first has the name still"
    wire.ok("ACK", id=first["id"], lease=first["lease"])
    assert pulled(wire, queue)["id"] != first["id"]
    wire.ok("CRONDELETE", name=name)


@pytest.mark.parametrize("away", [False, True], ids=["dependency on the cron's shard", "elsewhere"])
def test_runs_wait_for_what_they_depend_on(place: Place, wire: Wire, away: bool) -> None:
    queue, name = place.queue(), place.queue()
    other = place.foreign() if away else place.queue()
    needed = wire.ok("PUSH", queue=other, data=1)["id"]
    reply = wire.refused("CRON", name=name, queue=queue, data=1, repeat_every=100, depends_on=[needed, needed + 1024])
    assert (reply["error"], reply["code"]) == (f"Dependency {needed + 1024} not found", "not_found")
    assert name not in crons_of(wire)
    wire.ok("CRON", name=name, queue=queue, data=1, repeat_every=100, limit=2, depends_on=[needed])
    assert wire.ok("PULL", queue=queue, timeout=500)["job"] is None
    wire.ok("ACK", id=pulled(wire, other)["id"])
    assert pulled(wire, queue)["depends_on"] == [needed]
    assert pulled(wire, queue)["depends_on"] == [needed]


def test_obliterated_queue_takes_its_crons_of_all_shards_along(place: Place, wire: Wire) -> None:
    queue = place.queue()
    gone, left = names(place, 4), place.foreign()
    for name in gone:
        wire.ok("CRON", name=name, queue=queue, data=1, schedule="0 0 1 1 *")
    wire.ok("CRON", name=left, queue=place.queue(), data=1, schedule="0 0 1 1 *")

    def without() -> bool:
        wire.ok("OBLITERATE", queue=queue)  # again, for the first may have come before the queue's slot knew of all
        return not crons_of(wire).keys() & set(gone)

    place.cluster.wait_until(without, "the crons of the queue to go")
    assert left in crons_of(wire)
    wire.ok("CRONDELETE", name=left)


# -- over kills: a cluster of its own, for others would see its shards go


@pytest.fixture(scope="module")
def killed() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit") as one:
        yield one


@pytest.mark.parametrize("codec", CODECS)
def test_keys_and_crons_survive_a_kill_of_everything(killed: Cluster, codec: str) -> None:
    tag = f"s{codec}-"
    keys = [name for shard in (0, 1) for name in islice(killed.queues_of(shard, tag), 3)]
    with Wire(killed.connect(), codec) as wire:
        wire.ok("KVMSET", entries=[{"key": k, "value": {"k": k}, "ttl": 900_000} for k in keys])
        wire.ok("KVSET", key=keys[0], value=41)
        wire.ok("KVINCR", key=keys[0])
        wire.ok("KVDEL", key=keys[1])
        wire.ok("KVEXPIRE", key=keys[2], ttl=1)
        for k, name in enumerate(keys):
            wire.ok("CRON", name=name, queue=f"{tag}q", data=k, schedule="0 0 1 1 *", priority=k)
        wire.ok("CRONDELETE", name=keys[0])
        before = crons_of(wire)
    killed.kill_all()
    killed.start()
    with Wire(killed.connect(), codec) as wire:
        assert wire.ok("KVMGET", keys=keys)["values"] == [42, None, None, *({"k": k} for k in keys[3:])]
        assert 800_000 < wire.ok("KVTTL", key=keys[3])["ttl"] <= 900_000
        assert wire.ok("KVTTL", key=keys[0])["ttl"] == -1
        assert crons_of(wire) == before
        for name in keys[1:]:
            wire.ok("CRONDELETE", name=name)


def test_no_run_is_doubled_or_lost_while_shards_are_killed(killed: Cluster) -> None:
    """Nobody is connected, crons and queues are on different shards, and each shard dies twice."""
    name = next(killed.queues_of(0, "killed-cron"))
    queue = next(killed.queues_of(1, "killed-queue"))
    with Wire(killed.connect()) as wire:
        wire.ok("CRON", name=name, queue=queue, data=1, repeat_every=100, misfire="all", limit=40)
    for shard in ("shard-00", "shard-01", "shard-01", "shard-00"):
        killed.wait_serving(shard, other_than=killed.kill(shard))
    with Wire(killed.connect()) as wire:
        ids = [pulled(wire, queue)["id"] for _ in range(40)]
        assert len(set(ids)) == 40
        killed.wait_until(lambda: name not in crons_of(wire), "the cron to have run out")
        assert wire.ok("PULL", queue=queue, timeout=500)["job"] is None


def test_what_was_missed_while_down_is_as_each_cron_says(killed: Cluster) -> None:
    """Three runs or more pass while nothing runs. Made are all of them, one for all, or none."""
    every_ms, queue = 700, next(killed.queues_of(1, "down"))
    due = {}
    with Wire(killed.connect()) as wire:
        for misfire in ("all", "once", "skip"):
            wire.ok("CRON", name=f"down-{misfire}", queue=queue, data=1, repeat_every=every_ms, misfire=misfire)
            due[misfire] = crons_of(wire)[f"down-{misfire}"]["next_run"]
    killed.kill_all()
    deadline = time.monotonic() + 3.2 * every_ms / 1_000
    killed.wait_until(lambda: time.monotonic() > deadline, "runs to pass")
    killed.start()
    left_out = {}
    with Wire(killed.connect()) as wire:
        killed.wait_until(
            lambda: all(crons_of(wire)[f"down-{m}"]["executions"] > 3 for m in due), "each cron to run again"
        )
        for misfire, first in due.items():
            cron = crons_of(wire)[f"down-{misfire}"]
            left_out[misfire] = (cron["next_run"] - first) // every_ms - cron["executions"]
            wire.ok("CRONDELETE", name=f"down-{misfire}")
    assert left_out["all"] == 0
    assert left_out["once"] >= 2
    assert left_out["skip"] >= 3
