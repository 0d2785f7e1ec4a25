"""Who may enter by HTTP while tokens are configured."""

from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.web import Web

TOKEN = "correct-horse-battery-staple-0123456789"
OTHER = "another-horse-battery-staple-9876543210"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, settings={"AUTH_TOKENS": f"{TOKEN},{OTHER}"}) as one:
        yield one


@pytest.mark.parametrize(
    "path", ["/queues/q/jobs", "/api/command", "/api/v1/jobs/1/ack", "/nothing", "/jobs/seven/ack"]
)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {TOKEN}x", f"bearer {TOKEN}", f"Basic {TOKEN}", TOKEN, "Bearer é"]
)
def test_stranger_is_answered_the_same_whatever_he_asks(cluster: Cluster, path: str, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1").decode("latin-1")}
    with Web(cluster) as web:
        answer = web.ask("POST", f"{path}?token={TOKEN}", b'{"cmd":"PUSH","queue":"q","data":1}', **headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert b"Invalid or missing authentication token" in answer.body
    with Web(cluster, TOKEN) as web:
        assert web.ok("GET", "/queues/q/count") == 0


@pytest.mark.parametrize("token", [TOKEN, OTHER])
def test_whoever_shows_a_token_reaches_every_shard(cluster: Cluster, token: str) -> None:
    with Web(cluster, token) as web:
        for shard in (0, 1):
            queue = next(cluster.queues_of(shard, f"a{token[0]}{shard}-"))
            pushed = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
            (job,) = web.ok("GET", f"/queues/{queue}/jobs")
            assert job["id"] == pushed["id"]
            assert web.ok("POST", "/jobs/ack-batch", {"ids": [job["id"]]}) == 1


def test_refused_token_is_noted_in_the_log_without_the_token(cluster: Cluster) -> None:
    with Web(cluster, "a-secret-that-is-none-of-ours") as web:
        assert web.ask("GET", "/queues").status == 401
    cluster.wait_output("a token was refused")
    assert "a-secret-that-is-none-of-ours" not in cluster.output()


def test_browser_may_ask_first_without_a_token(cluster: Cluster) -> None:
    with Web(cluster) as web:
        asked = web.ask("OPTIONS", "/queues", origin="http://a.example", access_control_request_method="GET")
        assert asked.status == 200
        refused = web.ask("GET", "/queues", origin="http://a.example")
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")
