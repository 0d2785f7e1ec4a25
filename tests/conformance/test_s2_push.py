"""§2.1: PUSH, each field on its own and its answer."""

import json

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way

DATA = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    2.5,
    "",
    'é\n\u2028\U0001f600"\\',
    [],
    {},
    [1, [2, {}]],
    {"b": 1, "a": {"\\": None}},
]


def test_reply_is_ok_and_an_id_that_javascript_can_hold(c: Peer, q: str) -> None:
    first = c.ok("PUSH", queue=q, data=1)
    assert first == {"ok": True, "id": first["id"], "success": True}
    second = c.push(q)
    assert 0 < first["id"] < second < 2**53


@pytest.mark.parametrize("data", DATA, ids=json.dumps)
def test_data_comes_back_as_it_was(c: Peer, q: str, data: object) -> None:
    c.push(q, data)
    job = c.pull(q)
    assert job["data"] == data
    assert c.job(job["id"])["data"] == data


def test_data_null_must_be_said(c: Peer, q: str) -> None:
    assert "missing field `data`" in c.no("PUSH", queue=q)
    assert c.ok("COUNT", queue=q)["count"] == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", 5), ("priority", -(2**31)), ("priority", 2**31 - 1), ("ttl", 60_000), ("timeout", 60_000),
        ("max_attempts", 7), ("max_attempts", 2**32 - 1), ("backoff", 250), ("unique_key", "é"), ("tags", ["a", "é",
        ""]),
        ("tags", []), ("lifo", True), ("remove_on_complete", True), ("remove_on_fail", True), ("stall_timeout", 60_000),
        ("keep_completed_age", 60_000), ("keep_completed_count", 5), ("group_id", "g"),
    ],
)  # fmt: skip
def test_option_is_stored_and_returned(c: Peer, q: str, field: str, value: object) -> None:
    if field == "tags" and value == ["a", "é", ""]:
        value = ["a", "é"]
    job_id = c.push(q, 1, **{field: value})
    assert c.job(job_id)[field] == value
    assert c.pull(q)[field] == value
    assert c.job(job_id)[field] == value


def test_job_id_is_returned_as_custom_id(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    job_id = c.push(q, 1, job_id=name)
    assert c.job(job_id)["custom_id"] == name
    assert c.pull(q)["custom_id"] == name


def test_delay_moves_run_at_and_nothing_else(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, delay=600_000)
    job = c.job(job_id)
    assert job["run_at"] == job["created_at"] + 600_000
    assert c.state(job_id) == "delayed"
    c.nothing(q)


def test_unset_options_mean_three_attempts_and_a_second(c: Peer, q: str) -> None:
    """SDKs leave out what they document as the default: 3 attempts, 1000 ms."""
    job = c.job(c.push(q))
    assert (job["max_attempts"], job["backoff"], job["priority"], job["lifo"]) == (3, 1000, 0, False)
    explicit = c.job(c.push(q, 1, max_attempts=0, backoff=0, ttl=0, timeout=0, stall_timeout=0))
    assert (explicit["max_attempts"], explicit["backoff"], explicit["ttl"], explicit["timeout"]) == (0, 0, 0, 0)


def test_known_custom_id_answers_the_existing_job_of_whatever_queue(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    job_id = c.push(q, "first", job_id=name)
    again = c.ok("PUSH", queue=way.far(), data="second", priority=9, job_id=name)
    assert again["id"] == job_id
    assert c.job(job_id)["data"] == "first"
    assert c.job(job_id)["priority"] == 0
    assert c.ok("COUNT", queue=q)["count"] == 1


def test_refusals_have_the_words_clients_know(c: Peer, q: str) -> None:
    c.push(q, 1, unique_key="k")
    reply = c.refusal("PUSH", queue=q, data=2, unique_key="k")
    assert (reply["error"], reply["code"]) == ("Duplicate job with key: k", "duplicate")
    c.push(q, 1, debounce_id="d")
    reply = c.refusal("PUSH", queue=q, data=2, debounce_id="d")
    assert (reply["error"], reply["code"]) == ("Debounced: job with id 'd' was pushed recently", "debounced")
    assert c.ok("COUNT", queue=q)["count"] == 2


def test_idempotency_key_gets_the_first_reply_and_does_nothing(c: Peer, d: Peer, way: Way, q: str) -> None:
    key = way.name()
    first = c.ok("PUSH", queue=q, data=1, idempotency_key=key)
    assert d.ok("PUSH", queue=q, data=1, idempotency_key=key) == first
    reply = d.refusal("PUSH", queue=q, data=2, idempotency_key=key)
    assert reply["code"] == "invalid"
    assert c.ok("COUNT", queue=q)["count"] == 1
