"""§2.5: queries."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.states import MAKE, STATES, UNKNOWN_ID, active, completed, failed, held, parent, waiting
from tests.conformance.ways import Way


def every_state(c: Peer, q: str, way: Way) -> dict[str, int]:
    """One job of each state in one queue, and what holds two of them in another."""
    ids = {"completed": c.push(q, 1, max_attempts=1)}
    c.ok("ACK", id=c.pull(q)["id"], result=5)
    ids["failed"] = c.push(q, 2, max_attempts=1)
    c.ok("FAIL", id=c.pull(q)["id"], error="boom")
    ids["active"] = c.push(q, 3)
    c.pull(q)
    ids["waiting"] = c.push(q, 4)
    ids["delayed"] = c.push(q, 5, delay=600_000)
    ids["waiting-children"] = c.push(q, 6, depends_on=[c.push(way.far())])
    flow = c.ok("FLOW", queue=q, data=7, children=[{"queue": way.far(), "data": 1}])
    ids["waiting-parent"] = flow["parent_id"]
    return ids


@pytest.mark.parametrize("state", [state for state in STATES if state != "unknown"])
def test_getjob_and_getstate_in_every_state(c: Peer, way: Way, state: str) -> None:
    """A completed job is answered as kept (F8), a held one is one record like any (F23)."""
    job_id = MAKE[state](c, way)
    reply = c.ok("GETJOB", id=job_id)
    assert (reply["job"]["id"], reply["state"]) == (job_id, state)
    assert reply["job"]["data"] == {"a": 1}
    assert c.ok("GETSTATE", id=job_id) == {"ok": True, "id": job_id, "state": state, "success": True}


def test_unknown_ids_are_no_errors(c: Peer) -> None:
    assert c.ok("GETJOB", id=UNKNOWN_ID) == {"ok": True, "job": None, "state": "unknown", "success": True}
    assert c.ok("GETSTATE", id=UNKNOWN_ID)["state"] == "unknown"
    assert c.ok("GETRESULT", id=UNKNOWN_ID) == {"ok": True, "id": UNKNOWN_ID, "result": None, "success": True}
    assert c.ok("GETSTATE", id=0)["state"] == "unknown"


def test_completed_and_dead_jobs_carry_what_became_of_them(c: Peer, way: Way) -> None:
    job = c.job(completed(c, way))
    assert job["result"] == {"r": 1}
    assert job["completed_at"] >= job["started_at"] > 0
    dead = c.job(failed(c, way))
    assert (dead["error"], dead["attempts"]) == ("boom", 1)


def test_getresult(c: Peer, way: Way) -> None:
    job_id = completed(c, way)
    assert c.ok("GETRESULT", id=job_id) == {"ok": True, "id": job_id, "result": {"r": 1}, "success": True}
    job_id = active(c, way)
    assert c.ok("GETRESULT", id=job_id)["result"] is None


def test_getjobbycustomid(c: Peer, way: Way) -> None:
    name = way.name()
    job_id = c.push(way.far(), {"a": 1}, job_id=name)
    reply = c.ok("GETJOBBYCUSTOMID", job_id=name)
    assert (reply["job"]["id"], reply["job"]["custom_id"], reply["state"]) == (job_id, name, "waiting")
    reply = c.ok("GETJOBBYCUSTOMID", job_id=way.name())
    assert (reply["job"], reply["state"]) == (None, "unknown")


def test_getjobbycustomid_of_a_completed_job_is_the_job(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    job_id = c.push(q, 1, job_id=name)
    c.pull(q)
    c.ok("ACK", id=job_id, result=2)
    reply = c.ok("GETJOBBYCUSTOMID", job_id=name)
    assert (reply["job"]["id"], reply["job"]["result"], reply["state"]) == (job_id, 2, "completed")


def test_getjobsbatch_keeps_request_order_and_repeats_and_omits_the_unknown(c: Peer, way: Way, q: str) -> None:
    one, two = c.push(q, 1), c.push(way.far(), 2)
    reply = c.ok("GETJOBSBATCH", ids=[two, UNKNOWN_ID, one, two])
    assert [(job["id"], job["data"], job["state"]) for job in reply["jobs"]] == [
        (two, 2, "waiting"), (one, 1, "waiting"), (two, 2, "waiting"),
    ]  # fmt: skip
    assert c.ok("GETJOBSBATCH", ids=[])["jobs"] == []
    text = c.no("GETJOBSBATCH", ids=[one] * 1001)
    assert "1000" in text


def test_getjobs_filters_by_queue_and_state(c: Peer, way: Way, q: str) -> None:
    ids = every_state(c, q, way)
    reply = c.ok("GETJOBS", queue=q)
    assert {job["state"]: job["id"] for job in reply["jobs"]} == ids
    assert reply["total"] == len(ids)
    for state, job_id in ids.items():
        reply = c.ok("GETJOBS", queue=q, state=state)
        assert [(job["id"], job["state"]) for job in reply["jobs"]] == [(job_id, state)]
        assert reply["total"] == 1


@pytest.mark.parametrize(
    "state",
    ["WAITING", "Waiting", "waitingchildren", "waiting_children", "WaitingChildren", "waitingparent", "waiting_parent"],
)
def test_getjobs_takes_every_spelling_of_a_state(c: Peer, way: Way, q: str, state: str) -> None:
    ids = every_state(c, q, way)
    plain = {"waiting": "waiting", "waitingchildren": "waiting-children", "waitingparent": "waiting-parent"}
    expected = plain[state.lower().replace("_", "")]
    reply = c.ok("GETJOBS", queue=q, state=state)
    assert [(job["id"], job["state"]) for job in reply["jobs"]] == [(ids[expected], expected)]


def test_getjobs_stalled_matches_nothing_and_other_words_are_refused(c: Peer, q: str) -> None:
    c.push(q)
    assert c.ok("GETJOBS", queue=q, state="stalled")["jobs"] == []
    reply = c.refusal("GETJOBS", queue=q, state="sleeping")
    assert "state" in reply["error"]
    assert reply["code"] == "invalid"


def test_getjobs_pages_newest_first_with_a_total(c: Peer, q: str) -> None:
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": n} for n in range(10)])["ids"]
    newest = sorted(ids, reverse=True)
    reply = c.ok("GETJOBS", queue=q, limit=4)
    assert ([job["id"] for job in reply["jobs"]], reply["total"]) == (newest[:4], 10)
    reply = c.ok("GETJOBS", queue=q, limit=4, offset=8)
    assert ([job["id"] for job in reply["jobs"]], reply["total"]) == (newest[8:], 10)
    reply = c.ok("GETJOBS", queue=q, offset=50)
    assert (reply["jobs"], reply["total"]) == ([], 10)
    assert c.ok("GETJOBS", queue=q, limit=0)["jobs"] == []


def test_getjobs_limits_to_100_unless_asked_and_1000_at_most(c: Peer, q: str) -> None:
    for _ in range(2):
        c.ok("PUSHB", queue=q, jobs=[{"data": 1}] * 600)
    assert len(c.ok("GETJOBS", queue=q)["jobs"]) == 100
    reply = c.ok("GETJOBS", queue=q, limit=10**12)
    assert (len(reply["jobs"]), reply["total"]) == (1000, 1200)


def test_getjobs_without_queue_is_of_all_shards(c: Peer, way: Way, q: str) -> None:
    one, two = c.push(q, 1), c.push(way.far(), 2)
    reply = c.ok("GETJOBS", limit=1000, state="waiting")
    ids = [job["id"] for job in reply["jobs"]]
    assert ids == sorted(ids, reverse=True)
    assert reply["total"] >= 2
    if reply["total"] <= 1000:
        assert {one, two} <= set(ids)


def test_getchildren(c: Peer, d: Peer, way: Way, q: str) -> None:
    near, far = way.queue(), way.far()
    flow = c.ok("FLOW", queue=q, data=1, children=[{"queue": near, "data": "n"}, {"queue": far, "data": "f"}])
    parent_id = flow["parent_id"]
    reply = c.ok("GETCHILDREN", parent_id=parent_id)
    assert (reply["parent_id"], reply["completed"], reply["total"]) == (parent_id, 0, 2)
    assert [(job["id"], job["data"], job["parent_id"]) for job in reply["children"]] == [
        (flow["children_ids"][0], "n", parent_id), (flow["children_ids"][1], "f", parent_id),
    ]  # fmt: skip
    for queue in (far, near):
        c.ok("ACK", id=c.pull(queue, 15_000)["id"])
    job = d.pull(q, 15_000)
    assert job["id"] == parent_id
    reply = c.ok("GETCHILDREN", parent_id=parent_id)
    assert (reply["completed"], reply["total"], len(reply["children"])) == (2, 2, 2)


@pytest.mark.parametrize("make", [waiting, lambda c, way: UNKNOWN_ID])
def test_getchildren_of_a_job_that_is_no_parent(c: Peer, way: Way, make: object) -> None:
    job_id = make(c, way)  # type: ignore[operator]
    reply = c.refusal("GETCHILDREN", parent_id=job_id)
    assert (reply["error"], reply["code"]) == (f"Parent job {job_id} not found", "not_found")


def test_counts(c: Peer, way: Way, q: str) -> None:
    """Held jobs are in no count."""
    every_state(c, q, way)
    assert c.ok("COUNT", queue=q)["count"] == 2
    reply = c.ok("GETJOBCOUNTS", queue=q)
    five = {"waiting": 1, "active": 1, "delayed": 1, "completed": 1, "failed": 1}
    assert {key: reply[key] for key in five} == five
    assert reply["counts"] == five


def test_counts_of_a_queue_that_is_not_there(c: Peer, q: str) -> None:
    assert c.ok("COUNT", queue=q)["count"] == 0
    reply = c.ok("GETJOBCOUNTS", queue=q)
    assert [reply[key] for key in ("waiting", "active", "delayed", "completed", "failed")] == [0] * 5
    assert c.ok("ISPAUSED", queue=q)["paused"] is False


def test_ispaused(c: Peer, d: Peer, q: str) -> None:
    c.ok("PAUSE", queue=q)
    assert d.ok("ISPAUSED", queue=q) == {"ok": True, "paused": True, "success": True}
    c.ok("RESUME", queue=q)
    assert d.ok("ISPAUSED", queue=q)["paused"] is False


def test_held_jobs_say_what_they_are(c: Peer, way: Way) -> None:
    job = c.job(held(c, way))
    assert len(job["depends_on"]) == 1
    job = c.job(parent(c, way))
    assert (len(job["children_ids"]), job["children_completed"]) == (1, 0)
