"""§4.10: rate, concurrency, pause, groups."""

from collections.abc import Callable

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way


def fill(c: Peer, queue: str, n: int, **options: object) -> list[int]:
    return list(c.ok("PUSHB", queue=queue, jobs=[{"data": k, **options} for k in range(n)])["ids"])


# -- rate


def test_rate_lets_its_capacity_through_and_then_looks_empty(c: Peer, q: str) -> None:
    fill(c, q, 10)
    c.ok("RATELIMIT", queue=q, limit=3)
    assert len(c.drain(q)) in (3, 4)  # a slow machine may refill one meanwhile
    assert c.ok("COUNT", queue=q)["count"] in (6, 7)


def test_rate_counts_every_job_of_a_batch(c: Peer, way: Way) -> None:
    """F26: charged per delivered job, in PULL and PULLB alike."""
    one, two = way.queue(), way.queue()
    for queue in (one, two):
        fill(c, queue, 20)
        c.ok("RATELIMIT", queue=queue, limit=2)
    assert len(c.ok("PULLB", queue=one, count=20, timeout=0)["jobs"]) == 2
    got = [c.ok("PULL", queue=two, timeout=0)["job"] for _ in range(8)]
    assert 2 <= len([job for job in got if job]) <= 4


def test_rate_refills_by_itself_and_wakes_who_waits(c: Peer, q: str) -> None:
    ids = fill(c, q, 4)
    c.ok("RATELIMIT", queue=q, limit=20)
    c.ok("RATELIMIT", queue=q, limit=2)
    got = [job["id"] for job in c.drain(q)]
    while len(got) < 4:
        got.append(c.pull(q, 15_000)["id"])
    assert got == ids


def test_waiting_pull_burns_no_tokens(c: Peer, d: Peer, q: str) -> None:
    """F26: an idle wait costs nothing, the jobs that come are delivered at once."""
    c.ok("RATELIMIT", queue=q, limit=5)
    d.send("PULLB", queue=q, count=5, timeout=15_000)
    c.ok("PULL", queue=f"{q}-none", timeout=100)
    fill(c, q, 5)
    assert len(d.read()["jobs"]) == 5


def test_rate_cleared_lets_all_through(c: Peer, d: Peer, q: str) -> None:
    fill(c, q, 10)
    c.ok("RATELIMIT", queue=q, limit=0)
    d.send("PULLB", queue=q, count=100, timeout=15_000)
    c.ok("RATELIMITCLEAR", queue=q)
    got = d.read()["jobs"]
    assert len(got) + len(c.drain(q)) == 10


# -- concurrency


def test_concurrency_bounds_active_jobs_over_all_pullers(c: Peer, d: Peer, q: str) -> None:
    ids = fill(c, q, 5)
    c.ok("SETCONCURRENCY", queue=q, limit=3)
    got = [job["id"] for job in c.ok("PULLB", queue=q, count=2, timeout=0)["jobs"]]
    got += [job["id"] for job in d.ok("PULLB", queue=q, count=10, timeout=0)["jobs"]]
    assert got == ids[:3]
    c.nothing(q)


def test_concurrency_counts_jobs_that_were_active_before(c: Peer, q: str) -> None:
    """F27."""
    fill(c, q, 4)
    c.ok("PULLB", queue=q, count=2, timeout=0)
    c.ok("SETCONCURRENCY", queue=q, limit=2)
    c.nothing(q)
    c.ok("SETCONCURRENCY", queue=q, limit=3)
    assert len(c.drain(q)) == 1


def ack(c: Peer, q: str, job_id: int) -> None:
    c.ok("ACK", id=job_id)


def ack_batch(c: Peer, q: str, job_id: int) -> None:
    c.ok("ACKB", ids=[job_id])


def fail(c: Peer, q: str, job_id: int) -> None:
    c.ok("FAIL", id=job_id)


def cancel(c: Peer, q: str, job_id: int) -> None:
    c.ok("CANCEL", id=job_id)


def discard(c: Peer, q: str, job_id: int) -> None:
    c.ok("DISCARD", id=job_id)


def move(c: Peer, q: str, job_id: int) -> None:
    c.ok("MOVETODELAYED", id=job_id, delay=600_000)


EXITS = [ack, ack_batch, fail, cancel, discard, move]


@pytest.mark.parametrize("leave", EXITS)
def test_every_exit_from_active_frees_a_place_and_wakes_who_waits(
    c: Peer, d: Peer, q: str, leave: Callable[[Peer, str, int], None]
) -> None:
    first, second = fill(c, q, 2, backoff=600_000)
    c.ok("SETCONCURRENCY", queue=q, limit=1)
    assert c.pull(q)["id"] == first
    d.send("PULL", queue=q, timeout=15_000)
    leave(c, q, first)
    assert d.read()["job"]["id"] == second


@pytest.mark.parametrize("option", ["timeout", "stall_timeout"])
def test_lease_that_ends_frees_a_place(c: Peer, q: str, option: str) -> None:
    first, second = fill(c, q, 2, backoff=600_000, **{option: 30})
    c.ok("SETCONCURRENCY", queue=q, limit=1)
    assert c.pull(q)["id"] == first
    assert c.pull(q, 15_000)["id"] == second


