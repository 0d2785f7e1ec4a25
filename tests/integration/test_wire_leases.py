"""Leases, late words and repeated requests, as a worker over the wire meets them."""

import pytest

from tests.integration.wire import Place, Wire, counts


def test_timeout_ends_a_lease_and_costs_an_attempt(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, timeout=40, backoff=0)["id"]
    old = wire.ok("PULL", queue=queue, timeout=0)["job"]
    new = wire.ok("PULL", queue=queue, timeout=8_000)["job"]
    assert (new["id"], new["attempts"], new["progress_msg"]) == (job_id, 1, "Job timed out")
    assert new["lease"] != old["lease"]
    assert new["started_at"] >= old["started_at"] + 39  # two clocks, each cut to whole ms


def test_timeout_is_not_extended_by_heartbeats_and_the_last_one_kills(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, timeout=60, max_attempts=1)["id"]
    job = wire.ok("PULL", queue=queue, timeout=0)["job"]
    beats = 0
    while (reply := wire.ask("HEARTBEAT", id=job_id, lease=job["lease"]))["ok"]:
        beats += 1
        assert wire.ok("PULL", queue=place.queue(), timeout=5)["job"] is None
        assert beats < 1_000
    assert reply["error"] == f"Job {job_id} not in processing"
    seen = wire.ok("GETJOB", id=job_id)
    assert (seen["state"], seen["job"]["error"]) == ("failed", "Job timed out")


def test_heartbeat_renews_a_soft_lease(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, backoff=0)["id"]
    job = wire.ok("PULL", queue=queue, timeout=0, lease_ms=1_500)["job"]
    for _ in range(8):
        assert wire.ok("PULL", queue=place.queue(), timeout=250)["job"] is None
        wire.ok("HEARTBEAT", job_id=job_id)
    assert wire.ok("GETSTATE", id=job_id)["state"] == "active"
    assert wire.refused("HEARTBEAT", id=job_id, lease=job["lease"] + 1)["code"] == "lease_lost"
    again = wire.ok("PULL", queue=queue, timeout=8_000)["job"]
    assert (again["id"], again["progress_msg"], again["stall_count"]) == (job_id, "Job stalled", 1)


def waiting_again(place: Place, wire: Wire, *, delayed: bool) -> tuple[str, int, int]:
    """A queue, and a job whose lease has ended there and that waits or is delayed; its last token."""
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, timeout=20, backoff=300_000 if delayed else 0)["id"]
    lease = wire.ok("PULL", queue=queue, timeout=0)["job"]["lease"]
    want = "delayed" if delayed else "waiting"
    for _ in range(1_000):
        if wire.ok("GETSTATE", id=job_id)["state"] == want:
            return queue, job_id, lease
        wire.ok("PULL", queue=place.queue(), timeout=2)
    raise AssertionError(f"job {job_id} did not become {want}")


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("shown", [False, True])
def test_late_ack_of_a_job_that_waits_again_completes_it(place: Place, wire: Wire, delayed: bool, shown: bool) -> None:
    """The work is done: nobody shall do it twice."""
    queue, job_id, lease = waiting_again(place, wire, delayed=delayed)
    token = {"lease": lease} if shown else {}
    assert wire.refused("FAIL", id=job_id, **token)["error"] == f"Job {job_id} not found"
    assert wire.refused("ACK", id=job_id, lease=lease + 1)["code"] == "lease_lost"
    wire.ok("ACK", id=job_id, result="late", **token)
    assert wire.ok("GETSTATE", id=job_id)["state"] == "completed"
    assert wire.ok("PULL", queue=queue, timeout=0)["job"] is None
    assert wire.ok("COUNT", queue=queue)["count"] == 0


def test_words_about_a_job_that_another_worker_holds(place: Place, wire: Wire) -> None:
    queue, job_id, old = waiting_again(place, wire, delayed=False)
    new = wire.ok("PULL", queue=queue, timeout=0)["job"]["lease"]
    text = f"Lease lost: job {job_id} was given to another worker"
    for cmd in ("ACK", "FAIL", "HEARTBEAT"):
        assert wire.refused(cmd, id=job_id, lease=old)["error"] == text
    assert wire.ok("ACKB", ids=[job_id], leases=[old])["errors"][0]["error"] == text
    assert wire.ok("GETSTATE", id=job_id)["state"] == "active"
    wire.ok("ACK", id=job_id, lease=new, result=1)
    wire.ok("ACK", id=job_id, lease=new, result=2)
    assert wire.ok("GETRESULT", id=job_id)["result"] == 1
    assert wire.refused("ACK", id=job_id, lease=old)["code"] == "lease_lost"
    assert wire.refused("ACK", id=job_id)["code"] == "not_found"


