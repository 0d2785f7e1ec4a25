"""Streams over gRPC: jobs as fast as the client reads, and back at once when it leaves; sessions as over TCP."""

import json
import os
from collections.abc import Iterator
from typing import Any

import grpc
import msgspec
import pytest

from flashq.api.grpc import commands_pb2 as commands
from flashq.api.grpc import flashq_pb2 as pb
from flashq.testing.cluster import Cluster
from tests.integration.calls import Caller, Conversation, refused, until


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", grpc=True) as one:
        yield one


@pytest.fixture
def caller(cluster: Cluster) -> Iterator[Caller]:
    with Caller(cluster) as one:
        yield one


@pytest.fixture
def q() -> str:
    return f"q-{os.urandom(5).hex()}"


def test_stream_delivers_in_order_what_is_there_and_what_comes(caller: Caller, q: str) -> None:
    ids = [caller.push(q, n) for n in range(25)]
    stream = caller.queues.StreamJobs(pb.StreamJobsRequest(queue=q, batch_size=10), timeout=15)
    assert [next(stream).id for _ in ids] == ids
    later = caller.push(q)
    assert next(stream).id == later
    assert caller.call("Ack", pb.AckRequest(id=later)).ok
    stream.cancel()


@pytest.mark.parametrize("batch", [0, 100, 1_000_000])
def test_slow_reader_leaves_jobs_waiting_and_cancel_returns_the_unsent_at_once(
    cluster: Cluster, caller: Caller, q: str, batch: int
) -> None:
    """40 jobs of 1 MB are more than a connection that is not read takes in."""
    data = "x" * 1_000_000
    for _ in range(40):
        caller.push(q, data)
    with Caller(cluster) as slow:
        stream = slow.queues.StreamJobs(pb.StreamJobsRequest(queue=q, batch_size=batch, prefetch=7), timeout=60)
        first = next(stream)
        assert len(first.data) == len(data) + 2
        until(cluster, lambda: caller.count(q, "active") > 1, "the stream to pull on")
        stream.cancel()
    # What was written is the client's by its lease; what was not is back, so that another gets all the rest.
    until(cluster, lambda: caller.count(q, "waiting") >= 6, "the unsent jobs to be back")
    until(cluster, lambda: caller.count(q, "waiting") + caller.count(q, "active") == 40, "all jobs to be somewhere")
    ids = [caller.pull(q).id for _ in range(caller.count(q, "waiting"))]
    assert len(set(ids)) == len(ids)
    assert first.id not in ids


def test_cancelled_stream_loses_no_later_job(cluster: Cluster, caller: Caller, q: str) -> None:
    """A job that is written before the server hears of the cancel is its client's by its lease; all others wait."""
    stream = caller.queues.StreamJobs(pb.StreamJobsRequest(queue=q, batch_size=5))
    first = caller.push(q)
    assert next(stream).id == first
    stream.cancel()
    ids = [caller.push(q) for _ in range(10)]
    until(cluster, lambda: caller.count(q, "waiting") + caller.count(q, "active") == 11, "all jobs to be somewhere")
    got = [caller.pull(q).id for _ in range(caller.count(q, "waiting"))]
    assert got == sorted(set(got) & set(ids))


def test_stream_ends_at_its_deadline(caller: Caller, q: str) -> None:
    stream = caller.queues.StreamJobs(pb.StreamJobsRequest(queue=q), timeout=0.2)
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        next(stream)
    job_id = caller.push(q)
    assert caller.pull(q).id == job_id


def test_wrong_prefetch_is_named(caller: Caller) -> None:
    talk = Conversation(caller.queues.ProcessJobs, timeout=15, metadata=(("flashq-prefetch", "0"),))
    with refused(
        grpc.StatusCode.INVALID_ARGUMENT, "`flashq-prefetch` is '0', allowed is a whole number from 1 to 1000"
    ):
        next(talk.came)
    talk.end()


def test_process_jobs_finishes_what_is_answered(cluster: Cluster, caller: Caller) -> None:
    ids = [caller.push("default", n, max_attempts=1) for n in range(4)]
    talk = Conversation(caller.queues.ProcessJobs, timeout=15)
    jobs = [next(talk.came) for _ in ids]
    assert [job.id for job in jobs] == ids
    talk.send(pb.JobResult(id=ids[0], success=True, result=b'{"a":1}'))
    talk.send(pb.JobResult(id=ids[1], success=True, result=b"no json"))
    talk.send(pb.JobResult(id=ids[2], success=False, error="broken"))
    talk.send(pb.JobResult(id=1, success=True))  # no job of anybody: ignored
    talk.send(pb.JobResult(id=ids[3], success=True))
    talk.end()
    assert list(talk.came) == []
    assert [caller.state(job_id) for job_id in ids] == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    assert [caller.command("GETRESULT", id=job_id)["result"] for job_id in ids[:2]] == [{"a": 1}, None]


