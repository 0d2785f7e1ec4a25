"""§4.11: DRAIN, OBLITERATE, CLEAN."""

from typing import Any

import pytest

from tests.conformance.peer import Peer, until
from tests.conformance.ways import Way


def one_of_each(c: Peer, q: str, way: Way) -> dict[str, int]:
    ids = {"completed": c.push(q, 1)}
    c.ok("ACK", id=c.pull(q)["id"], result=5)
    ids["failed"] = c.push(q, 2, max_attempts=1)
    c.ok("FAIL", id=c.pull(q)["id"])
    ids["active"] = c.push(q, 3)
    c.pull(q)
    ids["waiting"] = c.push(q, 4)
    ids["delayed"] = c.push(q, 5, delay=600_000)
    ids["waiting-children"] = c.push(q, 6, depends_on=[c.push(way.far())])
    ids["waiting-parent"] = c.ok("FLOW", queue=q, data=7, children=[{"queue": way.far(), "data": 1}])["parent_id"]
    assert {state: c.state(job_id) for state, job_id in ids.items()} == {state: state for state in ids}
    return ids


def check_left(c: Peer, ids: dict[str, int], removed: set[str]) -> None:
    for state, job_id in ids.items():
        assert c.state(job_id) == ("unknown" if state in removed else state), state


def test_drain_removes_waiting_and_delayed(c: Peer, way: Way, q: str) -> None:
    ids = one_of_each(c, q, way)
    assert c.ok("DRAIN", queue=q)["count"] == 2
    check_left(c, ids, {"waiting", "delayed"})
    assert c.ok("COUNT", queue=q)["count"] == 0
    c.nothing(q)
    assert c.ok("DRAIN", queue=q)["count"] == 0


def test_obliterate_removes_all_but_the_completed(c: Peer, way: Way, q: str) -> None:
    ids = one_of_each(c, q, way)
    assert c.ok("OBLITERATE", queue=q)["count"] == 6
    check_left(c, ids, set(ids) - {"completed"})
    assert c.ok("GETRESULT", id=ids["completed"])["result"] == 5
    assert c.no("ACK", id=ids["active"]) == f"Job {ids['active']} not found"
    assert c.ok("DLQ", queue=q)["jobs"] == []


def test_obliterate_resets_the_queue(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    c.push(q, 1, unique_key="k")
    c.ok("PAUSE", queue=q)
    c.ok("RATELIMIT", queue=q, limit=0)
    c.ok("SETCONCURRENCY", queue=q, limit=0)
    c.ok("CRON", name=name, queue=q, data=1, schedule="0 0 1 1 *")
    c.ok("OBLITERATE", queue=q)
    assert c.ok("ISPAUSED", queue=q)["paused"] is False
    # The cron lives where its name does: another shard is told that it goes, a moment later.
    until(c, lambda: name not in [entry["name"] for entry in c.ok("CRONLIST")["crons"]])
    job_id = c.push(q, 2, unique_key="k")
    assert c.pull(q)["id"] == job_id


def test_removal_touches_no_other_queue(c: Peer, way: Way, q: str) -> None:
    others = [way.queue(), way.far()]
    ids = [c.push(queue, 1) for queue in others]
    c.push(q)
    c.ok("DRAIN", queue=q)
    c.ok("OBLITERATE", queue=q)
    for state in ("waiting", "delayed", "completed", "failed"):
        c.ok("CLEAN", queue=q, grace=0, state=state)
    assert [c.state(job_id) for job_id in ids] == ["waiting"] * 2


@pytest.mark.parametrize("state", ["waiting", "delayed", "completed", "failed"])
def test_clean_removes_what_it_says_and_nothing_else(c: Peer, way: Way, q: str, state: str) -> None:
    """F29."""
    ids = one_of_each(c, q, way)
    assert c.ok("CLEAN", queue=q, grace=0, state=state)["count"] == 1
    left = set(ids) - {state}
    assert {name: c.state(ids[name]) for name in left} == {name: name for name in left}
    assert c.ok("GETJOB", id=ids[state])["job"] is None
    assert c.ok("GETJOBS", queue=q, state=state)["total"] == 0


@pytest.mark.parametrize("state", ["waiting", "delayed", "completed", "failed"])
def test_clean_honours_grace_and_limit(c: Peer, q: str, state: str) -> None:
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": n, "max_attempts": 1} for n in range(5)])["ids"]
    if state == "delayed":
        c.ok("DRAIN", queue=q)
        ids = c.ok("PUSHB", queue=q, jobs=[{"data": n, "delay": 600_000} for n in range(5)])["ids"]
    elif state != "waiting":
        for job in c.drain(q):
            c.ok("ACK" if state == "completed" else "FAIL", id=job["id"])
    assert c.ok("CLEAN", queue=q, grace=600_000, state=state)["count"] == 0
    assert c.ok("CLEAN", queue=q, grace=0, state=state, limit=2)["count"] == 2
    left = [job["id"] for job in c.ok("GETJOBS", queue=q, state=state)["jobs"]]
    assert sorted(left) == ids[2:]  # oldest first out
    assert c.ok("CLEAN", queue=q, grace=0, state=state)["count"] == 3


def test_drain_of_many_answers_and_leaves_none(c: Peer, d: Peer, q: str) -> None:
    jobs: list[dict[str, Any]] = [{"data": n, "priority": n % 3, "delay": (n % 2) * 600_000} for n in range(1000)]
    for _ in range(5):
        c.ok("PUSHB", queue=q, jobs=jobs)
    c.send("DRAIN", queue=q)
    d.ok("STATS")
    assert c.read()["count"] == 5000
    after = d.push(q, "after")
    assert d.ok("COUNT", queue=q)["count"] == 1
    assert d.pull(q)["id"] == after


def test_waiting_pull_survives_a_drain(c: Peer, d: Peer, q: str) -> None:
    d.send("PULL", queue=q, timeout=15_000)
    c.ok("DRAIN", queue=q)
    c.ok("OBLITERATE", queue=q)
    job_id = c.push(q)
    assert d.read()["job"]["id"] == job_id
