"""ASGI, as far as it is used: the types, a body read whole, an answer written."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from flashq.api.http.failures import JSON_TYPE, Headers, HttpFailure

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DISCARD_BYTES_MAX: Final = 64 << 20
"""Of a body that is too large: so much is still read and thrown away, so that its sender comes to read why."""


class ClientLeft(Exception):
    """There is nobody left to answer."""


class Bodies:
    """Request bodies that are being read: each has a bound, and all together."""

    def __init__(self, bytes_max: int, together_max: int) -> None:
        self.bytes_max = bytes_max
        self._together_max = together_max
        self._held = 0

    async def read(self, receive: Receive) -> bytes:
        """A whole body. Raises HttpFailure 413 for too large a one, 503 while too many are under way, ClientLeft."""
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > self.bytes_max:
                raise too_large(len(body), self.bytes_max)
            return body
        parts = [body]
        try:
            self._held += len(body)
            await self._read_on(receive, parts)
            return b"".join(parts)
        finally:
            self._held -= sum(map(len, parts))

    async def _read_on(self, receive: Receive, parts: list[bytes]) -> None:
        size = len(parts[0])
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientLeft
            more = message.get("more_body", False)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self._held += len(parts[-1])
            if size > self.bytes_max or self._held > self._together_max:
                self._held -= size
                parts.clear()
                if more:
                    await discard_body(receive)
                if size > self.bytes_max:
                    raise too_large(size, self.bytes_max)
                raise HttpFailure(503, "Too many request bodies under way", (b"retry-after", b"1"))


async def discard_body(receive: Receive) -> None:
    """Read what still comes of a body, within reason. Raises ClientLeft."""
    size = 0
    while size <= DISCARD_BYTES_MAX:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def too_large(size: int, bytes_max: int) -> HttpFailure:
    """The answer to a body of `size` bytes or more."""
    text = f"Request body too large ({size} bytes, max {bytes_max} bytes)"
    return HttpFailure(413, text, (b"connection", b"close"))


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Write an answer."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, status: int, body: bytes) -> None:
    """Write an answer in JSON."""
    await respond(send, status, [JSON_TYPE], body)
