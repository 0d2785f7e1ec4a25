"""The suite's own client: one socket, either codec, nothing done behind a test's back.

It knows the framing of the protocol and nothing of any implementation: JSON lines, or four bytes of length and a
MessagePack map. Every read has a deadline, so a server that says nothing fails the test instead of hanging it.
"""

import json
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import msgpack

Reply = dict[str, Any]
TEXT: Final = "text"
MSGPACK: Final = "msgpack"
CODECS: Final = (TEXT, MSGPACK)
PREFIXES: Final = {TEXT: "Invalid: ", MSGPACK: "MessagePack deserialize error: "}
"""How the error of a request that does not parse begins."""
READ_S: Final = 20.0
"""Longest wait for one reply; far above what any test asks a server to wait."""


def encoded(codec: str, request: object) -> bytes:
    """One request as it travels."""
    return framed(codec, packed(codec, request))


def packed(codec: str, request: object) -> bytes:
    """One request without a frame."""
    if codec == TEXT:
        return json.dumps(request, separators=(",", ":")).encode()
    packed: bytes = msgpack.packb(request)
    return packed


def framed(codec: str, body: bytes) -> bytes:
    """One frame around any bytes."""
    return body + b"\n" if codec == TEXT else len(body).to_bytes(4, "big") + body


class Peer:
    """One connection to a server."""

    def __init__(self, sock: socket.socket, codec: str) -> None:
        sock.settimeout(READ_S)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.codec = codec
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    # -- bytes

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.sock.sendall(data)

    def frame(self, body: bytes) -> None:
        """One frame around any bytes."""
        self.raw(framed(self.codec, body))

    def read_bytes(self) -> bytes:
        """The next reply, undecoded: a line without its LF, or a frame's body. Raises ConnectionError at the end."""
        if self.codec == TEXT:
            return self._line()
        return self._take(int.from_bytes(self._take(4), "big"))

    def closed(self) -> bool:
        """Wait for the server to close; false if it says something first."""
        try:
            return not self._buffer and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    # -- requests

    def send(self, cmd: str, **fields: Any) -> None:
        """One request, without waiting for its reply."""
        self.raw(encoded(self.codec, {"cmd": cmd, **fields}))

    def read(self) -> Reply:
        """The next reply."""
        body = self.read_bytes()
        reply = json.loads(body) if self.codec == TEXT else msgpack.unpackb(body)
        assert isinstance(reply, dict), reply
        assert isinstance(reply.get("ok"), bool) or "event" in reply, reply
        return reply

    def ask(self, cmd: str, **fields: Any) -> Reply:
        """One request and its reply."""
        self.send(cmd, **fields)
        return self.read()

    def ok(self, cmd: str, **fields: Any) -> Reply:
        """As `ask`; the reply must be a success."""
        reply = self.ask(cmd, **fields)
        assert reply["ok"] is True, f"{cmd} {_short(fields)} -> {_short(reply)}"
        assert "error" not in reply, reply
        return reply

    def no(self, cmd: str, **fields: Any) -> str:
        """As `ask`; the reply must be a refusal. Its text."""
        return str(self.refusal(cmd, **fields)["error"])

    def refusal(self, cmd: str, **fields: Any) -> Reply:
        """As `ask`; the reply must be a refusal, with text and code."""
        return refused(self.ask(cmd, **fields), f"{cmd} {_short(fields)}")

    # -- the usual

    def push(self, queue: str, data: object = None, **options: Any) -> int:
        """Push one job; its id."""
        return int(self.ok("PUSH", queue=queue, data=data, **options)["id"])

    def pull(self, queue: str, timeout: int = 0, **options: Any) -> Reply:
        """Pull one job, which must be there within `timeout` ms."""
        job = self.ok("PULL", queue=queue, timeout=timeout, **options)["job"]
        assert job is not None, f"nothing to pull from {queue} in {timeout} ms"
        assert isinstance(job, dict)
        return job

    def nothing(self, queue: str) -> None:
        """No job of the queue is ready."""
        assert self.ok("PULL", queue=queue, timeout=0)["job"] is None

    def drain(self, queue: str) -> list[Reply]:
        """Every job that is ready, in order; they are active afterwards."""
        return list(self.ok("PULLB", queue=queue, count=1000, timeout=0)["jobs"])

    def state(self, job_id: int) -> str:
        """A job's state."""
        return str(self.ok("GETSTATE", id=job_id)["state"])

    def job(self, job_id: int) -> Reply:
        """A job that is known."""
        job = self.ok("GETJOB", id=job_id)["job"]
        assert isinstance(job, dict), f"job {job_id} is not known"
        return job

    # -- reading

    def _line(self) -> bytes:
        at = 0
        while (end := self._buffer.find(b"\n", at)) < 0:
            at = len(self._buffer)
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._buffer += data


def refused(reply: Reply, what: str = "") -> Reply:
    """The reply, which must be a refusal with text and code."""
    assert reply["ok"] is False, f"{what} -> {_short(reply)}"
    assert isinstance(reply["error"], str), reply
    assert reply["error"], reply
    assert isinstance(reply["code"], str), reply
    assert reply["code"] != "internal", reply
    return reply


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 500 else text[:500] + "…"


def until(c: Peer, holds: Callable[[], bool]) -> None:
    """Wait for what becomes true by itself, some seconds at most."""
    for _ in range(250):
        if holds():
            return
        c.ok("PULL", queue="nobody-pushes-here", timeout=20)
    raise AssertionError("it did not become true")
