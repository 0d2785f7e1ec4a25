"""§2.7: every command on a job, from every state that a job can be in."""

from typing import Any, Final

import pytest

from tests.conformance.peer import Peer
from tests.conformance.states import MAKE, STATES, UNKNOWN_ID, active, cancelled, completed, delayed, failed, waiting
from tests.conformance.ways import Way

OVER: Final = "Job {} cannot be cancelled (already completed/failed)"
TABLE: Final[dict[str, tuple[dict[str, Any], dict[str, str], str]]] = {
    # command: its fields, the state after it where it works, its error elsewhere
    "PROGRESS": ({"progress": 40, "message": "m"}, {"active": "active"}, "Job {} not found in processing"),
    "HEARTBEAT": ({}, {"active": "active"}, "Job {} not in processing"),
    "PARTIAL": ({"data": [1]}, {"active": "active"}, "Job {} not found in processing"),
    "LOG": ({"message": "m"}, {state: state for state in STATES if state != "unknown"}, "Job {} not found"),
    "CHANGEPRIORITY": (
        {"priority": 9}, {state: state for state in STATES if state not in ("completed", "unknown")},
        "Job {} not found or cannot change priority",
    ),
    "MOVETODELAYED": ({"delay": 600_000}, {"active": "delayed"}, "Job {} not in processing"),
    "PROMOTE": ({}, {"delayed": "waiting"}, "Job {} not found or not in delayed state"),
    "UPDATEJOB": (
        {"data": {"new": 1}}, {state: state for state in ("waiting", "delayed", "active", "failed")},
        "Job {} not found",
    ),
    "DISCARD": (
        {}, {"waiting": "failed", "delayed": "failed", "active": "failed"},
        "Job {} not found or already in DLQ/completed",
    ),
    "CANCEL": (
        {}, dict.fromkeys(("waiting", "delayed", "active", "waiting-children", "waiting-parent"), "unknown"),
        "Job {} not found",
    ),
}  # fmt: skip
SPECIAL: Final = {
    ("CANCEL", "completed"): OVER,
    ("CANCEL", "failed"): OVER,
    ("PROMOTE", "waiting"): "Job {} is not delayed",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("cmd", TABLE)
def test_command_in_state(c: Peer, way: Way, cmd: str, state: str) -> None:
    """What works leaves the state that the table says; what does not changes nothing."""
    fields, works, error = TABLE[cmd]
    job_id = MAKE[state](c, way)
    assert c.state(job_id) == state
    before = c.ok("GETJOB", id=job_id)
    if state in works:
        assert c.ok(cmd, id=job_id, **fields) == {"ok": True, "success": True}
        assert c.state(job_id) == works[state]
        return
    reply = c.refusal(cmd, id=job_id, **fields)
    assert reply["error"] == SPECIAL.get((cmd, state), error).format(job_id)
    assert reply["code"] in ("not_found", "invalid")
    assert c.ok("GETJOB", id=job_id) == before


def test_cancelled_job_is_gone(c: Peer, way: Way) -> None:
    job_id = cancelled(c, way)
    assert c.state(job_id) == "unknown"
    assert c.no("CANCEL", id=job_id) == f"Job {job_id} not found"
    queue = way.queue()
    job_id = c.push(queue)
    c.pull(queue)
    c.ok("CANCEL", id=job_id)
    assert c.no("ACK", id=job_id) == f"Job {job_id} not found"
    c.nothing(queue)


def test_progress_is_stored_capped_and_its_message_replaced(c: Peer, way: Way) -> None:
    job_id = active(c, way)
    c.ok("PROGRESS", id=job_id, progress=30, message="é")
    reply = c.ok("GETPROGRESS", id=job_id)
    assert reply["progress"] == {"id": job_id, "progress": 30, "message": "é"}
    assert (c.job(job_id)["progress"], c.job(job_id)["progress_msg"]) == (30, "é")
    c.ok("PROGRESS", id=job_id, progress=255)
    assert c.ok("GETPROGRESS", id=job_id)["progress"] == {"id": job_id, "progress": 100, "message": None}
    for bad in (256, -1):
        assert "progress" in c.no("PROGRESS", id=job_id, progress=bad)
    assert c.ok("GETPROGRESS", id=job_id)["progress"]["progress"] == 100


def test_heartbeat_is_seen_in_the_job(c: Peer, way: Way) -> None:
    job_id = active(c, way)
    before = c.job(job_id)
    c.ok("HEARTBEAT", id=job_id)
    assert c.job(job_id)["last_heartbeat"] >= before["last_heartbeat"]


def test_logs_are_kept_with_level_and_time(c: Peer, way: Way) -> None:
    job_id = waiting(c, way)
    c.ok("LOG", id=job_id, message="one")
    c.ok("LOG", id=job_id, message="two", level="whatever")
    reply = c.ok("GETLOGS", id=job_id)
    assert reply["id"] == job_id
    assert [(log["level"], log["message"]) for log in reply["logs"]] == [("info", "one"), ("whatever", "two")]
    assert all(set(log) == {"timestamp", "message", "level"} for log in reply["logs"])
    assert reply["logs"][0]["timestamp"] <= reply["logs"][1]["timestamp"]


def test_logs_hold_the_last_hundred_lines(c: Peer, way: Way) -> None:
    job_id = completed(c, way)
    for n in range(103):
        c.send("LOG", id=job_id, message=str(n))
    for _ in range(103):
        assert c.read()["ok"] is True
    assert [log["message"] for log in c.ok("GETLOGS", id=job_id)["logs"]] == [str(n) for n in range(3, 103)]


def test_logs_of_an_unknown_job_are_none(c: Peer) -> None:
    assert c.ok("GETLOGS", id=UNKNOWN_ID) == {"ok": True, "id": UNKNOWN_ID, "logs": [], "success": True}


def test_changed_priority_counts_at_once(c: Peer, q: str) -> None:
    ids = [c.push(q, n) for n in range(3)]
    delayed_id = c.push(q, 3, delay=600_000)
    c.ok("CHANGEPRIORITY", id=ids[2], priority=5)
    c.ok("CHANGEPRIORITY", id=ids[0], priority=-5)
    c.ok("CHANGEPRIORITY", id=delayed_id, priority=9)
    assert c.job(ids[2])["priority"] == 5
    assert [job["id"] for job in c.drain(q)] == [ids[2], ids[1], ids[0]]
    c.ok("PROMOTE", id=delayed_id)
    assert c.pull(q)["priority"] == 9


def test_moved_to_delayed_is_due_later_and_clean(c: Peer, q: str) -> None:
    job_id = c.push(q, 1)
    c.pull(q)
    c.ok("PROGRESS", id=job_id, progress=10, message="m")
    c.ok("MOVETODELAYED", id=job_id, delay=30)
    job = c.job(job_id)
    assert (job["started_at"], job["progress"], job["progress_msg"], job["attempts"]) == (0, 0, None, 0)
    assert job["run_at"] > job["created_at"]
    assert c.no("ACK", id=UNKNOWN_ID) == f"Job {UNKNOWN_ID} not found"
    again = c.pull(q, 15_000)
    assert (again["id"], again["attempts"]) == (job_id, 0)


def test_promoted_job_is_ready_now(c: Peer, d: Peer, q: str) -> None:
    d.send("PULL", queue=q, timeout=15_000)
    job_id = c.push(q, 1, delay=600_000)
    c.ok("PROMOTE", id=job_id)
    job = d.read()["job"]
    assert (job["id"], job["run_at"] <= job["started_at"]) == (job_id, True)


@pytest.mark.parametrize("make", [waiting, delayed, active, failed])
@pytest.mark.parametrize("data", [None, {"b": [1]}])
def test_updated_data_is_what_is_seen_and_delivered(c: Peer, way: Way, make: Any, data: object) -> None:
    job_id = make(c, way)
    state = c.state(job_id)
    c.ok("UPDATEJOB", id=job_id, data=data)
    assert c.job(job_id)["data"] == data
    if state in ("waiting", "failed"):
        queue = c.job(job_id)["queue"]
        if state == "failed":
            c.ok("RETRYDLQ", queue=queue, id=job_id)
        assert c.pull(queue)["data"] == data


def test_discarded_job_is_a_dead_letter(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, delay=600_000)
    c.ok("DISCARD", id=job_id)
    assert [job["id"] for job in c.ok("DLQ", queue=q)["jobs"]] == [job_id]
    assert c.job(job_id)["attempts"] == 0
    assert c.ok("COUNT", queue=q)["count"] == 0


@pytest.mark.parametrize("state", [state for state in STATES if state != "active"])
def test_progress_is_known_of_active_jobs_only(c: Peer, way: Way, state: str) -> None:
    job_id = MAKE[state](c, way)
    reply = c.refusal("GETPROGRESS", id=job_id)
    assert (reply["error"], reply["code"]) == (f"Job {job_id} not found", "not_found")
