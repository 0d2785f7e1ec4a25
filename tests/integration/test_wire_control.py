"""Commands on single jobs over the wire: texts and keys that clients read, on every way that a request can take."""

import time
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import TEXT, Place, Wire

NO_SUCH = 2**52


def pushed(wire: Wire, queue: str, **options: Any) -> int:
    return int(wire.ok("PUSH", queue=queue, data="d", **options)["id"])


def pulled(wire: Wire, queue: str) -> Any:
    return wire.ok("PULL", queue=queue, timeout=0)["job"]


def state(wire: Wire, job_id: int) -> str:
    return str(wire.ok("GETSTATE", id=job_id)["state"])


def text(wire: Wire, cmd: str, **fields: Any) -> tuple[str, str]:
    reply = wire.refused(cmd, **fields)
    return reply["error"], reply["code"]


def test_cancel_from_each_state(place: Place, wire: Wire) -> None:
    queue = place.queue()
    queued, delayed, active = pushed(wire, queue), pushed(wire, queue, delay=60_000), pushed(wire, queue, priority=1)
    assert pulled(wire, queue)["id"] == active
    for job_id in (queued, delayed, active):
        wire.ok("CANCEL", id=job_id)
        assert state(wire, job_id) == "unknown"
        assert text(wire, "CANCEL", id=job_id) == (f"Job {job_id} not found", "not_found")
    assert text(wire, "ACK", id=active)[0] == f"Job {active} not found"
    done, dead = pushed(wire, queue), pushed(wire, queue, max_attempts=1)
    pulled(wire, queue), pulled(wire, queue)
    wire.ok("ACK", id=done)
    wire.ok("FAIL", id=dead)
    for job_id in (done, dead):
        said = f"Job {job_id} cannot be cancelled (already completed/failed)"
        assert text(wire, "CANCEL", id=job_id) == (said, "invalid")


def test_progress_and_its_reading(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue)
    assert text(wire, "PROGRESS", id=job_id, progress=1)[0] == f"Job {job_id} not found in processing"
    assert text(wire, "GETPROGRESS", id=job_id)[0] == f"Job {job_id} not found"
    lease = pulled(wire, queue)["lease"]
    wire.ok("PROGRESS", id=job_id, progress=33.9, message="a third", lease=lease)
    reply = wire.ok("GETPROGRESS", id=job_id)
    assert reply["progress"] == {"id": job_id, "progress": 33, "message": "a third"}
    assert reply["message"] == "a third"
    wire.ok("PROGRESS", id=job_id, progress=200)
    assert wire.ok("GETPROGRESS", id=job_id)["progress"] == {"id": job_id, "progress": 100, "message": None}
    for wrong in (256, -1):
        assert "`progress`" in text(wire, "PROGRESS", id=job_id, progress=wrong)[0]
    assert text(wire, "PROGRESS", id=job_id, progress=1, lease=lease + 1)[1] == "lease_lost"
    shown = wire.ok("GETJOB", id=job_id)["job"]
    assert (shown["progress"], shown["progress_msg"]) == (100, None)


def test_partial_needs_a_worker(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue)
    assert text(wire, "PARTIAL", id=job_id, data={"a": 1})[0] == f"Job {job_id} not found in processing"
    pulled(wire, queue)
    wire.ok("PARTIAL", id=job_id, data={"a": 1}, index=2)
    assert wire.refused("PARTIAL", id=job_id)["error"].endswith("missing field `data`")


def test_change_of_priority_of_plain_and_other_jobs(place: Place, wire: Wire) -> None:
    queue = place.queue()
    ids = [pushed(wire, queue), pushed(wire, queue), pushed(wire, queue, priority=3)]
    wire.ok("CHANGEPRIORITY", id=ids[1], priority=5)
    wire.ok("CHANGEPRIORITY", id=ids[2], priority=-5)
    jobs = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
    assert [(job["id"], job["priority"]) for job in jobs] == [(ids[1], 5), (ids[0], 0), (ids[2], -5)]
    wire.ok("CHANGEPRIORITY", id=ids[0], priority=1)
    wire.ok("ACK", id=ids[0])
    for job_id in (ids[0], NO_SUCH):
        said = f"Job {job_id} not found or cannot change priority"
        assert text(wire, "CHANGEPRIORITY", id=job_id, priority=1) == (said, "not_found")
    assert text(wire, "CHANGEPRIORITY", id=ids[1], priority=2**31)[1] == "invalid"


