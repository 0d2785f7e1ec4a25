"""Jobs over HTTP, against a cluster: shapes, failures, waits that end with their client, requests sent twice."""

import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.web import Web, raw_connection
from tests.integration.wire import JOB_KEYS, Wire, counts


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster) as one:
        yield one


@pytest.fixture(params=[0, 1], ids=["shard-0", "shard-1"])
def queue(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """A queue that nobody has used."""
    return next(cluster.queues_of(request.param, f"h{os.urandom(4).hex()}-"))


def until(found: Any, what: str, timeout_s: float = 10.0) -> Any:
    """Look again and again until it is so."""
    deadline = time.monotonic() + timeout_s
    while not (answer := found()):
        assert time.monotonic() < deadline, what
    return answer


def test_job_goes_in_and_out_with_all_its_keys(web: Web, queue: str) -> None:
    pushed = web.ok("POST", f"/queues/{queue}/jobs", {"data": {"n": 1.5, "s": "é\n"}})
    assert list(pushed) == JOB_KEYS
    assert (pushed["queue"], pushed["data"], pushed["max_attempts"]) == (queue, {"n": 1.5, "s": "é\n"}, 3)
    assert pushed["created_at"] == pushed["run_at"] > 1_600_000_000_000
    seen = web.ok("GET", f"/jobs/{pushed['id']}")
    assert {key: seen[key] for key in JOB_KEYS} == pushed
    assert (seen["state"], seen["result"]) == ("waiting", None)
    assert seen["job"]["id"] == pushed["id"]
    (pulled,) = web.ok("GET", f"/queues/{queue}/jobs")
    assert list(pulled)[:31] == JOB_KEYS
    assert (pulled["id"], pulled["data"]) == (pushed["id"], pushed["data"])
    assert web.ok("POST", f"/jobs/{pulled['id']}/ack", {"result": [1], "lease": pulled["lease"]}) is None
    assert web.ok("GET", f"/jobs/{pulled['id']}/state") == "completed"
    assert web.ok("GET", f"/jobs/{pulled['id']}/result") == [1]
    assert web.ok("GET", f"/jobs/{pulled['id']}")["result"] == [1]


def test_push_with_options_shows_the_job_with_them(web: Web, queue: str) -> None:
    options = {"priority": -7, "tags": ["a"], "max_attempts": 0, "backoff": 0, "timeout": 5000, "lifo": True}
    job = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1, **options})
    assert {key: job[key] for key in options} == options
    late = web.ok("POST", f"/queues/{queue}/jobs", {"delay": 60_000})
    assert (late["data"], late["run_at"] - late["created_at"]) == (None, 60_000)


def test_batches_go_in_and_out(web: Web, queue: str) -> None:
    ids = web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": n} for n in range(5)]})
    jobs = web.ok("GET", f"/queues/{queue}/jobs?count=3")
    jobs += web.ok("GET", f"/queues/{queue}/jobs?count=1000")
    assert [(job["id"], job["data"]) for job in jobs] == list(zip(ids, range(5), strict=True))
    assert web.ok("POST", "/jobs/ack-batch", {"ids": [*ids[:3], 1]}) == 3
    assert web.ok("POST", "/jobs/ack/batch", {"ids": ids[3:]}) == 2


def test_batch_over_both_shards_is_acknowledged_in_one_request(cluster: Cluster, web: Web) -> None:
    ids = []
    for shard in (0, 1):
        queue = next(cluster.queues_of(shard, f"b{os.urandom(4).hex()}-"))
        ids.append(web.ok("POST", f"/queues/{queue}/jobs", {"data": shard})["id"])
        web.ok("GET", f"/queues/{queue}/jobs")
    answer = web.ask("POST", "/jobs/ack-batch", {"ids": [*ids, 1024]}).json()
    assert (answer["ok"], answer["data"], answer["not_found"]) == (True, 2, [1024])


def test_refused_batch_names_its_bad_entry_and_stores_nothing(web: Web, queue: str) -> None:
    answer = web.ask("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": 1}, {"data": 2, "delay": "soon"}]})
    assert (answer.status, answer.headers["content-type"]) == (422, "text/plain; charset=utf-8")
    assert b"jobs" in answer.body
    assert web.ok("GET", f"/queues/{queue}/count") == 0


def test_failed_job_comes_again_with_its_attempt_counted(web: Web, queue: str) -> None:
    job_id = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1, "backoff": 0, "max_attempts": 2})["id"]
    for attempt in range(2):
        (job,) = web.ok("GET", f"/queues/{queue}/jobs?timeout=5000")
        assert (job["id"], job["attempts"]) == (job_id, attempt)
        assert web.ok("POST", f"/jobs/{job_id}/fail", {"error": "no", "lease": job["lease"]}) is None
    assert web.ok("GET", f"/jobs/{job_id}/state") == "failed"


