"""Unique keys and debouncing as clients see them, in both codecs, on every way that a request can take."""

from flashq.testing.cluster import Cluster
from tests.integration.wire import Place, Wire


def test_unique_key_is_refused_until_its_job_is_done(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, unique_key="é")["id"]
    refused = wire.refused("PUSH", queue=queue, data=2, unique_key="é", reqId="r")
    assert (refused["error"], refused["code"]) == ("Duplicate job with key: é", "duplicate")
    assert refused["reqId"] == "r"
    job = wire.ok("PULL", queue=queue, timeout=0)["job"]
    assert (job["id"], job["unique_key"]) == (job_id, "é")
    assert wire.refused("PUSH", queue=queue, data=2, unique_key="é")["code"] == "duplicate"
    wire.ok("ACK", id=job_id)
    assert wire.ok("PUSH", queue=queue, data=3, unique_key="é")["id"] > job_id


def test_debounced_push_is_refused(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSH", queue=queue, data=1, debounce_id="d", debounce_ttl=60_000)
    refused = wire.refused("PUSH", queue=queue, data=2, debounce_id="d")
    assert (refused["error"], refused["code"]) == ("Debounced: job with id 'd' was pushed recently", "debounced")
    wire.ok("PUSH", queue=queue, data=2, debounce_id="e")
    assert wire.ok("COUNT", queue=queue)["count"] == 2


def test_f3_f4_batch_names_what_it_refused_and_stores_the_rest(place: Place, wire: Wire) -> None:
    """Older servers dropped these in silence, or did not look at the keys at all."""
    queue = place.queue()
    wire.ok("PUSH", queue=queue, data=0, unique_key="k")
    jobs = [
        {"data": 1, "unique_key": "k"}, {"data": 2, "unique_key": "l"}, {"data": 3, "debounce_id": "d"},
        {"data": 4, "unique_key": "l"}, {"data": 5, "debounce_id": "d"}, {"data": 6},
    ]  # fmt: skip
    reply = wire.ok("PUSHB", queue=queue, jobs=jobs)
    assert reply["errors"] == reply["failed"]
    assert reply["errors"] == [
        {"index": 0, "error": "Duplicate job with key: k", "code": "duplicate"},
        {"index": 3, "error": "Duplicate job with key: l", "code": "duplicate"},
        {"index": 4, "error": "Debounced: job with id 'd' was pushed recently", "code": "debounced"},
    ]
    got = wire.ok("PULLB", queue=queue, count=10, timeout=0)["jobs"]
    assert [(job["id"], job["data"]) for job in got[1:]] == list(zip(reply["ids"], [2, 3, 6], strict=True))


def test_malformed_entry_refuses_the_whole_batch_and_takes_no_key(place: Place, wire: Wire) -> None:
    queue = place.queue()
    refused = wire.refused("PUSHB", queue=queue, jobs=[{"unique_key": "k"}, {"unique_key": ""}])
    assert refused["error"].endswith(": jobs[1]: invalid value: `unique_key` cannot be empty")
    assert wire.ok("COUNT", queue=queue)["count"] == 0
    wire.ok("PUSH", queue=queue, data=1, unique_key="k")


def test_keys_are_still_taken_after_their_shard_was_killed(cluster: Cluster) -> None:
    queue = next(cluster.queues_of(1, "killed-"))
    with Wire(cluster.connect()) as wire:
        wire.ok("PUSH", queue=queue, data=1, unique_key="k", debounce_id="d", debounce_ttl=60_000)
    cluster.wait_serving("shard-01", other_than=cluster.kill("shard-01"))
    with Wire(cluster.connect()) as wire:
        assert wire.refused("PUSH", queue=queue, data=1, unique_key="k")["code"] == "duplicate"
        assert wire.refused("PUSH", queue=queue, data=1, debounce_id="d")["code"] == "debounced"