def test_move_to_delayed_and_promote(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue)
    assert text(wire, "MOVETODELAYED", id=job_id, delay=1)[0] == f"Job {job_id} not in processing"
    assert text(wire, "PROMOTE", id=job_id)[0] == f"Job {job_id} is not delayed"
    lease = pulled(wire, queue)["lease"]
    assert text(wire, "PROMOTE", id=job_id)[0] == f"Job {job_id} not found or not in delayed state"
    assert "`delay`" in text(wire, "MOVETODELAYED", id=job_id, delay=2**62)[0]
    wire.ok("MOVETODELAYED", id=job_id, delay=60_000, lease=lease)
    assert state(wire, job_id) == "delayed"
    with place.connect() as other:
        other.send("PULL", queue=queue, timeout=8_000)
        wire.ok("PROMOTE", id=job_id)
        job = other.read()["job"]
    assert (job["id"], job["attempts"]) == (job_id, 0)


@pytest.mark.parametrize("cmd", ["UPDATEJOB", "UPDATE"])
def test_update_by_either_name(place: Place, wire: Wire, cmd: str) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue)
    wire.ok(cmd, id=job_id, data={"new": ["é", 1.5, None]})
    assert pulled(wire, queue)["data"] == {"new": ["é", 1.5, None]}
    wire.ok(cmd, id=job_id, data=None)
    assert wire.ok("GETJOB", id=job_id)["job"]["data"] is None
    wire.ok("ACK", id=job_id)
    assert text(wire, cmd, id=job_id, data=1) == (f"Job {job_id} not found", "not_found")


def test_discard_makes_a_dead_letter(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue)
    wire.ok("DISCARD", id=job_id)
    shown = wire.ok("GETJOB", id=job_id)
    job = shown["job"]
    assert (shown["state"], job["state"], job["error"], job["attempts"]) == ("failed", "failed", "Discarded", 0)
    assert job["result"] is None
    assert job["completed_at"] >= job["created_at"]
    said = f"Job {job_id} not found or already in DLQ/completed"
    assert text(wire, "DISCARD", id=job_id) == (said, "not_found")


def test_logs_by_either_key_outlive_completion(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue)
    wire.ok("LOG", id=job_id, message="first")
    pulled(wire, queue)
    wire.ok("LOG", job_id=job_id, message="é second", level="warn")
    wire.ok("ACK", id=job_id)
    wire.ok("LOG", id=job_id, message="third", level=None)
    reply = wire.ok("GETLOGS", job_id=job_id)
    assert reply["id"] == job_id
    assert [(line["message"], line["level"]) for line in reply["logs"]] == [
        ("first", "info"), ("é second", "warn"), ("third", "info")]  # fmt: skip
    assert all(list(line) == ["timestamp", "message", "level"] for line in reply["logs"])
    assert wire.ok("GETLOGS", id=NO_SUCH)["logs"] == []
    assert text(wire, "LOG", id=NO_SUCH, message="x") == (f"Job {NO_SUCH} not found", "not_found")
    assert wire.refused("LOG", message="x")["error"].endswith("missing field `id`")


def test_history_lists_what_happened(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue, backoff=0)
    pulled(wire, queue)
    wire.ok("FAIL", id=job_id, error="no luck")
    lease = pulled(wire, queue)["lease"]
    wire.ok("ACK", id=job_id)
    reply = wire.ok("HISTORY", id=job_id)
    assert (reply["id"], reply["queue"], reply["state"]) == (job_id, queue, "completed")
    assert [(s["event"], s["attempt"], s["text"]) for s in reply["history"]] == [
        ("pushed", 0, None), ("active", 1, None), ("retrying", 1, "no luck"), ("active", 2, None),
        ("completed", 2, None)]  # fmt: skip
    assert reply["history"][-1]["lease"] == lease
    moments = [s["at"] for s in reply["history"]]
    assert moments == sorted(moments)
    assert text(wire, "HISTORY", id=NO_SUCH) == (f"Job {NO_SUCH} not found", "not_found")


# -- waiting for a job's end


