"""Settings that are chosen over HTTP have effect on every shard, last over restarts, and can be taken back."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from flashq.errors import FlashqError
from flashq.testing.cluster import Cluster
from tests.integration.web import Web

TOKEN = "correct-horse-battery-staple-0123456789"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster) as one:
        yield one
        one.ok("DELETE", "/settings/queue-defaults")
        one.ok("DELETE", "/settings/cleanup")


def queues(cluster: Cluster, prefix: str) -> list[str]:
    """One of each shard."""
    return [next(cluster.queues_of(shard, prefix)) for shard in range(cluster.shards)]


def completed(web: Web, queue: str, jobs: int) -> None:
    web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": n} for n in range(jobs)]})
    ids = [job["id"] for job in web.ok("GET", f"/queues/{queue}/jobs?count={jobs}")]
    assert web.ok("POST", "/jobs/ack-batch", {"ids": ids}) == jobs


def kept(web: Web, queue: str) -> int:
    return int(web.ok("GET", f"/queues/{queue}/counts")["completed"])


def chosen(web: Web) -> tuple[Any, Any]:
    shown = web.ok("GET", "/settings")
    return shown["queue_defaults"], shown["cleanup"]


def test_queue_defaults_are_given_to_jobs_of_every_shard_pushed_after_the_answer(cluster: Cluster, web: Web) -> None:
    chosen = {"default_timeout": 60_000, "default_max_attempts": 5, "default_backoff": 250, "default_ttl": 90_000}
    assert "default_max_attempts 5" in web.ok("POST", "/settings/queue-defaults", chosen)
    for queue in queues(cluster, "given"):
        job = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
        assert (job["timeout"], job["max_attempts"], job["backoff"], job["ttl"]) == (60_000, 5, 250, 90_000)
        own = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1, "max_attempts": 2})
        assert (own["max_attempts"], own["backoff"]) == (2, 250)
    assert web.ok("GET", "/settings")["queue_defaults"] == chosen
    assert "default_max_attempts 3" in web.ok("DELETE", "/settings/queue-defaults")
    assert web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})["max_attempts"] == 3


def test_what_a_request_does_not_name_stays(web: Web) -> None:
    web.ok("POST", "/settings/queue-defaults", {"default_max_attempts": 9})
    web.ok("POST", "/settings/queue-defaults", {"default_ttl": 1_000})
    shown = web.ok("GET", "/settings")["queue_defaults"]
    assert (shown["default_max_attempts"], shown["default_ttl"], shown["default_backoff"]) == (9, 1_000, 1_000)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/settings/queue-defaults", {"default_max_attempts": -1}),
        ("/settings/queue-defaults", {"default_ttl": 1 << 60}),
        ("/settings/cleanup", {"cleanup_interval_secs": 0}),
        ("/settings/cleanup", {"metrics_history_size": 100_000}),
        ("/settings/cleanup", {"max_completed_jobs": 1, "max_job_results": -5}),
    ],
)
def test_value_out_of_bounds_is_refused_by_name_and_changes_nothing(web: Web, path: str, body: dict[str, Any]) -> None:
    before = chosen(web)
    answer = web.refused("POST", path, body)
    assert answer["code"] == "invalid"
    assert f"`{list(body)[-1]}`" in answer["error"]
    assert "allowed" in answer["error"]
    assert chosen(web) == before


def test_field_of_the_wrong_kind_is_unprocessable(web: Web) -> None:
    assert web.ask("POST", "/settings/cleanup", {"max_completed_jobs": "many"}).status == 422


@pytest.mark.parametrize("bound", ["max_completed_jobs", "max_job_results"])
def test_fewer_completed_jobs_are_kept_at_once_and_from_then_on(cluster: Cluster, web: Web, bound: str) -> None:
    for queue in queues(cluster, bound):
        completed(web, queue, 20)
        assert kept(web, queue) == 20
        web.ok("POST", "/settings/cleanup", {bound: 4})
        assert kept(web, queue) == 4
        completed(web, queue, 10)
        assert kept(web, queue) == 4
        web.ok("DELETE", "/settings/cleanup")
        completed(web, queue, 10)
        assert kept(web, queue) == 14


def test_cleanup_is_run_when_it_is_asked_for(web: Web) -> None:
    completed(web, "run-cleanup", 3)
    assert web.ok("POST", "/settings/cleanup/run").startswith("Forgot 0 ")


def test_interval_and_length_of_the_history_have_effect() -> None:
    aging = {"FLASHQ_KEEP_COMPLETED_AGE_MS": "1000"}
    with Cluster(shards=2, durability="commit", http=True, settings=aging) as cluster, Web(cluster) as web:
        web.ok("POST", "/settings/cleanup", {"cleanup_interval_secs": 1, "metrics_history_size": 2})
        queue = queues(cluster, "aged")[1]
        completed(web, queue, 3)
        cluster.wait_until(lambda: kept(web, queue) == 0, "the pass of every second")
        cluster.wait_until(lambda: len(web.ok("GET", "/metrics/history")) == 2, "two points")
        last = web.ok("GET", "/metrics/history")[-1]["timestamp"]
        cluster.wait_until(lambda: web.ok("GET", "/metrics/history")[-1]["timestamp"] > last, "a third")
        assert len(web.ok("GET", "/metrics/history")) == 2


def test_choices_survive_deaths_of_shards_and_another_number_of_them() -> None:
    with Cluster(shards=2, durability="fsync", http=True) as cluster:
        with Web(cluster) as web:
            web.ok("POST", "/settings/queue-defaults", {"default_max_attempts": 8})
            pid = cluster.kill("shard-01")
            cluster.wait_serving("shard-01", other_than=pid)
            job = web.ok("POST", f"/queues/{queues(cluster, 'died')[1]}/jobs", {"data": 1})
            assert job["max_attempts"] == 8
        assert cluster.stop() == 0
        cluster.shards = 3
        cluster.start()
        with Web(cluster) as web:
            for queue in queues(cluster, "moved"):
                assert web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})["max_attempts"] == 8
            assert web.ok("GET", "/settings")["queue_defaults"]["default_max_attempts"] == 8


def test_totals_count_anew_when_they_are_reset(cluster: Cluster, web: Web) -> None:
    for queue in queues(cluster, "totals"):
        completed(web, queue, 2)
        web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
    stats = web.ok("GET", "/stats")
    assert web.ok("POST", "/server/reset-metrics") == "Totals count from now on"
    metrics = web.ok("GET", "/metrics")
    assert (metrics["total_pushed"], metrics["total_completed"], metrics["total_failed"]) == (0, 0, 0)
    assert web.ok("GET", "/stats") == stats
    completed(web, queue, 1)
    assert web.ok("GET", "/metrics")["total_completed"] == 1


def test_restart_over_http_is_an_orderly_one_and_reads_the_configuration_again() -> None:
    settings = {"AUTH_TOKENS": TOKEN}
    with Cluster(shards=2, durability="commit", http=True, grpc=True, settings=settings) as cluster:
        with Web(cluster) as stranger:
            assert stranger.ask("POST", "/server/restart").status == 401
        pids = cluster.pids()
        with Web(cluster, TOKEN) as web:
            web.ok("POST", "/queues/q/jobs", {"data": 1})
            (job,) = web.ok("GET", "/queues/q/jobs")
            uptime = web.ok("GET", "/health")["uptime_ms"]
            assert web.ok("POST", "/server/restart").startswith("Restarting in order")

        def serves_again() -> bool:
            try:
                with Web(cluster, TOKEN) as web:
                    new = set(cluster.pids().values()) - set(pids.values())
                    return web.ask("GET", "/ready").status == 200 and len(new) >= len(pids) - 1
            except (OSError, FlashqError):  # it is under way
                return False

        cluster.wait_until(serves_again, "the cluster to start anew", 60)
        assert cluster.running()
        with Web(cluster, TOKEN) as web:
            assert web.ok("GET", "/health")["uptime_ms"] < max(uptime, 60_000)
            assert web.ok("POST", f"/jobs/{job['id']}/ack") is None
        assert cluster.stop() == 0


def test_signal_during_a_restart_has_the_cluster_stop_for_good() -> None:
    with Cluster(shards=1, durability="commit", http=True) as cluster:
        with Web(cluster) as web:
            web.ok("POST", "/queues/q/jobs", {"data": 1})
            web.ok("POST", "/server/restart")
        cluster.wait_output("restarting: stopping in order first")
        # By default, where all has ended and the new interpreter has not come far enough to hear it.
        assert cluster.stop() in (0, -signal.SIGTERM)
        assert not cluster.running()
        cluster.start()
        with Web(cluster) as web:
            assert web.ok("GET", "/queues/q/count") == 1
