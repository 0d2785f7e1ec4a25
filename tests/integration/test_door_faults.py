"""§11, the faults of HTTP and gRPC: what an older server did there, and this one does not.

F40 to F50 over the commands are in tests/conformance; F36 and F53 in test_http_settings.py and test_webhooks.py.
"""

import os
from collections.abc import Iterator

import grpc
import pytest
from websockets.sync.client import connect

from flashq.api.grpc import flashq_pb2 as pb
from flashq.testing.cluster import Cluster
from tests.integration.calls import Caller, refused, until
from tests.integration.web import Web

TOKEN = "correct-horse-battery-staple-0123456789"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    settings = {"AUTH_TOKENS": TOKEN, "FLASHQ_WEBHOOK_ALLOW": "127.0.0.1"}
    with Cluster(shards=2, durability="commit", http=True, grpc=True, settings=settings) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster, TOKEN) as one:
        yield one


@pytest.fixture
def caller(cluster: Cluster) -> Iterator[Caller]:
    with Caller(cluster, TOKEN) as one:
        yield one


@pytest.fixture
def q() -> str:
    return f"q-{os.urandom(5).hex()}"


def test_f30_job_of_5_mb_passes_every_door(web: Web, caller: Caller, q: str) -> None:
    data = "x" * 5_000_000
    web.ok("POST", f"/queues/{q}/jobs", {"data": data})
    caller.call("Push", pb.PushRequest(queue=q, data=b'"%b"' % data.encode()))
    for _ in range(2):  # a reply of both would be larger than replies may be
        [job] = web.ok("GET", f"/queues/{q}/jobs?timeout=0")
        assert job["data"] == data


def test_f31_no_door_is_open_without_a_token(cluster: Cluster, q: str) -> None:
    with Web(cluster) as stranger:
        for method, path in (("POST", "/server/shutdown"), ("GET", "/stats"), ("POST", f"/webhooks/incoming/{q}")):
            assert stranger.ask(method, path, {} if method == "POST" else None).status == 401, path
    with Caller(cluster) as nobody, refused(grpc.StatusCode.UNAUTHENTICATED):
        nobody.call("Stats", pb.StatsRequest())
    assert cluster.running()


def test_f32_retry_of_all_with_an_empty_body_of_json_is_one_without_a_body(web: Web, q: str) -> None:
    job = web.ok("POST", f"/queues/{q}/jobs", {"data": 1})
    web.ok("POST", f"/jobs/{job['id']}/discard")
    assert web.ok("POST", f"/queues/{q}/dlq/retry", b"", content_type="application/json") == 1


def test_f33_cron_by_http_takes_repeat_every_and_limit(web: Web, q: str) -> None:
    web.ok("POST", f"/crons/{q}", {"queue": q, "data": 1, "repeat_every": 3_600_000, "limit": 3})
    [cron] = [one for one in web.ok("GET", "/crons") if one["name"] == q]
    assert (cron["repeat_every"], cron["limit"]) == (3_600_000, 3)
    assert web.ok("DELETE", f"/crons/{q}") is True


def test_f34_secret_of_a_webhook_is_shown_to_nobody(web: Web, q: str) -> None:
    secret = f"secret-{os.urandom(16).hex()}"
    hook = web.ok(
        "POST", "/webhooks", {"url": "http://127.0.0.1:9/", "events": ["completed"], "queue": q, "secret": secret}
    )
    answer = web.ask("GET", "/webhooks")
    assert hook.encode() in answer.body
    assert secret.encode() not in answer.body
    web.ok("DELETE", f"/webhooks/{hook}")


def test_f35_shutdown_by_http_keeps_what_was_answered(q: str) -> None:
    with Cluster(shards=1, durability="commit", http=True) as one:
        with Web(one) as web:
            job = web.ok("POST", f"/queues/{q}/jobs", {"data": 1})
            web.ok("POST", "/server/shutdown")
        one.wait_until(lambda: not one.running(), "the cluster to stop")
        one.start()
        with Web(one) as web:
            assert web.ok("GET", f"/jobs/{job['id']}/state") == "waiting"