def test_ack_without_token_counts_whoever_holds_the_job(place: Place, wire: Wire) -> None:
    queue, job_id, _ = waiting_again(place, wire, delayed=False)
    wire.ok("PULL", queue=queue, timeout=0)
    wire.ok("ACK", id=job_id)
    assert counts(wire, queue)["completed"] == 1


def test_words_about_a_dead_job_are_not_found(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, max_attempts=1)["id"]
    lease = wire.ok("PULL", queue=queue, timeout=0)["job"]["lease"]
    wire.ok("FAIL", id=job_id, lease=lease)
    for cmd in ("ACK", "FAIL", "HEARTBEAT"):
        assert wire.refused(cmd, id=job_id, lease=lease)["code"] == "not_found"
        assert wire.refused(cmd, id=job_id)["code"] == "not_found"


def test_too_many_lost_workers_are_a_dead_letter(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1)["id"]
    for _ in range(3):
        with place.connect() as worker:
            worker.ok("PULL", queue=queue, timeout=8_000, release_on_disconnect=True)
    for _ in range(1_000):
        seen = wire.ok("GETJOB", id=job_id)
        if seen["state"] == "failed":
            break
        wire.ok("PULL", queue=place.queue(), timeout=2)
    assert (seen["state"], seen["job"]["error"], seen["job"]["attempts"]) == ("failed", "Worker lost", 0)


def test_expired_job_is_dropped(place: Place, wire: Wire) -> None:
    queue = place.queue()
    job_id = wire.ok("PUSH", queue=queue, data=1, ttl=20)["id"]
    assert wire.ok("PULL", queue=place.queue(), timeout=40)["job"] is None
    assert wire.ok("PULL", queue=queue, timeout=0)["job"] is None
    assert wire.ok("GETSTATE", id=job_id)["state"] != "waiting"


# -- one key, one effect


def test_repeated_key_gets_the_first_reply_and_does_nothing(place: Place, wire: Wire) -> None:
    queue, key = place.queue(), place.queue()
    first = wire.ok("PUSH", queue=queue, data={"a": 1}, idempotency_key=key, reqId="1")
    again = wire.ok("PUSH", queue=queue, data={"a": 1}, idempotency_key=key, reqId="2")
    assert again == first | {"reqId": "2"}
    assert wire.ok("COUNT", queue=queue)["count"] == 1
    refused = wire.refused("PUSH", queue=queue, data={"a": 2}, idempotency_key=key)
    assert refused["code"] == "invalid"
    assert wire.ok("PUSH", queue=place.queue(), data={"a": 2}, idempotency_key=key)["id"] != first["id"]
    batch = {"queue": queue, "jobs": [{"data": 1}, {"data": 2}], "idempotency_key": key}
    assert wire.ok("PUSHB", **batch) == wire.ok("PUSHB", **batch)
    assert wire.ok("COUNT", queue=queue)["count"] == 3


def test_repeated_key_of_ack_and_fail(place: Place, wire: Wire) -> None:
    queue, key = place.queue(), place.queue()
    ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": 1}, {"data": 2}])["ids"]
    wire.ok("PULLB", queue=queue, count=2, timeout=0)
    for _ in range(3):
        wire.ok("ACK", id=ids[0], result=[1], idempotency_key=key)
        wire.ok("FAIL", id=ids[1], error="e", idempotency_key=key)
    assert wire.ok("GETJOB", id=ids[1])["job"]["attempts"] == 1


def test_repeated_key_of_an_ack_batch_over_shards(place: Place, wire: Wire) -> None:
    ids = []
    for queue in (place.queue(), place.foreign()):
        ids.append(wire.ok("PUSH", queue=queue, data=1)["id"])
        wire.ok("PULL", queue=queue, timeout=0)
    key = place.queue()
    first = wire.ok("ACKB", ids=ids, idempotency_key=key)
    assert first["count"] == 2
    assert wire.ok("ACKB", ids=ids, idempotency_key=key) == first


def test_key_bounds(place: Place, wire: Wire) -> None:
    for key in ("", "x" * 513):
        reply = wire.refused("PUSH", queue=place.queue(), data=1, idempotency_key=key)
        assert "`idempotency_key`" in reply["error"]