def test_refusal_is_200_on_old_routes_and_has_its_status_under_v1(web: Web) -> None:
    old = web.refused("POST", "/jobs/1024/ack")
    assert (old["error"], old["code"]) == ("Job 1024 not found", "not_found")
    assert web.refused("POST", "/api/v1/jobs/1024/ack", status=404) == old
    bad = web.refused("POST", "/queues/a%20b/jobs", {"data": 1})
    assert bad["error"] == ("Queue name must contain only alphanumeric characters, underscores, hyphens, or dots")
    assert web.refused("POST", "/api/v1/queues/a%20b/jobs", {"data": 1}, status=400) == bad


FRAMEWORK: list[Any] = [
    ("POST", "/queues/q/jobs", b"{", {}, 400, b"Invalid: "),
    ("GET", "/jobs/seven", None, {}, 400, b"Invalid: `id`"),
    ("GET", "/queues/q/jobs?count=many", None, {}, 400, b"Invalid: `count`"),
    ("POST", "/queues/q/jobs/batch", {"job": []}, {}, 422, b"Invalid: missing field `jobs`"),
    ("POST", "/queues/q/jobs", {"priority": "high"}, {}, 422, b"Invalid: invalid type"),
    ("POST", "/queues/q/jobs", b"{}", {"content_type": "text/plain"}, 415, b"Expected request with"),
    ("GET", "/nothing/here", None, {}, 404, b""),
    ("PATCH", "/queues/q/jobs", {}, {}, 405, b""),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status", "text"), FRAMEWORK)
def test_what_never_becomes_a_command_is_plain_text(
    web: Web, method: str, path: str, body: Any, headers: dict[str, str], status: int, text: bytes
) -> None:
    answer = web.ask(method, path, body, **headers)
    assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert answer.body.startswith(text)
    assert bool(answer.body) == bool(text)
    real = web.ask(method, f"/api/v1{path}", body, **headers)
    assert real.status == status
    assert real.json()["ok"] is False
    assert real.json()["code"]


@pytest.mark.parametrize("headers", [{}, {"content_type": "application/json"}, {"content_type": "text/plain"}])
def test_empty_body_is_no_body_where_all_keys_are_optional(web: Web, queue: str, headers: dict[str, str]) -> None:
    """Browsers' and SDKs' clients put the JSON type on requests without a body."""
    job_id = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})["id"]
    web.ok("GET", f"/queues/{queue}/jobs")
    assert web.ok("POST", f"/jobs/{job_id}/ack", b"", **headers) is None


def test_command_route_answers_as_tcp_does(web: Web, queue: str) -> None:
    reply = web.ask("POST", "/api/command", {"cmd": "PUSH", "queue": queue, "data": 1, "reqId": "r7"}).json()
    assert list(reply) == ["reqId", "ok", "id", "success"]
    job = web.ask("POST", "/api/command", {"cmd": "PULL", "queue": queue}).json()["job"]
    assert job["id"] == reply["id"]
    late = {"cmd": "ACK", "id": 1024}
    for path, status in (("/api/command", 200), ("/api/v1/command", 404)):
        answer = web.ask("POST", path, late)
        assert answer.status == status
        assert answer.json() == {"ok": False, "error": "Job 1024 not found", "code": "not_found"}
    for body, status in ((b"{", 400), (b"[]", 422), ({"cmd": "SUBSCRIBE", "queue": queue}, 422)):
        assert web.ask("POST", "/api/command", body).status == status


def test_same_idempotency_key_pushes_once(web: Web, queue: str) -> None:
    key = os.urandom(8).hex()
    jobs = [web.ok("POST", f"/queues/{queue}/jobs", {"data": 7}, idempotency_key=key) for _ in range(3)]
    assert jobs == jobs[:1] * 3
    assert web.ok("GET", f"/queues/{queue}/count") == 1
    command = {"cmd": "PUSH", "queue": queue, "data": 8}
    replies = [web.ask("POST", "/api/command", command, idempotency_key=f"{key}b").json() for _ in range(2)]
    assert replies[0] == replies[1]
    assert web.ok("GET", f"/queues/{queue}/count") == 2


