"""A client that asks one thing at a time, in JSON or MessagePack, and knows whether it was answered."""

import json
import socket
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

import msgpack

from flashq.testing.history import now_us

REPLY_S: Final = 10.0
"""A server that is restarted has answered by then, or is broken."""
LENGTH: Final = Struct(">I")
Request = Mapping[str, Any]
Reply = dict[str, Any]


class Gone(Exception):
    """The connection broke before the answer: what was asked may have happened or not."""


class Wire:
    """One connection."""

    def __init__(self, port: int, *, binary: bool) -> None:
        """Raises OSError."""
        self._socket = socket.create_connection(("127.0.0.1", port), REPLY_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._encode = _encode_binary if binary else _encode_text
        self._receive = self._receive_binary if binary else self._receive_text
        self.alive_us = now_us()
        """When it was last known to live."""
        self.heard = 0
        """Events that came before replies, where something was subscribed to."""

    def ask(self, request: Request) -> Reply:
        """The reply. Raises Gone."""
        return self.ask_all([request])[0]

    def ask_all(self, requests: Sequence[Request]) -> list[Reply]:
        """Send all at once; the replies in order. Raises Gone unless all come."""
        try:
            self._socket.sendall(b"".join(map(self._encode, requests)))
            replies = [self._reply() for _ in requests]
        except OSError as error:
            raise Gone(str(error)) from error
        self.alive_us = now_us()
        return replies

    def _reply(self) -> Reply:
        while "event" in (reply := self._receive()):
            self.heard += 1
        return reply

    def _receive_text(self) -> Reply:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise Gone("the connection ended")
        reply: Reply = json.loads(line)
        return reply

    def _receive_binary(self) -> Reply:
        (size,) = LENGTH.unpack(self._exactly(LENGTH.size))
        reply: Reply = msgpack.unpackb(self._exactly(size))
        return reply

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise Gone("the connection ended")
        return data

    def close(self) -> None:
        """A second call does nothing."""
        self._file.close()
        self._socket.close()


def _encode_text(request: Request) -> bytes:
    return json.dumps(request, separators=(",", ":")).encode() + b"\n"


def _encode_binary(request: Request) -> bytes:
    body: bytes = msgpack.packb(request)
    return LENGTH.pack(len(body)) + body
