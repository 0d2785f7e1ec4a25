"""Where what we have to say goes: one line an event, for people or as JSON, with the process's name."""

import io
import logging
import sys
from typing import Any, TextIO, cast

import structlog

from flashq.access.redaction import RedactingFormatter, Redaction
from flashq.cluster.log_level import LEVELS
from flashq.config import Settings


class _Lines(io.TextIOBase):
    """A stream that goes on when nobody reads it any more, or its disk is full.

    There is no place left to complain to, and a server must not end because its log does.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = 0
        """Writes that failed."""

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self.lost += 1
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self.lost += 1


def configure_logs(settings: Settings) -> None:
    """Set up structlog for this process and all that are forked from it: to stderr, a line a write, no secret in it.

    What libraries write by the standard library's log goes the same way.
    """
    json = settings.log_format == "json"
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        # Plain tracebacks: others show what the variables of each frame had in them.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    redaction = Redaction(settings.auth_tokens)
    handler = logging.StreamHandler(_Lines(sys.stderr))
    handler.setFormatter(RedactingFormatter(redaction))
    logging.getLogger().handlers[:] = [handler]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=json),
            *([structlog.processors.format_exc_info] if json else []),
            renderer,
            lambda logger, name, line: redaction(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.log_level]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Lines(sys.stderr))),
        cache_logger_on_first_use=False,
    )
