"""Spans to an OpenTelemetry collector, by OTLP over HTTP, from a thread that nobody waits for.

A request whose trace is sampled is sampled, one whose trace is not is not; of those that belong to none, a share.
What cannot be sent in time is dropped, and says so in the log: a collector that is down costs memory for 2,048 spans.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from flashq import __version__
from flashq.api.spans import Attributes
from flashq.protocol.traces import HEADER

PATH: Final = "/v1/traces"
SEND_S: Final = 2.0
EVERY_MS: Final = 1_000


class OtlpSpans:
    """Those of one process."""

    def __init__(self, endpoint: str, sample: float, process: str) -> None:
        """`endpoint`: the collector's URL; without a path, that of OTLP's traces is added."""
        url = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + PATH
        names = {"service.name": "flashq", "service.version": __version__, "service.instance.id": process}
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample)), resource=Resource.create(names), shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=SEND_S), schedule_delay_millis=EVERY_MS)
        )
        self._tracer = self._provider.get_tracer("flashq", __version__)
        self._extract = TraceContextTextMapPropagator().extract

    @contextmanager
    def span(self, name: str, trace: str, attributes: Attributes) -> Iterator["OtlpSpan"]:
        """As `Spans.span`."""
        context = self._extract({HEADER: trace}) if trace else None
        span = OtlpSpan(self._tracer.start_span(name, context, SpanKind.SERVER, dict(attributes)))
        try:
            yield span
        finally:
            span.end()

    async def stop(self) -> None:
        """As `Spans.stop`."""
        await asyncio.to_thread(self._provider.shutdown)


class OtlpSpan:
    """One of them."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def note(self, name: str, value: str | int) -> None:
        """As `Span.note`."""
        self._span.set_attribute(name, value)

    def failed(self, reason: str) -> None:
        """As `Span.failed`."""
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        """It is served."""
        self._span.end()
