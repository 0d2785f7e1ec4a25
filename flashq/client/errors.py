"""What a client raises: the server's errors by their code, and two that only a client can know.

Unavailable
├─ Unreachable      nothing was sent: no server answers there just now
└─ UnknownOutcome   it was sent and the answer is lost: it may have happened or not, but never half
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from flashq.errors import (
    DeadlineExceeded,
    Debounced,
    Duplicate,
    FlashqError,
    Forbidden,
    InvalidArgument,
    JobFailed,
    JobNotFound,
    LeaseLost,
    LimitExceeded,
    RequestError,
    Unauthenticated,
    Unavailable,
)


class Unreachable(Unavailable):
    """No connection could be made, so nothing was sent."""


class UnknownOutcome(Unavailable):
    """Sent, but no answer came: the request may have been carried out. The text says which request, and why."""

    code: ClassVar[str] = "unknown_outcome"


_BY_CODE: Final[Mapping[str, type[FlashqError]]] = {
    each.code: each
    for each in (
        FlashqError,
        InvalidArgument,
        LimitExceeded,
        JobNotFound,
        JobFailed,
        Duplicate,
        Debounced,
        LeaseLost,
        Unauthenticated,
        Forbidden,
        Unavailable,
        DeadlineExceeded,
    )
}


def error_of(code: str | None, text: str | None) -> FlashqError:
    """The exception for an error reply; a code we do not know, or none (older servers), is a RequestError."""
    return _BY_CODE.get(code or "", RequestError)(text or "the server gave no reason")
