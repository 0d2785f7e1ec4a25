"""Processes that die while clients push over HTTP: who asks again with the same key has pushed once."""

import http.client
import os
import time
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.web import Web

JOBS = 60
AGAIN = (503, 504)


class Persistent:
    """A client that asks until it is answered, on a new connection where one broke."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._web = Web(cluster)
        self.asked_again = 0

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                answer = self._web.ask(method, f"/api/v1{path}", body, **headers)
            except (OSError, http.client.HTTPException):
                self._web.http.close()
                self._web = Web(self._cluster)
            else:
                if answer.status == 200:
                    return answer.json()["data"]
                assert answer.status in AGAIN, answer
            self.asked_again += 1
        raise AssertionError(f"{method} {path} was not answered")

    def close(self) -> None:
        self._web.http.close()


@pytest.mark.parametrize("name", ["shard-00", "http-0"])
def test_push_asked_until_it_is_answered_is_one_push(name: str) -> None:
    with Cluster(shards=2, durability="commit", http=True) as cluster:
        queue = next(cluster.queues_of(0))
        client = Persistent(cluster)
        keys = [os.urandom(8).hex() for _ in range(JOBS)]
        pid = 0
        for n, key in enumerate(keys):
            if n in (JOBS // 3, 2 * JOBS // 3):
                cluster.wait_serving(name, other_than=pid)
                pid = cluster.kill(name)
            client.ok("POST", f"/queues/{queue}/jobs", {"data": n}, idempotency_key=key)
            if n % 4 == 0:  # an answer that the client does not believe
                client.ok("POST", f"/queues/{queue}/jobs", {"data": n}, idempotency_key=key)
        assert client.asked_again > 0
        jobs = client.ok("GET", f"/queues/{queue}/jobs?count=1000&timeout=5000")
        assert [job["data"] for job in jobs] == list(range(JOBS))
        assert client.ok("GET", f"/queues/{queue}/count") == 0
        client.close()


def test_pull_whose_shard_dies_is_told_when_to_come_again() -> None:
    with Cluster(shards=2, durability="commit", http=True) as cluster, Web(cluster) as web, Web(cluster) as other:
        queue = next(cluster.queues_of(1))
        web.send("GET", f"/queues/{queue}/jobs?timeout=60000")
        assert other.ok("GET", f"/queues/{queue}/jobs?timeout=100") == []  # by now the first one waits at the shard
        pid = cluster.kill("shard-01")
        answer = web.read()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"ok": False, "error": "Shard 1 is unavailable", "code": "unavailable"}
        cluster.wait_serving("shard-01", other_than=pid)
        other.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
        assert len(web.ok("GET", f"/queues/{queue}/jobs?timeout=5000")) == 1
