"""What a span says of a request over HTTP: names of OpenTelemetry's conventions for HTTP and messaging."""

from collections.abc import Sequence
from typing import Final

from flashq.api.http import fields
from flashq.api.http.plans import Plan
from flashq.api.spans import Span

FAULTS: Final = 500
"""Statuses from here on are faults of ours."""


def span_attributes(plan: Plan, method: str, params: Sequence[bytes], host: str) -> dict[str, str | int]:
    """What is known before it is served. Raises HttpFailure for a path that is no UTF-8."""
    found: dict[str, str | int] = {
        "messaging.system": "flashq", "messaging.operation.name": plan.route.command.lower(),
        "http.request.method": method, "http.route": plan.route.path, "client.address": host,
    }  # fmt: skip
    if "queue" in plan.names:
        found["messaging.destination.name"] = fields.from_segment(params[plan.names.index("queue")])
    return found


def note_status(span: Span, status: int) -> None:
    """It is answered with this."""
    span.note("http.response.status_code", status)
    if status >= FAULTS:
        span.failed(f"HTTP {status}")
