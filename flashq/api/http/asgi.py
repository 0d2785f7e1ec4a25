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


async def read_body(receive: Receive, bytes_max: int) -> bytes:
    """The whole body. Raises HttpFailure 413 for too large a one, ClientLeft."""
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > bytes_max:
            raise too_large(len(body), bytes_max)
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_max:
            parts.clear()
            await discard_body(receive)
            raise too_large(size, bytes_max)
    return b"".join(parts)


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
