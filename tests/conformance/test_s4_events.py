"""§4.15, F6, F12: SUBSCRIBE delivers every transition on its connection."""

from collections.abc import Iterator

import pytest

from tests.conformance.peer import Peer, Reply
from tests.conformance.ways import Way


@pytest.fixture
def listener(way: Way, q: str) -> Iterator[Peer]:
    """A connection that is told all of `q`."""
    with way.connect() as peer:
        assert peer.ok("SUBSCRIBE", queue=q, events=[]) == {"ok": True, "success": True}
        yield peer


def told(listener: Peer, *types: str) -> Reply:
    """The next event, which must be of one of these types; what may come between is skipped."""
    while True:
        event = listener.read()
        assert "event" in event, event
        body = event["event"] if isinstance(event["event"], dict) else event
        name = body.get("event_type", body.get("event"))
        if name in types:
            return dict(body, event_type=name)
        assert name in SKIPPED, event


SKIPPED = {"pushed", "active", "delayed", "progress", "promoted", "removed", "failed"}


def test_life_of_a_job(c: Peer, listener: Peer, q: str) -> None:
    job_id = c.push(q, {"d": 1})
    event = told(listener, "pushed")
    assert (event["queue"], event["job_id"], event["data"]) == (q, job_id, {"d": 1})
    assert isinstance(event["timestamp"], int)
    c.pull(q)
    assert told(listener, "active")["job_id"] == job_id
    c.ok("PROGRESS", id=job_id, progress=30)
    assert told(listener, "progress")["progress"] == 30
    c.ok("PARTIAL", id=job_id, data=[1], index=2)
    assert told(listener, "partial")["data"] == {"chunk": [1], "index": 2}
    c.ok("PARTIAL", id=job_id, data="x")
    assert told(listener, "partial")["data"] == {"chunk": "x"}
    c.ok("ACK", id=job_id, result={"r": 1})
    event = told(listener, "completed")
    assert (event["job_id"], event["data"]) == (job_id, {"r": 1})


def test_keys_that_say_nothing_are_absent(c: Peer, listener: Peer, q: str) -> None:
    job_id = c.push(q, 1, max_attempts=1)
    c.pull(q)
    c.ok("FAIL", id=job_id)
    event = told(listener, "failed")
    assert "error" not in event or event["error"]
    assert "progress" not in event
    c.push(q, 1)
    c.ok("ACK", id=c.pull(q)["id"])
    assert "data" not in told(listener, "completed")


def test_failure_retry_and_death(c: Peer, listener: Peer, q: str) -> None:
    job_id = c.push(q, 1, max_attempts=2, backoff=0)
    c.pull(q)
    c.ok("FAIL", id=job_id, error="one")
    assert told(listener, "retrying")["job_id"] == job_id
    c.pull(q)
    c.ok("FAIL", id=job_id, error="two")
    event = told(listener, "failed")
    assert (event["job_id"], event["error"]) == (job_id, "two")


def test_batches_are_told_one_by_one(c: Peer, listener: Peer, q: str) -> None:
    """F6."""
    ids = c.ok("PUSHB", queue=q, jobs=[{"data": 1}, {"data": 2}])["ids"]
    assert [told(listener, "pushed")["job_id"] for _ in ids] == ids
    c.drain(q)
    c.ok("ACKB", ids=ids)
    assert sorted(told(listener, "completed")["job_id"] for _ in ids) == ids


@pytest.mark.parametrize(("option", "event"), [("timeout", "timeout"), ("stall_timeout", "stalled")])
def test_lease_that_ends_is_told(c: Peer, listener: Peer, q: str, option: str, event: str) -> None:
    job_id = c.push(q, 1, max_attempts=2, backoff=600_000, **{option: 30})
    c.pull(q)
    assert told(listener, event)["job_id"] == job_id


@pytest.mark.parametrize(("cmd", "event"), [("CANCEL", "cancelled"), ("DISCARD", "discarded"), ("PROMOTE", "promoted")])
def test_control_is_told(c: Peer, listener: Peer, q: str, cmd: str, event: str) -> None:
    job_id = c.push(q, 1, delay=600_000)
    c.ok(cmd, id=job_id)
    while (seen := told(listener, event, *SKIPPED))["event_type"] != event:
        assert seen["job_id"] == job_id
    assert seen["job_id"] == job_id


def test_discarded_job_is_told_of_once(c: Peer, d: Peer, q: str) -> None:
    """One transition, one event: who listens for `failed` hears of failures."""
    d.ok("SUBSCRIBE", queue=q, events=["failed", "discarded", "drained"])
    job_id = c.push(q, 1)
    c.ok("DISCARD", id=job_id)
    c.ok("DRAIN", queue=q)
    events = [d.read()["event"] for _ in range(2)]
    names = [event.get("event_type", event.get("event")) if isinstance(event, dict) else event for event in events]
    assert names == ["discarded", "drained"], job_id


@pytest.mark.parametrize(("cmd", "event"), [("DRAIN", "drained"), ("PAUSE", "paused"), ("RESUME", "resumed")])
def test_what_befalls_the_queue_is_told(c: Peer, listener: Peer, q: str, cmd: str, event: str) -> None:
    c.push(q, 1)
    if cmd == "RESUME":
        c.ok("PAUSE", queue=q)
        told(listener, "paused")
    c.ok(cmd, queue=q)
    assert told(listener, event)["queue"] == q


def test_only_what_was_asked_for_comes(c: Peer, d: Peer, way: Way, q: str) -> None:
    d.ok("SUBSCRIBE", queue=q, events=["completed"])
    c.push(way.queue(), "other queue")
    c.push(q, 1)
    c.ok("ACK", id=c.pull(q)["id"], result=1)
    event = d.read()
    body = event["event"] if isinstance(event["event"], dict) else event
    assert body.get("event_type", body.get("event")) == "completed"


def test_unsubscribe_ends_ones_own_only(c: Peer, d: Peer, listener: Peer, q: str) -> None:
    """F12: UNSUBSCRIBE removed everybody's."""
    d.ok("SUBSCRIBE", queue=q, events=["pushed"])
    d.ok("UNSUBSCRIBE", queue=q)
    job_id = c.push(q, 1)
    assert told(listener, "pushed")["job_id"] == job_id
    assert d.ok("COUNT", queue=q)["count"] == 1


def test_listener_may_go_on_asking(c: Peer, listener: Peer, q: str) -> None:
    listener.send("PUSH", queue=q, data=1, reqId="mine")
    seen = [listener.read(), listener.read()]
    assert [message.get("reqId") for message in seen].count("mine") == 1
    assert len([message for message in seen if "event" in message]) == 1


def test_listener_of_a_queue_on_another_shard(c: Peer, d: Peer, way: Way) -> None:
    queue = way.far()
    d.ok("SUBSCRIBE", queue=queue, events=["pushed"])
    job_id = c.push(queue, 1)
    assert told(d, "pushed")["job_id"] == job_id


def test_unknown_event_is_refused(c: Peer, q: str) -> None:
    reply = c.refusal("SUBSCRIBE", queue=q, events=["exploded"])
    assert "events" in reply["error"] or "exploded" in reply["error"]
