"""§2.6: WAITJOB, and what F11 asks of it."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.states import MAKE, UNKNOWN_ID, active, cancelled, completed, failed
from tests.conformance.ways import Way


def begin(d: Peer, job_id: int) -> None:
    """A wait that the server has taken in: what was asked behind it is answered."""
    d.send("WAITJOB", id=job_id, timeout=15_000, reqId="wait")
    d.send("GETSTATE", id=job_id, reqId="state")
    assert d.read()["reqId"] == "state"


@pytest.mark.parametrize("result", [{"r": [1]}, 0, "", False])
def test_result_of_a_job_that_completes_meanwhile(c: Peer, d: Peer, way: Way, result: object) -> None:
    job_id = active(c, way)
    begin(d, job_id)
    c.ok("ACK", id=job_id, result=result)
    assert d.read() == {"reqId": "wait", "ok": True, "result": result, "success": True}


def test_result_key_is_absent_if_there_is_none(c: Peer, d: Peer, way: Way) -> None:
    job_id = active(c, way)
    begin(d, job_id)
    c.ok("ACKB", ids=[job_id])
    assert d.read() == {"reqId": "wait", "ok": True, "success": True}
    assert c.ok("WAITJOB", id=job_id) == {"ok": True, "success": True}


def test_completed_before(c: Peer, way: Way) -> None:
    assert c.ok("WAITJOB", id=completed(c, way))["result"] == {"r": 1}


def test_dead_before(c: Peer, way: Way) -> None:
    assert c.no("WAITJOB", id=failed(c, way)) == "Job failed"


def test_unknown_and_cancelled_before(c: Peer, way: Way) -> None:
    for job_id in (UNKNOWN_ID, cancelled(c, way)):
        reply = c.refusal("WAITJOB", id=job_id)
        assert (reply["error"], reply["code"]) == ("Job not found", "not_found")


@pytest.mark.parametrize("state", ["waiting", "delayed", "active", "waiting-children", "waiting-parent"])
@pytest.mark.parametrize("timeout", [0, 30])
def test_timeout(c: Peer, way: Way, state: str, timeout: int) -> None:
    job_id = MAKE[state](c, way)
    reply = c.refusal("WAITJOB", id=job_id, timeout=timeout)
    assert reply["error"] == f"Timeout waiting for job {job_id} after {timeout}ms"
    assert reply["code"] == "timeout"
    assert c.state(job_id) == state


def test_death_meanwhile_by_fail(c: Peer, d: Peer, way: Way) -> None:
    job_id = active(c, way)
    begin(d, job_id)
    c.ok("FAIL", id=job_id, error="x")
    assert "Job failed" in d.read()["error"]


def test_death_meanwhile_by_discard(c: Peer, d: Peer, way: Way) -> None:
    job_id = active(c, way)
    begin(d, job_id)
    c.ok("DISCARD", id=job_id)
    assert "Job failed" in d.read()["error"]


@pytest.mark.parametrize("option", ["timeout", "stall_timeout"])
def test_death_meanwhile_by_time(c: Peer, d: Peer, q: str, option: str) -> None:
    job_id = c.push(q, 1, max_attempts=1, **{option: 300})
    begin(d, job_id)
    c.pull(q)
    assert "Job failed" in d.read()["error"]


def test_cancelled_meanwhile(c: Peer, d: Peer, way: Way) -> None:
    job_id = active(c, way)
    begin(d, job_id)
    c.ok("CANCEL", id=job_id)
    reply = d.read()
    assert reply["ok"] is False
    assert "cancelled" in reply["error"]


def test_removed_meanwhile(c: Peer, d: Peer, q: str) -> None:
    job_id = c.push(q, 1)
    begin(d, job_id)
    c.ok("OBLITERATE", queue=q)
    assert d.read()["ok"] is False


def test_retry_does_not_end_the_wait(c: Peer, d: Peer, q: str) -> None:
    job_id = c.push(q, 1, backoff=0)
    begin(d, job_id)
    c.ok("FAIL", id=c.pull(q)["id"])
    c.ok("ACK", id=c.pull(q)["id"], result="second")
    assert d.read()["result"] == "second"


def test_job_that_is_forgotten_on_completion_still_answers_who_waited(c: Peer, d: Peer, q: str) -> None:
    job_id = c.push(q, 1, remove_on_complete=True)
    begin(d, job_id)
    c.pull(q)
    c.ok("ACK", id=job_id, result=[1])
    assert d.read()["result"] == [1]
    assert c.ok("GETJOB", id=job_id)["job"] is None


def test_many_wait_for_one(c: Peer, way: Way) -> None:
    job_id = active(c, way)
    waiting = [way.connect() for _ in range(3)]
    for peer in waiting:
        begin(peer, job_id)
    c.ok("ACK", id=job_id, result=7)
    for peer in waiting:
        assert peer.read()["result"] == 7
        peer.sock.close()
