"""QueueService over real stubs: every call, its faults, and what it keeps from a client that leaves."""

import os
import threading
from collections.abc import Iterator

import grpc
import pytest

from flashq.api.grpc import flashq_pb2 as pb
from flashq.testing.cluster import Cluster
from tests.integration.calls import Caller, refused, until

INVALID = grpc.StatusCode.INVALID_ARGUMENT


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


def test_pushed_job_is_pulled_with_its_bytes_and_acknowledged(caller: Caller, q: str) -> None:
    pushed = caller.call("Push", pb.PushRequest(queue=q, data=b'{"n": 1.50, "s":"\xc3\xa9"}'))
    assert pushed.ok
    job = caller.pull(q)
    assert (job.id, job.queue, job.data) == (pushed.id, q, b'{"n": 1.50, "s":"\xc3\xa9"}')
    assert job.started_at >= job.run_at == job.created_at > 0
    assert (job.attempts, job.HasField("unique_key"), job.HasField("progress_msg")) == (0, False, False)
    assert caller.state(job.id) == "ACTIVE"
    assert caller.call("Ack", pb.AckRequest(id=job.id, result=b"[1]")).ok
    assert caller.state(job.id) == "COMPLETED"
    assert caller.command("GETRESULT", id=job.id)["result"] == [1]


def test_every_option_of_a_push_reaches_the_job(caller: Caller, q: str) -> None:
    first = caller.push(q)
    options = {"priority": -3, "ttl_ms": 60_000, "timeout_ms": 50_000, "max_attempts": 7, "backoff_ms": 20,
               "lifo": True, "unique_key": "u1"}  # fmt: skip
    job_id = caller.push(q, {}, depends_on=[first], **options)
    assert caller.state(job_id) == "WAITING_CHILDREN"
    assert caller.state(caller.push(q, delay_ms=60_000)) == "DELAYED"
    caller.call("Ack", pb.AckRequest(id=caller.pull(q).id))
    job = caller.pull(q)
    assert (job.id, job.priority, job.ttl, job.timeout, job.max_attempts, job.backoff, job.unique_key, job.lifo) == (
        job_id, -3, 60_000, 50_000, 7, 20, "u1", True,
    )  # fmt: skip
    assert list(job.depends_on) == [first]


def test_batch_keeps_its_order_with_options_and_without(caller: Caller, q: str) -> None:
    """Whether a batch is plain is seen at its size: one option in it must not be lost, nor a payload of any length."""
    plain = [b"%d" % n for n in range(500)] + [b'"%b"' % (b"x" * n) for n in (120, 125, 126, 127, 128, 16_380, 16_390)]
    pushed = caller.call("PushBatch", pb.PushBatchRequest(queue=q, jobs=[pb.JobInput(data=data) for data in plain]))
    assert (pushed.ok, len(pushed.ids)) == (True, len(plain))
    jobs = caller.call("PullBatch", pb.PullBatchRequest(queue=q, count=1_000)).jobs
    assert [job.data for job in jobs] == plain
    assert [job.id for job in jobs] == list(pushed.ids)
    acked = caller.call("AckBatch", pb.AckBatchRequest(ids=[*pushed.ids, 1, pushed.ids[0]]))
    assert (acked.ok, acked.acked) == (True, len(plain))
    mixed = [pb.JobInput(data=b"%d" % n, priority=9 if n == 3 else 0) for n in range(5)]
    caller.call("PushBatch", pb.PushBatchRequest(queue=q, jobs=mixed))
    jobs = caller.call("PullBatch", pb.PullBatchRequest(queue=q, count=5)).jobs
    assert (jobs[0].data, jobs[0].priority) == (b"3", 9)
    assert sorted(job.data for job in jobs) == [b"0", b"1", b"2", b"3", b"4"]


