"""§2.8, first half: DLQ, RETRYDLQ, PURGEDLQ."""

from tests.conformance.peer import Peer
from tests.conformance.states import UNKNOWN_ID
from tests.conformance.ways import Way


def dead(c: Peer, queue: str, data: object = 1, **options: object) -> int:
    job_id = c.push(queue, data, **{"max_attempts": 1, **options})
    assert c.pull(queue)["id"] == job_id
    c.ok("FAIL", id=job_id, error=f"error of {data}")
    return job_id


def test_dlq_lists_oldest_death_first(c: Peer, q: str) -> None:
    ids = [c.push(q, n, max_attempts=1) for n in range(3)]
    c.drain(q)
    for job_id in (ids[2], ids[0], ids[1]):
        c.ok("FAIL", id=job_id)
    assert [job["id"] for job in c.ok("DLQ", queue=q)["jobs"]] == [ids[2], ids[0], ids[1]]
    assert [job["id"] for job in c.ok("DLQ", queue=q, count=2)["jobs"]] == [ids[2], ids[0]]


def test_dlq_keeps_the_whole_job_and_its_error(c: Peer, q: str) -> None:
    """F18."""
    job_id = dead(c, q, {"d": 1}, priority=3, tags=["t"], timeout=60_000)
    job = c.ok("DLQ", queue=q)["jobs"][0]
    assert (job["id"], job["data"], job["priority"], job["tags"], job["timeout"]) == (
        job_id,
        {"d": 1},
        3,
        ["t"],
        60_000,
    )
    assert (job["error"], job["attempts"]) == ("error of {'d': 1}", 1)


def test_dlq_counts_100_unless_asked(c: Peer, q: str) -> None:
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": n, "max_attempts": 1} for n in range(120)])["ids"]
    c.drain(q)
    for job_id in ids:
        c.send("FAIL", id=job_id)
    for _ in ids:
        assert c.read()["ok"] is True
    assert [job["id"] for job in c.ok("DLQ", queue=q)["jobs"]] == ids[:100]
    assert [job["id"] for job in c.ok("DLQ", queue=q, count=10**12)["jobs"]] == ids
    assert c.ok("DLQ", queue=q, count=0)["jobs"] == []


def test_empty_and_unknown_queues_have_none(c: Peer, q: str) -> None:
    assert c.ok("DLQ", queue=q) == {"ok": True, "jobs": [], "success": True}
    reply = c.ok("RETRYDLQ", queue=q)
    assert (reply["ids"], reply["count"]) == ([0], 0)
    assert c.ok("PURGEDLQ", queue=q)["count"] == 0


def test_retry_of_one(c: Peer, q: str) -> None:
    one, two = dead(c, q, 1), dead(c, q, 2)
    reply = c.ok("RETRYDLQ", queue=q, id=two)
    assert (reply["ids"], reply["count"]) == ([1], 1)
    assert (c.state(one), c.state(two)) == ("failed", "waiting")
    job = c.pull(q)
    assert (job["id"], job["attempts"]) == (two, 0)
    assert job["run_at"] >= job["created_at"]


def test_retry_of_all(c: Peer, d: Peer, q: str) -> None:
    ids = [dead(c, q, n) for n in range(3)]
    d.send("PULL", queue=q, timeout=15_000)
    reply = c.ok("RETRYDLQ", queue=q)
    assert (reply["ids"], reply["count"]) == ([3], 3)
    assert d.read()["job"]["id"] == ids[0]
    assert [job["id"] for job in c.drain(q)] == ids[1:]
    assert c.ok("DLQ", queue=q)["jobs"] == []


def test_retry_with_id_null_is_of_all(c: Peer, q: str) -> None:
    """Old SDKs send null for an id that was not given."""
    dead(c, q, 1)
    assert c.ok("RETRYDLQ", queue=q, id=None)["ids"] == [1]


def test_retry_of_what_is_not_dead_here_is_zero(c: Peer, way: Way, q: str) -> None:
    waiting = c.push(q)
    elsewhere = dead(c, way.far())
    for job_id in (UNKNOWN_ID, waiting, elsewhere):
        reply = c.ok("RETRYDLQ", queue=q, id=job_id)
        assert (reply["ids"], reply["count"]) == ([0], 0)
    assert (c.state(waiting), c.state(elsewhere)) == ("waiting", "failed")


def test_retried_job_may_die_again(c: Peer, q: str) -> None:
    job_id = dead(c, q, 1)
    c.ok("RETRYDLQ", queue=q)
    c.pull(q)
    c.ok("FAIL", id=job_id, error="again")
    assert [job["error"] for job in c.ok("DLQ", queue=q)["jobs"]] == ["again"]


def test_purge_removes_them_and_nothing_else(c: Peer, q: str) -> None:
    ids = [dead(c, q, n) for n in range(3)]
    waiting = c.push(q)
    assert c.ok("PURGEDLQ", queue=q)["count"] == 3
    assert [c.state(job_id) for job_id in ids] == ["unknown"] * 3
    assert c.state(waiting) == "waiting"
    assert c.ok("DLQ", queue=q)["jobs"] == []


def test_remove_on_fail_leaves_no_dead_letter(c: Peer, q: str) -> None:
    job_id = dead(c, q, 1, remove_on_fail=True)
    assert c.state(job_id) == "unknown"
    assert c.ok("DLQ", queue=q)["jobs"] == []
