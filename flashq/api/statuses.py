"""Codes of errors as HTTP statuses: the one table (docs/http.md, "Errors").

The routes of old keep what their clients know: a refusal is 200 with `"ok":false`, except where a framework or a gate
answers. The same routes under /api/v1 answer every failure with the status of this table.
"""

from typing import Final

STATUS_OF: Final = {
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "duplicate": 409,
    "lease_lost": 409,
    "failed": 409,
    "too_large": 413,
    "debounced": 429,
    "internal": 500,
    "unavailable": 503,
    "timeout": 504,
}
"""Every `code` of errors.py -> the status under /api/v1. What is not here is a fault of ours."""

CODE_OF: Final = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "invalid",
    408: "timeout",
    413: "too_large",
    415: "invalid",
    422: "invalid",
    429: "unavailable",
    431: "too_large",
    500: "internal",
    503: "unavailable",
}
"""Statuses that the door itself answers with -> the code beside them."""

GATE: Final = frozenset({"unavailable", "unauthenticated", "forbidden"})
"""Codes that the old routes answer with their status too: the request was stopped before it was judged."""


def status_of(code: str, *, real: bool) -> int:
    """The status of a refusal; `real` under /api/v1."""
    if real or code in GATE:
        return STATUS_OF.get(code, 500)
    return 200


GRPC_STATUS_OF: Final = {
    "invalid": "INVALID_ARGUMENT",
    "unauthenticated": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "duplicate": "ALREADY_EXISTS",
    "lease_lost": "FAILED_PRECONDITION",
    "failed": "FAILED_PRECONDITION",
    "too_large": "OUT_OF_RANGE",
    "debounced": "RESOURCE_EXHAUSTED",
    "internal": "INTERNAL",
    "unavailable": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
}
"""Every `code` of errors.py -> the status of a gRPC call (docs/grpc.md, "Errors")."""
