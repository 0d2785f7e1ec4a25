"""§1.5, 1.7: request ids, order, pipelining, and the shapes of replies and errors."""

from typing import Any

import pytest

from tests.conformance.peer import PREFIXES, TEXT, Peer, encoded
from tests.conformance.ways import Way


@pytest.mark.parametrize("req_id", ["7", "", 'é\n"\\', "x" * 300])
def test_req_id_is_echoed_first_and_verbatim(c: Peer, req_id: str) -> None:
    for fields in ({"cmd": "STATS"}, {"cmd": "GETSTATE", "id": 1}, {"cmd": "GETJOB", "id": 2**40}):
        c.send(**fields, reqId=req_id)
        reply = c.read()
        assert reply["reqId"] == req_id
        assert next(iter(reply)) == "reqId"


def test_req_id_null_counts_as_absent(c: Peer) -> None:
    assert "reqId" not in c.ok("STATS", reqId=None)
    assert "reqId" not in c.ok("STATS")


def test_req_id_is_echoed_on_errors_of_every_kind(c: Peer, q: str) -> None:
    """F1: an id-matching client would wait out its deadline otherwise."""
    for fields in (
        {"cmd": "NOSUCH"},
        {"cmd": "PUSH", "queue": q},
        {"cmd": "PUSH", "queue": q, "data": 1, "priority": "high"},
        {"cmd": "PUSH", "queue": "", "data": 1},
        {"cmd": "ACK", "id": 2**40},
        {"cmd": "PULLB", "queue": q, "count": -1},
    ):
        reply = c.refusal(**fields, reqId="mine")
        assert reply["reqId"] == "mine"


@pytest.mark.codec(TEXT)
def test_req_id_of_a_line_that_does_not_parse_is_echoed_where_it_can_be_found(c: Peer) -> None:
    for text in ('{"cmd":"NOSUCH","reqId":"a","x":[1,2,{"reqId":"b"}]}', '{"reqId":"a","cmd":12}'):
        c.frame(text.encode())
        assert c.read()["reqId"] == "a"


def test_hundreds_of_requests_in_one_write_are_answered_in_order(c: Peer, way: Way) -> None:
    queues = [way.queue(), way.far(), way.queue()]
    requests = [{"cmd": "PUSH", "queue": queues[n % 3], "data": n} for n in range(300)]
    c.raw(b"".join(encoded(way.codec, request) for request in requests))
    ids = [c.read()["id"] for _ in requests]
    pulled = {job["id"]: job["data"] for queue in queues for job in c.drain(queue)}
    assert [pulled[job_id] for job_id in ids] == list(range(300))


def test_replies_of_mixed_shards_and_errors_keep_arrival_order(c: Peer, way: Way) -> None:
    near, far = way.queue(), way.far()
    one = c.push(far, 1)
    two = c.push(near, 2)
    for job_id in (one, two, one, two):
        c.send("GETSTATE", id=job_id)
        c.send("ACK", id=2**40 + job_id)
        c.send("STATS")
        c.send("NOSUCH")
    for job_id in (one, two, one, two):
        assert c.read()["id"] == job_id
        assert c.read()["error"] == f"Job {2**40 + job_id} not found"
        assert "queued" in c.read()
        assert "unknown variant `NOSUCH`" in c.read()["error"]


def test_without_req_id_a_reply_behind_a_waiting_pull_waits_but_its_effect_does_not(c: Peer, d: Peer, q: str) -> None:
    """Old clients match replies by position; the push behind the pull still reaches others, and the pull itself."""
    c.send("PULL", queue=q, timeout=15_000)
    c.send("PUSH", queue=q, data="mine")
    c.send("STATS")
    assert c.read()["job"]["data"] == "mine"
    assert "id" in c.read()
    assert "queued" in c.read()


def test_with_req_id_requests_overtake_a_waiting_pull(c: Peer, d: Peer, q: str) -> None:
    c.send("PULL", queue=q, timeout=15_000, reqId="slow")
    c.send("STATS", reqId="quick")
    assert c.read()["reqId"] == "quick"
    d.push(q, 1)
    reply = c.read()
    assert (reply["reqId"], reply["job"]["data"]) == ("slow", 1)


