"""The matrix, walked over gRPC: every call, every command in both calls that take any, every role."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from flashq.access.needs import CALLS
from flashq.access.scopes import ROLES
from flashq.api.grpc import commands_pb2 as commands
from flashq.api.grpc import flashq_pb2 as pb
from flashq.cli.matrix import rows
from flashq.testing.cluster import Cluster
from tests.integration.access_kit import ROOT
from tests.integration.calls import Caller, Conversation
from tests.integration.test_access_matrix import STRANGER, WHO, House

CALL_S = 20.0
MATRIX = [row for row in rows() if row.door == "gRPC"]
GATES = ("forbidden", "unauthenticated")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with Cluster(shards=2, durability="commit", http=True, grpc=True, settings={"AUTH_TOKENS": ROOT}) as cluster:
        house = House(cluster)
        with house.world.root:
            yield house


def outcome(ask: Callable[[], str]) -> str:
    """The code with which a gate refused; empty if none did."""
    try:
        code = ask()
    except grpc.RpcError as error:
        found: Any = error
        code = dict(found.trailing_metadata() or ()).get("flashq-code", found.code().name)
    return code if code in GATES else ""


def asked(house: House, caller: Caller, call: str) -> str:
    """A call of QueueService that is sound."""
    queue, job_id = house.world.queue, house.world.job_id
    options: dict[str, Any] = {"timeout": CALL_S, "metadata": caller.metadata}
    if call == "ProcessJobs":
        options["metadata"] = (*caller.metadata, ("flashq-queue", queue))
        talk = Conversation(caller.queues.ProcessJobs, **options)
        try:
            next(talk.came)
        finally:
            talk.end()
            talk.came.cancel()
        return ""
    if call == "StreamJobs":
        stream = caller.queues.StreamJobs(pb.StreamJobsRequest(queue=queue, batch_size=1), **options)
        try:
            next(stream)
        finally:
            stream.cancel()
        return ""
    requests = {
        "Push": pb.PushRequest(queue=queue, data=b"1"),
        "PushBatch": pb.PushBatchRequest(queue=queue, jobs=[pb.JobInput(data=b"1")]),
        "Pull": pb.PullRequest(queue=queue),
        "PullBatch": pb.PullBatchRequest(queue=queue, count=1),
        "Ack": pb.AckRequest(id=job_id),
        "AckBatch": pb.AckBatchRequest(ids=[job_id]),
        "Fail": pb.FailRequest(id=job_id),
        "GetState": pb.GetStateRequest(id=job_id),
        "Stats": pb.StatsRequest(),
    }
    getattr(caller.queues, call)(requests[call], **options)
    return ""


def commanded(house: House, caller: Caller, call: str, command: str, token: str) -> str:
    """A command that is sound, by one of the calls that take any. The code of its reply."""
    fields = house.world.fields(command, token or "none")
    request = commands.CommandRequest(payload=json.dumps({"cmd": command, **fields}).encode())
    options: dict[str, Any] = {"timeout": CALL_S, "metadata": caller.metadata}
    if call == "Command":
        reply = caller.commands.Command(request, **options)
    else:
        reply = next(caller.commands.Session(iter([request]), **options))
    return str(json.loads(reply.payload).get("code", ""))


@pytest.mark.parametrize("who", WHO)
def test_every_call_of_grpc_is_for_whom_the_matrix_says(house: House, who: str) -> None:
    wrong = []
    token = house.tokens[who]
    with Caller(house.cluster, token) as caller:
        for row in MATRIX:
            house.world.fresh()
            call, _, command = row.route.partition(" ")
            service, _, name = call.partition("/")
            if service == "QueueService":
                found = outcome(lambda name=name: asked(house, caller, name))  # type: ignore[misc]
            else:
                found = outcome(
                    lambda name=name, command=command: commanded(house, caller, name, command, token)  # type: ignore[misc]
                )
            # Over gRPC nothing is asked without a token, not even whether somebody is there: that is Health's.
            wanted = "unauthenticated" if who == STRANGER else "" if house.allowed(row, who) else "forbidden"
            if found != wanted:
                wrong.append((row.route, wanted, found))
    assert wrong == []


def test_table_has_every_call_that_there_is() -> None:
    service = pb.DESCRIPTOR.services_by_name["QueueService"]
    assert set(CALLS) == {method.name for method in service.methods}
    services = commands.DESCRIPTOR.services_by_name["CommandService"]
    named = {row.route.partition(" ")[0].partition("/")[2] for row in MATRIX if row.route.startswith("CommandService")}
    assert named == {method.name for method in services.methods}
    assert set(ROLES) < set(WHO)
