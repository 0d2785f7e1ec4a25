"""Listings of jobs and figures, in both codecs, on every way that a request can take."""

import time
from collections.abc import Callable

from tests.integration.wire import JOB_KEYS, Place, Reply, Wire


def until(question: Callable[[], Reply], holds: Callable[[Reply], bool]) -> Reply:
    """Ask again until the answer is as it should be."""
    end = time.monotonic() + 15
    while not holds(answer := question()):
        assert time.monotonic() < end, answer
    return answer


def test_jobs_of_a_queue_newest_first_with_their_states(place: Place, wire: Wire) -> None:
    queue = place.queue()
    assert wire.ok("GETJOBS", queue=queue) == {"ok": True, "jobs": [], "total": 0, "success": True}
    ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(4)] + [{"delay": 60_000}])["ids"]
    wire.ok("PULLB", queue=queue, count=2)
    wire.ok("ACK", id=ids[0], result={"r": 1})
    reply = wire.ok("GETJOBS", queue=queue)
    assert reply["total"] == 5
    assert [job["id"] for job in reply["jobs"]] == ids[::-1]
    assert [job["state"] for job in reply["jobs"]] == ["delayed", "waiting", "waiting", "active", "completed"]
    last = reply["jobs"][-1]
    assert list(last)[:31] == JOB_KEYS
    nested = last.pop("job")
    assert nested == last
    assert (last["result"], last["data"]) == ({"r": 1}, 0)
    page = wire.ok("GETJOBS", queue=queue, limit=2, offset=1)
    assert ([job["id"] for job in page["jobs"]], page["total"]) == ([ids[3], ids[2]], 5)
    for state, found in (("Waiting", 2), ("ACTIVE", 1), ("failed", 0), ("waiting_children", 0), ("stalled", 0)):
        page = wire.ok("GETJOBS", queue=queue, state=state, limit=1)
        assert (page["total"], len(page["jobs"])) == (found, min(1, found))
    refused = wire.refused("GETJOBS", queue=queue, state="done")
    assert "`state` is 'done', allowed are waiting, delayed, active, completed, failed" in refused["error"]


def test_jobs_of_all_queues_over_all_shards(place: Place, wire: Wire) -> None:
    """`data` marks the jobs of this test: the cluster has others."""
    marks = [[wire.ok("PUSH", queue=q, data=1, tags=["t"])["id"] for _ in range(3)] for q in
             (place.queue(), place.foreign())]  # fmt: skip
    wanted = {i for ids in marks for i in ids}
    first = wire.ok("GETJOBS", limit=1000)
    listed = [job["id"] for job in first["jobs"]]
    assert listed == sorted(listed, reverse=True)
    assert first["total"] == len(listed) < 1000
    assert wanted <= set(listed)
    assert wire.ok("GETJOBS", state="waiting", limit=1000)["total"] <= len(listed)
    page = wire.ok("GETJOBS", limit=5, offset=3)
    assert [job["id"] for job in page["jobs"]] == listed[3:8]
    assert page["jobs"][0]["job"]["id"] == listed[3]
    assert "`offset`" in wire.refused("GETJOBS", offset=10_001)["error"]
    assert "done" in wire.refused("GETJOBS", state="done")["error"]


def test_jobs_by_ids_in_the_order_asked_from_both_shards(place: Place, wire: Wire) -> None:
    queue, other = place.queue(), place.foreign()
    one, two = (wire.ok("PUSH", queue=q, data=q)["id"] for q in (queue, other))
    wire.ok("PULL", queue=other)
    wire.ok("ACK", id=two)
    jobs = wire.ok("GETJOBSBATCH", ids=[two, one, 10**14, two, one])["jobs"]
    assert [(job["id"], job["data"], job["state"]) for job in jobs] == [
        (two, other, "completed"), (one, queue, "waiting")] * 2  # fmt: skip
    assert [job["id"] for job in wire.ok("GETJOBSBATCH", ids=[one, one])["jobs"]] == [one, one]
    assert wire.ok("GETJOBSBATCH", ids=[])["jobs"] == []
    assert wire.refused("GETJOBSBATCH", ids=[one] * 1001)["error"] == "Batch too large (1001 ids, max 1000)"
    assert "ids[1]" in wire.refused("GETJOBSBATCH", ids=[one, 2**60])["error"]


def test_listings_stop_before_they_grow_too_large(place: Place, wire: Wire) -> None:
    """8 MiB of jobs at most, so that a client's frame and the server's memory stay bounded."""
    queue, other = place.queue(), place.foreign()
    ids = [wire.ok("PUSH", queue=q, data="x" * 3_000_000)["id"] for q in (queue, other, queue, other)]
    assert [job["id"] for job in wire.ok("GETJOBSBATCH", ids=ids)["jobs"]] == ids[:2]
    page = wire.ok("GETJOBS", queue=queue)
    assert ([job["id"] for job in page["jobs"]], page["total"]) == ([ids[2]], 2)
    for name in (queue, other):
        wire.ok("OBLITERATE", queue=name)


def test_metrics_tell_totals_rates_and_queues(place: Place, wire: Wire) -> None:
    queue = place.queue()
    before = wire.ok("METRICS")["metrics"]
    dead = wire.ok("PUSH", queue=queue, data=1, max_attempts=1)["id"]
    wire.ok("PULL", queue=queue)
    wire.ok("FAIL", id=dead)
    ids = wire.ok("PUSHB", queue=queue, jobs=[{}] * 100 + [{"delay": 60_000}])["ids"]
    wire.ok("PULLB", queue=queue, count=99)
    wire.ok("ACKB", ids=ids[:98])
    wire.ok("RATELIMIT", queue=queue, limit=7)
    after = wire.ok("METRICS")["metrics"]
    grown = {key: after[key] - before[key] for key in ("total_pushed", "total_completed", "total_failed")}
    assert grown == {"total_pushed": 102, "total_completed": 98, "total_failed": 1}
    assert after["avg_latency_ms"] >= 0
    mine = next(q for q in after["queues"] if q["name"] == queue)
    assert mine == {"name": queue, "pending": 2, "processing": 1, "dlq": 1, "rate_limit": 7}
    last = until(lambda: wire.ok("METRICS"), lambda reply: reply["metrics"]["jobs_per_second"] > 0)
    assert 1 < last["metrics"]["jobs_per_second"] < 1_000_000


def test_queue_is_listed_as_long_as_it_has_any_job_or_setting(place: Place, wire: Wire) -> None:
    names = {kind: place.queue() for kind in ("active", "dead", "paused", "limited", "completed")}
    for kind in ("active", "dead", "completed"):
        job_id = wire.ok("PUSH", queue=names[kind], data=1, max_attempts=1)["id"]
        wire.ok("PULL", queue=names[kind])
        if kind != "active":
            wire.ok("FAIL" if kind == "dead" else "ACK", id=job_id)
    wire.ok("PAUSE", queue=names["paused"])
    wire.ok("SETCONCURRENCY", queue=names["limited"], limit=3)
    listed = {q["name"]: q for q in wire.ok("LISTQUEUES")["queues"]}
    assert {kind for kind, name in names.items() if name in listed} == set(names)
    assert listed[names["dead"]]["dlq"] == listed[names["active"]]["processing"] == 1
    assert listed[names["limited"]]["concurrency_limit"] == 3
    assert names["paused"] in wire.ok("STATS")["queues"]
