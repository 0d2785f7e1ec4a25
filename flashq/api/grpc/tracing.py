"""Spans of calls over gRPC: of those that are one request and one answer."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from flashq.api.grpc.desk import host_of, metadata_of
from flashq.api.grpc.failures import Context
from flashq.api.spans import Spans
from flashq.protocol.traces import HEADER, trace_in_header

_ENDLESS: Final = frozenset({"StreamJobs", "ProcessJobs", "Session"})
"""Calls that last as long as their clients, so that a span would tell nothing."""
_OURS: Final = "flashq."
_FAULTS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})


class Traced(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Serves each call in a span."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The handler of a call, in a span."""
        handler = await continuation(handler_call_details)
        service, _, name = handler_call_details.method.strip("/").rpartition("/")
        if handler is None or name in _ENDLESS or not service.startswith(_OURS):
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._in_span(service, name, handler.unary_unary))
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._in_span(service, name, handler.unary_stream))
        return handler

    def _in_span(self, service: str, name: str, serve: Callable[..., Awaitable[Any]]) -> Any:
        async def served(request: Any, context: Context) -> Any:
            trace = trace_in_header(metadata_of(context.invocation_metadata(), HEADER)) or ""
            attributes = {
                "messaging.system": "flashq", "rpc.system": "grpc", "rpc.service": service, "rpc.method": name,
                "client.address": host_of(context.peer()),
            }  # fmt: skip
            with self._spans.span(f"{service}/{name}", trace, attributes) as span:
                try:
                    return await serve(request, context)
                finally:
                    status = _name_of(context.code())
                    span.note("rpc.response.status_code", status)
                    if status in _FAULTS:
                        span.failed(status)

        return served


def _name_of(code: Any) -> str:
    """Of a status, which is a number, or nothing where all went well."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((one.name for one in grpc.StatusCode if one.value[0] == code), "OK")
