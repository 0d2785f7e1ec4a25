"""§4.1: delivery order, as decisions.md has it: among ready jobs, priority, then the moment they became ready."""

from tests.conformance.peer import Peer


def order(c: Peer, queue: str) -> list[object]:
    return [job["data"] for job in c.drain(queue)]


def test_priority_then_order_of_push(c: Peer, q: str) -> None:
    for name, priority in zip("abcdeh", (0, 5, 0, -5, 5, 0), strict=True):
        c.push(q, name, priority=priority)
    assert order(c, q) == ["b", "e", "a", "c", "h", "d"]


def test_batch_keeps_its_order_within_a_priority(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "priority": n % 2} for n in range(6)])
    assert order(c, q) == [1, 3, 5, 0, 2, 4]


def test_lifo_goes_to_the_front_of_its_priority(c: Peer, q: str) -> None:
    """F19: by push order, not only within one millisecond."""
    c.push(q, "a")
    c.push(q, "b", priority=1)
    c.push(q, "c", lifo=True)
    c.push(q, "d")
    c.push(q, "e", lifo=True)
    c.push(q, "f", lifo=True, priority=1)
    assert order(c, q) == ["f", "b", "e", "c", "a", "d"]


def test_lifo_batch_comes_out_reversed(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "lifo": True} for n in range(6)])
    assert order(c, q) == [5, 4, 3, 2, 1, 0]


def test_extremes_of_priority(c: Peer, q: str) -> None:
    for priority in (0, -(2**31), 2**31 - 1, 1, -1):
        c.push(q, priority, priority=priority)
    assert order(c, q) == [2**31 - 1, 1, 0, -1, -(2**31)]


def test_delayed_job_hides_nothing(c: Peer, q: str) -> None:
    """F20: chosen among ready jobs only."""
    c.push(q, "later", priority=100, delay=600_000)
    c.push(q, "now")
    assert order(c, q) == ["now"]


def test_delayed_job_counts_from_the_moment_it_is_due(c: Peer, q: str) -> None:
    """It goes behind those of its priority that were ready before, and before those that come after."""
    c.push(q, "delayed", delay=700)
    c.push(q, "before")
    c.push(q, "marker", priority=-1)
    assert c.pull(q)["data"] == "before"
    assert c.pull(q)["data"] == "marker"
    c.push(q, "first")
    first = c.job(c.ok("GETJOBS", queue=q, state="waiting")["jobs"][0]["id"])["data"]
    assert first == "first"
    pulled = [c.pull(q, 15_000)["data"], c.pull(q, 15_000)["data"]]
    assert pulled == ["first", "delayed"]


def test_delayed_jobs_come_in_the_order_of_their_moments(c: Peer, q: str) -> None:
    c.ok("PUSHB", queue=q, jobs=[{"data": n, "delay": 20 + 10 * (4 - n)} for n in range(5)])
    assert [c.pull(q, 15_000)["data"] for _ in range(5)] == [4, 3, 2, 1, 0]


def test_delayed_jobs_are_not_early(c: Peer, q: str) -> None:
    c.push(q, 1, delay=40)
    job = c.pull(q, 15_000)
    assert job["started_at"] >= job["run_at"] == job["created_at"] + 40


def test_retry_that_is_due_goes_behind_jobs_that_were_ready(c: Peer, q: str) -> None:
    for name in "abc":
        c.push(q, name, backoff=0)
    job = c.pull(q)
    c.ok("FAIL", id=job["id"])
    assert order(c, q) == ["b", "c", "a"]


def test_hundred_pullers_get_hundred_jobs_once(c: Peer, d: Peer, q: str) -> None:
    for n in range(50):
        c.send("PULL", queue=q, timeout=15_000, reqId=f"{n}")
        d.send("PULLB", queue=q, count=1, timeout=15_000, reqId=f"{n}")
    c.send("PUSHB", queue=q, jobs=[{"data": n} for n in range(100)], reqId="push")
    seen = []
    for _ in range(51):
        reply = c.read()
        if reply["reqId"] != "push":
            seen.append(reply["job"]["data"])
    for _ in range(50):
        seen += [job["data"] for job in d.read()["jobs"]]
    assert sorted(seen) == list(range(100))