def test_refused_entries_of_a_batch_are_missing_and_told_in_the_metadata(caller: Caller, q: str) -> None:
    jobs = [pb.JobInput(data=b"1", unique_key="k"), pb.JobInput(data=b"2", unique_key="k"), pb.JobInput(data=b"3")]
    answer, call = caller.queues.PushBatch.with_call(pb.PushBatchRequest(queue=q, jobs=jobs))
    assert (answer.ok, len(answer.ids)) == (True, 2)
    told = dict(call.trailing_metadata())["flashq-errors"]
    assert '"index":1' in told
    assert "duplicate" in told


def test_failed_job_is_retried_then_dead(caller: Caller, q: str) -> None:
    job_id = caller.push(q, max_attempts=2, backoff_ms=1)
    for expected in (0, 1):
        job = caller.pull(q)
        assert (job.id, job.attempts) == (job_id, expected)
        assert caller.call("Fail", pb.FailRequest(id=job_id, error="no é")).ok
    assert caller.state(job_id) == "FAILED"
    assert caller.command("DLQ", queue=q)["jobs"][0]["error"] == "no é"


def test_stats_count_what_there_is(caller: Caller, q: str) -> None:
    before = caller.call("Stats", pb.StatsRequest())
    caller.push(q)
    caller.push(q, delay_ms=60_000)
    after = caller.call("Stats", pb.StatsRequest())
    assert (after.queued - before.queued, after.delayed - before.delayed) == (1, 1)


@pytest.mark.parametrize("data", [b"", b"{", b'1,"priority":9', b"1}", b"nul", b"\xff", b'"\xc3"'])
def test_data_that_is_no_json_is_refused_and_nothing_is_pushed(caller: Caller, q: str, data: bytes) -> None:
    """Also what would become part of the command if it were put there as it is."""
    with refused(INVALID, "Invalid JSON data: ", "invalid"):
        caller.call("Push", pb.PushRequest(queue=q, data=data))
    with refused(INVALID, "Invalid JSON data in job 1: ", "invalid"):
        caller.call("PushBatch", pb.PushBatchRequest(queue=q, jobs=[pb.JobInput(data=d) for d in (b"1", data, b"2")]))
    assert caller.command("COUNT", queue=q)["count"] == 0
    job_id = caller.push(q)
    caller.pull(q)
    if data:
        with refused(INVALID, "Invalid result JSON: ", "invalid"):
            caller.call("Ack", pb.AckRequest(id=job_id, result=data))
    assert caller.state(job_id) == "ACTIVE"


def test_json_of_several_lines_is_the_same_value(caller: Caller, q: str) -> None:
    caller.call("Push", pb.PushRequest(queue=q, data=b'{\n "a": [1,\r\n 2]\n}'))
    assert caller.pull(q).data.replace(b" ", b"") == b'{"a":[1,2]}'


def test_refused_push_keeps_its_old_status_and_says_its_code(caller: Caller, q: str) -> None:
    with refused(grpc.StatusCode.INTERNAL, "Queue name must contain only", "invalid"):
        caller.push("no spaces")
    caller.push(q, unique_key="k")
    with refused(grpc.StatusCode.INTERNAL, "Duplicate job with key: k", "duplicate"):
        caller.push(q, unique_key="k")
    with refused(INVALID, "Queue name cannot be empty"):
        caller.call("PushBatch", pb.PushBatchRequest(queue="", jobs=[pb.JobInput(data=b"1")]))


def test_unknown_jobs_and_counts_are_named(caller: Caller, q: str) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "Job 1 not found", "not_found"):
        caller.call("Ack", pb.AckRequest(id=1))
    with refused(grpc.StatusCode.NOT_FOUND, "Job 1 not found", "not_found"):
        caller.call("Fail", pb.FailRequest(id=1))
    assert caller.state(1) == "UNKNOWN"
    with refused(INVALID, "`count` is 0"):
        caller.call("PullBatch", pb.PullBatchRequest(queue=q))
    for name, request in (("Ack", pb.AckRequest), ("Fail", pb.FailRequest), ("GetState", pb.GetStateRequest)):
        with refused(INVALID, "`id` is 18446744073709551615, allowed is 0 to"):
            caller.call(name, request(id=(1 << 64) - 1))


