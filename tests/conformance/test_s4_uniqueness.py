"""§4.4, 4.5: unique keys, custom ids, debounce."""

from collections.abc import Callable

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way


def push(c: Peer, queue: str, **options: object) -> int:
    return c.push(queue, 1, **{"unique_key": "k", **options})


def taken(c: Peer, queue: str) -> bool:
    reply = c.ask("PUSH", queue=queue, data=2, unique_key="k")
    if not reply["ok"]:
        assert (reply["error"], reply["code"]) == ("Duplicate job with key: k", "duplicate")
    return not reply["ok"]


def test_key_is_taken_while_the_job_exists(c: Peer, d: Peer, q: str) -> None:
    job_id = push(c, q, max_attempts=1, backoff=0)
    assert taken(d, q)
    c.pull(q)
    assert taken(d, q)
    c.ok("FAIL", id=job_id)
    assert c.state(job_id) == "failed"
    assert taken(d, q)
    c.ok("RETRYDLQ", queue=q)
    assert taken(d, q)


def test_key_is_taken_while_delayed_and_through_retries(c: Peer, q: str) -> None:
    job_id = push(c, q, delay=600_000, backoff=0)
    assert taken(c, q)
    c.ok("PROMOTE", id=job_id)
    c.pull(q)
    c.ok("FAIL", id=job_id)
    assert taken(c, q)
    c.pull(q)
    c.ok("MOVETODELAYED", id=job_id, delay=600_000)
    assert taken(c, q)


def test_key_is_of_one_queue(c: Peer, way: Way, q: str) -> None:
    push(c, q)
    push(c, way.queue())
    push(c, way.far())


def acked(c: Peer, q: str, job_id: int) -> None:
    c.ok("ACK", id=c.pull(q)["id"])


def acked_in_batch(c: Peer, q: str, job_id: int) -> None:
    c.ok("ACKB", ids=[c.pull(q)["id"]])


def cancelled(c: Peer, q: str, job_id: int) -> None:
    c.ok("CANCEL", id=job_id)


def cancelled_active(c: Peer, q: str, job_id: int) -> None:
    c.pull(q)
    c.ok("CANCEL", id=job_id)


def drained(c: Peer, q: str, job_id: int) -> None:
    c.ok("DRAIN", queue=q)


def cleaned(c: Peer, q: str, job_id: int) -> None:
    c.ok("CLEAN", queue=q, grace=0, state="waiting")


def obliterated(c: Peer, q: str, job_id: int) -> None:
    c.ok("OBLITERATE", queue=q)


def purged(c: Peer, q: str, job_id: int) -> None:
    c.ok("DISCARD", id=job_id)
    c.ok("PURGEDLQ", queue=q)


def cleaned_dead(c: Peer, q: str, job_id: int) -> None:
    c.ok("DISCARD", id=job_id)
    c.ok("CLEAN", queue=q, grace=0, state="failed")


@pytest.mark.parametrize(
    "end", [acked, acked_in_batch, cancelled, cancelled_active, drained, cleaned, obliterated, purged, cleaned_dead]
)
@pytest.mark.parametrize("batch", [False, True], ids=["push", "pushb"])
def test_key_is_free_the_moment_the_job_ceases_to_exist(
    c: Peer, q: str, end: Callable[[Peer, str, int], None], batch: bool
) -> None:
    """F4, F21."""
    job_id = c.ok("PUSHB", queue=q, jobs=[{"data": 1, "unique_key": "k"}])["ids"][0] if batch else push(c, q)
    assert taken(c, q)
    end(c, q, job_id)
    assert not taken(c, q)


def test_key_is_free_after_remove_on_fail_and_after_cancel_of_a_held_job(c: Peer, way: Way, q: str) -> None:
    """F21."""
    job_id = push(c, q, remove_on_fail=True, max_attempts=1)
    c.ok("FAIL", id=c.pull(q)["id"])
    held = push(c, q, depends_on=[c.push(way.far())])
    assert held != job_id
    assert taken(c, q)
    c.ok("CANCEL", id=held)
    assert not taken(c, q)


def test_refused_push_takes_nothing(c: Peer, way: Way, q: str) -> None:
    """A push refused for its key keeps neither its custom id nor its debounce."""
    push(c, q)
    name = way.name()
    c.no("PUSH", queue=q, data=2, unique_key="k", job_id=name, debounce_id="d")
    assert c.ok("GETJOBBYCUSTOMID", job_id=name)["state"] == "unknown"
    job_id = c.push(q, 3, job_id=name, debounce_id="d")
    assert c.job(job_id)["data"] == 3


