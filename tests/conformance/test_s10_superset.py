"""§10: every alias and every extra key, as a table."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.peer import TEXT, Peer
from tests.conformance.ways import Way

Check = Callable[[Peer, Way, str], None]


def active(c: Peer, q: str) -> int:
    c.push(q, 1)
    return int(c.pull(q)["id"])


def log_by_job_id(c: Peer, way: Way, q: str) -> None:
    job_id = c.push(q)
    c.ok("LOG", job_id=job_id, message="m")
    assert [log["message"] for log in c.ok("GETLOGS", job_id=job_id)["logs"]] == ["m"]


def heartbeat_by_job_id(c: Peer, way: Way, q: str) -> None:
    c.ok("HEARTBEAT", job_id=active(c, q))


def camel_case_options_of_push(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    job = c.job(c.push(q, 1, jobId=name, keepCompletedAge=60_000, keepCompletedCount=12))
    assert (job["custom_id"], job["keep_completed_age"], job["keep_completed_count"]) == (name, 60_000, 12)


def camel_case_options_of_pushb(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    entry = {"data": 1, "jobId": name, "keepCompletedAge": 60_000, "keepCompletedCount": 12}
    job = c.job(c.ok("PUSHB", queue=q, jobs=[entry])["ids"][0])
    assert (job["custom_id"], job["keep_completed_age"], job["keep_completed_count"]) == (name, 60_000, 12)


def custom_id_spellings(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    job_id = c.push(q, 1, job_id=name)
    for spelling in ("job_id", "customId", "custom_id"):
        assert c.ok("GETJOBBYCUSTOMID", **{spelling: name})["job"]["id"] == job_id


def update(c: Peer, way: Way, q: str) -> None:
    job_id = c.push(q, 1)
    c.ok("UPDATE", id=job_id, data=[2])
    assert c.job(job_id)["data"] == [2]


def ping(c: Peer, way: Way, q: str) -> None:
    reply = c.ok("PING")
    assert reply["pong"] is True


def cron_without_data(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    c.ok("CRON", name=name, queue=q, schedule="0 0 1 1 *")
    entry = next(entry for entry in c.ok("CRONLIST")["crons"] if entry["name"] == name)
    assert entry["data"] is None
    c.ok("CRONDELETE", name=name)


def cron_with_nested_options(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    c.ok("CRON", name=name, queue=q, data=1, repeat_every=50, limit=1, options={"tags": ["n"], "max_attempts": 8})
    job = c.pull(q, 15_000)
    assert (job["tags"], job["max_attempts"]) == (["n"], 8)


def clean_without_state(c: Peer, way: Way, q: str) -> None:
    c.ok("ACK", id=active(c, q))
    waiting = c.push(q)
    assert c.ok("CLEAN", queue=q, grace=0)["count"] == 1
    assert c.state(waiting) == "waiting"


def fractional_progress(c: Peer, way: Way, q: str) -> None:
    job_id = active(c, q)
    for sent, kept in ((33.9, 33), (0.5, 0), (99.99, 99), (100.0, 100)):
        c.ok("PROGRESS", id=job_id, progress=sent)
        assert c.ok("GETPROGRESS", id=job_id)["progress"]["progress"] == kept


def null_where_a_default_exists(c: Peer, way: Way, q: str) -> None:
    nulls = dict.fromkeys(
        ("priority", "delay", "ttl", "timeout", "max_attempts", "backoff", "unique_key", "depends_on", "tags", "lifo",
         "remove_on_complete", "remove_on_fail", "stall_timeout", "debounce_id", "debounce_ttl", "job_id",
         "keep_completed_age", "keep_completed_count", "group_id"))  # fmt: skip
    job = c.job(c.push(q, 1, **nulls))
    assert (job["priority"], job["lifo"], job["max_attempts"], job["backoff"]) == (0, False, 3, 1000)
    assert c.ok("PUSHB", queue=q, jobs=[{"data": 1, **nulls}])["ids"]
    far = way.far()
    c.ok("FLOW", queue=q, data=1, priority=None, children=[{"queue": far, "data": 1, "priority": None, "delay": None}])
    assert len(c.ok("PULLB", queue=q, count=2, timeout=None)["jobs"]) == 2
    c.ok("LOG", id=job["id"], message="m", level=None)
    assert c.ok("GETLOGS", id=job["id"])["logs"][0]["level"] == "info"
    key = way.name()
    assert c.ok("KVINCR", key=key, by=None)["value"] == 1
    c.ok("KVSET", key=key, value=1, ttl=None)
    c.ok("GETJOBS", queue=q, state=None, limit=None, offset=None)
    c.ok("DLQ", queue=q, count=None)
    c.ok("RETRYDLQ", queue=q, id=None)
    c.ok("ACK", id=job["id"], result=None, lease=None)
    c.ok("KVDEL", key=key)


def numeric_req_id(c: Peer, way: Way, q: str) -> None:
    for req_id in (7, 0, -1, 2**53, 1.5):
        assert c.ok("STATS", reqId=req_id)["reqId"] == req_id
        assert c.refusal("ACK", id=2**40, reqId=req_id)["reqId"] == req_id


def compressed_copy_is_ignored(c: Peer, way: Way, q: str) -> None:
    c.push(q, {"a": 1}, _compressed="H4sIAAAAAAAAA6tWSlSyMtRRKkktLlGyUqoFAHqVsCAQAAAA")
    assert c.pull(q)["data"] == {"a": 1}


ACCEPTED: list[Check] = [
    log_by_job_id, heartbeat_by_job_id, camel_case_options_of_push, camel_case_options_of_pushb, custom_id_spellings,
    update,
    ping, cron_without_data, cron_with_nested_options, clean_without_state, fractional_progress,
    null_where_a_default_exists,
    numeric_req_id, compressed_copy_is_ignored,
]  # fmt: skip


@pytest.mark.parametrize("check", ACCEPTED, ids=lambda check: check.__name__)
def test_accepted(c: Peer, way: Way, q: str, check: Check) -> None:
    check(c, way, q)


def success(c: Peer, way: Way, q: str) -> None:
    for reply in (c.ok("AUTH", token="any"), c.ok("STATS"), c.ok("PUSH", queue=q, data=1), c.ok("PULL", queue=q)):
        assert reply["success"] is True


def count_of_ackb_and_retrydlq(c: Peer, way: Way, q: str) -> None:
    job_id = active(c, q)
    assert c.ok("ACKB", ids=[job_id])["count"] == 1
    c.ok("DISCARD", id=c.push(q))
    assert c.ok("RETRYDLQ", queue=q)["count"] == 1


def errors_of_pushb(c: Peer, way: Way, q: str) -> None:
    assert "errors" not in c.ok("PUSHB", queue=q, jobs=[{"data": 1, "unique_key": "k"}])
    reply = c.ok("PUSHB", queue=q, jobs=[{"data": 1, "unique_key": "k"}, {"data": 2}])
    assert (len(reply["ids"]), reply["errors"][0]["index"], reply["failed"]) == (1, 0, reply["errors"])


def counts_of_getjobcounts(c: Peer, way: Way, q: str) -> None:
    c.push(q)
    assert c.ok("GETJOBCOUNTS", queue=q)["counts"] == {
        "waiting": 1,
        "active": 0,
        "delayed": 0,
        "completed": 0,
        "failed": 0,
    }


def children_ids_of_getchildren(c: Peer, way: Way, q: str) -> None:
    flow = c.ok("FLOW", queue=q, data=1, children=[{"queue": way.far(), "data": 1}, {"queue": way.far(), "data": 1}])
    assert c.ok("GETCHILDREN", parent_id=flow["parent_id"])["children_ids"] == flow["children_ids"]


def message_of_getprogress(c: Peer, way: Way, q: str) -> None:
    job_id = active(c, q)
    c.ok("PROGRESS", id=job_id, progress=1, message="m")
    reply = c.ok("GETPROGRESS", id=job_id)
    assert (reply["message"], reply["progress"]["message"]) == ("m", "m")


def jobs_of_cronlist(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    c.ok("CRON", name=name, queue=q, data=1, schedule="0 0 1 1 *")
    reply = c.ok("CRONLIST")
    assert reply["jobs"] == reply["crons"]
    c.ok("CRONDELETE", name=name)


def queues_of_stats(c: Peer, way: Way, q: str) -> None:
    c.push(q)
    entry = c.ok("STATS")["queues"][q]
    assert {"waiting", "active", "completed", "failed", "delayed", "paused"} <= set(entry)


def code_of_every_error(c: Peer, way: Way, q: str) -> None:
    c.push(q, 1, unique_key="k", debounce_id="d")
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("not_found", {"cmd": "ACK", "id": 2**40}),
        ("invalid", {"cmd": "PUSH", "queue": "", "data": 1}),
        ("invalid", {"cmd": "NOSUCH"}),
        ("duplicate", {"cmd": "PUSH", "queue": q, "data": 1, "unique_key": "k"}),
        ("debounced", {"cmd": "PUSH", "queue": q, "data": 1, "debounce_id": "d"}),
        ("too_large", {"cmd": "KVSET", "key": "k", "value": "x" * 10_500_000}),
        ("timeout", {"cmd": "WAITJOB", "id": c.ok("GETJOBS", queue=q)["jobs"][0]["id"], "timeout": 0}),
    ]
    for code, request in wanted:
        assert c.refusal(**request)["code"] == code, request["cmd"]


ADDED: list[Check] = [
    success, count_of_ackb_and_retrydlq, errors_of_pushb, counts_of_getjobcounts, children_ids_of_getchildren,
    message_of_getprogress, jobs_of_cronlist, queues_of_stats, code_of_every_error,
]  # fmt: skip


@pytest.mark.parametrize("check", ADDED, ids=lambda check: check.__name__)
def test_added_to_the_reply(c: Peer, way: Way, q: str, check: Check) -> None:
    check(c, way, q)


@pytest.mark.codec(TEXT)
def test_irreconcilable_shapes_stay_as_documented(c: Peer, way: Way, q: str) -> None:
    job_id = active(c, q)
    assert isinstance(c.ok("GETPROGRESS", id=job_id)["progress"], dict)
    assert isinstance(c.ok("LISTQUEUES")["queues"][0], dict)
    held = c.push(q, 1, depends_on=[job_id])
    assert c.state(held) == "waiting-children"
