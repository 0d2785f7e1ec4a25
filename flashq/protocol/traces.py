"""The trace that a job belongs to, as producers and workers pass it on: W3C Trace Context's `traceparent`.

Who pushes says it, the job keeps it, its worker and the receivers of its webhooks get it. Nothing here makes or
changes one. https://www.w3.org/TR/trace-context/
"""

import re
from typing import Final

from flashq.errors import InvalidArgument

HEADER: Final = "traceparent"
"""What it is called in HTTP's headers and in gRPC's metadata."""
_VALID: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def is_trace(text: str) -> bool:
    """Whether it is one."""
    return _VALID.fullmatch(text) is not None


def check_trace(text: str) -> None:
    """Raise InvalidArgument for what is none."""
    if not is_trace(text):
        raise InvalidArgument(
            f"invalid value: `trace` is '{text[:64]}', allowed is a traceparent such as "
            "'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'"
        )


def trace_in_header(value: str) -> str | None:
    """What a header says: one that cannot be is as none, as who pushes may not know of it."""
    return value if value and is_trace(value) else None
