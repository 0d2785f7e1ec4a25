"""A plain gRPC client for tests: real stubs on one channel, and nothing done behind the test's back."""

import json
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import grpc
import pytest

from flashq.api.grpc import commands_pb2 as commands
from flashq.api.grpc import flashq_pb2 as pb
from flashq.api.grpc.commands_pb2_grpc import CommandServiceStub
from flashq.api.grpc.flashq_pb2_grpc import QueueServiceStub
from flashq.testing.cluster import Cluster

CALL_S = 15.0


class Caller:
    """One channel to a cluster's gRPC door. Calls fail after the time-out."""

    def __init__(self, cluster: Cluster, token: str = "") -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{cluster.grpc_port}",
            # Tests share no connection, and one that breaks comes back at once.
            [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1),
             ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)],
        )  # fmt: skip
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.queues = QueueServiceStub(self.channel)
        self.commands = CommandServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.channel.close()

    def call(self, name: str, request: Any, timeout: float = CALL_S, **metadata: str) -> Any:
        """One call of QueueService and its answer."""
        given = (*self.metadata, *((key.replace("_", "-"), value) for key, value in metadata.items()))
        return getattr(self.queues, name)(request, timeout=timeout, metadata=given)

    def push(self, queue: str, data: Any = None, **options: Any) -> int:
        found: int = self.call("Push", pb.PushRequest(queue=queue, data=json.dumps(data).encode(), **options)).id
        return found

    def pull(self, queue: str, timeout: float = CALL_S) -> Any:
        return self.call("Pull", pb.PullRequest(queue=queue), timeout)

    def state(self, job_id: int) -> str:
        return pb.JobState.Name(self.call("GetState", pb.GetStateRequest(id=job_id)).state)[len("JOB_STATE_") :]

    def command(self, cmd: str, **fields: Any) -> dict[str, Any]:
        """One command and its reply."""
        request = commands.CommandRequest(payload=json.dumps({"cmd": cmd, **fields}).encode())
        reply = self.commands.Command(request, timeout=CALL_S, metadata=self.metadata)
        found: dict[str, Any] = json.loads(reply.payload)
        return found

    def count(self, queue: str, state: str) -> int:
        found: int = self.command("GETJOBCOUNTS", queue=queue)[state]
        return found


class Conversation:
    """A call of two streams: what is sent, and what comes."""

    def __init__(self, call: Callable[..., Any], **options: Any) -> None:
        self._sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.came = call(iter(self._sent.get, None), **options)

    def send(self, message: Any) -> None:
        self._sent.put(message)

    def end(self) -> None:
        """No more is sent."""
        self._sent.put(None)


@contextmanager
def refused(status: grpc.StatusCode, text: str = "", code: str = "") -> Iterator[None]:
    """The call within ends with this status, with the text in its own and the code in its metadata."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error: Any = caught.value
    assert (error.code(), text in error.details()) == (status, True), error
    if code:
        assert dict(error.trailing_metadata())["flashq-code"] == code


def until(cluster: Cluster, true: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    cluster.wait_until(true, what, CALL_S)