def test_process_jobs_hands_out_no_more_than_prefetch_unfinished(cluster: Cluster, caller: Caller, q: str) -> None:
    metadata = (("flashq-queue", q), ("flashq-prefetch", "2"))
    talk = Conversation(caller.queues.ProcessJobs, timeout=15, metadata=metadata)
    ids = [caller.push(q) for _ in range(5)]
    assert [next(talk.came).id for _ in range(2)] == ids[:2]
    assert (caller.count(q, "active"), caller.count(q, "waiting")) == (2, 3)
    talk.send(pb.JobResult(id=ids[0], success=True))
    assert next(talk.came).id == ids[2]
    assert caller.count(q, "waiting") == 2
    talk.came.cancel()
    talk.end()


class Session:
    """A session in JSON, as a connection."""

    def __init__(self, caller: Caller, **options: Any) -> None:
        self.talk = Conversation(caller.commands.Session, timeout=30, **options)

    def send(self, cmd: str, **fields: Any) -> None:
        self.talk.send(commands.CommandRequest(payload=json.dumps({"cmd": cmd, **fields}).encode()))

    def read(self) -> Any:
        return json.loads(next(self.talk.came).payload)


def test_replies_without_id_keep_the_order_and_those_with_one_overtake(caller: Caller, q: str) -> None:
    session = Session(caller)
    session.send("PULL", queue=q, timeout=20_000)
    session.send("COUNT", queue=q)
    session.send("PUSH", queue=q, data=1, reqId="a")
    assert session.read()["reqId"] == "a"
    assert session.read()["job"]["data"] == 1
    assert session.read()["count"] == 0
    session.talk.end()
    assert list(session.talk.came) == []


def test_end_of_a_session_ends_its_waits_and_releases_its_jobs(cluster: Cluster, caller: Caller, q: str) -> None:
    session = Session(caller)
    job_id = caller.push(q)
    session.send("PULL", queue=q, timeout=1_000, release_on_disconnect=True)
    assert session.read()["job"]["id"] == job_id
    session.send("PULL", queue=q, timeout=60_000, reqId="wait")
    session.send("COUNT", queue=q, reqId="count")
    assert session.read()["reqId"] == "count"  # so the pull is where it waits
    session.talk.came.cancel()
    session.talk.end()
    until(cluster, lambda: caller.count(q, "waiting") == 1, "the job to be back")
    half_closed = Session(caller)
    half_closed.send("PULL", queue=f"{q}-2", timeout=60_000)
    half_closed.talk.end()
    assert half_closed.read()["job"] is None


def test_session_and_command_in_messagepack(caller: Caller, q: str) -> None:
    payload = msgspec.msgpack.encode({"cmd": "PUSH", "queue": q, "data": {"é": [1, None]}})
    request = commands.CommandRequest(payload=payload, codec=commands.CODEC_MSGPACK)
    assert msgspec.msgpack.decode(caller.commands.Command(request, timeout=15).payload)["ok"] is True
    reply = next(caller.commands.Session(iter([request]), timeout=15))
    assert msgspec.msgpack.decode(reply.payload)["ok"] is True
    assert caller.pull(q).data == b'{"\xc3\xa9":[1,null]}'


def test_command_refuses_as_the_protocol_does(caller: Caller, q: str) -> None:
    reply = caller.command("ACK", id=1)
    assert (reply["ok"], reply["error"], reply["code"]) == (False, "Job 1 not found", "not_found")
    assert caller.command("NOTHING")["error"].startswith("Invalid: unknown variant `NOTHING`")
    for cmd, fields, text in (
        ("SUBSCRIBE", {"queue": q}, "SUBSCRIBE needs a connection of its own: TCP"),
        ("PULL", {"queue": q, "release_on_disconnect": True}, "`release_on_disconnect` needs a connection"),
    ):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, text, "invalid"):
            caller.command(cmd, **fields)
    bad = commands.CommandRequest(payload=b'{"cmd":"PING"}', codec=7)  # type: ignore[arg-type]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "`codec` is 7"):
        caller.commands.Command(bad, timeout=15)


def test_commands_give_leases_and_refuse_a_late_word(caller: Caller, q: str) -> None:
    job_id = caller.push(q)
    job = caller.command("PULL", queue=q, timeout=0)["job"]
    assert (job["id"], job["lease"] > 0) == (job_id, True)
    reply = caller.command("ACK", id=job_id, lease=job["lease"] - 1)
    assert (reply["ok"], reply["code"]) == (False, "lease_lost")
    assert caller.command("ACK", id=job_id, lease=job["lease"])["ok"]