def test_concurrency_cleared_lets_all_through(c: Peer, d: Peer, q: str) -> None:
    fill(c, q, 5)
    c.ok("SETCONCURRENCY", queue=q, limit=1)
    c.pull(q)
    d.send("PULLB", queue=q, count=10, timeout=15_000)
    c.ok("CLEARCONCURRENCY", queue=q)
    got = d.read()["jobs"]
    assert len(got) + len(c.drain(q)) == 4


# -- pause


def test_pause_stops_delivery_only(c: Peer, d: Peer, q: str) -> None:
    fill(c, q, 3)
    job = c.pull(q)
    c.ok("PAUSE", queue=q)
    c.push(q, "more")
    c.ok("ACK", id=job["id"])
    c.nothing(q)
    d.send("PULLB", queue=q, count=10, timeout=15_000)
    c.ok("RESUME", queue=q)
    assert len(d.read()["jobs"]) == 3


def test_pause_and_resume_twice_are_fine(c: Peer, q: str) -> None:
    for cmd in ("PAUSE", "PAUSE", "RESUME", "RESUME"):
        c.ok(cmd, queue=q)
    assert c.ok("ISPAUSED", queue=q)["paused"] is False


# -- groups


def test_one_job_of_a_group_is_active_and_others_overtake(c: Peer, q: str) -> None:
    a1 = c.push(q, "a1", group_id="a")
    a2 = c.push(q, "a2", group_id="a")
    b1 = c.push(q, "b1", group_id="b")
    free = c.push(q, "free")
    assert [job["id"] for job in c.drain(q)] == [a1, b1, free]
    c.ok("ACK", id=b1)
    c.nothing(q)
    c.ok("ACK", id=a1)
    assert c.pull(q)["id"] == a2


def test_group_is_of_one_queue(c: Peer, way: Way, q: str) -> None:
    for queue in (q, way.queue()):
        c.push(queue, 1, group_id="g")
        c.pull(queue)


@pytest.mark.parametrize("leave", EXITS)
def test_every_exit_from_active_frees_the_group(
    c: Peer, d: Peer, q: str, leave: Callable[[Peer, str, int], None]
) -> None:
    """F28."""
    first, second = fill(c, q, 2, group_id="g", backoff=600_000)
    assert c.pull(q)["id"] == first
    c.nothing(q)
    d.send("PULL", queue=q, timeout=15_000)
    leave(c, q, first)
    assert d.read()["job"]["id"] == second


@pytest.mark.parametrize("option", ["timeout", "stall_timeout"])
def test_lease_that_ends_frees_the_group(c: Peer, q: str, option: str) -> None:
    first, second = fill(c, q, 2, group_id="g", backoff=600_000, **{option: 30})
    assert c.pull(q)["id"] == first
    assert c.pull(q, 15_000)["id"] == second


def test_jobs_of_a_group_keep_their_order(c: Peer, q: str) -> None:
    c.push(q, 1, group_id="g")
    c.push(q, 2, group_id="g")
    c.push(q, 3, group_id="g", priority=5)
    c.push(q, 4, group_id="g", lifo=True)
    got = []
    for _ in range(4):
        job = c.pull(q)
        got.append(job["data"])
        c.ok("ACK", id=job["id"])
    assert got == [3, 4, 1, 2]


def test_pullb_takes_one_of_each_group(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "group_id": f"g{n % 3}"} for n in range(9)])
    assert [job["data"] for job in c.drain(q)] == [0, 1, 2]


# -- per key


def test_concurrency_per_key(c: Peer, q: str) -> None:
    c.ok("SETCONCURRENCY", queue=q, limit=1, per_key=True)
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "limit_key": "ab"[n >= 3]} for n in range(6)])
    got = c.drain(q)
    assert sorted(job["data"] for job in got) == [0, 3]
    c.ok("ACK", id=got[0]["id"])
    assert c.pull(q)["data"] == got[0]["data"] + 1


def test_rate_per_key(c: Peer, q: str) -> None:
    c.ok("RATELIMIT", queue=q, limit=2, per_key=True)
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "limit_key": "ab"[n % 2]} for n in range(20)])
    assert sorted(job["data"] for job in c.drain(q))[:4] == [0, 1, 2, 3]
    assert c.ok("COUNT", queue=q)["count"] >= 14


def test_keys_take_turns(c: Peer, q: str) -> None:
    """One tenant's flood does not starve the others."""
    c.ok("SETCONCURRENCY", queue=q, limit=100, per_key=True)
    c.ok("PUSHB", queue=q, jobs=[{"data": "flood", "limit_key": "a"} for _ in range(50)])
    c.ok("PUSHB", queue=q, jobs=[{"data": "small", "limit_key": "b"} for _ in range(3)])
    assert [job["data"] for job in c.ok("PULLB", queue=q, count=7, timeout=0)["jobs"]].count("small") == 3
