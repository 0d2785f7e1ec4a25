"""Every command as docs/protocol.md has it, in both codecs, on every way that a request can take."""

import time
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import JOB_KEYS, TEXT, Place, Wire, counts

DATA = [None, True, 0, -1, 2**63, 2.5, "", "é\n\u2028\U0001f600", [1, [2, {}]], {"b": 1, "a": {"\\": None}}]


def test_what_is_pushed_comes_back_with_all_31_keys_in_order(place: Place, wire: Wire) -> None:
    """Clients read any of them without asking whether it is there."""
    queue = place.queue()
    before = time.time_ns() // 1_000_000
    ids = [wire.ok("PUSH", queue=queue, data=data)["id"] for data in DATA]
    assert ids == sorted(set(ids))
    assert ids[0] > 0
    assert ids[-1] < 2**53
    for job_id, data in zip(ids, DATA, strict=True):
        reply = wire.ok("PULL", queue=queue, timeout=0)
        job = reply["job"]
        assert list(reply)[:2] == ["ok", "job"]
        assert list(job)[:31] == JOB_KEYS
        assert (job["id"], job["queue"], job["data"]) == (job_id, queue, data)
        assert before <= job["created_at"] == job["run_at"] <= job["started_at"] == job["last_heartbeat"]
        assert (job["attempts"], job["max_attempts"], job["backoff"]) == (0, 3, 1000)
        assert (job["depends_on"], job["tags"], job["children_ids"]) == ([], [], [])
        zero = ("priority", "ttl", "timeout", "progress", "stall_timeout", "stall_count", "children_completed",
                "keep_completed_age", "keep_completed_count", "completed_at")  # fmt: skip
        assert [job[key] for key in zero] == [0] * len(zero)
        null = ("unique_key", "progress_msg", "parent_id", "custom_id", "group_id")
        assert [job[key] for key in null] == [None] * len(null)
        assert [job[key] for key in ("lifo", "remove_on_complete", "remove_on_fail")] == [False] * 3
        assert job["lease"] > 0


def test_options_come_back_as_they_were_given(place: Place, wire: Wire) -> None:
    queue = place.queue()
    options = {
        "priority": -7, "ttl": 60_000, "timeout": 5_000, "max_attempts": 0, "backoff": 0,
        "tags": ["a", "é"], "lifo": True, "remove_on_complete": True, "remove_on_fail": True, "stall_timeout": 9_000,
        "keep_completed_age": 5, "keep_completed_count": 6,
    }  # fmt: skip
    job_id = wire.ok("PUSH", queue=queue, data={"k": "v"}, **options)["id"]
    job = wire.ok("PULL", queue=queue, timeout=0)["job"]
    assert list(job)[:31] == JOB_KEYS
    assert job["id"] == job_id
    assert {key: job[key] for key in options} == options
    seen = wire.ok("GETJOB", id=job_id)
    assert (seen["state"], seen["job"]["state"]) == ("active", "active")
    assert {key: seen["job"][key] for key in options} == options


def test_aliases_and_nulls_mean_what_their_twins_and_defaults_do(place: Place, wire: Wire) -> None:
    queue = place.queue()
    nulls = dict.fromkeys(
        ("priority", "delay", "ttl", "timeout", "max_attempts", "backoff", "unique_key", "tags", "lifo", "group_id",
         "depends_on", "remove_on_complete", "remove_on_fail", "stall_timeout"))  # fmt: skip
    wire.ok("PUSH", queue=queue, data=1, keepCompletedAge=11, keepCompletedCount=12, reqId=None, **nulls)
    job = wire.ok("PULL", queue=queue, timeout=0)["job"]
    assert (job["keep_completed_age"], job["keep_completed_count"]) == (11, 12)
    assert (job["priority"], job["max_attempts"], job["backoff"], job["lifo"]) == (0, 3, 1000, False)


def test_batch_keeps_its_order_and_its_ids(place: Place, wire: Wire) -> None:
    queue = place.queue()
    reply = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(1000)])
    assert len(set(reply["ids"])) == 1000
    jobs = wire.ok("PULLB", queue=queue, count=10**18, timeout=0)["jobs"]
    assert [job["id"] for job in jobs] == reply["ids"]
    assert [job["data"] for job in jobs] == list(range(1000))
    assert all(list(job)[:31] == JOB_KEYS for job in jobs)
    acked = wire.ok("ACKB", ids=[*reply["ids"][:999], reply["ids"][0]])
    assert (acked["ids"], acked["count"]) == ([999], 999)
    assert acked["not_found"] == [reply["ids"][0]]
    assert counts(wire, queue) == {"waiting": 0, "active": 1, "completed": 999, "failed": 0, "delayed": 0,
                                   "paused": False}  # fmt: skip


