"""§2.2: PUSHB."""

from typing import Any

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way


def test_ids_come_in_input_order(c: Peer, q: str) -> None:
    reply = c.ok("PUSHB", queue=q, jobs=[{"data": n} for n in range(1000)])
    assert set(reply) <= {"ok", "ids", "success"}
    jobs = c.drain(q)
    assert [job["id"] for job in jobs] == reply["ids"]
    assert [job["data"] for job in jobs] == list(range(1000))


def test_empty_batch(c: Peer, q: str) -> None:
    assert c.ok("PUSHB", queue=q, jobs=[])["ids"] == []


def test_data_of_an_entry_defaults_to_null(c: Peer, q: str) -> None:
    job_id = c.ok("PUSHB", queue=q, jobs=[{}])["ids"][0]
    assert c.job(job_id)["data"] is None


def test_entries_take_every_option_of_push(c: Peer, way: Way, q: str) -> None:
    options = {
        "priority": -3, "ttl": 60_000, "timeout": 50_000, "max_attempts": 4, "backoff": 20, "unique_key": "u",
        "tags": ["t"], "lifo": True, "remove_on_complete": True, "remove_on_fail": True, "stall_timeout": 40_000,
        "keep_completed_age": 9, "keep_completed_count": 8, "group_id": "g",
    }  # fmt: skip
    name = way.name()
    jobs = [
        {"data": 0},
        {"data": 1, **options, "job_id": name, "debounce_id": "d", "debounce_ttl": 60_000},
        {"data": 2},
    ]
    ids = c.ok("PUSHB", queue=q, jobs=jobs)["ids"]
    job = c.job(ids[1])
    assert {key: job[key] for key in options} == options
    assert (job["custom_id"], job["data"]) == (name, 1)
    assert c.no("PUSH", queue=q, data=1, debounce_id="d").startswith("Debounced")
    delayed = c.ok("PUSHB", queue=q, jobs=[{"data": 3, "delay": 600_000}])["ids"][0]
    assert c.state(delayed) == "delayed"


@pytest.mark.parametrize(
    "entry",
    [1, "a", None, [], {"data": 1, "priority": "x"}, {"data": 1, "delay": -1}, {"data": 1, "tags": [1]},
     {"data": 1, "max_attempts": 2**32}, {"data": 1, "lifo": "yes"}, {"data": 1, "unique_key": 5},
     {"data": 1, "delay": 20 * 366 * 86_400_000}, {"data": 1, "unique_key": "x" * 513}, {"data": 1,
     "tags": ["t"] * 65}],
    ids=str,
)  # fmt: skip
def test_malformed_entry_refuses_the_whole_batch_and_names_itself(c: Peer, q: str, entry: Any) -> None:
    reply = c.refusal("PUSHB", queue=q, jobs=[{"data": 0}, {"data": 1}, entry, {"data": 3}])
    assert reply["code"] in ("invalid", "too_large")
    assert "jobs[2]" in reply["error"] or "[2]" in reply["error"], reply["error"]
    assert c.ok("COUNT", queue=q)["count"] == 0


def test_entry_too_large_refuses_the_whole_batch(c: Peer, q: str) -> None:
    big = "x" * (10 * (1 << 20) - 1)
    reply = c.refusal("PUSHB", queue=q, jobs=[{"data": 1}, {"data": big}])
    assert "[1]" in reply["error"]
    assert (
        f"Job data too large ({len(big) + 2} bytes, max 10485760 bytes)" in reply["error"]
        or "10485760" in reply["error"]
    )
    assert reply["code"] == "too_large"
    assert c.ok("COUNT", queue=q)["count"] == 0


def test_more_than_1000_entries_are_refused(c: Peer, q: str) -> None:
    reply = c.refusal("PUSHB", queue=q, jobs=[{"data": 1}] * 1001)
    assert "1001" in reply["error"]
    assert "1000" in reply["error"]
    assert c.ok("COUNT", queue=q)["count"] == 0


@pytest.mark.parametrize("name", ["", "a b", "x" * 257])
def test_bad_queue_name_is_refused(c: Peer, name: str) -> None:
    assert c.no("PUSHB", queue=name, jobs=[{"data": 1}]).startswith("Queue name")


def test_entry_refused_for_its_key_leaves_the_rest(c: Peer, q: str) -> None:
    """`ids` has the accepted in order, `errors` and `failed` name each refused index and why."""
    c.push(q, 0, unique_key="taken")
    jobs = [{"data": 1}, {"data": 2, "unique_key": "taken"}, {"data": 3, "unique_key": "new"},
            {"data": 4, "unique_key": "new"}, {"data": 5, "debounce_id": "d"}, {"data": 6,
            "debounce_id": "d"}]  # fmt: skip
    reply = c.ok("PUSHB", queue=q, jobs=jobs)
    assert [c.job(job_id)["data"] for job_id in reply["ids"]] == [1, 3, 5]
    assert [(e["index"], e["error"]) for e in reply["errors"]] == [
        (1, "Duplicate job with key: taken"),
        (3, "Duplicate job with key: new"),
        (5, "Debounced: job with id 'd' was pushed recently"),
    ]
    assert reply["failed"] == reply["errors"]
    assert c.ok("COUNT", queue=q)["count"] == 4


def test_custom_ids_known_and_repeated_yield_the_existing_id(c: Peer, way: Way, q: str) -> None:
    known, new = way.name(), way.name()
    old = c.push(way.far(), "old", job_id=known)
    ids = c.ok(
        "PUSHB", queue=q, jobs=[{"data": 1, "job_id": new}, {"data": 2, "job_id": known}, {"data": 3, "job_id": new}]
    )
    assert ids["ids"] == [ids["ids"][0], old, ids["ids"][0]]
    assert c.ok("COUNT", queue=q)["count"] == 1


def test_custom_id_of_a_completed_job_makes_a_new_one_in_push_and_pushb_alike(c: Peer, way: Way, q: str) -> None:
    """F5."""
    name = way.name()
    first = c.push(q, 1, job_id=name)
    c.ok("ACK", id=c.pull(q)["id"])
    second = c.ok("PUSHB", queue=q, jobs=[{"data": 2, "job_id": name}])["ids"][0]
    assert second != first
    c.ok("ACK", id=c.pull(q)["id"])
    third = c.push(q, 3, job_id=name)
    assert third not in (first, second)
