"""The trace of a job goes from its producer, through any door, to its worker and to receivers of webhooks."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from flashq.api.grpc import flashq_pb2 as pb
from flashq.testing.cluster import Cluster
from tests.integration.calls import Caller
from tests.integration.receiver import Receiver
from tests.integration.web import Web
from tests.integration.wire import CODECS, Wire

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    settings = {"FLASHQ_WEBHOOK_ALLOW": "127.0.0.0/8"}
    with Cluster(shards=2, durability="fsync", http=True, grpc=True, settings=settings) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster) as one:
        yield one


@pytest.mark.parametrize("codec", CODECS)
def test_worker_gets_what_the_producer_gave_over_tcp(cluster: Cluster, codec: str) -> None:
    with Wire(cluster.connect(), codec) as wire:
        for queue in (next(cluster.queues_of(0, codec)), next(cluster.queues_of(1, codec))):
            wire.ok("PUSH", queue=queue, data=1, trace=TRACE)
            wire.ok("PUSHB", queue=queue, jobs=[{"data": 2}, {"data": 3, "trace": OTHER}], trace=TRACE)
            wire.ok("PUSHB", queue=queue, jobs=[{"data": 4, "trace": TRACE}, {"data": 5, "tags": ["t"]}, {"data": 6}])
            first = wire.ok("PULL", queue=queue)["job"]
            rest = wire.ok("PULLB", queue=queue, count=9)["jobs"]
            assert [job.get("trace") for job in (first, *rest)] == [TRACE, TRACE, OTHER, TRACE, None, None]
            assert "trace" not in rest[-1]
            assert wire.ok("GETJOB", id=first["id"])["job"]["trace"] == TRACE


@pytest.mark.parametrize(
    ("cmd", "fields"), [("PUSH", {"data": 1, "trace": "x"}), ("PUSHB", {"jobs": [{"data": 1}], "trace": ""})]
)
def test_what_is_no_trace_is_refused_and_nothing_is_pushed(cluster: Cluster, cmd: str, fields: dict[str, Any]) -> None:
    with Wire(cluster.connect()) as wire:
        refused = wire.ask(cmd, queue="no-trace", **fields)
        assert (refused["ok"], refused["code"]) == (False, "invalid")
        assert "`trace`" in refused["error"]
        assert wire.ok("COUNT", queue="no-trace")["count"] == 0


def test_header_of_a_push_over_http_is_the_trace_of_its_jobs(web: Web) -> None:
    queue = "by-http"
    pushed = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1}, traceparent=TRACE)
    assert pushed["trace"] == TRACE
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 2, "trace": OTHER}, traceparent=TRACE)
    web.ok(
        "POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": 3}, {"data": 4, "trace": OTHER}]}, traceparent=TRACE
    )
    web.ask("POST", "/api/command", {"cmd": "PUSH", "queue": queue, "data": 5}, traceparent=TRACE)
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 6}, traceparent="no trace at all")
    web.ok("POST", f"/queues/{queue}/jobs", {"data": 7})
    jobs = web.ok("GET", f"/queues/{queue}/jobs?count=9")
    assert [(job["data"], job.get("trace")) for job in jobs] == [
        (1, TRACE), (2, OTHER), (3, TRACE), (4, OTHER), (5, TRACE), (6, None), (7, None),
    ]  # fmt: skip


def test_metadata_of_a_push_over_grpc_is_the_trace_of_its_jobs(cluster: Cluster) -> None:
    queue = "by-grpc"
    with Caller(cluster) as caller:
        caller.call("Push", pb.PushRequest(queue=queue, data=b"1"), traceparent=TRACE)
        jobs = [pb.JobInput(data=b"2"), pb.JobInput(data=b"3", priority=-1)]
        caller.call("PushBatch", pb.PushBatchRequest(queue=queue, jobs=jobs), traceparent=TRACE)
        caller.call("Push", pb.PushRequest(queue=queue, data=b"4", priority=-2), traceparent="no trace at all")
        found = caller.call("PullBatch", pb.PullBatchRequest(queue=queue, count=9)).jobs
        assert [(job.data, job.trace) for job in found] == [(b"1", TRACE), (b"2", TRACE), (b"3", TRACE), (b"4", "")]
        assert not found[-1].HasField("trace")


def test_trace_survives_the_death_of_its_shard(cluster: Cluster) -> None:
    queue = next(cluster.queues_of(1, "died"))
    with Wire(cluster.connect()) as wire:
        wire.ok("PUSH", queue=queue, data=1, trace=TRACE)
        wire.ok("PUSHB", queue=queue, jobs=[{"data": 2}], trace=OTHER)
    pid = cluster.kill("shard-01")
    cluster.wait_serving("shard-01", other_than=pid)
    with Wire(cluster.connect()) as wire:
        assert [job["trace"] for job in wire.ok("PULLB", queue=queue, count=2)["jobs"]] == [TRACE, OTHER]


def test_receiver_of_webhooks_gets_the_trace_in_a_header(cluster: Cluster, web: Web) -> None:
    queue = next(cluster.queues_of(1, "hooked"))
    with Receiver() as receiver, Wire(cluster.connect()) as wire:
        hook = web.ok("POST", "/webhooks", {"url": receiver.url, "events": ["*"], "queue": queue})
        wire.ok("PUSH", queue=queue, data=1, trace=TRACE, remove_on_complete=True)
        job = wire.ok("PULL", queue=queue)["job"]
        wire.ok("ACK", id=job["id"])
        wire.ok("PUSH", queue=queue, data=2)
        got = receiver.wait(lambda got: len(got) == 4)
        traces = {(one.event["event"], one.event["job_id"]): one.headers.get("traceparent") for one in got}
        plain = next(one.event["job_id"] for one in got if one.event["job_id"] != job["id"])
        assert traces == {
            ("pushed", job["id"]): TRACE, ("active", job["id"]): TRACE, ("completed", job["id"]): TRACE,
            ("pushed", plain): None,
        }  # fmt: skip
        web.ok("DELETE", f"/webhooks/{hook}")


def test_pulled_job_without_a_trace_is_written_as_before(cluster: Cluster) -> None:
    with Wire(cluster.connect()) as wire:
        wire.ok("PUSH", queue="as-before", data=1)
        job = wire.ok("PULL", queue="as-before")["job"]
        assert list(job)[-2:] == ["group_id", "lease"]
        assert msgspec.json.encode(job) == json.dumps(job, separators=(",", ":")).encode()
