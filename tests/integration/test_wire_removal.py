"""Removal, retention and dead letters over kills and time, on a real cluster."""

import time
from collections.abc import Callable, Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import BINARY, CODECS, TEXT, Reply, Wire

OPTIONS: Reply = {"priority": 3, "tags": ["é"], "timeout": 900_000, "backoff": 5, "max_attempts": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    settings = {"FLASHQ_KEEP_COMPLETED_AGE_MS": "3000", "FLASHQ_QUEUE_FORGET_MS": "1000"}
    with Cluster(shards=2, durability="commit", settings=settings) as one:
        yield one


@pytest.fixture(params=CODECS)
def wire(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Wire]:
    with Wire(cluster.connect(), request.param) as one:
        yield one


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, what


def test_completed_jobs_go_by_their_age_and_idle_queues_after_them(cluster: Cluster, wire: Wire) -> None:
    """Nothing is pushed, pulled or acked meanwhile."""
    queue = f"age-{wire.codec}"
    short = wire.ok("PUSH", queue=queue, data=1, keep_completed_age=1)["id"]
    long = wire.ok("PUSH", queue=queue, data=2)["id"]
    wire.ok("PULLB", queue=queue, count=2)
    assert wire.ok("ACKB", ids=[short, long])["count"] == 2

    def listed(job_id: int) -> bool:
        return wire.ok("GETJOBSBATCH", ids=[job_id])["jobs"] != []

    until(lambda: not listed(short), "its own age is a millisecond")
    assert listed(long)
    until(lambda: not listed(long), "the configured age has passed")
    assert wire.ok("GETJOBCOUNTS", queue=queue)["completed"] == 0

    def names() -> list[str]:
        return [q["name"] for q in wire.ok("LISTQUEUES")["queues"]]

    until(lambda: queue not in names(), "an idle queue is forgotten, its gauges too")
    new = wire.ok("PUSH", queue=queue, data=3)["id"]
    assert new > long
    assert queue in names()
    wire.ok("OBLITERATE", queue=queue)


@pytest.mark.parametrize("codec", [TEXT, BINARY])
def test_what_was_removed_and_what_died_is_so_after_a_kill(cluster: Cluster, codec: str) -> None:
    """A kill in the middle of clearing away forty thousand jobs brings none of them back, and loses no other."""
    queue = f"kill-{codec}"
    with Wire(cluster.connect(), codec) as wire:
        dead = wire.ok("PUSH", queue=queue, data={"to": "a"}, **OPTIONS)["id"]
        wire.ok("PULL", queue=queue)
        wire.ok("FAIL", id=dead, error="why")
        retried = wire.ok("PUSH", queue=f"{queue}-2", data=5, **OPTIONS)["id"]
        wire.ok("PULL", queue=f"{queue}-2")
        wire.ok("FAIL", id=retried, error="why")
        assert wire.ok("RETRYDLQ", queue=f"{queue}-2")["count"] == 1
        removed = [
            job_id
            for _ in range(40)
            for job_id in wire.ok("PUSHB", queue=queue, jobs=[{"data": 1, "priority": 1}] * 1000)["ids"]
        ]
        active = wire.ok("PULL", queue=queue)["job"]
        before = wire.ok("GETJOB", id=dead)["job"]
        assert wire.ok("DRAIN", queue=queue)["count"] == 39_999
        new = wire.ok("PUSH", queue=queue, data="new")["id"]
    cluster.kill_all()
    cluster.start()
    with Wire(cluster.connect(), codec) as wire:
        assert wire.ok("GETJOB", id=dead)["job"] == before
        assert wire.ok("DLQ", queue=queue)["jobs"] == [before]
        assert (before["error"], before["tags"], before["data"], before["attempts"]) == ("why", ["é"], {"to": "a"}, 1)
        counts = wire.ok("GETJOBCOUNTS", queue=queue)["counts"]
        assert counts == {"waiting": 1, "active": 1, "delayed": 0, "completed": 0, "failed": 1}
        assert wire.ok("GETJOBSBATCH", ids=removed[1:1001])["jobs"] == []
        assert {wire.ok("GETSTATE", id=i)["state"] for i in removed[1::1000]} == {"unknown"}
        assert wire.ok("PULL", queue=queue, timeout=0)["job"]["id"] == new
        assert wire.ok("PULL", queue=queue, timeout=0)["job"] is None
        wire.ok("ACK", id=active["id"], lease=active["lease"])
        job = wire.ok("PULL", queue=f"{queue}-2", timeout=0)["job"]
        assert (job["id"], job["attempts"], job["tags"]) == (retried, 0, ["é"])
        assert wire.ok("DLQ", queue=f"{queue}-2")["jobs"] == []