def test_batch_of_mixed_entries_and_the_empty_batch(place: Place, wire: Wire) -> None:
    queue = place.queue()
    assert wire.ok("PUSHB", queue=queue, jobs=[])["ids"] == []
    jobs = [{}, {"data": 1, "priority": 5}, {"data": 2, "delay": 600_000}, {"data": 3}]
    ids = wire.ok("PUSHB", queue=queue, jobs=jobs)["ids"]
    pulled = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
    assert [job["id"] for job in pulled] == [ids[1], ids[0], ids[3]]
    assert [job["data"] for job in pulled] == [1, None, 3]
    assert wire.ok("GETSTATE", id=ids[2])["state"] == "delayed"
    assert wire.ok("COUNT", queue=queue)["count"] == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Queue name cannot be empty"),
        ("a" * 257, "Queue name too long (max 256 chars)"),
        ("é" * 129, "Queue name too long (max 256 chars)"),
        ("a b", "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"),
        ("a/b", "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"),
        ("a\x00", "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"),
    ],
)
def test_bad_queue_name_is_refused_in_the_words_clients_know(wire: Wire, name: str, text: str) -> None:
    for fields in ({"data": 1}, {"data": 1, "priority": 1}):
        assert wire.refused("PUSH", queue=name, **fields)["error"] == text
    for jobs in ([{"data": 1}], [{"data": 1, "priority": 1}], []):
        assert wire.refused("PUSHB", queue=name, jobs=jobs)["error"] == text
    assert name not in wire.ok("STATS")["queues"]


def test_good_queue_names_of_any_script_pass(place: Place, wire: Wire) -> None:
    for name in ("é中" + place.queue(), "a" * 200 + place.queue(), "-._" + place.queue()):
        wire.ok("PUSH", queue=name, data=1)
        assert wire.ok("PULL", queue=name, timeout=0)["job"]["queue"] == name


def test_pull_of_nothing_is_null_and_empty(place: Place, wire: Wire) -> None:
    queue = place.queue()
    assert wire.ok("PULL", queue=queue, timeout=0)["job"] is None
    assert wire.ok("PULL", queue=queue, timeout=5)["job"] is None
    assert wire.ok("PULLB", queue=queue, count=3, timeout=0)["jobs"] == []
    assert wire.ok("PULLB", queue=queue, count=3, timeout=5)["jobs"] == []
    assert wire.refused("PULL", queue="not a name!", timeout=0)["code"] == "invalid"


