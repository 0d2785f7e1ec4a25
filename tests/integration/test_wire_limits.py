"""Limits, groups and keys over the wire: both codecs, every way a request can take, and across a restart."""

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import Place, Wire


def _listed(wire: Wire, queue: str) -> dict[str, object]:
    (entry,) = [q for q in wire.ok("LISTQUEUES")["queues"] if q["name"] == queue]
    return entry  # type: ignore[no-any-return]


def test_rate_limit_counts_jobs_of_batches_too_and_is_listed(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(9)])
    wire.ok("RATELIMIT", queue=queue, limit=2)
    assert _listed(wire, queue)["rate_limit"] == 2
    assert len(wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]) == 2
    assert wire.ok("PULL", queue=queue, timeout=0)["job"] is None
    assert wire.ok("PULL", queue=queue, timeout=5_000)["job"] is not None, "the next token was slept over"
    wire.ok("RATELIMIT", queue=queue, limit=0)
    assert wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"] == []
    wire.ok("RATELIMITCLEAR", queue=queue)
    assert _listed(wire, queue)["rate_limit"] is None
    assert len(wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]) == 6


def test_concurrency_counts_what_was_active_before_and_an_ack_makes_room(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(5)])
    first = wire.ok("PULL", queue=queue, timeout=0)["job"]
    wire.ok("SETCONCURRENCY", queue=queue, limit=2)
    assert _listed(wire, queue)["concurrency_limit"] == 2
    (second,) = wire.ok("PULLB", queue=queue, count=5, timeout=0)["jobs"]
    with place.connect() as waiting:
        waiting.send("PULL", queue=queue, timeout=20_000)
        waiting.send("PING")
        wire.ok("ACK", id=first["id"])
        assert waiting.read()["job"] is not None
    wire.ok("ACK", id=second["id"])
    wire.ok("CLEARCONCURRENCY", queue=queue)
    assert len(wire.ok("PULLB", queue=queue, count=5, timeout=0)["jobs"]) == 2


def test_one_job_of_a_group_is_active_at_a_time(place: Place, wire: Wire) -> None:
    queue = place.queue()
    ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n, "group_id": "g"} for n in range(3)])["ids"]
    for job_id in ids:
        (job,) = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
        assert (job["id"], job["group_id"]) == (job_id, "g")
        assert wire.ok("COUNT", queue=queue)["count"] == len(ids) - ids.index(job_id) - 1
        wire.ok("ACK", id=job_id)


def test_limits_for_each_key_hold_for_each_alone(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("SETCONCURRENCY", queue=queue, limit=1, per_key=True)
    wire.ok("PUSHB", queue=queue, jobs=[{"data": n, "limit_key": k} for n in range(3) for k in ("a", "b")])
    jobs = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
    assert [job["data"] for job in jobs] == [0, 0]
    wire.ok("ACK", id=jobs[0]["id"])
    assert len(wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]) == 1
    wire.ok("CLEARCONCURRENCY", queue=queue, per_key=True)
    assert len(wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]) == 3


@pytest.mark.parametrize(
    "fields", [{}, {"limit": None}, {"limit": -1}, {"limit": 1.0}, {"limit": "1"}, {"limit": 2**32}]
)
@pytest.mark.parametrize("cmd", ["RATELIMIT", "SETCONCURRENCY"])
def test_a_limit_that_is_no_u32_is_refused_and_named(
    place: Place, wire: Wire, cmd: str, fields: dict[str, object]
) -> None:
    reply = wire.ask(cmd, queue=place.queue(), **fields)
    assert (reply["ok"], reply["code"]) == (False, "invalid")
    assert "limit" in reply["error"]


def test_limits_and_busy_groups_survive_a_kill_of_everything() -> None:
    with Cluster(shards=2, durability="commit") as cluster:
        place = Place(cluster, "own", "text")
        queue = place.queue()
        with place.connect() as wire:
            wire.ok("SETCONCURRENCY", queue=queue, limit=2)
            wire.ok("PUSHB", queue=queue, jobs=[{"data": n, "group_id": "g"} for n in range(2)] + [{"data": 2}] * 2)
            jobs = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
            assert [job["data"] for job in jobs] == [0, 2]
        cluster.kill_all()
        cluster.start()
        with place.connect() as wire:
            assert wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"] == []
            wire.ok("ACK", id=jobs[1]["id"], lease=jobs[1]["lease"])
            (plain,) = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
            assert plain["data"] == 2, "the group is busy still"
            wire.ok("ACK", id=jobs[0]["id"], lease=jobs[0]["lease"])
            (second,) = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
            assert second["data"] == 1
