"""§2.8, second half: limits, removal, listings. What limits and removals do is in §4.10 and §4.11."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way

OF_A_QUEUE = {
    "PURGEDLQ": {}, "DRAIN": {}, "OBLITERATE": {}, "PAUSE": {}, "RESUME": {}, "RATELIMITCLEAR": {},
    "CLEARCONCURRENCY": {},
    "UNSUBSCRIBE": {}, "RATELIMIT": {"limit": 5}, "SETCONCURRENCY": {"limit": 5}, "CLEAN": {"grace": 0,
    "state": "waiting"},
    "DLQ": {}, "RETRYDLQ": {}, "COUNT": {}, "GETJOBCOUNTS": {}, "ISPAUSED": {}, "SUBSCRIBE": {"events": ["pushed"]},
    "PULL": {"timeout": 0}, "PULLB": {"count": 1, "timeout": 0}, "GETJOBS": {},
}  # fmt: skip


@pytest.mark.parametrize("cmd", OF_A_QUEUE)
def test_queue_that_was_never_used_is_fine(c: Peer, q: str, cmd: str) -> None:
    reply = c.ok(cmd, queue=q, **OF_A_QUEUE[cmd])
    if cmd in ("PURGEDLQ", "DRAIN", "OBLITERATE", "CLEAN"):
        assert reply["count"] == 0


@pytest.mark.parametrize("cmd", OF_A_QUEUE)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Queue name cannot be empty"),
        ("x" * 257, "Queue name too long (max 256 chars)"),
        ("a b", "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"),
    ],
    ids=["empty", "long", "space"],
)
def test_queue_name_is_checked_by_every_command(c: Peer, cmd: str, name: str, text: str) -> None:
    """decisions.md: at every door and command that takes one."""
    reply = c.refusal(cmd, queue=name, **OF_A_QUEUE[cmd])
    assert (reply["error"], reply["code"]) == (text, "invalid")


def info(c: Peer, queue: str) -> dict[str, object] | None:
    found = [entry for entry in c.ok("LISTQUEUES")["queues"] if entry["name"] == queue]
    assert len(found) < 2
    return found[0] if found else None


def test_limits_and_pause_are_listed_and_cleared(c: Peer, q: str) -> None:
    c.push(q)
    c.ok("RATELIMIT", queue=q, limit=50)
    c.ok("SETCONCURRENCY", queue=q, limit=7)
    c.ok("PAUSE", queue=q)
    entry = info(c, q)
    assert entry is not None
    assert (entry["rate_limit"], entry["concurrency_limit"], entry["paused"]) == (50, 7, True)
    c.ok("RATELIMITCLEAR", queue=q)
    c.ok("CLEARCONCURRENCY", queue=q)
    c.ok("RESUME", queue=q)
    entry = info(c, q)
    assert entry is not None
    assert (entry["rate_limit"], entry["concurrency_limit"], entry["paused"]) == (None, None, False)


def test_listqueues_counts(c: Peer, q: str) -> None:
    for n in range(2):
        c.push(q, n, max_attempts=1)
        c.pull(q)
    ids = [job["id"] for job in c.ok("GETJOBS", queue=q, state="active")["jobs"]]
    c.ok("ACK", id=ids[0])
    c.ok("FAIL", id=ids[1])
    for _ in range(3):
        c.push(q)
    c.pull(q)
    c.push(q, delay=600_000)
    entry = info(c, q)
    assert entry is not None
    five = {key: entry[key] for key in ("pending", "processing", "completed", "delayed", "dlq")}
    assert five == {"pending": 2, "processing": 1, "completed": 1, "delayed": 1, "dlq": 1}


def test_limit_of_zero_delivers_nothing(c: Peer, way: Way) -> None:
    for cmd in ("RATELIMIT", "SETCONCURRENCY"):
        queue = way.queue()
        c.push(queue)
        c.ok(cmd, queue=queue, limit=0)
        c.nothing(queue)
        assert c.ok("COUNT", queue=queue)["count"] == 1


def test_stats_are_of_the_whole_server(c: Peer, way: Way, q: str) -> None:
    before = c.ok("STATS")
    c.push(q)
    c.push(way.far(), delay=600_000)
    after = c.ok("STATS")
    for key in ("queued", "processing", "delayed", "dlq", "completed"):
        assert isinstance(after[key], int)
    assert after["delayed"] >= before["delayed"] + 1
    assert after["queues"][q]["waiting"] == 1


def test_metrics_are_of_the_whole_server(c: Peer, q: str) -> None:
    before = c.ok("METRICS")["metrics"]
    for n in range(2):
        c.push(q, n, max_attempts=1)
    ids = [job["id"] for job in c.drain(q)]
    c.ok("ACK", id=ids[0])
    c.ok("FAIL", id=ids[1])
    c.push(q, delay=600_000)
    after = c.ok("METRICS")["metrics"]
    assert after["total_pushed"] >= before["total_pushed"] + 3
    assert after["total_completed"] >= before["total_completed"] + 1
    assert after["total_failed"] >= before["total_failed"] + 1
    entry = next(entry for entry in after["queues"] if entry["name"] == q)
    assert (entry["pending"], entry["processing"], entry["dlq"]) == (1, 0, 1)


@pytest.mark.parametrize("state", ["active", "dead", "waiting-children"])
def test_clean_of_another_state_is_refused(c: Peer, q: str, state: str) -> None:
    c.push(q)
    assert c.no("CLEAN", queue=q, grace=0, state=state) == "Invalid state. Use: waiting, delayed, completed, failed"
    assert c.ok("COUNT", queue=q)["count"] == 1


@pytest.mark.parametrize("state", ["waiting", "WAITING", "Waiting"])
def test_clean_takes_any_case(c: Peer, q: str, state: str) -> None:
    c.push(q)
    assert c.ok("CLEAN", queue=q, grace=0, state=state)["count"] == 1