# -- custom ids


@pytest.mark.parametrize("state", ["waiting", "delayed", "active", "failed", "waiting-children"])
def test_custom_id_returns_the_job_while_it_exists(c: Peer, d: Peer, way: Way, q: str, state: str) -> None:
    name = way.name()
    options = {"delay": 600_000} if state == "delayed" else {}
    if state == "waiting-children":
        options = {"depends_on": [c.push(way.far())]}
    job_id = c.push(q, 1, job_id=name, max_attempts=1, **options)
    if state in ("active", "failed"):
        c.pull(q)
    if state == "failed":
        c.ok("FAIL", id=job_id)
    assert c.state(job_id) == state
    assert d.push(way.far(), 2, job_id=name) == job_id
    assert d.ok("PUSHB", queue=q, jobs=[{"data": 3, "job_id": name}])["ids"] == [job_id]
    assert c.job(job_id)["data"] == 1


def completed(c: Peer, q: str, job_id: int) -> None:
    c.ok("ACK", id=c.pull(q)["id"])


@pytest.mark.parametrize("end", [completed, cancelled, drained, obliterated, purged])
def test_custom_id_is_free_again_when_the_job_is_over(
    c: Peer, d: Peer, way: Way, q: str, end: Callable[[Peer, str, int], None]
) -> None:
    name = way.name()
    first = c.push(q, 1, job_id=name)
    end(c, q, first)
    far = way.far()
    second = c.push(far, 2, job_id=name)
    assert second != first
    found = d.ok("GETJOBBYCUSTOMID", job_id=name)
    assert (found["job"]["id"], found["job"]["queue"]) == (second, far)


def test_two_pushes_at_once_with_one_custom_id_make_one_job(c: Peer, d: Peer, way: Way, q: str) -> None:
    far = way.far()
    names = [way.name() for _ in range(30)]
    for name in names:
        c.send("PUSH", queue=q, data=1, job_id=name)
        d.send("PUSH", queue=far, data=1, job_id=name)
    assert [c.read()["id"] for _ in names] == [d.read()["id"] for _ in names]
    assert c.ok("COUNT", queue=q)["count"] + c.ok("COUNT", queue=far)["count"] == 30


def test_custom_id_may_have_any_characters(c: Peer, way: Way, q: str) -> None:
    name = way.name() + ' é/\\"\n'
    job_id = c.push(q, 1, job_id=name)
    assert c.ok("GETJOBBYCUSTOMID", job_id=name)["job"]["id"] == job_id


# -- debounce


DEBOUNCED = "Debounced: job with id 'd' was pushed recently"


def test_debounce_refuses_within_its_window_and_queue(c: Peer, way: Way, q: str) -> None:
    c.push(q, 1, debounce_id="d")
    assert c.refusal("PUSH", queue=q, data=2, debounce_id="d")["code"] == "debounced"
    assert c.no("PUSH", queue=q, data=2, debounce_id="d") == DEBOUNCED
    c.push(q, 3, debounce_id="other")
    c.push(way.queue(), 4, debounce_id="d")
    c.push(way.far(), 4, debounce_id="d")


def test_debounce_outlives_its_job(c: Peer, q: str) -> None:
    c.push(q, 1, debounce_id="d")
    c.ok("ACK", id=c.pull(q)["id"])
    assert c.no("PUSH", queue=q, data=2, debounce_id="d") == DEBOUNCED


def test_debounce_ends_after_its_ttl_which_refused_pushes_do_not_extend(c: Peer, q: str) -> None:
    c.push(q, 1, debounce_id="d", debounce_ttl=100)
    c.ask("PUSH", queue=q, data=2, debounce_id="d", debounce_ttl=600_000)
    c.ok("PULL", queue=f"{q}-none", timeout=150)
    c.push(q, 3, debounce_id="d")


def test_debounce_is_recorded_only_by_a_push_that_was_accepted(c: Peer, way: Way, q: str) -> None:
    """Hard case 39."""
    c.push(q, 1, unique_key="k")
    assert c.no("PUSH", queue=q, data=2, unique_key="k", debounce_id="d") == "Duplicate job with key: k"
    c.push(q, 3, debounce_id="d")
