"""§4.2, 4.3: delays, backoff, retries, ttl and timeout."""

import pytest

from tests.conformance.peer import Peer


def test_delay_becomes_waiting_by_itself(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, delay=250)
    assert c.state(job_id) == "delayed"
    c.pull(q, 15_000)
    assert c.state(job_id) == "active"


def test_failure_counts_an_attempt_and_leaves_its_text(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, backoff=0)
    for attempts in (0, 1, 2):
        job = c.pull(q)
        assert (job["id"], job["attempts"]) == (job_id, attempts)
        c.ok("FAIL", id=job_id, error=f"e{attempts}")
        if attempts < 2:
            assert (c.state(job_id), c.job(job_id)["progress_msg"]) == ("waiting", f"e{attempts}")
            assert c.job(job_id)["started_at"] == 0
    assert c.state(job_id) == "failed"
    assert (c.job(job_id)["attempts"], c.job(job_id)["error"]) == (3, "e2")


def test_default_is_three_attempts(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, backoff=0)
    for _ in range(3):
        c.ok("FAIL", id=c.pull(q)["id"])
    assert c.state(job_id) == "failed"


def test_max_attempts_zero_retries_for_ever(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, max_attempts=0, backoff=0)
    for attempts in range(20):
        job = c.pull(q)
        assert job["attempts"] == attempts
        c.ok("FAIL", id=job_id)
    assert c.state(job_id) == "waiting"


@pytest.mark.parametrize("backoff", [1_000, 40_000])
def test_delay_of_a_retry_doubles_with_the_attempts_already_counted(c: Peer, q: str, backoff: int) -> None:
    """Backoff * 2 ** min(attempts, 10): the first retry waits 2 * backoff."""
    job_id = c.push(q, 1, max_attempts=0, backoff=backoff)
    for attempts in range(1, 13):
        started = c.pull(q)["started_at"]
        c.ok("FAIL", id=job_id)
        job = c.job(job_id)
        assert (c.state(job_id), job["attempts"]) == ("delayed", attempts)
        assert 0 <= job["run_at"] - started - backoff * 2 ** min(attempts, 10) < 1_000
        c.ok("PROMOTE", id=job_id)


def test_default_backoff_is_a_second(c: Peer, q: str) -> None:
    job_id = c.push(q)
    started = c.pull(q)["started_at"]
    c.ok("FAIL", id=job_id)
    assert 0 <= c.job(job_id)["run_at"] - started - 2_000 < 1_000


def test_retry_comes_by_itself(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, backoff=10)
    c.ok("FAIL", id=c.pull(q)["id"])
    job = c.pull(q, 15_000)
    assert (job["id"], job["attempts"]) == (job_id, 1)
    assert job["started_at"] >= job["run_at"]


def test_retrydlq_starts_over(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, max_attempts=1)
    c.ok("FAIL", id=c.pull(q)["id"], error="x")
    c.ok("RETRYDLQ", queue=q, id=job_id)
    job = c.pull(q)
    assert (job["id"], job["attempts"]) == (job_id, 0)


# -- ttl


def test_ttl_drops_a_job_that_was_not_pulled_in_time(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, ttl=20)
    dead_letters = c.ok("DLQ", queue=q)["jobs"]
    c.ok("PULL", queue=f"{q}-none", timeout=60)  # the time passes in which it expires
    c.nothing(q)
    assert c.state(job_id) == "unknown"
    assert c.ok("DLQ", queue=q)["jobs"] == dead_letters == []
    assert c.ok("COUNT", queue=q)["count"] == 0


def test_ttl_leaves_an_active_job_alone(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, ttl=150)
    c.pull(q)
    c.ok("PULL", queue=q, timeout=250)
    assert c.state(job_id) == "active"
    c.ok("ACK", id=job_id)


def test_ttl_runs_from_creation_also_for_delayed_jobs(c: Peer, q: str) -> None:
    c.push(q, "expires", ttl=20, delay=60)
    c.push(q, "lives", ttl=600_000, delay=80)
    assert c.pull(q, 15_000)["data"] == "lives"
    c.nothing(q)


def test_ttl_of_zero_is_never(c: Peer, q: str) -> None:
    c.push(q, 1, ttl=0)
    c.ok("PULL", queue=f"{q}-none", timeout=10)
    c.pull(q)


def test_expired_job_hides_nothing_and_frees_its_key(c: Peer, q: str) -> None:
    """F21."""
    c.push(q, "expires", ttl=20, priority=9, unique_key="k")
    c.push(q, "lives")
    c.ok("PULL", queue=f"{q}-none", timeout=60)
    assert c.pull(q)["data"] == "lives"
    c.push(q, "new", unique_key="k")


# -- timeout


def test_timeout_counts_as_a_failure_and_says_so(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, timeout=20, backoff=0)
    c.pull(q)
    job = c.pull(q, 15_000)
    assert (job["id"], job["attempts"], job["progress_msg"]) == (job_id, 1, "Job timed out")


def test_timeout_of_the_last_attempt_kills(c: Peer, d: Peer, q: str) -> None:
    job_id = c.push(q, 1, timeout=50, max_attempts=1)
    c.pull(q)
    d.send("WAITJOB", id=job_id, timeout=15_000)
    assert d.read()["ok"] is False
    job = c.ok("DLQ", queue=q)["jobs"][0]
    assert (job["id"], job["error"], job["attempts"]) == (job_id, "Job timed out", 1)


def test_heartbeats_and_progress_do_not_extend_a_timeout(c: Peer, d: Peer, q: str) -> None:
    job_id = c.push(q, 1, timeout=150, max_attempts=1)
    c.pull(q)
    d.send("WAITJOB", id=job_id, timeout=15_000)
    for n in range(10_000):
        alive = c.ask("HEARTBEAT", id=job_id)["ok"] and c.ask("PROGRESS", id=job_id, progress=n % 100)["ok"]
        if not alive:
            break
    assert d.read()["ok"] is False
    assert c.job(job_id)["error"] == "Job timed out"


def test_late_ack_of_a_dead_job_is_not_found(c: Peer, d: Peer, q: str) -> None:
    job_id = c.push(q, 1, timeout=50, max_attempts=1)
    lease = c.pull(q)["lease"]
    d.ask("WAITJOB", id=job_id, timeout=15_000)
    assert c.no("ACK", id=job_id) == f"Job {job_id} not found"
    assert c.refusal("ACK", id=job_id, lease=lease)["ok"] is False
    assert c.state(job_id) == "failed"
