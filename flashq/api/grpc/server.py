"""The listening end: the table of calls, the gate before them, and an orderly stop.

A call that shows no good token is refused before its message is read. What a shard refuses a token for, the shard says.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog
from google.protobuf.message import Message
from grpc_health.v1 import _async as aio_health
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from flashq.api.grpc import commands_pb2, flashq_pb2
from flashq.api.grpc.command_service import CommandService
from flashq.api.grpc.desk import Asker, Desk, host_of
from flashq.api.grpc.failures import Context, GrpcFailure
from flashq.api.grpc.messages import parsed
from flashq.api.grpc.queue_service import QueueService
from flashq.api.grpc.sealing import Sealing
from flashq.api.grpc.streams import Streams
from flashq.api.grpc.tracing import Traced
from flashq.api.spans import Spans

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[bytes, bytes]  # a generic class to those who check, not to those who run

log = structlog.get_logger()
HEALTH: Final = "/grpc.health.v1.Health/"
"""Asks for no token."""
QUEUE_SERVICE: Final = flashq_pb2.DESCRIPTOR.services_by_name["QueueService"].full_name
COMMAND_SERVICE: Final = commands_pb2.DESCRIPTOR.services_by_name["CommandService"].full_name
STREAMS_MAX: Final = 10_000
"""Calls at once on one connection."""
HEAD_BYTES_MAX: Final = 16 << 10
FAREWELL_S: Final = 0.2
"""What connections have to end by themselves, when all calls have."""
ENDED_S: Final = 1.0
"""What calls that were ended by us have to give back their jobs."""
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
Unary = Callable[[Any, Asker], Awaitable[Any]]
Stream = Callable[[Any, Asker], Awaitable[None]]


class GrpcServer:
    """Serves until told to stop."""

    def __init__(
        self, address: str, desk: Desk, queues: QueueService, streams: Streams, commands: CommandService,
        message_bytes_max: int, sealing: Sealing | None, spans: Spans | None = None,
    ) -> None:  # fmt: skip
        """`address`: "host:port", of which nobody else listens. `sealing`: TLS, if it is spoken."""
        self._sealing = sealing
        self._address = address
        self._desk = desk
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._health = aio_health.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[_Gate(desk), *([Traced(spans)] if spans is not None else ())],
            options=[
                ("grpc.so_reuseport", 0),  # with it another program could take half of our clients in silence
                ("grpc.max_receive_message_length", message_bytes_max),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", STREAMS_MAX),
                ("grpc.max_metadata_size", HEAD_BYTES_MAX),
            ],
        )
        pb = flashq_pb2
        self._add(
            QUEUE_SERVICE,
            {
                "Push": self._unary(pb.PushRequest, queues.push),
                "PushBatch": self._unary(pb.PushBatchRequest, queues.push_batch),
                "Pull": self._handing(pb.PullRequest, queues.pull, desk.give_back),
                "PullBatch": self._handing(pb.PullBatchRequest, queues.pull_batch, desk.give_back),
                "Ack": self._unary(pb.AckRequest, queues.ack),
                "AckBatch": self._unary(pb.AckBatchRequest, queues.ack_batch),
                "Fail": self._unary(pb.FailRequest, queues.fail),
                "GetState": self._unary(pb.GetStateRequest, queues.get_state),
                "Stats": self._unary(pb.StatsRequest, queues.stats),
                "StreamJobs": self._stream(pb.StreamJobsRequest, streams.stream_jobs),
                "ProcessJobs": self._both(streams.process_jobs),
            },
        )
        self._add(
            COMMAND_SERVICE,
            {
                "Command": self._handing(commands_pb2.CommandRequest, commands.command, lambda unsent: unsent()),
                "Session": self._both(commands.session),
            },
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (QUEUE_SERVICE, COMMAND_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def _add(self, service: str, handlers: dict[str, "Handler"]) -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    # -- life

    async def start(self) -> None:
        """Returns when calls are taken in. Raises OSError where the port cannot be had."""
        try:
            if self._sealing is None:
                self._server.add_insecure_port(self._address)
            else:
                self._server.add_secure_port(self._address, self._sealing.credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address} for gRPC: {error}") from None
        for name in (QUEUE_SERVICE, COMMAND_SERVICE):
            await self._health.set(name, _SERVING)
        await self._server.start()

    async def tell_health(self, service: str, *, serving: bool) -> None:
        """Have the health service say so of a service."""
        await self._health.set(service, _SERVING if serving else _NOT_SERVING)

    async def stop(self, timeout_s: float) -> None:
        """Take nothing new, answer what is asked, calls that wait with what there is; end the rest after the time."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.ensure_future(self._server.stop(timeout_s))
        self._desk.end_waits()
        await self._idle_within(timeout_s)
        await asyncio.wait((stopping,), timeout=FAREWELL_S)
        if not stopping.done():
            # Whoever watches the health, or does not read, is told that it is over.
            await self._server.stop(None)
        await stopping
        await self._idle_within(ENDED_S)

    async def _idle_within(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)

    # -- calls

    def _unary(self, kind: type[Message], carry_out: Unary) -> "Handler":
        """One request, one answer."""

        async def serve(raw: bytes, context: Context) -> bytes:
            try:
                with self._counted():
                    asker = self._desk.asker(context)
                    answer: bytes = (await carry_out(parsed(kind, raw), asker)).SerializeToString()
                    return answer
            except Exception as error:
                await _abort(error, context)
                raise

        return grpc.unary_unary_rpc_method_handler(serve)

    def _handing(self, kind: type[Message], carry_out: Unary, take_back: Callable[[Any], None]) -> "Handler":
        """One request and one answer with something in it that must not be lost, whatever becomes of the call.

        To the client it is as any unary call; here it is a stream of one answer, as only a stream's writer is told
        whether it was written.
        """

        async def serve(raw: bytes, context: Context) -> None:
            try:
                with self._counted():
                    handed, answer = await carry_out(parsed(kind, raw), self._desk.asker(context))
                    try:
                        await context.write(answer.SerializeToString())
                    except BaseException:
                        take_back(handed)
                        raise
            except Exception as error:
                await _abort(error, context)

        return grpc.unary_stream_rpc_method_handler(serve)

    def _stream(self, kind: type[Message], carry_out: Stream) -> "Handler":
        """One request, and answers until it ends."""

        async def serve(raw: bytes, context: Context) -> None:
            try:
                with self._counted():
                    await carry_out(parsed(kind, raw), self._desk.asker(context))
            except Exception as error:
                await _abort(error, context)

        return grpc.unary_stream_rpc_method_handler(serve)

    def _both(self, carry_out: Stream) -> "Handler":
        """Requests and answers."""

        async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                with self._counted():
                    await carry_out(requests, self._desk.asker(context))
            except Exception as error:
                await _abort(error, context)

        return grpc.stream_stream_rpc_method_handler(serve)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()


async def _abort(error: Exception, context: Context) -> None:
    """End a call with the status of what was raised. One that has ended is left so."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, GrpcFailure):
        await error.abort(context)
    if context.done() or isinstance(error, grpc.aio.InternalError):  # the latter: it ended under a write
        log.debug("a call ended before its answer was written", reason=str(error))
        return
    log.error("a call failed", exc_info=error)
    await GrpcFailure("Internal fault; the log has it", "internal").abort(context)


class _Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls of strangers with nothing read but their head."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

        async def refuse(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                desk.admit(context.invocation_metadata(), host_of(context.peer()))
            except GrpcFailure as failure:
                await failure.abort(context)
            # Its token has become good since the gate looked.
            await GrpcFailure("Authentication required", "unauthenticated").abort(context)

        self._refusing = grpc.stream_stream_rpc_method_handler(refuse)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Let a call in, or not."""
        if self._desk.knows(handler_call_details.invocation_metadata) or handler_call_details.method.startswith(HEALTH):
            return await continuation(handler_call_details)
        return self._refusing
