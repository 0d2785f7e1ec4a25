"""The last words to a connection that cannot be served: one error, then the end."""

import contextlib
import socket
from typing import Final

import msgspec

from flashq.protocol.dispatch import Codec
from flashq.protocol.head import LENGTH_BYTES, codec_of

_DRAIN_BYTES: Final = 64 * 1024


def refusal(text: str, codec: Codec | None, code: str = "unavailable") -> bytes:
    """An error reply, framed; as text if it is not known what the client speaks."""
    reply = {"ok": False, "error": text, "code": code}
    if codec is Codec.BINARY:
        body = msgspec.msgpack.encode(reply)
        return len(body).to_bytes(LENGTH_BYTES, "big") + body
    return msgspec.json.encode(reply) + b"\n"


def refuse(sock: socket.socket, text: str, codec: Codec | None = None, code: str = "unavailable") -> None:
    """Say why, if the client still listens, and close."""
    # Reading first: a socket closed with bytes unread resets its connection, and the reset may overtake the reply.
    with sock, contextlib.suppress(OSError):
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            codec = codec_of(sock.recv(_DRAIN_BYTES)) if codec is None else codec
        sock.send(refusal(text, codec, code))
        sock.shutdown(socket.SHUT_WR)