@pytest.mark.parametrize("how", ["header", "address"])
def test_f37_socket_takes_a_token_by_header_or_by_address(cluster: Cluster, q: str, how: str) -> None:
    url = f"ws://127.0.0.1:{cluster.http_port}/ws/{q}"
    headers = {"authorization": f"Bearer {TOKEN}"} if how == "header" else {}
    with connect(url if how == "header" else f"{url}?token={TOKEN}", additional_headers=headers) as socket:
        assert socket.protocol.state.name == "OPEN"


def test_f38_events_of_webhooks_are_taken_by_either_name(web: Web, q: str) -> None:
    for name in ("completed", "job.completed"):
        hook = web.ok("POST", "/webhooks", {"url": "http://127.0.0.1:9/", "events": [name], "queue": q})
        web.ok("DELETE", f"/webhooks/{hook}")


def test_f39_cancelled_stream_gives_back_what_was_not_sent(cluster: Cluster, caller: Caller, q: str) -> None:
    """40 jobs of 1 MB are more than a connection that is not read takes in."""
    for _ in range(40):
        caller.push(q, "x" * 1_000_000)
    with Caller(cluster, TOKEN) as slow:
        stream = slow.queues.StreamJobs(
            pb.StreamJobsRequest(queue=q, batch_size=100), timeout=60, metadata=slow.metadata
        )
        next(stream)
        until(cluster, lambda: caller.count(q, "active") > 1, "the stream to pull on")
        stream.cancel()
    until(cluster, lambda: caller.count(q, "waiting") >= 6, "the unsent jobs to be back")


def test_f45_dead_letters_and_jobs_are_the_same_by_every_door(web: Web, q: str) -> None:
    ids = [web.ok("POST", f"/queues/{q}/jobs", {"data": n})["id"] for n in range(3)]
    for job_id in ids[:2]:
        web.ok("POST", f"/jobs/{job_id}/discard")
    dlq = web.ask("POST", "/api/command", {"cmd": "DLQ", "queue": q}).json()["jobs"]
    assert [job["id"] for job in web.ok("GET", f"/queues/{q}/dlq")] == [job["id"] for job in dlq] == ids[:2]
    jobs = web.ask("POST", "/api/command", {"cmd": "GETJOBS", "queue": q}).json()["jobs"]
    assert web.ok("GET", f"/jobs?queue={q}") == jobs


def test_f46_tokens_count_where_data_is_kept(cluster: Cluster) -> None:
    assert cluster.data.is_dir()
    with Web(cluster) as stranger:
        assert stranger.ask("GET", "/queues").status == 401


def test_f51_clear_queues_leaves_active_and_dead_jobs_known(web: Web, q: str) -> None:
    active, dead, waiting = [web.ok("POST", f"/queues/{q}/jobs", {"data": n})["id"] for n in range(3)]
    web.ok("POST", f"/jobs/{dead}/discard")
    assert [job["id"] for job in web.ok("GET", f"/queues/{q}/jobs?timeout=0")] == [active]
    web.ok("POST", "/server/clear-queues")
    assert [web.ok("GET", f"/jobs/{job_id}/state") for job_id in (active, dead)] == ["active", "failed"]
    assert web.ok("GET", f"/queues/{q}/count") == 0
    assert waiting not in [job["id"] for job in web.ok("GET", f"/jobs?queue={q}&state=waiting")]
    web.ok("POST", f"/jobs/{active}/ack", {})


def test_f52_pull_by_http_has_a_timeout_and_its_count_is_checked(web: Web, q: str) -> None:
    assert web.ok("GET", f"/queues/{q}/jobs?timeout=1") == []
    answer = web.ask("GET", f"/queues/{q}/jobs?count=0&timeout=60000")
    assert (answer.status, b"`count` is 0" in answer.body) == (400, True)
