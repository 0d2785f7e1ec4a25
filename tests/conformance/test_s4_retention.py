"""§4.8, 4.9: what is kept of completed jobs, and stalls."""

from tests.conformance.peer import Peer


def complete(c: Peer, queue: str, n: int, **options: object) -> list[int]:
    ids = c.ok("PUSHB", queue=queue, jobs=[{"data": k, **options} for k in range(n)])["ids"]
    c.drain(queue)
    for job_id in ids:
        c.ok("ACK", id=job_id, result=job_id)
    return list(ids)


def listed(c: Peer, queue: str) -> list[int]:
    return [job["id"] for job in c.ok("GETJOBS", queue=queue, state="completed", limit=1000)["jobs"]]


def test_completed_jobs_are_kept_with_their_results(c: Peer, q: str) -> None:
    ids = complete(c, q, 5)
    assert sorted(listed(c, q)) == ids
    assert [c.ok("GETRESULT", id=job_id)["result"] for job_id in ids] == ids
    assert c.ok("GETJOBCOUNTS", queue=q)["completed"] == 5


def test_remove_on_complete_keeps_nothing_of_it(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, remove_on_complete=True)
    c.pull(q)
    c.ok("LOG", id=job_id, message="m")
    c.ok("ACK", id=job_id, result=1)
    assert c.ok("GETJOB", id=job_id)["job"] is None
    assert c.ok("GETRESULT", id=job_id)["result"] is None
    assert c.ok("GETLOGS", id=job_id)["logs"] == []
    assert c.ok("GETJOBCOUNTS", queue=q)["completed"] == 0


def test_keep_completed_count_evicts_the_oldest(c: Peer, q: str) -> None:
    """F25."""
    ids = complete(c, q, 6, keep_completed_count=2)
    assert listed(c, q) == [ids[5], ids[4]]
    assert c.ok("GETJOB", id=ids[0])["job"] is None


def test_keep_completed_age_evicts_what_is_older(c: Peer, q: str) -> None:
    """F25; at the latest when the next job completes."""
    first = complete(c, q, 1, keep_completed_age=20)
    c.ok("PULL", queue=q, timeout=60)
    second = complete(c, q, 1, keep_completed_age=20_000)
    third = complete(c, q, 1, keep_completed_age=20_000)
    assert first[0] not in listed(c, q)
    assert c.ok("GETJOB", id=first[0])["job"] is None
    assert [*third, *second] == listed(c, q)


def test_a_thousand_are_kept_of_a_queue(c: Peer, q: str) -> None:
    ids = []
    for _ in range(3):
        ids += c.ok("PUSHB", queue=q, jobs=[{"data": k} for k in range(400)])["ids"]
        c.ok("ACKB", ids=[job["id"] for job in c.drain(q)])
    assert listed(c, q) == sorted(ids, reverse=True)[:1000]


def test_failed_event_or_not_remove_on_fail_forgets(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, remove_on_fail=True, max_attempts=1)
    c.ok("FAIL", id=c.pull(q)["id"])
    assert (c.state(job_id), c.ok("GETJOB", id=job_id)["job"]) == ("unknown", None)


# -- stalls: a lease that ends without a word


def test_silent_job_is_requeued_and_an_attempt_counted(c: Peer, q: str) -> None:
    """F16: never straight to the dead letters, never active for ever."""
    job_id = c.push(q, 1, stall_timeout=30, backoff=0)
    c.pull(q)
    job = c.pull(q, 15_000)
    assert (job["id"], job["attempts"], job["progress_msg"]) == (job_id, 1, "Job stalled")


def test_stall_of_the_last_attempt_kills(c: Peer, d: Peer, q: str) -> None:
    job_id = c.push(q, 1, stall_timeout=50, max_attempts=1)
    c.pull(q)
    assert d.ask("WAITJOB", id=job_id, timeout=15_000)["ok"] is False
    assert (c.state(job_id), c.job(job_id)["error"]) == ("failed", "Job stalled")


def test_heartbeat_and_progress_keep_a_job_from_stalling(c: Peer, d: Peer, q: str) -> None:
    for cmd, fields in (("HEARTBEAT", {}), ("PROGRESS", {"progress": 1})):
        job_id = c.push(q, 1, stall_timeout=400)
        c.pull(q)
        for _ in range(6):
            assert d.ok("PULL", queue=q, timeout=100)["job"] is None
            c.ok(cmd, id=job_id, **fields)
        assert (c.state(job_id), c.job(job_id)["attempts"]) == ("active", 0)
        c.ok("ACK", id=job_id)


def test_lease_ms_of_the_pull_counts_where_the_job_says_nothing(c: Peer, q: str) -> None:
    job_id = c.push(q, 1, backoff=0)
    c.pull(q, lease_ms=30)
    job = c.pull(q, 15_000)
    assert (job["id"], job["attempts"]) == (job_id, 1)
