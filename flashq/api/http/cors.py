"""Which pages of other origins a browser may let use us."""

from collections.abc import Sequence
from typing import Final

from flashq.api.http.asgi import Message, Send

_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS: Final = b"content-type, authorization, accept, idempotency-key"


class Cors:
    """`origins`: comma separated; `*` is any, empty is none."""

    def __init__(self, origins: str) -> None:
        self._origins = {one.strip().encode() for one in origins.split(",") if one.strip()}

    def allowed(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """Headers of answers to a page of this origin; empty if it may not read them."""
        if b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        if origin in self._origins:
            return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        return []

    def may_act(self, origin: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether a page of this origin may change something: an allowed one, or our own.

        A browser sends simple requests without asking first, so that not being allowed to read the answer is no bar.
        """
        return bool(self.allowed(origin)) or origin.rpartition(b"://")[2] == dict(headers).get(b"host", b"")

    def preflight(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """Headers of the answer to a browser that asks first."""
        allowed = self.allowed(origin)
        if not allowed:
            return []
        more = [(b"access-control-allow-methods", _METHODS), (b"access-control-allow-headers", _HEADERS)]
        return [*allowed, *more, (b"access-control-max-age", b"600")]

    def sending(self, origin: bytes, send: Send) -> Send:
        """`send`, with the headers that let a page of this origin read the answer."""
        allowed = self.allowed(origin)
        return _with_headers(allowed, send) if allowed else send


def _with_headers(more: list[tuple[bytes, bytes]], send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sent