def test_pull_waits_for_a_job_and_not_longer_than_it_says(cluster: Cluster, web: Web, queue: str) -> None:
    assert web.ok("GET", f"/queues/{queue}/jobs?timeout=0") == []
    started = time.monotonic()
    assert web.ok("GET", f"/queues/{queue}/jobs?timeout=150") == []
    assert time.monotonic() - started >= 0.15
    with Wire(cluster.connect()) as wire:
        web.send("GET", f"/queues/{queue}/jobs")
        pushed = wire.ok("PUSH", queue=queue, data="now")["id"]
        (job,) = json.loads(web.read().body)["data"]
    assert job["id"] == pushed


def leave(client: socket.socket, how: str) -> None:
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how == "half-close":
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    client.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_client_that_leaves_takes_no_job_along(cluster: Cluster, web: Web, queue: str, how: str) -> None:
    """Its pull is withdrawn, or what was on the way to it goes back: the next one gets the job at once."""
    for _ in range(10):
        client = raw_connection(cluster)
        client.sendall(f"GET /queues/{queue}/jobs?timeout=60000 HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        leave(client, how)
        job_id = web.ok("POST", f"/queues/{queue}/jobs", {"data": how})["id"]
        (job,) = web.ok("GET", f"/queues/{queue}/jobs?timeout=5000")
        assert (job["id"], job["attempts"]) == (job_id, 0)
        web.ok("POST", f"/jobs/{job_id}/ack", {"lease": job["lease"]})


def test_pull_that_waits_is_withdrawn_when_its_client_has_left(cluster: Cluster, web: Web, queue: str) -> None:
    client = raw_connection(cluster)
    client.sendall(f"GET /queues/{queue}/jobs HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    web.ok("GET", f"/queues/{queue}/jobs?timeout=100")  # so long the other has waited at the shard
    client.close()
    web.ok("GET", f"/queues/{queue}/jobs?timeout=100")
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})
    with Wire(cluster.connect()) as wire:
        assert counts(wire, queue)["waiting"] == 1


def test_request_behind_a_pull_ends_its_wait(cluster: Cluster, queue: str) -> None:
    """While another request stands behind it the connection is not read, and nobody would see its client leave."""
    with raw_connection(cluster) as client:
        pull = f"GET /queues/{queue}/jobs HTTP/1.1\r\nhost: x\r\n\r\n"
        client.sendall((pull + f"GET /queues/{queue}/count HTTP/1.1\r\nhost: x\r\n\r\n").encode())
        seen = b""
        while seen.count(b"HTTP/1.1 200") < 2 or not seen.endswith(b"}"):
            seen += client.recv(4096)
    assert [part.split(b"\r\n\r\n")[1][:21] for part in seen.split(b"HTTP/1.1 200")[1:]] == [
        b'{"ok":true,"data":[]}', b'{"ok":true,"data":0}',
    ]  # fmt: skip


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_request_split_anywhere_is_one_request(cluster: Cluster, web: Web, queue: str, step: int) -> None:
    body = json.dumps({"data": "x" * (300 if step < 4096 else 300_000)}).encode()
    head = f"POST /queues/{queue}/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    whole = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    with raw_connection(cluster) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(whole), step):
            client.sendall(whole[at : at + step])
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
    with raw_connection(cluster) as client:
        client.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(body), max(step, 50)):
            part = body[at : at + max(step, 50)]
            client.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        client.sendall(b"0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
    assert web.ok("GET", f"/queues/{queue}/count") == 2


def test_payload_of_ten_mebibytes_comes_through_and_17_are_refused(web: Web, queue: str) -> None:
    job = web.ok("POST", f"/queues/{queue}/jobs", {"data": "x" * (10 * 1024 * 1024 - 2)})
    assert len(job["data"]) == 10 * 1024 * 1024 - 2
    over = web.refused("POST", f"/queues/{queue}/jobs", {"data": "x" * (10 * 1024 * 1024)})
    assert over["code"] == "too_large"
    answer = web.ask("POST", f"/queues/{queue}/jobs", {"data": "x" * (17 << 20)})
    assert answer.status == 413
    assert b"max 16777216 bytes" in answer.body
    assert web.ok("GET", f"/queues/{queue}/count") == 1


def test_pages_of_other_origins_may_ask(web: Web, queue: str) -> None:
    asked = web.ask("OPTIONS", f"/queues/{queue}/jobs", origin="http://a.example", access_control_request_method="POST")
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert web.ask("GET", "/stats", origin="http://a.example").headers["access-control-allow-origin"] == "*"


def test_long_listing_is_compressed_for_who_accepts_it(web: Web, queue: str) -> None:
    import gzip

    web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": "x" * 100} for _ in range(100)]})
    answer = web.ask("GET", f"/queues/{queue}/jobs?count=100", accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 10_000
    assert len(json.loads(gzip.decompress(answer.body))["data"]) == 100