def test_pull_of_none_waits_its_time_and_takes_none(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSH", queue=queue, data=1)
    assert wire.ok("PULLB", queue=queue, count=0, timeout=5)["jobs"] == []
    assert wire.ok("COUNT", queue=queue)["count"] == 1


def test_ack_completes_and_keeps_the_result(place: Place, wire: Wire) -> None:
    queue = place.queue()
    results: tuple[Any, ...] = ({"a": [1, "é"]}, 0, False, "", [], None)
    for result in results:
        job_id = wire.ok("PUSH", queue=queue, data="d")["id"]
        assert wire.ok("GETRESULT", id=job_id)["result"] is None
        assert wire.refused("ACK", id=job_id)["error"] == f"Job {job_id} not found"
        wire.ok("PULL", queue=queue, timeout=0)
        wire.ok("ACK", id=job_id, result=result)
        assert wire.refused("ACK", id=job_id)["code"] == "not_found"
        assert wire.refused("FAIL", id=job_id)["error"] == f"Job {job_id} not found"
        reply = wire.ok("GETRESULT", id=job_id)
        assert (reply["id"], reply["result"]) == (job_id, result)
        assert wire.ok("GETSTATE", id=job_id)["state"] == "completed"
        seen = wire.ok("GETJOB", id=job_id)
        assert (seen["state"], seen["job"]["data"], seen["job"]["result"]) == ("completed", "d", result)
        assert seen["job"]["completed_at"] >= seen["job"]["started_at"] > 0


def test_fail_retries_with_doubling_delay_and_then_is_dead(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, max_attempts=2, backoff=10)["id"]
    wire.ok("PULL", queue=queue, timeout=0)
    wire.ok("FAIL", id=job_id, error="first")
    assert wire.ok("GETSTATE", id=job_id)["state"] in ("delayed", "waiting")
    job = wire.ok("PULL", queue=queue, timeout=5_000)["job"]
    assert (job["id"], job["attempts"], job["progress_msg"]) == (job_id, 1, "first")
    assert job["started_at"] >= job["run_at"]
    wire.ok("FAIL", id=job_id)
    seen = wire.ok("GETJOB", id=job_id)
    assert (seen["state"], seen["job"]["attempts"]) == ("failed", 2)
    assert counts(wire, queue)["failed"] == 1
    assert wire.refused("FAIL", id=job_id)["error"] == f"Job {job_id} not found"


def test_fail_without_backoff_waits_again_at_once_behind_others(place: Place, wire: Wire) -> None:
    queue = place.queue()
    first = wire.ok("PUSH", queue=queue, data=1, max_attempts=0, backoff=0)["id"]
    second = wire.ok("PUSH", queue=queue, data=2)["id"]
    wire.ok("PULL", queue=queue, timeout=0)
    wire.ok("FAIL", id=first, error="x")
    pulled = wire.ok("PULLB", queue=queue, count=2, timeout=0)["jobs"]
    assert [job["id"] for job in pulled] == [second, first]


def test_order_is_priority_then_readiness_then_push(place: Place, wire: Wire) -> None:
    queue = place.queue()
    for name, fields in (("a", {}), ("b", {"priority": 5}), ("c", {}), ("d", {"priority": -5}), ("e", {"priority": 5}),
                         ("f", {"lifo": True}), ("g", {"lifo": True}), ("h", {})):  # fmt: skip
        wire.ok("PUSH", queue=queue, data=name, **fields)
    pulled = wire.ok("PULLB", queue=queue, count=99, timeout=0)["jobs"]
    assert "".join(job["data"] for job in pulled) == "begfachd"


def test_delayed_job_is_due_to_the_millisecond_and_hides_nothing(place: Place, wire: Wire) -> None:
    """A high priority that is not ready yet must not stand before what is."""
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data="late", delay=120, priority=9)["id"]
    wire.ok("PUSH", queue=queue, data="now")
    assert wire.ok("GETSTATE", id=job_id)["state"] == "delayed"
    assert wire.ok("PULL", queue=queue, timeout=0)["job"]["data"] == "now"
    job = wire.ok("PULL", queue=queue, timeout=5_000)["job"]
    assert job["data"] == "late"
    assert job["run_at"] == job["created_at"] + 120 <= job["started_at"] < job["run_at"] + 100


