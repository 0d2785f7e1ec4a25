"""Every command of a client: how it is spelled on the wire, and what is made of its answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import pytest

from flashq.client.client import Client
from flashq.client.objects import Children, Cron, FlowIds, Job, JobCounts, JobList, LogLine, Metrics, Progress, Step
from flashq.errors import InvalidArgument, Unavailable
from tests.unit.client.script import Fields, Peer, scripted

Call = Callable[[Client], Awaitable[Any]]
JOB: Final = Job(id=1024, queue="mail", lease=7)
WIRE_JOB: Final = {"id": 1024, "queue": "mail", "lease": 7}
CHILD: Final = {"queue": "a", "data": 1, "delay_ms": 5, "children": [{"queue": "b", "ignore_failure": True}]}
OK: Final[Mapping[str, Any]] = {}
COUNT: Final = {"count": 3}

CASES: Final[list[tuple[str, Call, Fields, Mapping[str, Any], Any]]] = [
    ("heartbeat", lambda c: c.heartbeat(JOB), {"cmd": "HEARTBEAT", "id": 1024, "lease": 7}, OK, None),
    ("progress", lambda c: c.set_progress(5, 50.5, "half"),
     {"cmd": "PROGRESS", "id": 5, "progress": 50.5, "message": "half"}, OK, None),
    ("get_progress", lambda c: c.get_progress(5), {"cmd": "GETPROGRESS", "id": 5},
     {"progress": {"id": 5, "progress": 50, "message": None}}, Progress(progress=50)),
    ("partial", lambda c: c.send_partial(JOB, None, index=0),
     {"cmd": "PARTIAL", "id": 1024, "data": None, "index": 0, "lease": 7}, OK, None),
    ("log", lambda c: c.log(JOB, "m"), {"cmd": "LOG", "id": 1024, "message": "m", "level": "info"}, OK, None),
    ("get_logs", lambda c: c.get_logs(JOB), {"cmd": "GETLOGS", "id": 1024},
     {"id": 1024, "logs": [{"timestamp": 1, "message": "m", "level": "info"}]},
     [LogLine(timestamp=1, message="m", level="info")]),
    ("delay", lambda c: c.move_to_delayed(JOB, 9), {"cmd": "MOVETODELAYED", "id": 1024, "delay": 9, "lease": 7},
     OK, None),
    ("cancel", lambda c: c.cancel(JOB), {"cmd": "CANCEL", "id": 1024}, OK, None),
    ("discard", lambda c: c.discard(5), {"cmd": "DISCARD", "id": 5}, OK, None),
    ("promote", lambda c: c.promote(5), {"cmd": "PROMOTE", "id": 5}, OK, None),
    ("priority", lambda c: c.change_priority(5, -1), {"cmd": "CHANGEPRIORITY", "id": 5, "priority": -1}, OK, None),
    ("update", lambda c: c.update(5, None), {"cmd": "UPDATEJOB", "id": 5, "data": None}, OK, None),
    ("wait", lambda c: c.wait_job(5), {"cmd": "WAITJOB", "id": 5, "timeout": 30_000}, {"result": [1]}, [1]),
    ("by_name", lambda c: c.find_by_custom_id("n"), {"cmd": "GETJOBBYCUSTOMID", "job_id": "n"},
     {"job": WIRE_JOB, "state": "active"}, JOB),
    ("by_no_name", lambda c: c.find_by_custom_id("n"), {"cmd": "GETJOBBYCUSTOMID", "job_id": "n"},
     {"job": None, "state": "unknown"}, None),
    ("get_jobs", lambda c: c.get_jobs([1024, 5]), {"cmd": "GETJOBSBATCH", "ids": [1024, 5]}, {"jobs": [WIRE_JOB]},
     [JOB]),
    ("list_jobs", lambda c: c.list_jobs(state="active", offset=3),
     {"cmd": "GETJOBS", "state": "active", "limit": 100, "offset": 3}, {"jobs": [WIRE_JOB], "total": 9},
     JobList(jobs=[JOB], total=9)),
    ("children", lambda c: c.get_children(JOB), {"cmd": "GETCHILDREN", "parent_id": 1024},
     {"children": [], "completed": 1, "total": 2, "children_ids": [1, 2]},
     Children(children=[], completed=1, total=2, children_ids=[1, 2])),
    ("history", lambda c: c.get_history(5), {"cmd": "HISTORY", "id": 5}, {"history": [{"event": "pushed", "at": 1}]},
     [Step(event="pushed", at=1)]),
    ("dead", lambda c: c.get_dead_letters("q"), {"cmd": "DLQ", "queue": "q", "count": 100}, {"jobs": [WIRE_JOB]},
     [JOB]),
    ("retry_all", lambda c: c.retry_dead_letters("q"), {"cmd": "RETRYDLQ", "queue": "q"}, COUNT, 3),
    ("retry_one", lambda c: c.retry_dead_letters("q", JOB), {"cmd": "RETRYDLQ", "queue": "q", "id": 1024}, COUNT, 3),
    ("purge", lambda c: c.purge_dead_letters("q"), {"cmd": "PURGEDLQ", "queue": "q"}, COUNT, 3),
    ("drain", lambda c: c.drain("q"), {"cmd": "DRAIN", "queue": "q"}, COUNT, 3),
    ("obliterate", lambda c: c.obliterate("q"), {"cmd": "OBLITERATE", "queue": "q"}, COUNT, 3),
    ("clean", lambda c: c.clean("q", grace_ms=5, limit=2),
     {"cmd": "CLEAN", "queue": "q", "state": "completed", "grace": 5, "limit": 2}, COUNT, 3),
    ("rate", lambda c: c.set_rate_limit("q", 0), {"cmd": "RATELIMIT", "queue": "q", "limit": 0}, OK, None),
    ("key_rate", lambda c: c.set_rate_limit("q", 5, per_key=True),
     {"cmd": "RATELIMIT", "queue": "q", "limit": 5, "per_key": True}, OK, None),
    ("no_rate", lambda c: c.clear_rate_limit("q"), {"cmd": "RATELIMITCLEAR", "queue": "q"}, OK, None),
    ("at_once", lambda c: c.set_concurrency("q", 5), {"cmd": "SETCONCURRENCY", "queue": "q", "limit": 5}, OK, None),
    ("no_at_once", lambda c: c.clear_concurrency("q", per_key=True),
     {"cmd": "CLEARCONCURRENCY", "queue": "q", "per_key": True}, OK, None),
    ("is_paused", lambda c: c.is_paused("q"), {"cmd": "ISPAUSED", "queue": "q"}, {"paused": True}, True),
    ("by_state", lambda c: c.count_by_state("q"), {"cmd": "GETJOBCOUNTS", "queue": "q"}, {"waiting": 1, "failed": 2},
     JobCounts(waiting=1, failed=2)),
    ("metrics", lambda c: c.metrics(), {"cmd": "METRICS"},
     {"metrics": {"total_pushed": 1, "total_completed": 2, "total_failed": 3, "queues": []}},
     Metrics(total_pushed=1, total_completed=2, total_failed=3)),
    ("flow", lambda c: c.push_flow("q", 1, [CHILD], priority=2, keep_completed_age_ms=3),  # type: ignore[list-item]
     {"cmd": "FLOW", "queue": "q", "data": 1, "priority": 2, "keep_completed_age": 3,
      "children": [{"queue": "a", "data": 1, "delay": 5, "children": [{"queue": "b", "ignore_failure": True}]}]},
     {"parent_id": 1, "children_ids": [2]}, FlowIds(parent_id=1, children_ids=[2])),
    ("cron", lambda c: c.set_cron("n", "q", [1], schedule="@hourly", timezone="UTC", backoff_ms=5),
     {"cmd": "CRON", "name": "n", "queue": "q", "data": [1], "schedule": "@hourly", "timezone": "UTC", "backoff": 5},
     OK, None),
    ("no_cron", lambda c: c.delete_cron("n"), {"cmd": "CRONDELETE", "name": "n"}, OK, None),
    ("crons", lambda c: c.list_crons(), {"cmd": "CRONLIST"}, {"crons": [{"name": "n", "queue": "q"}]},
     [Cron(name="n", queue="q")]),
    ("kv_set", lambda c: c.kv_set("k", None, ttl_ms=5), {"cmd": "KVSET", "key": "k", "value": None, "ttl": 5}, OK,
     None),
    ("kv_get", lambda c: c.kv_get("k"), {"cmd": "KVGET", "key": "k"}, {"value": [1]}, [1]),
    ("kv_del", lambda c: c.kv_delete("k"), {"cmd": "KVDEL", "key": "k"}, {"exists": True}, True),
    ("kv_is", lambda c: c.kv_exists("k"), {"cmd": "KVEXISTS", "key": "k"}, {"exists": False}, False),
    ("kv_expire", lambda c: c.kv_expire("k", 5), {"cmd": "KVEXPIRE", "key": "k", "ttl": 5}, {"exists": True}, True),
    ("kv_ttl", lambda c: c.kv_ttl("k"), {"cmd": "KVTTL", "key": "k"}, {"ttl": -2}, -2),
    ("kv_incr", lambda c: c.kv_increase("k", -2), {"cmd": "KVINCR", "key": "k", "by": -2}, {"value": 5}, 5),
    ("kv_set_many", lambda c: c.kv_set_many({"a": 1, "b": None}),
     {"cmd": "KVMSET", "entries": [{"key": "a", "value": 1}, {"key": "b", "value": None}]}, {"count": 2}, 2),
    ("kv_keys", lambda c: c.kv_keys("a*"), {"cmd": "KVKEYS", "pattern": "a*"}, {"keys": ["ab"]}, ["ab"]),
    ("push", lambda c: c.push("q", 1, custom_id="n", unique_key="u", stall_timeout_ms=5, depends_on=[1]),
     {"cmd": "PUSH", "queue": "q", "data": 1, "job_id": "n", "unique_key": "u", "stall_timeout": 5, "depends_on": [1]},
     {"id": 9}, 9),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "request_", "reply", "answer"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
async def test_command_is_spelled_and_answered(
    call: Call, request_: Fields, reply: Mapping[str, Any], answer: object
) -> None:
    async with (
        scripted(lambda _, __: {"ok": True, **reply}) as script,
        Client(script.address) as client,
    ):
        assert await call(client) == answer
        (sent,) = script.requests
        assert {k: v for k, v in sent.items() if k not in ("reqId", "idempotency_key")} == request_


async def test_values_of_many_keys_are_asked_for_until_they_are_there() -> None:
    """A reply is bounded in bytes, what was asked for is not."""

    def answer(_: Peer, request: Fields) -> dict[str, Any]:
        some = request["keys"][:2]
        return {"ok": True, "values": [key.upper() for key in some], "truncated": len(some) < len(request["keys"])}

    async with scripted(answer) as script, Client(script.address) as client:
        assert await client.kv_get_many(["a", "b", "c", "d", "e"]) == ["A", "B", "C", "D", "E"]
    assert [each["keys"] for each in script.requests] == [list("abcde"), list("cde"), ["e"]]


@pytest.mark.parametrize(
    ("call", "reply"),
    [
        (lambda c: c.kv_get_many(["a"]), {"values": [None], "partial": True}),
        (lambda c: c.kv_keys(), {"keys": [], "partial": True}),
        (lambda c: c.list_crons(), {"crons": [], "partial": True}),
        (lambda c: c.kv_set_many({"a": 1}), {"count": 0, "errors": [{"index": 0, "error": "Shard 1 is unavailable"}]}),
    ],
    ids=["kv_get_many", "kv_keys", "list_crons", "kv_set_many"],
)
async def test_answer_without_a_shards_part_is_no_answer(call: Call, reply: Mapping[str, Any]) -> None:
    """A missing value would be taken for none."""
    async with scripted(lambda _, __: {"ok": True, **reply}) as script, Client(script.address) as client:
        with pytest.raises(Unavailable):
            await call(client)


async def test_key_of_a_child_is_refused_before_anything_is_sent() -> None:
    async with scripted(lambda _, __: {"ok": True}) as script, Client(script.address) as client:
        with pytest.raises(InvalidArgument, match="idempotency_key"):
            await client.push_flow("q", 1, [{"queue": "a", "idempotency_key": "k"}])
    assert script.requests == []
