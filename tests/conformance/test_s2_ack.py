"""§2.4: ACK, ACKB, FAIL, and the lease tokens that decisions add."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way

UNKNOWN = 2**40


def pulled(c: Peer, queue: str, **options: object) -> dict[str, object]:
    c.push(queue, 1, **options)
    return c.pull(queue)


@pytest.mark.parametrize("result", [0, "", [], {"a": [None]}, False, 2.5, "é"])
def test_ack_stores_the_result(c: Peer, q: str, result: object) -> None:
    job_id = pulled(c, q)["id"]
    assert c.ok("ACK", id=job_id, result=result) == {"ok": True, "success": True}
    assert c.ok("GETRESULT", id=job_id)["result"] == result


@pytest.mark.parametrize("fields", [{}, {"result": None}])
def test_result_null_is_none(c: Peer, q: str, fields: dict[str, object]) -> None:
    job_id = pulled(c, q)["id"]
    c.ok("ACK", id=job_id, **fields)
    assert c.ok("GETRESULT", id=job_id)["result"] is None
    assert "result" not in c.ok("WAITJOB", id=job_id, timeout=0)


@pytest.mark.parametrize("cmd", ["ACK", "FAIL"])
def test_unknown_job_is_not_found(c: Peer, cmd: str) -> None:
    reply = c.refusal(cmd, id=UNKNOWN)
    assert (reply["error"], reply["code"]) == (f"Job {UNKNOWN} not found", "not_found")


@pytest.mark.parametrize("cmd", ["ACK", "FAIL"])
def test_job_that_was_never_pulled_is_not_found(c: Peer, q: str, cmd: str) -> None:
    waiting = c.push(q)
    delayed = c.push(q, delay=600_000)
    for job_id in (waiting, delayed):
        assert c.no(cmd, id=job_id) == f"Job {job_id} not found"
    assert (c.state(waiting), c.state(delayed)) == ("waiting", "delayed")


def test_finished_job_is_not_found(c: Peer, q: str) -> None:
    job_id = pulled(c, q)["id"]
    c.ok("ACK", id=job_id)
    assert c.no("ACK", id=job_id) == f"Job {job_id} not found"
    assert c.no("FAIL", id=job_id) == f"Job {job_id} not found"
    assert c.state(job_id) == "completed"


def test_ack_again_with_its_own_token_is_ok_and_changes_nothing(c: Peer, q: str) -> None:
    job = pulled(c, q)
    c.ok("ACK", id=job["id"], lease=job["lease"], result=1)
    c.ok("ACK", id=job["id"], lease=job["lease"], result=2)
    assert c.ok("GETRESULT", id=job["id"])["result"] == 1


def test_fail_is_ok_whether_retried_or_dead(c: Peer, q: str) -> None:
    job_id = pulled(c, q, max_attempts=2, backoff=0)["id"]
    assert c.ok("FAIL", id=job_id, error="once") == {"ok": True, "success": True}
    job = c.pull(q)
    assert (job["id"], job["attempts"], job["progress_msg"]) == (job_id, 1, "once")
    assert c.ok("FAIL", id=job_id, error="twice") == {"ok": True, "success": True}
    assert c.state(job_id) == "failed"
    assert c.job(job_id)["error"] == "twice"


@pytest.mark.parametrize("error", [None, "", 'é\n"', "x" * 20_000])
def test_fail_takes_any_text(c: Peer, q: str, error: str | None) -> None:
    job_id = pulled(c, q, max_attempts=1)["id"]
    c.ok("FAIL", id=job_id, error=error)
    assert c.state(job_id) == "failed"


def test_ackb_answers_a_count_and_names_what_was_not_found(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": n} for n in range(5)])
    ids = [job["id"] for job in c.ok("PULLB", queue=q, count=3, timeout=0)["jobs"]]
    waiting = c.push(q)
    reply = c.ok("ACKB", ids=[*ids, ids[0], waiting, UNKNOWN])
    assert (reply["ids"], reply["count"]) == ([3], 3)
    assert reply["not_found"] == [ids[0], waiting, UNKNOWN]
    assert [c.state(job_id) for job_id in (*ids, waiting)] == ["completed"] * 3 + ["waiting"]


def test_ackb_of_nothing(c: Peer) -> None:
    reply = c.ok("ACKB", ids=[])
    assert (reply["ids"], reply["count"]) == ([0], 0)


def test_ackb_over_shards_with_results_in_order(c: Peer, way: Way, q: str) -> None:
    """ACKB is n times ACK: results are stored, and the ids may be of any shards (F7)."""
    jobs = []
    for n in range(6):
        queue = q if n % 2 else way.far()
        c.push(queue, n)
        jobs.append(c.pull(queue)["id"])
    reply = c.ok("ACKB", ids=jobs, results=[{"n": n} for n in range(5)] + [None])
    assert reply["count"] == 6
    assert [c.ok("GETRESULT", id=job_id)["result"] for job_id in jobs] == [{"n": n} for n in range(5)] + [None]


def test_ackb_of_more_than_1000_is_refused(c: Peer, q: str) -> None:
    job_id = pulled(c, q)["id"]
    text = c.no("ACKB", ids=[job_id] * 1001)
    assert "1001" in text
    assert "1000" in text
    assert c.state(job_id) == "active"


def test_lists_of_another_length_are_refused(c: Peer, q: str) -> None:
    job = pulled(c, q)
    assert "results" in c.no("ACKB", ids=[job["id"]], results=[1, 2])
    assert "leases" in c.no("ACKB", ids=[job["id"]], leases=[])
    assert c.state(job["id"]) == "active"


LOST = "Lease lost: job {} was given to another worker"


@pytest.mark.parametrize("cmd", ["ACK", "FAIL", "HEARTBEAT", "PROGRESS"])
def test_token_that_is_not_the_latest_changes_nothing(c: Peer, q: str, cmd: str) -> None:
    job = pulled(c, q, max_attempts=0, backoff=0)
    c.ok("FAIL", id=job["id"], lease=job["lease"])
    second = c.pull(q)
    fields = {"progress": 5} if cmd == "PROGRESS" else {}
    reply = c.refusal(cmd, id=job["id"], lease=job["lease"], **fields)
    assert (reply["error"], reply["code"]) == (LOST.format(job["id"]), "lease_lost")
    now = c.job(job["id"])
    assert (now["attempts"], now["progress"], c.state(job["id"])) == (1, 0, "active")
    c.ok(cmd, id=job["id"], lease=second["lease"], **fields)


def test_tokens_in_ackb(c: Peer, q: str) -> None:
    one, two = pulled(c, q), pulled(c, q)
    lease = int(str(one["lease"]))
    reply = c.ok("ACKB", ids=[one["id"], two["id"]], leases=[lease - 1, two["lease"]])
    assert (reply["ids"], reply["count"]) == ([1], 1)
    assert (c.state(int(str(one["id"]))), c.state(int(str(two["id"])))) == ("active", "completed")


def test_ack_without_token_counts_for_any_active_job(c: Peer, d: Peer, q: str) -> None:
    job_id = pulled(c, q)["id"]
    d.ok("ACK", id=job_id)
    assert d.state(int(str(job_id))) == "completed"


def test_late_ack_completes_a_job_that_waits_again_and_late_fail_is_ignored(c: Peer, q: str) -> None:
    """The work is done: to do it again would double it."""
    job_id = pulled(c, q, timeout=20, backoff=600_000, max_attempts=0)["id"]
    assert c.ok("PULL", queue=q, timeout=60)["job"] is None  # the time passes in which the lease ends
    assert c.state(int(str(job_id))) == "delayed"
    assert c.no("FAIL", id=job_id) == f"Job {job_id} not found"
    c.ok("ACK", id=job_id, result="done")
    assert c.state(int(str(job_id))) == "completed"
    assert c.ok("GETRESULT", id=job_id)["result"] == "done"
