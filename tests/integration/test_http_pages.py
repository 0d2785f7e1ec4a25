"""What HTTP tells of the server itself: health, figures, settings, the page that shows the routes."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.web import Web

TOKEN = "correct-horse-battery-staple-0123456789"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, settings={"FLASHQ_API_WORKERS": "2"}) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster) as one:
        yield one


def until(found: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (answer := found()):
        assert time.monotonic() < deadline, what
    return answer


def test_health_is_told_to_anybody_and_has_the_keys_of_old(web: Web) -> None:
    data = web.ok("GET", "/health")
    assert (data["status"], data["shards"], data["shards_serving"], data["durability"]) == ("healthy", 2, 2, "commit")
    assert {"version", "uptime_ms", "uptime_seconds", "sqlite_enabled", "is_leader", "node_id"} <= set(data)
    assert web.ask("HEAD", "/health").body == b""


def test_figures_follow_the_jobs(web: Web) -> None:
    queue = "figures"
    ids = web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": n} for n in range(5)]})
    web.ok("GET", f"/queues/{queue}/jobs?count=3")
    web.ok("POST", f"/jobs/{ids[0]}/ack")
    mine = next(one for one in web.ok("GET", "/queues") if one["name"] == queue)
    assert (mine["pending"], mine["processing"], mine["completed"]) == (2, 2, 1)
    metrics = web.ok("GET", "/metrics")
    assert list(metrics) == [
        "total_pushed", "total_completed", "total_failed", "jobs_per_second", "avg_latency_ms", "queues",
    ]  # fmt: skip
    (of_queue,) = [one for one in metrics["queues"] if one["name"] == queue]
    assert of_queue == {"name": queue, "pending": 2, "processing": 2, "dlq": 0, "rate_limit": None}
    stats = web.ok("GET", "/stats")
    assert list(stats) == ["queued", "processing", "delayed", "dlq", "completed"]
    assert stats["processing"] >= 2


def test_prometheus_has_the_series_that_dashboards_know(web: Web) -> None:
    web.ok("POST", "/queues/p.r-o_m/jobs", {"data": 1})
    answer = web.ask("GET", "/metrics/prometheus")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.body.decode()
    for line in (
        'flashq_queue_jobs{queue="p.r-o_m",state="pending"} 1.0', 'flashq_shard_up{shard="shard-01"} 1.0',
        'flashq_process_restarts_total{process="http-0"} 0.0',
    ):  # fmt: skip
        assert line in text.splitlines()
    for name in (
        "flashq_jobs_pushed_total", "flashq_jobs_completed_total", "flashq_jobs_failed_total", "flashq_latency_ms",
        "flashq_throughput_per_second", "flashq_workers_active",
    ):  # fmt: skip
        assert re.search(rf"^{name} [0-9.]+$", text, re.MULTILINE), name
    states = set(re.findall(r'^flashq_jobs_current\{state="(\w+)"\}', text, re.MULTILINE))
    assert states == {"queued", "processing", "delayed", "dlq", "completed"}


def test_worker_that_registers_with_one_process_is_known_to_all(cluster: Cluster, web: Web) -> None:
    assert web.ok("POST", "/workers/w%201/heartbeat", {"queues": ["mail"], "concurrency": 4}) is None

    def seen_by(client: Web) -> bool:
        return [(one["id"], one["concurrency"]) for one in client.ok("GET", "/workers")] == [("w 1", 4)]

    for _ in range(8):  # whichever process takes the connection
        with Web(cluster) as other:
            assert until(lambda other=other: seen_by(other), "the worker to be listed")  # type: ignore[misc]


def test_settings_and_usage_are_told_without_secrets(web: Web) -> None:
    settings = web.ok("GET", "/settings")
    assert (settings["durability"], settings["auth_enabled"], settings["auth_token_count"]) == ("commit", False, 0)
    system = web.ok("GET", "/system/metrics")
    assert system["memory_rss_mb"] > 10
    assert system["process_status"]
    assert web.refused("POST", "/settings/auth", {})["code"] == "invalid"


def test_page_of_routes_needs_nothing_from_elsewhere(web: Web) -> None:
    page = web.ask("GET", "/docs").body.decode()
    used = re.findall(r'(?:src|href|url)\s*[=:]\s*["\'](.*?)["\']', page)
    assert used
    for url in used:
        assert url.startswith(("/docs/", "data:")), url
        if url.startswith("/docs/"):
            assert web.ask("GET", url).status == 200
    document = json.loads(web.ask("GET", "/docs/openapi.json").body)
    assert document["openapi"].startswith("3.1")
    assert "/queues/{queue}/jobs" in document["paths"]


def test_shard_that_is_down_is_told_and_its_queues_are_unavailable() -> None:
    slow = {"FLASHQ_REQUEST_DEADLINE_MS": "300"}
    with Cluster(shards=2, durability="commit", http=True, settings=slow) as cluster, Web(cluster) as web:
        queue = next(cluster.queues_of(1))
        assert web.ok("GET", "/ready")["ready"] is True
        assert web.ok("GET", f"/queues/{queue}/count") == 0  # so that what is asked below leaves
        import signal

        pid = cluster.kill("shard-01", signal.SIGSTOP)  # it hangs: nothing is answered any more
        answer = web.ask("POST", f"/queues/{queue}/jobs", {"data": 1})
        assert answer.status == 200
        assert answer.json()["code"] == "timeout"
        assert web.ask("POST", f"/api/v1/queues/{queue}/jobs", {"data": 1}).status == 504
        cluster.kill("shard-01")
        cluster.wait_serving("shard-01", other_than=pid)
        until(lambda: web.ask("GET", "/ready").status == 200, "the shard to be ready again")
        assert web.ok("GET", f"/queues/{queue}/count") >= 0


def test_cluster_is_ready_only_while_every_shard_serves() -> None:
    hung = {"FLASHQ_HEARTBEAT_LIMIT_MS": "1500"}
    with Cluster(shards=2, durability="commit", http=True, settings=hung) as cluster, Web(cluster) as web:
        import signal

        pid = cluster.kill("shard-00", signal.SIGSTOP)

        def not_ready() -> Any:
            answer = web.ask("GET", "/ready")
            return answer if answer.status == 503 else None

        found = until(not_ready, "the shard's silence to be noticed").json()
        assert "shard-00" in found["error"]
        assert found["code"] == "unavailable"
        cluster.wait_serving("shard-00", other_than=pid)
        until(lambda: web.ask("GET", "/ready").status == 200, "the shard to be ready again")


@pytest.mark.parametrize("name", ["http-0", "router-0", "webhooks"])
def test_process_that_hangs_is_replaced(name: str) -> None:
    """Its door would take connections in, and answer nobody."""
    import signal

    hung = {"FLASHQ_HEARTBEAT_LIMIT_MS": "1500"}
    with Cluster(shards=1, durability="commit", http=True, settings=hung) as cluster:
        pid = cluster.kill(name, signal.SIGSTOP)
        cluster.wait_serving(name, other_than=pid)
        with Web(cluster) as web, cluster.connect() as tcp:
            assert web.ok("GET", "/health")
            tcp.sendall(b'{"cmd":"PING"}\n')
            assert b"pong" in tcp.recv(1_000)


def test_process_that_dies_is_replaced_and_its_waiting_pulls_take_no_jobs() -> None:
    with Cluster(shards=2, durability="commit", http=True) as cluster:
        with Web(cluster) as lost:
            lost.send("GET", "/queues/q/jobs")
            pid = cluster.kill("http-0")
        cluster.wait_serving("http-0", other_than=pid)
        with Web(cluster) as web:
            pushed = web.ok("POST", "/queues/q/jobs", {"data": 1})
            (job,) = web.ok("GET", "/queues/q/jobs?timeout=5000")
            assert (job["id"], job["attempts"]) == (pushed["id"], 0)


def test_stop_answers_what_is_asked_and_lets_pulls_go_with_nothing() -> None:
    with Cluster(shards=2, durability="commit", http=True) as cluster, Web(cluster) as web, Web(cluster) as idle:
        idle.ok("GET", "/health")
        web.send("GET", "/queues/q/jobs?timeout=60000")
        with Web(cluster) as other:
            assert other.ok("GET", "/queues/q/jobs?timeout=100") == []  # by now the first one waits too
        started = time.monotonic()
        assert cluster.stop() == 0
        assert time.monotonic() - started < 10
        answer = web.read()
        assert (answer.status, answer.json()["data"]) == (200, [])
        assert answer.headers["connection"] == "close"


def test_shutdown_by_http_is_an_orderly_one() -> None:
    settings = {"AUTH_TOKENS": TOKEN}
    with Cluster(shards=1, durability="commit", http=True, settings=settings) as cluster:
        with Web(cluster) as stranger:
            assert stranger.ask("POST", "/server/shutdown").status == 401
            assert stranger.ok("GET", "/ready")["ready"] is True
        with Web(cluster, TOKEN) as web:
            web.ok("POST", "/queues/q/jobs", {"data": 1})
            assert web.ok("POST", "/server/shutdown")
        until(lambda: not cluster.running(), "the cluster to end")
        cluster.start()
        with Web(cluster, TOKEN) as web:
            assert web.ok("GET", "/queues/q/count") == 1


def test_page_of_another_origin_cannot_stop_a_server_without_tokens(web: Web) -> None:
    """A browser sends it without asking first, whatever it may read of the answer."""
    answer = web.refused("POST", "/server/shutdown", status=403, origin="https://evil.example")
    assert answer["code"] == "forbidden"
    assert web.ok("GET", "/ready")["ready"] is True