def test_pause_stops_delivery_only_and_resume_wakes(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PAUSE", queue=queue)
    job_id = wire.ok("PUSH", queue=queue, data=1)["id"]
    assert wire.ok("PULL", queue=queue, timeout=0)["job"] is None
    assert counts(wire, queue)["paused"] is True
    with place.connect() as other:
        other.send("PULL", queue=queue, timeout=8_000)
        wire.ok("RESUME", queue=queue)
        assert other.read()["job"]["id"] == job_id
    assert counts(wire, queue)["paused"] is False


def test_unknown_ids_are_no_errors_of_queries(wire: Wire) -> None:
    for job_id in (0, 1, 2**53 - 1):
        assert wire.ok("GETJOB", id=job_id) == {"ok": True, "job": None, "state": "unknown", "success": True}
        assert wire.ok("GETSTATE", id=job_id)["state"] == "unknown"
        assert wire.ok("GETRESULT", id=job_id)["result"] is None
        assert wire.refused("ACK", id=job_id)["error"] == f"Job {job_id} not found"
        assert wire.refused("HEARTBEAT", id=job_id)["code"] == "not_found"


def test_lists_show_every_queue_with_a_job_or_setting(place: Place, wire: Wire) -> None:
    queue, paused, foreign = place.queue(), place.queue(), place.foreign()
    wire.ok("PUSH", queue=queue, data=1)
    wire.ok("PUSH", queue=foreign, data=1, delay=600_000)
    wire.ok("PAUSE", queue=paused)
    listed = {info["name"]: info for info in wire.ok("LISTQUEUES")["queues"]}
    assert listed[queue] == {"name": queue, "pending": 1, "processing": 0, "completed": 0, "delayed": 0, "dlq": 0,
                             "paused": False, "rate_limit": None, "concurrency_limit": None}  # fmt: skip
    assert (listed[foreign]["pending"], listed[foreign]["delayed"]) == (0, 1)
    assert listed[paused]["paused"] is True


def test_stats_show_what_the_reply_before_said(place: Place, wire: Wire) -> None:
    """A client that has read `ok` must find it in the figures, whichever process counts."""
    queue = place.queue()
    for done in range(1, 40):
        before = wire.ok("STATS")
        job_id = wire.ok("PUSH", queue=queue, data=1)["id"]
        assert counts(wire, queue)["waiting"] == 1
        wire.ok("PULL", queue=queue, timeout=0)
        assert counts(wire, queue)["active"] == 1
        wire.ok("ACK", id=job_id)
        after = wire.ok("STATS")
        assert after["queues"][queue] | {"paused": 0} == {
            "waiting": 0, "active": 0, "completed": done, "failed": 0, "delayed": 0, "paused": 0}  # fmt: skip
        assert list(after)[:6] == ["ok", "queued", "processing", "delayed", "dlq", "completed"]
        assert after["completed"] == before["completed"] + 1


def test_acks_over_shards_are_one_reply(place: Place, wire: Wire) -> None:
    mine, foreign = place.queue(), place.foreign()
    queues = (mine, foreign, mine, foreign)
    ids = [wire.ok("PUSH", queue=queue, data=queue)["id"] for queue in queues]
    leases = [wire.ok("PULL", queue=queue, timeout=0)["job"]["lease"] for queue in queues]
    wrong = [leases[0], leases[1] + 1, leases[2], None]
    reply = wire.ok("ACKB", ids=ids, leases=wrong, results=[10, 11, 12, {"x": 13}])
    assert (reply["ids"], reply["count"]) == ([3], 3)
    assert [(e["index"], e["id"], e["code"]) for e in reply["errors"]] == [(1, ids[1], "lease_lost")]
    assert [wire.ok("GETRESULT", id=i)["result"] for i in ids] == [10, None, 12, {"x": 13}]
    reply = wire.ok("ACKB", ids=[*ids, 1], reqId="r")
    assert reply["reqId"] == "r"
    assert (reply["count"], reply["not_found"]) == (1, [ids[0], ids[2], ids[3], 1])
    assert wire.ok("ACKB", ids=[])["ids"] == [0]


def test_ack_batch_bounds(wire: Wire) -> None:
    assert wire.refused("ACKB", ids=list(range(1001)))["code"] == "too_large"
    assert "`leases`" in wire.refused("ACKB", ids=[1, 2], leases=[1])["error"]
    assert "`results`" in wire.refused("ACKB", ids=[1, 2], results=[1])["error"]


def test_payload_pushed_in_one_codec_is_read_in_the_other(cluster: Cluster, place: Place, wire: Wire) -> None:
    queue = place.queue()
    for data in DATA:
        wire.ok("PUSH", queue=queue, data=data)
        wire.ok("PUSH", queue=queue, data=data, priority=-1)
    with Wire(cluster.connect(), "binary" if wire.codec == TEXT else TEXT) as other:
        jobs = other.ok("PULLB", queue=queue, count=99, timeout=0)["jobs"]
        assert [job["data"] for job in jobs] == DATA + DATA
        other.ok("ACK", id=jobs[0]["id"], result={"é": [1.5]})
    assert wire.ok("GETRESULT", id=jobs[0]["id"])["result"] == {"é": [1.5]}


def test_ping_and_auth_without_tokens(wire: Wire) -> None:
    assert wire.ok("PING")["pong"] is True
    assert wire.ok("AUTH", token="whatever") == {"ok": True, "success": True}


def test_req_id_is_echoed_as_it_came_and_first(place: Place, wire: Wire) -> None:
    queue = place.queue()
    for req_id in ("", "7", "é\n", 7, 0):
        for cmd, fields in (("PING", {}), ("PUSH", {"queue": queue, "data": 1}), ("PUSH", {"queue": queue}),
                            ("NOPE", {}), ("STATS", {}), ("GETJOB", {"id": "x"}), ("GETSTATE", {"id": 1}),
                            ("PULLB", {"queue": queue, "count": 1, "timeout": 0})):  # fmt: skip
            reply = wire.ask(cmd, **fields, reqId=req_id)
            assert next(iter(reply)) == "reqId", (cmd, reply)
            assert reply["reqId"] == req_id
    assert "reqId" not in wire.ok("PING", reqId=None)
