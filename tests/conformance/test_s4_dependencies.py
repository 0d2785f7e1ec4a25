"""§4.6: depends_on, across queues and shards, with the rules of decisions.md."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.states import UNKNOWN_ID
from tests.conformance.ways import Way


def done(c: Peer, queue: str) -> int:
    job_id = int(c.pull(queue)["id"])
    c.ok("ACK", id=job_id)
    return job_id


@pytest.fixture(params=["near", "far"])
def other(request: pytest.FixtureRequest, way: Way) -> str:
    """A queue for what is depended on, on this shard or another."""
    return way.queue() if request.param == "near" else way.far()


def test_held_until_all_completed(c: Peer, d: Peer, q: str, other: str, way: Way) -> None:
    third = way.queue()
    ids = [c.push(other), c.push(third)]
    job_id = c.push(q, 1, depends_on=ids)
    assert c.state(job_id) == "waiting-children"
    assert c.job(job_id)["depends_on"] == ids
    c.nothing(q)
    done(c, other)
    c.nothing(q)
    d.send("PULL", queue=q, timeout=15_000)
    done(c, third)
    assert d.read()["job"]["id"] == job_id


def test_completed_before_is_queued_at_once(c: Peer, q: str, other: str) -> None:
    c.push(other)
    job_id = c.push(q, 1, depends_on=[done(c, other)])
    assert c.state(job_id) == "waiting"
    assert c.pull(q)["id"] == job_id


def test_released_job_is_waiting_in_every_answer(c: Peer, d: Peer, q: str, other: str) -> None:
    """F23."""
    c.push(other)
    job_id = c.push(q, 1, depends_on=[c.ok("GETJOBS", queue=other)["jobs"][0]["id"]])
    c.push(q, "behind", priority=-1, depends_on=c.job(job_id)["depends_on"])
    done(c, other)
    assert d.pull(q, 15_000)["id"] == job_id
    behind = d.pull(q, 15_000)["id"]
    assert c.ok("GETJOB", id=behind)["state"] == "active"


def test_released_by_ackb_too(c: Peer, d: Peer, q: str, other: str) -> None:
    job_id = c.push(q, 1, depends_on=[c.push(other)])
    c.ok("ACKB", ids=[c.pull(other)["id"]])
    assert d.pull(q, 15_000)["id"] == job_id


def test_dependency_completed_with_remove_on_complete_counts(c: Peer, d: Peer, q: str, other: str) -> None:
    """F22."""
    job_id = c.push(q, 1, depends_on=[c.push(other, remove_on_complete=True)])
    gone = done(c, other)
    assert d.pull(q, 15_000)["id"] == job_id
    assert c.state(c.push(q, 1, depends_on=[gone])) == "waiting"


def test_unknown_dependency_is_refused(c: Peer, q: str) -> None:
    """F22."""
    reply = c.refusal("PUSH", queue=q, data=1, depends_on=[UNKNOWN_ID])
    assert str(UNKNOWN_ID) in reply["error"]
    assert c.ok("GETJOBS", queue=q)["total"] == 0


def test_dead_dependency_kills_and_retry_waits_again(c: Peer, d: Peer, q: str, other: str) -> None:
    """decisions.md: `Dependency <id> failed`; after RETRYDLQ it waits again."""
    first = c.push(other, 1, max_attempts=1)
    job_id = c.push(q, 1, depends_on=[first])
    d.send("WAITJOB", id=job_id, timeout=15_000)
    c.ok("FAIL", id=c.pull(other)["id"])
    assert "Job failed" in d.read()["error"]
    assert (c.state(job_id), c.job(job_id)["error"]) == ("failed", f"Dependency {first} failed")
    c.ok("RETRYDLQ", queue=other)
    c.ok("RETRYDLQ", queue=q)
    assert c.state(job_id) == "waiting-children"
    done(c, other)
    assert d.pull(q, 15_000)["id"] == job_id


@pytest.mark.parametrize("how", ["CANCEL", "OBLITERATE", "DRAIN"])
def test_removed_dependency_kills(c: Peer, d: Peer, q: str, other: str, how: str) -> None:
    first = c.push(other, 1)
    job_id = c.push(q, 1, depends_on=[first])
    d.send("WAITJOB", id=job_id, timeout=15_000)
    c.ok(how, **({"id": first} if how == "CANCEL" else {"queue": other}))
    assert d.read()["ok"] is False
    assert (c.state(job_id), c.job(job_id)["error"]) == ("failed", f"Dependency {first} failed")


def test_dependency_that_ended_badly_before_kills_at_once(c: Peer, q: str, other: str) -> None:
    first = c.push(other, 1)
    c.ok("CANCEL", id=first)
    reply = c.ask("PUSH", queue=q, data=1, depends_on=[first])
    assert not reply["ok"] or c.state(reply["id"]) == "failed"


def test_on_dependency_failure_run_releases(c: Peer, d: Peer, q: str, other: str) -> None:
    job_id = c.push(q, 1, depends_on=[c.push(other, 1, max_attempts=1)], on_dependency_failure="run")
    c.ok("FAIL", id=c.pull(other)["id"])
    assert d.pull(q, 15_000)["id"] == job_id


def test_delay_applies_after_release(c: Peer, d: Peer, q: str, other: str) -> None:
    job_id = c.push(q, 1, depends_on=[c.push(other)], delay=600_000)
    d.send("WAITJOB", id=job_id, timeout=200)
    done(c, other)
    assert "Timeout" in d.read()["error"]
    assert c.state(job_id) == "delayed"


def test_held_jobs_are_in_no_count_and_not_drained(c: Peer, q: str, other: str) -> None:
    job_id = c.push(q, 1, depends_on=[c.push(other)])
    assert c.ok("COUNT", queue=q)["count"] == 0
    assert c.ok("GETJOBCOUNTS", queue=q)["waiting"] == 0
    assert c.ok("DRAIN", queue=q)["count"] == 0
    assert c.state(job_id) == "waiting-children"


def test_held_jobs_are_reached_by_cancel_priority_and_obliterate(c: Peer, d: Peer, q: str, other: str) -> None:
    first = c.push(other)
    one, two, three = (c.push(q, n, depends_on=[first]) for n in range(3))
    c.ok("CHANGEPRIORITY", id=two, priority=5)
    c.ok("CANCEL", id=one)
    assert c.state(one) == "unknown"
    done(c, other)
    assert [d.pull(q, 15_000)["id"], d.pull(q, 15_000)["id"]] == [two, three]
    held = c.push(q, 9, depends_on=[c.push(other)])
    assert c.ok("OBLITERATE", queue=q)["count"] == 3
    assert c.state(held) == "unknown"


def test_chain_over_shards(c: Peer, d: Peer, q: str, other: str, way: Way) -> None:
    last = way.queue()
    one = c.push(other, 1)
    two = c.push(q, 2, depends_on=[one])
    three = c.push(last, 3, depends_on=[two, one])
    done(c, other)
    assert d.pull(q, 15_000)["id"] == two
    c.nothing(last)
    c.ok("ACK", id=two)
    assert d.pull(last, 15_000)["id"] == three


def test_batch_entries_may_depend(c: Peer, d: Peer, q: str, other: str) -> None:
    first = c.push(other)
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": 1}, {"data": 2, "depends_on": [first]}, {"data": 3, "depends_on": []}])[
        "ids"
    ]
    assert [job["id"] for job in c.drain(q)] == [ids[0], ids[2]]
    done(c, other)
    assert d.pull(q, 15_000)["id"] == ids[1]
