"""The client's end: raw sockets, requests encoded before the clock starts, replies parsed after it stops.

What a client does per request is measured with the server, so it does next to nothing: send bytes that lie ready,
receive, count line ends, and note times.
"""

import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

RECEIVE_BYTES: Final = 1 << 20
SILENCE_S: Final = 30.0
"""A server that says nothing for so long has failed."""


@dataclass(frozen=True)
class Requests:
    """Requests of equal length, end to end: any run of them is one slice."""

    blob: bytes
    size: int
    """Bytes of one request."""

    @classmethod
    def of(cls, requests: list[bytes]) -> "Requests":
        """Raises ValueError unless all are equally long."""
        size = len(requests[0])
        if any(len(request) != size for request in requests):
            raise ValueError("requests differ in length")
        return cls(b"".join(requests), size)

    @property
    def count(self) -> int:
        return len(self.blob) // self.size

    def one(self, number: int) -> bytes:
        at = number * self.size
        return self.blob[at : at + self.size]


class SilentServerError(RuntimeError):
    """The server did not answer in time, or closed the connection."""


class Line:
    """A connection for one request at a time."""

    def __init__(self, port: int, greeting: bytes = b"", greeting_lines: int = 0) -> None:
        """`greeting` is sent, and that many lines of reply read, before anything is measured."""
        self._socket = socket.create_connection(("127.0.0.1", port), SILENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Blocking for good: Python's own timeouts put a poll before each call, 2 us that are not the server's.
        # The kernel's are free; they end a call with EAGAIN.
        timeout = int(SILENCE_S).to_bytes(8, "little") + bytes(8)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self.send = self._socket.sendall
        self.receive = self._socket.recv
        self.fileno = self._socket.fileno
        if greeting:
            self.ask(greeting, greeting_lines)

    def ask(self, request: bytes, lines: int = 1) -> bytes:
        """Send, and receive that many lines of reply."""
        self.send(request)
        return self.hear(lines)

    def hear(self, lines: int = 1) -> bytes:
        """Receive that many lines."""
        data = self._more()
        if data.endswith(b"\n") and (lines == 1 or data.count(b"\n") >= lines):
            return data
        parts, seen = [data], data.count(b"\n")
        while seen < lines or not parts[-1].endswith(b"\n"):
            data = self._more()
            parts.append(data)
            seen += data.count(b"\n")
        return b"".join(parts)

    def _more(self) -> bytes:
        try:
            data = self.receive(RECEIVE_BYTES)
        except BlockingIOError:
            raise SilentServerError(f"no answer in {SILENCE_S:.0f} s") from None
        if not data:
            raise SilentServerError("the server closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
