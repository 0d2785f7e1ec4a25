"""§3: the objects' keys."""

from tests.conformance.peer import Peer
from tests.conformance.ways import Way

JOB_KEYS = [
    "id", "queue", "data", "priority", "created_at", "run_at", "started_at", "attempts", "max_attempts", "backoff",
    "ttl",
    "timeout", "unique_key", "depends_on", "progress", "progress_msg", "tags", "lifo", "remove_on_complete",
    "remove_on_fail",
    "last_heartbeat", "stall_timeout", "stall_count", "parent_id", "children_ids", "children_completed", "custom_id",
    "keep_completed_age", "keep_completed_count", "completed_at", "group_id",
]  # fmt: skip
ZERO = ["priority", "attempts", "ttl", "timeout", "progress", "stall_timeout", "stall_count", "children_completed",
        "keep_completed_age", "keep_completed_count", "completed_at"]  # fmt: skip
NULL = ["unique_key", "progress_msg", "parent_id", "custom_id", "group_id"]
EMPTY = ["depends_on", "tags", "children_ids"]
FALSE = ["lifo", "remove_on_complete", "remove_on_fail"]


def check_plain(job: dict[str, object]) -> None:
    assert list(job)[:31] == JOB_KEYS
    assert [job[key] for key in ZERO] == [0] * len(ZERO)
    assert [job[key] for key in NULL] == [None] * len(NULL)
    assert [job[key] for key in EMPTY] == [[]] * len(EMPTY)
    assert [job[key] for key in FALSE] == [False] * len(FALSE)
    assert [type(job[key]) for key in ("id", "created_at", "run_at", "started_at")] == [int] * 4


def test_job_has_all_31_keys_in_order_wherever_it_is_shown(c: Peer, q: str) -> None:
    """Clients read any of them without asking whether it is there."""
    job_id = c.push(q, 1)
    job = c.job(job_id)
    check_plain(job)
    assert (job["started_at"], job["last_heartbeat"]) == (0, 0)
    check_plain(c.ok("GETJOBS", queue=q)["jobs"][0])
    check_plain(c.ok("GETJOBSBATCH", ids=[job_id])["jobs"][0])
    check_plain(c.pull(q))
    c.ok("MOVETODELAYED", id=job_id, delay=0)
    check_plain(c.ok("PULLB", queue=q, count=1, timeout=15_000)["jobs"][0])


def test_job_in_dlq_children_and_by_custom_id_has_them_too(c: Peer, way: Way, q: str) -> None:
    c.push(q, 1, max_attempts=1)
    c.ok("FAIL", id=c.pull(q)["id"])
    assert list(c.ok("DLQ", queue=q)["jobs"][0])[:31] == JOB_KEYS
    name = way.name()
    c.push(q, 1, job_id=name)
    assert list(c.ok("GETJOBBYCUSTOMID", job_id=name)["job"])[:31] == JOB_KEYS
    parent = c.ok("FLOW", queue=q, data=1, children=[{"queue": way.far(), "data": 1}])["parent_id"]
    assert list(c.ok("GETCHILDREN", parent_id=parent)["children"][0])[:31] == JOB_KEYS


def test_job_item_has_its_state(c: Peer, q: str) -> None:
    job_id = c.push(q)
    assert c.ok("GETJOBS", queue=q)["jobs"][0]["state"] == "waiting"
    assert c.ok("GETJOBSBATCH", ids=[job_id])["jobs"][0]["state"] == "waiting"


def test_completed_at_is_set(c: Peer, q: str) -> None:
    """F17."""
    job_id = c.push(q)
    c.pull(q)
    c.ok("ACK", id=job_id)
    job = c.ok("GETJOBS", queue=q)["jobs"][0]
    assert job["completed_at"] >= job["started_at"] > 0


def test_queue_info(c: Peer, q: str) -> None:
    c.push(q)
    entry = next(entry for entry in c.ok("LISTQUEUES")["queues"] if entry["name"] == q)
    keys = {"name", "pending", "processing", "completed", "delayed", "dlq", "paused", "rate_limit", "concurrency_limit"}
    assert keys <= set(entry)
    assert (entry["rate_limit"], entry["concurrency_limit"], entry["paused"]) == (None, None, False)


def test_metrics(c: Peer, q: str) -> None:
    c.push(q)
    metrics = c.ok("METRICS")["metrics"]
    assert {"total_pushed", "total_completed", "total_failed", "jobs_per_second", "avg_latency_ms", "queues"} <= set(
        metrics
    )
    assert isinstance(metrics["jobs_per_second"], (int, float))
    entry = next(entry for entry in metrics["queues"] if entry["name"] == q)
    assert {"name", "pending", "processing", "dlq", "rate_limit"} <= set(entry)
    assert (entry["pending"], entry["rate_limit"]) == (1, None)


def test_cron(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    c.ok("CRON", name=name, queue=q, data=1, schedule="0 0 1 1 *", limit=3)
    entry = next(entry for entry in c.ok("CRONLIST")["crons"] if entry["name"] == name)
    keys = {"name", "queue", "data", "schedule", "repeat_every", "priority", "next_run", "executions", "limit"}
    assert keys <= set(entry)
    c.ok("CRONDELETE", name=name)


def test_stats(c: Peer) -> None:
    reply = c.ok("STATS")
    assert all(isinstance(reply[key], int) for key in ("queued", "processing", "delayed", "dlq", "completed"))