def test_wait_is_answered_with_the_result_in_the_waiters_codec(cluster: Cluster, place: Place, wire: Wire) -> None:
    queue = place.queue()
    for options in ({}, {"remove_on_complete": True}):
        job_id = pushed(wire, queue, **options)
        pulled(wire, queue)
        with Wire(cluster.connect(), "binary" if wire.codec == TEXT else TEXT) as worker:
            wire.send("WAITJOB", id=job_id, timeout=8_000, reqId="w")
            # With a reqId other replies overtake the wait; this one also says that the wait has arrived.
            assert wire.ok("GETSTATE", id=job_id, reqId="s")["reqId"] == "s"
            worker.ok("ACK", id=job_id, result={"é": [1, None]})
            assert wire.read() == {"reqId": "w", "ok": True, "result": {"é": [1, None]}, "success": True}
    job_id = pushed(wire, queue)
    pulled(wire, queue)
    wire.ok("ACK", id=job_id)
    assert wire.ok("WAITJOB", id=job_id) == {"ok": True, "success": True}


def test_wait_for_what_has_no_result_says_why(place: Place, wire: Wire) -> None:
    queue = place.queue()
    dead = pushed(wire, queue, max_attempts=1)
    pulled(wire, queue)
    wire.ok("FAIL", id=dead, error="broke")
    reply = wire.refused("WAITJOB", id=dead)
    assert reply == {"ok": False, "error": "Job failed", "code": "failed", "reason": "broke"}
    assert text(wire, "WAITJOB", id=NO_SUCH) == ("Job not found", "not_found")
    waiting = pushed(wire, queue)
    for timeout in (0, 30):
        said = f"Timeout waiting for job {waiting} after {timeout}ms"
        assert text(wire, "WAITJOB", id=waiting, timeout=timeout) == (said, "timeout")


@pytest.mark.parametrize(("cmd", "said"), [("CANCEL", "Job not found: it was cancelled"), ("DISCARD", "Job failed")])
def test_wait_without_req_id_holds_back_what_is_behind_it(place: Place, wire: Wire, cmd: str, said: str) -> None:
    queue = place.queue()
    job_id = pushed(wire, queue)
    with place.connect() as other:
        other.send("WAITJOB", id=job_id, timeout=8_000)
        other.send("LOG", id=job_id, message="the wait has arrived")
        until = time.monotonic() + 10
        while not wire.ok("GETLOGS", id=job_id)["logs"]:
            assert time.monotonic() < until, "what is behind a wait takes effect at once"
        wire.ok(cmd, id=job_id)
        reply = other.read()
        assert reply["error"] == said
        assert other.read() == {"ok": True, "success": True}


def test_wait_of_a_client_that_sends_nothing_more_is_answered(place: Place, wire: Wire) -> None:
    """A half-closed connection would hold its wait, and the server its connection, for nothing."""
    job_id = pushed(wire, place.queue())
    with place.connect() as other:
        other.send("WAITJOB", id=job_id, timeout=60_000)
        other.sock.shutdown(1)
        assert other.read()["code"] == "timeout"
        assert other.closed()


def test_what_was_done_survives_a_crash_of_everything() -> None:
    """An `ok` is a promise: priorities, data, lines, deaths and cancellations are there again."""
    with Cluster(shards=2, durability="commit") as cluster:
        queue = next(cluster.queues_of(0, "lasting"))
        with Wire(cluster.connect()) as wire:
            ids = [pushed(wire, queue) for _ in range(4)]
            wire.ok("CHANGEPRIORITY", id=ids[1], priority=5)
            wire.ok("UPDATEJOB", id=ids[1], data="new")
            wire.ok("LOG", id=ids[1], message="noted")
            wire.ok("CANCEL", id=ids[2])
            wire.ok("DISCARD", id=ids[3])
            before = [wire.ok("GETJOB", id=i) for i in ids] + [wire.ok("HISTORY", id=ids[1])]
        cluster.wait_serving("shard-00", other_than=cluster.kill("shard-00"))
        with Wire(cluster.connect()) as wire:
            assert [wire.ok("GETJOB", id=i) for i in ids] + [wire.ok("HISTORY", id=ids[1])] == before
            assert wire.ok("GETLOGS", id=ids[1])["logs"][0]["message"] == "noted"
            assert [pulled(wire, queue)["id"], pulled(wire, queue)["id"], pulled(wire, queue)] == [ids[1], ids[0], None]
