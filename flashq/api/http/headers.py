"""The headers of a request that matter here, found in one pass."""

from collections.abc import Callable, Sequence
from typing import Final

from flashq.api.http.failures import HttpFailure, unauthenticated

Authenticate = Callable[[str], str | None]
BEARER: Final = b"Bearer "
KEY_BYTES_MAX: Final = 512
ANYONE: Final = "anyone"
"""Who asks where no tokens are configured."""


class Seen:
    """Headers by what they are for; empty where absent."""

    __slots__ = ("accept_encoding", "authorization", "content_length", "content_type", "idempotency_key", "origin")

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.accept_encoding = self.authorization = self.content_length = self.content_type = b""
        self.idempotency_key = self.origin = b""
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

    def principal(self, authenticate: Authenticate | None) -> str:
        """Who asks. Raises HttpFailure 401."""
        return self.principal_or(authenticate, "")

    def principal_or(self, authenticate: Authenticate | None, token: str) -> str:
        """Who asks; without the header, whom `token` of the address names. Raises HttpFailure 401."""
        if authenticate is None:
            return ANYONE
        who = None
        if self.authorization.startswith(BEARER):
            who = authenticate(self.authorization[len(BEARER) :].decode("latin-1"))
        elif token and not self.authorization:
            who = authenticate(token)
        if who is None:
            raise unauthenticated()
        return who


_SLOT_OF: Final = {name.replace("_", "-").encode(): name for name in Seen.__slots__}
