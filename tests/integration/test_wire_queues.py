"""Commands about whole queues, in both codecs, on every way that a request can take."""

from tests.integration.wire import JOB_KEYS, Place, Wire


def kill(wire: Wire, queue: str, data: object = 1, **options: object) -> int:
    """A dead letter."""
    job_id = wire.ok("PUSH", queue=queue, data=data, max_attempts=1, priority=2**31 - 1, **options)["id"]
    assert wire.ok("PULL", queue=queue, timeout=0)["job"]["id"] == job_id
    wire.ok("FAIL", id=job_id, error=f"no {data}")
    return int(job_id)


def test_dead_letters_are_shown_oldest_first_with_why_they_died(place: Place, wire: Wire) -> None:
    queue = place.queue()
    assert wire.ok("DLQ", queue=queue)["jobs"] == []
    ids = [kill(wire, queue, n, tags=["t"]) for n in range(3)]
    jobs = wire.ok("DLQ", queue=queue)["jobs"]
    assert [job["id"] for job in jobs] == ids
    assert [wire.ok("DLQ", queue=queue, count=n)["jobs"] for n in (0, 1, 2)] == [[], jobs[:1], jobs[:2]]
    assert list(jobs[0])[:31] == JOB_KEYS
    job = jobs[2]
    assert (job["data"], job["tags"], job["error"], job["state"], job["attempts"]) == (2, ["t"], "no 2", "failed", 1)
    assert job["failures"] == [[job["failed_at"], "no 2"]]
    assert wire.ok("GETJOB", id=ids[2])["job"] == job


def test_dead_letters_wait_again_one_or_all(place: Place, wire: Wire) -> None:
    queue = place.queue()
    ids = [kill(wire, queue, n) for n in range(3)]
    retried = [wire.ok("RETRYDLQ", queue=queue, id=i) for i in (ids[1], ids[1], 10**15)]
    assert [(r["ids"], r["count"]) for r in retried] == [([1], 1), ([0], 0), ([0], 0)]
    assert wire.ok("RETRYDLQ", queue=place.queue(), id=ids[0])["count"] == 0
    every = wire.ok("RETRYDLQ", queue=queue, id=None)
    assert (every["ids"], every["count"]) == ([2], 2)
    assert wire.ok("RETRYDLQ", queue=place.queue())["ids"] == [0]
    jobs = wire.ok("PULLB", queue=queue, count=9, timeout=0)["jobs"]
    assert [(job["id"], job["attempts"]) for job in jobs] == [(i, 0) for i in (ids[1], ids[0], ids[2])]
    assert wire.ok("DLQ", queue=queue)["jobs"] == []


def test_purged_dead_letters_are_unknown(place: Place, wire: Wire) -> None:
    queue = place.queue()
    ids = [kill(wire, queue, n) for n in range(2)]
    assert [wire.ok("PURGEDLQ", queue=queue)["count"] for _ in range(2)] == [2, 0]
    assert {wire.ok("GETSTATE", id=i)["state"] for i in ids} == {"unknown"}
    assert "must contain only" in wire.refused("PURGEDLQ", queue="not a name!")["error"]


def test_counts_of_each_state(place: Place, wire: Wire) -> None:
    queue = place.queue()
    none = {"waiting": 0, "active": 0, "delayed": 0, "completed": 0, "failed": 0}
    reply = wire.ok("GETJOBCOUNTS", queue=queue)
    assert (reply["counts"], {k: reply[k] for k in none}) == (none, none)
    kill(wire, queue)
    done = wire.ok("PUSH", queue=queue, data=1)["id"]
    wire.ok("PULL", queue=queue)
    wire.ok("ACK", id=done)
    wire.ok("PUSHB", queue=queue, jobs=[{"data": 1}, {"data": 2}, {"delay": 60_000}, {"delay": 60_000}, {}])
    wire.ok("PULL", queue=queue)
    expected = {"waiting": 2, "active": 1, "delayed": 2, "completed": 1, "failed": 1}
    reply = wire.ok("GETJOBCOUNTS", queue=queue)
    assert (reply["counts"], {k: reply[k] for k in none}) == (expected, expected)
    assert wire.ok("COUNT", queue=queue)["count"] == 4


def test_drain_and_obliterate_remove_what_their_words_say(place: Place, wire: Wire) -> None:
    queue = place.queue()
    dead = kill(wire, queue)
    ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(5)] + [{"delay": 60_000}])["ids"]
    wire.ok("PULLB", queue=queue, count=2)
    wire.ok("ACK", id=ids[0])
    assert [wire.ok("DRAIN", queue=queue)["count"] for _ in range(2)] == [4, 0]
    states = [wire.ok("GETSTATE", id=i)["state"] for i in (dead, *ids)]
    assert states == ["failed", "completed", "active", *["unknown"] * 4]
    wire.ok("PUSH", queue=queue, data=1)
    wire.ok("PAUSE", queue=queue)
    assert wire.ok("ISPAUSED", queue=queue)["paused"] is True
    assert [wire.ok("OBLITERATE", queue=queue)["count"] for _ in range(2)] == [3, 0]
    assert wire.ok("ISPAUSED", queue=queue)["paused"] is False
    assert wire.ok("ISPAUSED", queue=place.queue())["paused"] is False
    assert wire.refused("ACK", id=ids[1])["error"] == f"Job {ids[1]} not found"
    assert wire.ok("GETJOBCOUNTS", queue=queue)["counts"] == {
        "waiting": 0, "active": 0, "delayed": 0, "completed": 1, "failed": 0}  # fmt: skip


def test_clean_takes_state_in_any_case_and_refuses_others(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(5)])
    assert wire.ok("CLEAN", queue=queue, grace=600_000, state="waiting")["count"] == 0
    assert wire.ok("CLEAN", queue=queue, grace=0, state="WAITING", limit=2)["count"] == 2
    done = wire.ok("PULL", queue=queue)["job"]["id"]
    wire.ok("ACK", id=done)
    assert wire.ok("CLEAN", queue=queue, grace=0)["count"] == 1
    assert wire.ok("CLEAN", queue=queue, grace=0, state="Waiting", limit=0)["count"] == 2
    refused = wire.refused("CLEAN", queue=queue, grace=0, state="active")
    assert refused["error"] == "Invalid state. Use: waiting, delayed, completed, failed"
    assert refused["code"] == "invalid"
    assert "missing field `grace`" in wire.refused("CLEAN", queue=queue, state="waiting")["error"]


def test_large_removal_answers_exactly_and_others_are_served_meanwhile(place: Place, wire: Wire) -> None:
    """CLEAN goes on in slices, with its reply at the end; a drain's reply comes at once."""
    queue = place.queue()
    for _ in range(40):
        wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(1000)])
    assert wire.ok("CLEAN", queue=queue, grace=0, state="waiting")["count"] == 40_000
    assert wire.ok("COUNT", queue=queue)["count"] == 0
    for _ in range(40):
        wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(1000)])
    assert wire.ok("DRAIN", queue=queue)["count"] == 40_000
    job_id = wire.ok("PUSH", queue=queue, data="new")["id"]
    assert wire.ok("PULLB", queue=queue, count=10, timeout=0)["jobs"][0]["id"] == job_id


def test_a_removal_sent_again_with_its_key_answers_the_same(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(3)])
    first = wire.ok("DRAIN", queue=queue, idempotency_key="k1")
    wire.ok("PUSH", queue=queue, data=1)
    assert wire.ok("DRAIN", queue=queue, idempotency_key="k1") == first
    assert wire.ok("COUNT", queue=queue)["count"] == 1