def test_effects_keep_arrival_order_on_one_queue(c: Peer, d: Peer, q: str) -> None:
    for number in range(5):
        c.send("PUSH", queue=q, data=number, reqId=str(number))
    c.send("PULLB", queue=q, count=10, timeout=0, reqId="all")
    replies = {reply["reqId"]: reply for reply in (c.read() for _ in range(6))}
    assert [job["data"] for job in replies["all"]["jobs"]] == [0, 1, 2, 3, 4]


def test_half_close_answers_what_was_sent_and_ends_waits_at_once(c: Peer, d: Peer, q: str) -> None:
    c.send("PULL", queue=q, timeout=15_000)
    c.send("COUNT", queue=q)
    c.sock.shutdown(1)
    assert c.read()["job"] is None
    assert c.read()["count"] == 0
    assert c.closed()
    d.push(q, 1)
    d.pull(q)


def test_success_with_nothing_to_say(c: Peer, q: str) -> None:
    assert c.ok("PAUSE", queue=q) == {"ok": True, "success": True}
    assert c.ok("RESUME", queue=q) == {"ok": True, "success": True}


PARSE_ERRORS: list[tuple[dict[str, Any], str, str]] = [
    ({"cmd": "NOSUCH"}, "unknown variant `NOSUCH`", ""),
    ({"cmd": "PUSH", "data": 1}, "missing field `queue`", ""),
    ({"cmd": "PUSH", "queue": "Q"}, "missing field `data`", ""),
    ({"cmd": "PULLB", "queue": "Q"}, "missing field `count`", ""),
    ({"cmd": "ACK"}, "missing field `id`", ""),
    ({"cmd": "ACKB"}, "missing field `ids`", ""),
    ({"cmd": "PUSH", "queue": 1, "data": 1}, "invalid type: ", "queue"),
    ({"cmd": "PUSH", "queue": None, "data": 1}, "invalid type: ", "queue"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "priority": "1"}, "invalid type: ", "priority"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "delay": True}, "invalid type: ", "delay"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "tags": "a"}, "invalid type: ", "tags"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "tags": [1]}, "invalid type: ", "tags"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "lifo": 1}, "invalid type: ", "lifo"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "delay": -1}, "invalid value: ", "delay"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "priority": 2**31}, "invalid value: ", "priority"),
    ({"cmd": "PUSH", "queue": "Q", "data": 1, "max_attempts": 2**32}, "invalid value: ", "max_attempts"),
    ({"cmd": "ACK", "id": -1}, "invalid value: ", "id"),
    ({"cmd": "ACK", "id": "1"}, "invalid type: ", "id"),
    ({"cmd": "ACKB", "ids": 1}, "invalid type: ", "ids"),
    ({"cmd": "ACKB", "ids": ["1"]}, "invalid type: ", "ids"),
    ({"cmd": "GETJOB", "id": 1.0}, "invalid type: ", "id"),
    ({"cmd": "GETJOB", "id": 1.5}, "invalid type: ", "id"),
]


@pytest.mark.parametrize(
    ("request_", "fragment", "field"), PARSE_ERRORS, ids=[str(n) for n in range(len(PARSE_ERRORS))]
)
def test_parse_errors_begin_and_read_as_clients_know_them(
    c: Peer, way: Way, q: str, request_: dict[str, Any], fragment: str, field: str
) -> None:
    fields = {key: q if value == "Q" else value for key, value in request_.items()}
    reply = c.refusal(**fields)
    assert reply["error"].startswith(PREFIXES[way.codec])
    assert fragment in reply["error"]
    assert field in reply["error"]
    assert reply["code"] == "invalid"
    assert "auth" not in reply["error"].lower()
    assert c.ok("COUNT", queue=q)["count"] == 0


def test_errors_other_than_parse_errors_have_no_prefix(c: Peer) -> None:
    assert c.no("ACK", id=2**40) == f"Job {2**40} not found"
    assert c.no("PUSH", queue="", data=1) == "Queue name cannot be empty"
