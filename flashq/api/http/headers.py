"""The headers of a request that matter here, found in one pass."""

from collections.abc import Sequence
from typing import Final

import structlog

from flashq.access.access import ANYONE, Access
from flashq.api.http.failures import HttpFailure, unauthenticated
from flashq.errors import LockedOut, Unauthenticated
from flashq.protocol.traces import trace_in_header

log = structlog.get_logger()
BEARER: Final = b"Bearer "
KEY_BYTES_MAX: Final = 512


class Seen:
    """Headers by what they are for; empty where absent."""

    __slots__ = ("accept_encoding", "authorization", "content_length", "content_type", "idempotency_key", "origin",
                 "traceparent")  # fmt: skip

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.accept_encoding = self.authorization = self.content_length = self.content_type = b""
        self.idempotency_key = self.origin = self.traceparent = b""
        for name, value in headers:
            slot = _SLOT_OF.get(name)
            if slot is not None:
                setattr(self, slot, value)

    def is_json(self) -> bool:
        """Whether the body is said to be JSON."""
        kind = self.content_type.partition(b";")[0].strip().lower()
        return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))

    def key(self) -> str | None:
        """The value of Idempotency-Key. Raises HttpFailure 400 for one that cannot be."""
        raw = self.idempotency_key
        if not raw:
            return None
        if len(raw) > KEY_BYTES_MAX or not raw.isascii():
            raise HttpFailure(400, f"Invalid: `Idempotency-Key` must have 1 to {KEY_BYTES_MAX} ASCII characters")
        return raw.decode()

    def trace(self) -> str | None:
        """The trace that the request belongs to."""
        return trace_in_header(self.traceparent.decode("latin-1")) if self.traceparent else None

    def principal(self, access: Access, host: str, token: str = "") -> str:
        """Who asks, from that host; without the header, whom `token` of the address names.

        Raises HttpFailure 401, and 429 while the host has shown too many wrong tokens.
        """
        if not access.required:
            return ANYONE
        if self.authorization.startswith(BEARER):
            token = self.authorization[len(BEARER) :].decode("latin-1")
        elif self.authorization:
            log.warning("a token was refused", client=host, reason="not of the scheme Bearer")
            raise unauthenticated()
        if not token:
            raise unauthenticated()
        try:
            return access.admit(token, host)
        except Unauthenticated:
            raise unauthenticated() from None
        except LockedOut as error:
            raise HttpFailure(429, str(error), (b"retry-after", b"%d" % -(-error.wait_ms // 1000))) from None


_SLOT_OF: Final = {name.replace("_", "-").encode(): name for name in Seen.__slots__}
