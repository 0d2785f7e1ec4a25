"""Every route of the table, with its own example, on a cluster; and what those of queues, names, keys and crons do."""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from flashq.api.http.pages.all import PAGES
from flashq.api.http.table import ROUTES, Route
from flashq.testing.cluster import Cluster
from tests.integration.web import Web
from tests.integration.wire import JOB_KEYS

STOPS = ("/server/shutdown", "/server/restart")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster) as one:
        yield one


def name() -> str:
    return f"r{os.urandom(5).hex()}"


@pytest.mark.parametrize("route", ROUTES, ids=lambda one: f"{one.method} {one.path}")
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_route_answers_its_example_on_all_its_paths(web: Web, route: Route, prefix: str) -> None:
    """Not with a fault of ours, and in the form that every answer has."""
    for path in (route.path, *route.also):
        path = re.sub(r"\{(\w*id)\}", "1024", path)
        path = re.sub(r"\{\w+\}", name(), path)
        query = "?timeout=0" if "timeout" in route.query else ""
        answer = web.ask(route.method, prefix + path + query, route.body)
        assert answer.status in ((200, 422) if not prefix else (200, 400, 404, 409, 422, 504)), (path, answer)
        if answer.headers["content-type"] == "application/json":
            assert isinstance(answer.json()["ok"], bool)
            assert answer.status == 200 or prefix
        else:
            assert answer.body.startswith(b"Invalid: ")
        if route.method == "GET":
            head = web.ask("HEAD", prefix + path + query)
            assert (head.status == 405) is (route.command == "PULLB"), path
            assert head.body == b""


def _walked(page: Any) -> bool:
    """Not what stops the server, nor what makes it ask for tokens: the walks over access go there."""
    return page.path not in STOPS and not page.path.startswith("/tokens")


@pytest.mark.parametrize("page", [page for page in PAGES if _walked(page)], ids=lambda one: one.path)
def test_page_answers_its_example(web: Web, page: Any) -> None:
    path = re.sub(r"\{\w+\}", name(), page.path)
    for prefix in ("", "/api/v1"):
        answer = web.ask(page.method, prefix + path, {"any": "thing"} if page.raw else page.body)
        assert answer.status in ((200, 400) if prefix or path == "/sqlite/download" else (200,)), answer
        if answer.status == 200 and not page.plain:
            found = answer.json()
            assert found["ok"] is True or page.summary.startswith("Refused")
            if isinstance(page.data, dict) and found["ok"]:
                assert set(page.data) <= set(found["data"])


def test_queue_is_paused_counted_and_emptied(web: Web) -> None:
    queue = name()
    web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": 1}, {"data": 2}, {"data": 3, "delay": 60_000}]})
    assert web.ok("POST", f"/queues/{queue}/pause") is None
    assert web.ok("GET", f"/queues/{queue}/paused") is True
    assert web.ok("GET", f"/queues/{queue}/jobs?timeout=0") == []
    assert web.ok("POST", f"/queues/{queue}/resume") is None
    counts = web.ok("GET", f"/queues/{queue}/counts")
    assert counts == {"waiting": 2, "active": 0, "delayed": 1, "completed": 0, "failed": 0}
    assert web.ok("POST", f"/queues/{queue}/drain") == 3
    assert web.ok("GET", f"/queues/{queue}/count") == 0


def test_dead_letters_are_listed_and_retried(web: Web) -> None:
    queue = name()
    ids = [web.ok("POST", f"/queues/{queue}/jobs", {"data": n, "max_attempts": 1})["id"] for n in range(3)]
    for job in web.ok("GET", f"/queues/{queue}/jobs?count=3"):
        web.ok("POST", f"/jobs/{job['id']}/fail", {"error": "no"})
    assert [job["id"] for job in web.ok("GET", f"/queues/{queue}/dlq")] == ids
    assert len(web.ok("GET", f"/queues/{queue}/dlq?count=1")) == 1
    assert web.ok("POST", f"/queues/{queue}/dlq/retry", {"job_id": ids[0]}) == 1
    assert web.ok("POST", f"/queues/{queue}/dlq/{ids[1]}/retry") == 1
    assert web.ok("POST", f"/queues/{queue}/dlq/retry", b"", content_type="application/json") == 1
    assert web.ok("DELETE", f"/queues/{queue}/dlq") == 0
    assert web.ok("GET", f"/queues/{queue}/count") == 3


@pytest.mark.parametrize("path", ["rate-limit", "ratelimit", "concurrency"])
def test_limit_is_set_and_removed(web: Web, path: str) -> None:
    queue = name()
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
    assert web.ok("POST", f"/queues/{queue}/{path}", {"limit": 0}) is None
    assert web.ok("GET", f"/queues/{queue}/jobs?timeout=0") == []
    assert web.ok("DELETE", f"/queues/{queue}/{path}") is None
    assert len(web.ok("GET", f"/queues/{queue}/jobs?timeout=5000")) == 1


def test_known_custom_id_shows_the_job_it_names_wherever_that_lives(cluster: Cluster, web: Web) -> None:
    custom = name()
    here, there = (next(cluster.queues_of(shard, name())) for shard in (0, 1))
    first = web.ok("POST", f"/queues/{here}/jobs", {"data": "first", "job_id": custom})
    assert list(first) == JOB_KEYS
    for queue in (here, there):
        again = web.ok("POST", f"/queues/{queue}/jobs", {"data": "again", "job_id": custom})
        assert again == first
    seen = web.ok("GET", f"/jobs/custom/{custom}")
    assert (seen["id"], seen["data"], seen["state"], seen["job"]["id"]) == (
        first["id"],
        "first",
        "waiting",
        first["id"],
    )


def test_crons_are_set_listed_and_removed(web: Web) -> None:
    one, two = name(), name()
    assert web.ok("POST", f"/crons/{one}", {"queue": "q", "schedule": "0 7 * * *"}) is None
    assert (
        web.ok("PUT", f"/crons/{two}", {"queue": "q", "data": {"a": 1}, "repeat_every": 3_600_000, "limit": 2}) is None
    )
    crons = {cron["name"]: cron for cron in web.ok("GET", "/crons")}
    assert (crons[one]["schedule"], crons[one]["data"]) == ("0 7 * * *", None)
    assert (crons[two]["repeat_every"], crons[two]["limit"], crons[two]["data"]) == (3_600_000, 2, {"a": 1})
    assert [web.ok("DELETE", f"/crons/{one}") for _ in range(2)] == [True, False]
    assert web.refused("POST", f"/crons/{two}", {"queue": "q"})["error"].startswith("Must provide either")


def test_values_are_kept_by_key(web: Web) -> None:
    key = f"{name()}/é"
    path = f"/kv/{key.replace('/', '%2F').replace('é', '%C3%A9')}"
    assert web.ok("PUT", path, {"value": {"a": [1.50]}}) is None
    assert web.ok("GET", path) == {"a": [1.5]}
    assert web.ok("GET", f"/kv?pattern={key.partition('/')[0]}*") == [key]
    assert web.ok("POST", "/kv-batch/get", {"keys": [key, "nothing"]}) == [{"a": [1.5]}, None]
    assert web.ok("POST", f"{path}/expire", {"ttl": 60_000}) is True
    assert 0 < web.ok("GET", f"{path}/ttl") <= 60_000
    assert [web.ok("DELETE", path), web.ok("GET", f"{path}/exists")] == [True, False]
