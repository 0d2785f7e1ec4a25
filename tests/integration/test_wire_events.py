"""SUBSCRIBE: every transition is told, to whom it was promised, on whichever process's connection."""

from collections.abc import Iterator
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import Place, Reply, Wire


@pytest.fixture
def wire(cluster: Cluster, place: Place) -> Iterator[Wire]:
    """Who changes things: on the queue's own shard."""
    with Place(cluster, "own", "text").connect() as one:
        yield one


def _events(listener: Wire, n: int) -> list[Reply]:
    return [listener.read() for _ in range(n)]


def _told(event: Reply) -> tuple[str, int]:
    return event["event"], event["job_id"]


def test_a_job_is_followed_from_push_to_its_end(place: Place, wire: Wire) -> None:
    queue = place.queue()
    with place.connect() as listener:
        listener.ok("SUBSCRIBE", queue=queue, events=[])
        job_id = wire.ok("PUSH", queue=queue, data={"a": 1}, backoff=0, max_attempts=2)["id"]
        wire.ok("PULL", queue=queue, timeout=0)
        wire.ok("FAIL", id=job_id, error="no")
        wire.ok("PULL", queue=queue, timeout=0)
        wire.ok("ACK", id=job_id, result=[7])
        events = _events(listener, 5)
    assert [_told(e) for e in events] == [
        ("pushed", job_id), ("active", job_id), ("retrying", job_id), ("active", job_id), ("completed", job_id),
    ]  # fmt: skip
    pushed, _, retrying, _, completed = events
    assert pushed["data"] == {"a": 1}
    assert (pushed["event_type"], pushed["queue"]) == ("pushed", queue)
    assert pushed["timestamp"] > 1_600_000_000_000
    assert (retrying["error"], completed["data"]) == ("no", [7])
    assert "data" not in retrying


def test_batches_tell_of_each_job_and_only_what_was_asked_for(place: Place, wire: Wire) -> None:
    queue = place.queue()
    with place.connect() as listener:
        listener.ok("SUBSCRIBE", queue=queue, events=["job.completed"])
        ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(3)])["ids"]
        wire.ok("PULLB", queue=queue, count=3, timeout=0)
        wire.ok("ACKB", ids=ids)
        assert [_told(e) for e in _events(listener, 3)] == [("completed", i) for i in ids]


def test_unsubscribe_ends_this_connections_subscription_alone(place: Place, wire: Wire) -> None:
    queue = place.queue()
    with place.connect() as one, place.connect() as other:
        one.ok("SUBSCRIBE", queue=queue, events=["pushed"])
        other.ok("SUBSCRIBE", queue=queue, events=["pushed"])
        one.ok("UNSUBSCRIBE", queue=queue)
        job_id = wire.ok("PUSH", queue=queue, data=1)["id"]
        assert _told(other.read()) == ("pushed", job_id)
        assert one.ok("PING")["pong"] is True, "nothing came before this reply"


def test_unknown_names_of_events_are_refused(place: Place) -> None:
    with place.connect() as listener:
        reply = listener.ask("SUBSCRIBE", queue=place.queue(), events=["pushed", "exploded"])
        assert (reply["ok"], reply["code"]) == (False, "invalid")
        assert "exploded" in reply["error"]
        assert "completed" in reply["error"]


def test_a_listener_that_does_not_read_is_told_how_many_it_missed(cluster: Cluster, place: Place, wire: Wire) -> None:
    queue = place.queue()
    payload = "x" * 100_000
    with place.connect() as listener:
        listener.ok("SUBSCRIBE", queue=queue, events=["pushed"])
        n = 0
        for _ in range(30):
            n += len(wire.ok("PUSHB", queue=queue, jobs=[{"data": payload}] * 20)["ids"])
        seen = missed = 0
        while seen + missed < n:
            event = listener.read()
            if event["event"] == "lagged":
                missed += event["missed"]
            else:
                seen += 1
        assert missed > 0
        assert seen + missed == n
        assert wire.ok("OBLITERATE", queue=queue)["count"] == n


def test_a_shard_that_was_killed_goes_on_telling() -> None:
    with Cluster(shards=2, durability="commit") as cluster:
        for where in ("other", "router"):
            place = Place(cluster, where, "text")
            queue = place.queue()
            owner = f"shard-{cluster.owner(queue):02}"
            with place.connect() as listener:
                listener.ok("SUBSCRIBE", queue=queue, events=["pushed"])
                cluster.wait_serving(owner, other_than=cluster.kill(owner))
                told: list[Any] = []
                # Whether the first pushes are told of depends on who comes first; from some moment on all are.
                with Place(cluster, "own", "text").connect() as wire:
                    while not told:
                        wire.ok("PUSH", queue=queue, data=1)
                        listener.send("PING")
                        while "pong" not in (reply := listener.read()):
                            told.append(reply)
                    job_id = wire.ok("PUSH", queue=queue, data=2)["id"]
                    while told[-1]["job_id"] != job_id:
                        told.append(listener.read())
