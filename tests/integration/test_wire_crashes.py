"""kill -9 of a shard, of the router, of everything: what was answered before is so afterwards."""

from collections.abc import Callable
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import BINARY, TEXT, Reply, Wire


def kill_shard(cluster: Cluster) -> None:
    for name in ("shard-00", "shard-01"):
        cluster.wait_serving(name, other_than=cluster.kill(name))


def kill_router(cluster: Cluster) -> None:
    cluster.wait_serving("router-0", other_than=cluster.kill("router-0"))


def kill_everything(cluster: Cluster) -> None:
    cluster.kill_all()
    cluster.start()


def stop_in_order(cluster: Cluster) -> None:
    cluster.restart()


ENDS: list[Callable[[Cluster], None]] = [kill_shard, kill_router, kill_everything, stop_in_order]
OPTIONS: Reply = {
    "priority": 3, "ttl": 3_000_000, "timeout": 900_000, "max_attempts": 7, "backoff": 5,
    "tags": ["é"], "lifo": True, "stall_timeout": 800_000, "keep_completed_count": 5,
}  # fmt: skip


def snapshot(cluster: Cluster, ids: list[int], queues: list[str]) -> dict[str, Any]:
    """All that can be asked about these jobs and queues."""
    with Wire(cluster.connect()) as wire:
        stats = wire.ok("STATS")["queues"]
        return {
            "jobs": [wire.ok("GETJOB", id=i) for i in ids],
            "states": [wire.ok("GETSTATE", id=i) for i in ids],
            "results": [wire.ok("GETRESULT", id=i) for i in ids],
            "counts": [wire.ok("COUNT", queue=q) for q in queues],
            "stats": [stats.get(q) for q in queues],
        }


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("codec", [TEXT, BINARY])
def test_state_counts_payloads_options_and_leases_survive(
    cluster: Cluster, end: Callable[[Cluster], None], codec: str
) -> None:
    ids: list[int] = []
    held: list[Reply] = []
    queues = [next(cluster.queues_of(n, f"{end.__name__}-{codec}-{n}-")) for n in (0, 1)]
    for queue in queues:
        with Wire(cluster.connect(), codec) as wire:
            dead = wire.ok("PUSH", queue=queue, data="dead", max_attempts=1, priority=9)["id"]
            done = wire.ok("PUSH", queue=queue, data={"done": [None, "é", 2.5]}, priority=8)["id"]
            retried = wire.ok("PUSH", queue=queue, data="retried", backoff=300_000, priority=7)["id"]
            for job_id in (dead, done, retried):
                assert wire.ok("PULL", queue=queue, timeout=0)["job"]["id"] == job_id
            wire.ok("FAIL", id=dead, error="of old age")
            wire.ok("ACK", id=done, result={"r": [1, {"x": None}]})
            wire.ok("FAIL", id=retried, error="not yet")
            plain = wire.ok("PUSHB", queue=queue, jobs=[{"data": {"n": n}} for n in range(120)])["ids"]
            held += wire.ok("PULLB", queue=queue, count=100, timeout=0)["jobs"]
            wire.ok("ACKB", ids=plain[:30])
            delayed = wire.ok("PUSH", queue=queue, data="delayed", delay=600_000)["id"]
            rich = wire.ok("PUSH", queue=queue, data={"rich": "\n"}, **OPTIONS)["id"]
            held.append(wire.ok("PULL", queue=queue, timeout=0)["job"])
            assert held[-1]["id"] == rich
            wire.ok("PUSH", queue=queue, data="tail", **OPTIONS)
            wire.ok("PUSH", queue=queue, data="keyed", idempotency_key="k", priority=-9)
            ids += [dead, done, retried, *plain, delayed, rich]
    wire_ids = {job["id"]: job for job in held if job["data"] not in ({"n": n} for n in range(30))}
    before = snapshot(cluster, ids, queues)
    end(cluster)
    assert snapshot(cluster, ids, queues) == before
    with Wire(cluster.connect(), codec) as wire:
        for queue in queues:
            keyed = wire.ok("PUSH", queue=queue, data="keyed", idempotency_key="k", priority=-9)["id"]
            assert wire.ok("GETJOB", id=keyed)["job"]["data"] == "keyed"
            other = wire.refused("PUSH", queue=queue, data="other", idempotency_key="k", priority=-9)
            assert other["code"] == "invalid"
            fresh = wire.ok("PUSH", queue=queue, data="fresh", priority=100)["id"]
            assert fresh not in ids
            job = wire.ok("PULL", queue=queue, timeout=0)["job"]
            assert job["id"] == fresh
            assert job["lease"] not in {one["lease"] for one in held}
            wire.ok("ACK", id=fresh)
        some = list(wire_ids.values())
        assert wire.refused("ACK", id=some[0]["id"], lease=some[0]["lease"] + 1)["code"] == "lease_lost"
        wire.ok("HEARTBEAT", id=some[0]["id"], lease=some[0]["lease"])
        for job in some[::7]:
            wire.ok("ACK", id=job["id"], lease=job["lease"])
            wire.ok("ACK", id=job["id"], lease=job["lease"])
    after = snapshot(cluster, ids, queues)
    assert [one["waiting"] for one in after["stats"]] == [one["waiting"] for one in before["stats"]]
    assert [one["delayed"] for one in after["stats"]] == [2, 2]


@pytest.mark.parametrize("end", [kill_shard, kill_everything], ids=lambda end: end.__name__)
def test_lease_tied_to_a_connection_may_be_claimed_after_the_crash(
    cluster: Cluster, end: Callable[[Cluster], None]
) -> None:
    """The worker lost its connection with the server: it comes back with its token and goes on."""
    queue = next(cluster.queues_of(0, f"tied-{end.__name__}-"))
    with Wire(cluster.connect()) as worker:
        ids = worker.ok("PUSHB", queue=queue, jobs=[{"data": 1}, {"data": 2}])["ids"]
        jobs = worker.ok("PULLB", queue=queue, count=2, timeout=0, release_on_disconnect=True)["jobs"]
        end(cluster)
    with Wire(cluster.connect()) as worker:
        assert worker.ok("PULL", queue=queue, timeout=0)["job"] is None
        worker.ok("HEARTBEAT", id=ids[0], lease=jobs[0]["lease"])
        worker.ok("ACK", id=ids[1], lease=jobs[1]["lease"])
        worker.ok("ACK", id=ids[0], lease=jobs[0]["lease"])


def test_requests_for_a_dead_shard_are_refused_or_served_but_never_lost(cluster: Cluster) -> None:
    mine, foreign = (next(cluster.queues_of(n, f"dead-{n}-")) for n in (0, 1))
    with Wire(cluster.connect()) as wire:
        wire.ok("PUSH", queue=mine, data=1)
        accepted = 0
        old = cluster.kill("shard-01")
        for n in range(200):
            reply = wire.ask("PUSH", queue=foreign, data=n)
            accepted += reply["ok"]
            assert reply["ok"] or reply["code"] in ("unavailable", "timeout"), reply
            wire.ok("PUSH", queue=mine, data=n)
        cluster.wait_serving("shard-01", other_than=old)
        for _ in range(1_000):
            reply = wire.ask("COUNT", queue=foreign)
            if reply["ok"]:
                break
        assert reply["count"] >= accepted
        assert wire.ok("COUNT", queue=mine)["count"] == 201
