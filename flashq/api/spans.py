"""Spans of what doors serve, for an OpenTelemetry collector. Nothing of it is loaded where none is configured."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Final, Protocol

from flashq.config import Settings
from flashq.errors import ConfigError

_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
Attributes = Mapping[str, str | int]


class Span(Protocol):
    """One thing that is served."""

    def note(self, name: str, value: str | int) -> None:
        """What became known of it."""

    def failed(self, reason: str) -> None:
        """It is a fault of ours."""


class Spans(Protocol):
    """Those of one process."""

    def span(self, name: str, trace: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """Begin one, which ends with the context. `trace`: the traceparent of who asks; empty: it begins one."""

    async def stop(self) -> None:
        """Send what is left, as far as that takes no time to speak of."""


def check_spans(settings: Settings) -> None:
    """Raise ConfigError where spans are asked for and what sends them is not installed."""
    if settings.otel_endpoint and not _is_installed():
        raise ConfigError(
            "otel_endpoint: what sends spans is not installed: pip install 'flashq-cluster[otel]', or set it to nothing"
        )


def _is_installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in _NEEDED)
    except ModuleNotFoundError:  # not even what it lies in
        return False


def open_spans(settings: Settings, process: str) -> Spans | None:
    """Where spans of this process go; None: nowhere."""
    if not settings.otel_endpoint:
        return None
    from flashq.api.otlp import OtlpSpans

    return OtlpSpans(settings.otel_endpoint, settings.otel_sample, process)
