"""The gRPC process: who may enter, what happens when others die, how it ends, and what it tells of itself."""

import os
import signal
import ssl
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from flashq.api.grpc import commands_pb2 as commands
from flashq.api.grpc import flashq_pb2 as pb
from flashq.testing.cluster import Cluster
from tests.integration.access_kit import ROOT
from tests.integration.calls import Caller, Conversation, refused, until
from tests.integration.test_tls import Papers

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
TOKEN = "a-long-random-token"


def health_of(caller: Caller, service: str) -> str:
    stub = health_pb2_grpc.HealthStub(caller.channel)
    status = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


def test_nothing_but_health_is_open_without_a_token() -> None:
    """Every method of every service, from the descriptors: one that is added later is tried too."""
    with Cluster(shards=1, durability="memory", grpc=True, settings={"AUTH_TOKENS": TOKEN}) as cluster:
        methods = [
            f"/{service.full_name}/{method.name}"
            for file in (pb.DESCRIPTOR, commands.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
            for service in file.services_by_name.values()
            for method in service.methods
        ]
        assert len(methods) == 14
        for token in ("", "wrong"):
            with Caller(cluster, token) as stranger:
                for method in methods:
                    with refused(UNAUTHENTICATED, code="unauthenticated"):
                        list(
                            stranger.channel.stream_stream(method)(iter([b""]), timeout=10, metadata=stranger.metadata)
                        )
                assert health_of(stranger, "") == "SERVING"
        with Caller(cluster) as stranger, refused(UNAUTHENTICATED, "Authentication required"):
            stranger.push("q", "x" * 1_000_000)
        with Caller(cluster, TOKEN) as known:
            known.push("q", 1)
            assert known.pull("q").data == b"1"
            assert known.command("STATS")["ok"]
        assert TOKEN not in cluster.output()


def test_shard_that_dies_is_unavailable_and_never_a_wrong_answer() -> None:
    with Cluster(shards=2, durability="commit", grpc=True) as cluster, Caller(cluster) as caller:
        q, far = next(cluster.queues_of(1)), next(cluster.queues_of(0))
        until(cluster, lambda: health_of(caller, "shard-01") == "SERVING", "the shard's health")
        waiting = caller.queues.Pull.future(pb.PullRequest(queue=q), timeout=30)
        stream = caller.queues.StreamJobs(pb.StreamJobsRequest(queue=q), timeout=30)
        job_id = caller.push(f"{far}", 1)
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
            caller.pull(q, timeout=0.2)  # by now the others wait
        pid = cluster.kill("shard-01")
        with refused(UNAVAILABLE, "Shard 1 is unavailable", "unavailable"):
            waiting.result()
        with refused(UNAVAILABLE, "Shard 1 is unavailable", "unavailable"):
            next(stream)
        assert caller.pull(far).id == job_id
        cluster.wait_serving("shard-01", other_than=pid)
        pushed = caller.push(q)
        assert caller.pull(q).id == pushed


@pytest.mark.parametrize("name", ["shard-00", "grpc-0"])
def test_push_asked_until_it_is_answered_is_one_push(name: str) -> None:
    with Cluster(shards=2, durability="commit", grpc=True) as cluster, Caller(cluster) as caller:
        q = next(cluster.queues_of(0))
        pid, again = 0, 0
        for n in range(40):
            if n in (13, 26):
                cluster.wait_serving(name, other_than=pid)
                pid = cluster.kill(name)
            request, key = pb.PushRequest(queue=q, data=b"%d" % n), os.urandom(8).hex()
            end = time.monotonic() + 60
            while True:
                try:
                    caller.call("Push", request, idempotency_key=key)
                except grpc.RpcError as error:
                    if error.code() is not UNAVAILABLE:  # type: ignore[attr-defined]
                        raise
                    again += 1
                    assert time.monotonic() < end, "a push was not answered"
                else:
                    break
        assert again > 0
        jobs = caller.call("PullBatch", pb.PullBatchRequest(queue=q, count=1_000)).jobs
        assert [int(job.data) for job in jobs] == list(range(40))


def test_stop_answers_who_waits_and_gives_back_what_was_not_sent() -> None:
    with Cluster(shards=2, durability="commit", grpc=True) as cluster, Caller(cluster) as caller:
        q = next(cluster.queues_of(0))
        waiting = caller.queues.Pull.future(pb.PullRequest(queue=q), timeout=60)
        stream = caller.queues.StreamJobs(pb.StreamJobsRequest(queue=f"{q}-s"), timeout=60)
        talk = Conversation(caller.queues.ProcessJobs, timeout=60)
        session = Conversation(caller.commands.Session, timeout=60)
        session.send(commands.CommandRequest(payload=b'{"cmd":"PULL","queue":"%b"}' % q.encode()))
        watch = health_pb2_grpc.HealthStub(caller.channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
            caller.pull(q, timeout=0.2)
        assert cluster.stop(timeout_s=10) == 0  # far below the 30 s after which it would be killed
        with refused(UNAVAILABLE, "The server is stopping", "unavailable"):
            waiting.result()
        with refused(UNAVAILABLE, "The server is stopping", "unavailable"):
            next(stream)
        with refused(UNAVAILABLE, "The server is stopping", "unavailable"):
            next(talk.came)
        assert b'"job":null' in next(session.came).payload
        with refused(UNAVAILABLE, "The server is stopping", "unavailable"):
            next(session.came)
        talk.end()
        session.end()


def test_reflection_lists_the_services_and_their_files() -> None:
    with Cluster(shards=1, durability="memory", grpc=True) as cluster, Caller(cluster) as caller:
        stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
        request = reflection_pb2.ServerReflectionRequest
        asked = [request(list_services=""), request(file_containing_symbol="flashq.QueueService")]
        listed, file = list(stub.ServerReflectionInfo(iter(asked), timeout=10))
        names = {service.name for service in listed.list_services_response.service}
        assert {"flashq.QueueService", "flashq.CommandService", "grpc.health.v1.Health"} <= names
        described = FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
        assert [method.name for method in described.service[0].method][:3] == ["Push", "PushBatch", "Pull"]
        assert health_of(caller, "flashq.QueueService") == "SERVING"
        assert health_of(caller, "flashq.CommandService") == "SERVING"


def test_second_cluster_on_the_port_is_refused_before_it_starts() -> None:
    """GRPC opens its listener itself: that somebody has the port must still be found at the start."""
    with Cluster(shards=1, durability="memory", grpc=True) as cluster:
        other = Cluster(shards=1, durability="memory", settings={})
        try:
            other._grpc_lease, other.grpc_port = None, cluster.grpc_port
            other.launch()
            other.wait_output(f"grpc_port = {cluster.grpc_port}: cannot listen on 127.0.0.1:{cluster.grpc_port}")
        finally:
            other.close()


def test_stubs_are_those_of_the_proto_files(tmp_path: Path) -> None:
    """Whoever changes a .proto runs `make stubs`."""
    from grpc_tools import protoc

    root = Path(pb.__file__).parents[3]
    folder = Path("flashq/api/grpc")
    files = sorted(str(folder / path.name) for path in (root / folder).glob("*.proto"))
    assert len(files) == 2
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    assert protoc.main(["protoc", f"-I{root}", *out, *files]) == 0
    made = sorted(path.name for path in (tmp_path / folder).iterdir())
    assert len(made) == 6
    for name in made:
        assert (root / folder / name).read_text() == (tmp_path / folder / name).read_text(), f"{name} is stale"


def _with(papers: Papers, cluster: Cluster, client: bytes | None = None) -> Any:
    found = grpc.ssl_channel_credentials(papers.authority.read_bytes(), client, client)
    channel = grpc.secure_channel(f"127.0.0.1:{cluster.grpc_port}", found, [("grpc.use_local_subchannel_pool", 1)])
    with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=5).status


def test_tls_is_spoken_where_it_is_configured_and_certificates_may_change(tmp_path: Path) -> None:
    papers = Papers(tmp_path)
    asked = papers.settings() | {"FLASHQ_TLS_CLIENT_CA": str(papers.authority)}
    client = papers.client.read_bytes()
    with Cluster(shards=1, durability="memory", grpc=True, settings=asked) as cluster:
        assert _with(papers, cluster, client) == health_pb2.HealthCheckResponse.SERVING
        with refused(UNAVAILABLE):  # no certificate of its own
            _with(papers, cluster)
        with Caller(cluster, ROOT) as plain, refused(UNAVAILABLE):
            plain.push("q")
        before = ssl.get_server_certificate(("127.0.0.1", cluster.grpc_port))
        papers.issue()
        os.kill(cluster.pids()["supervisor"], signal.SIGHUP)
        until(
            cluster,
            lambda: ssl.get_server_certificate(("127.0.0.1", cluster.grpc_port)) != before,
            "the new certificate",
        )
        assert _with(papers, cluster, client) == health_pb2.HealthCheckResponse.SERVING