def test_bytes_that_are_no_message_are_refused(caller: Caller) -> None:
    for name in ("Push", "Pull", "StreamJobs"):
        send = caller.channel.unary_stream(f"/flashq.QueueService/{name}")
        with refused(INVALID, "Invalid: the request is no flashq."):
            list(send(b"\x0a\xff\xff", timeout=10))
    with refused(grpc.StatusCode.UNIMPLEMENTED):
        caller.channel.unary_unary("/flashq.QueueService/Nothing")(b"", timeout=10)


def test_job_of_ten_megabytes_passes_and_a_message_past_the_limit_does_not(caller: Caller, q: str) -> None:
    """One limit on every door: jobs of 10 MiB, requests of 16."""
    large = b'"%b"' % (b"x" * (10 * 1024 * 1024 - 2))
    caller.call("Push", pb.PushRequest(queue=q, data=large))
    assert caller.pull(q).data == large
    with refused(grpc.StatusCode.INTERNAL, "Job data too large", "too_large"):
        caller.call("Push", pb.PushRequest(queue=q, data=b'"%b"' % (b"x" * (10 * 1024 * 1024))))
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
        caller.call("Push", pb.PushRequest(queue=q, data=b'"%b"' % (b"x" * (16 * 1024 * 1024))))


def test_same_key_twice_is_one_push(caller: Caller, q: str) -> None:
    request = pb.PushRequest(queue=q, data=b"1")
    first = caller.call("Push", request, idempotency_key="k1")
    assert caller.call("Push", request, idempotency_key="k1").id == first.id
    batch = pb.PushBatchRequest(queue=q, jobs=[pb.JobInput(data=b"2")])
    assert caller.call("PushBatch", batch, idempotency_key="k2").ids == caller.call(
        "PushBatch", batch, idempotency_key="k2"
    ).ids  # fmt: skip
    assert caller.command("COUNT", queue=q)["count"] == 2
    with refused(INVALID, "`idempotency-key`"):
        caller.call("Push", request, idempotency_key="k" * 513)


def test_pull_waits_for_a_job(caller: Caller, q: str) -> None:
    waiting = caller.queues.Pull.future(pb.PullRequest(queue=q), timeout=15)
    caller.command("COUNT", queue=q)
    pushed = caller.push(q)
    assert waiting.result().id == pushed


def test_pull_cut_by_its_deadline_or_cancelled_loses_no_job(cluster: Cluster, caller: Caller, q: str) -> None:
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        caller.pull(q, timeout=0.1)
    waiting = [caller.queues.Pull.future(pb.PullRequest(queue=q), timeout=30) for _ in range(5)]
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        caller.pull(q, timeout=0.1)  # by now the others wait
    for one in waiting:
        one.cancel()
    ids = [caller.push(q) for _ in range(5)]
    # One that is answered before the server hears of the cancel is its client's by its lease; all others wait.
    until(cluster, lambda: caller.count(q, "waiting") + caller.count(q, "active") == 5, "all jobs to be somewhere")
    got = [caller.pull(q).id for _ in range(caller.count(q, "waiting"))]
    assert got == sorted(set(got) & set(ids))


def test_jobs_pulled_for_calls_that_are_cancelled_meanwhile_are_not_lost(
    cluster: Cluster, caller: Caller, q: str
) -> None:
    """Whether the cancel comes before, with or after the job: it is delivered, or waits again."""
    delivered = set()
    rounds = 60
    for n in range(rounds):
        waiting = caller.queues.Pull.future(pb.PullRequest(queue=q), timeout=30)
        other = threading.Thread(target=waiting.cancel) if n % 3 else None
        pushed = caller.push(q)
        if other is not None:
            other.start()
            other.join()
        else:
            waiting.cancel()
        if not waiting.cancelled():
            delivered.add(waiting.result().id)
            assert waiting.result().id <= pushed
    # What was written just before the cancel came is the client's, by its lease; nothing else is active.
    until(cluster, lambda: caller.count(q, "waiting") + caller.count(q, "active") == rounds, "all jobs to be somewhere")
    assert caller.count(q, "active") >= len(delivered)
