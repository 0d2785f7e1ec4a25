"""A plain client for tests of the wire: one socket, either codec, and nothing done behind the test's back."""

import json
import os
import socket
from types import TracebackType
from typing import Any, Final, Self

import msgpack

from flashq.testing.cluster import Cluster

Reply = dict[str, Any]
TEXT: Final = "text"
BINARY: Final = "binary"
CODECS: Final = (TEXT, BINARY)
PLACES: Final = ("own", "other", "router")
"""Where a request meets the connection: its queue's shard, another shard, the router."""
JOB_KEYS: Final = [
    "id", "queue", "data", "priority", "created_at", "run_at", "started_at", "attempts", "max_attempts", "backoff",
    "ttl", "timeout", "unique_key", "depends_on", "progress", "progress_msg", "tags", "lifo", "remove_on_complete",
    "remove_on_fail", "last_heartbeat", "stall_timeout", "stall_count", "parent_id", "children_ids",
    "children_completed", "custom_id", "keep_completed_age", "keep_completed_count", "completed_at", "group_id",
]  # fmt: skip


def encoded(codec: str, request: Reply) -> bytes:
    """One request as it travels."""
    if codec == TEXT:
        return json.dumps(request).encode() + b"\n"
    body: bytes = msgpack.packb(request)
    return len(body).to_bytes(4, "big") + body


class Wire:
    """One connection. Reads fail after the socket's timeout."""

    def __init__(self, sock: socket.socket, codec: str = TEXT) -> None:
        self.sock = sock
        self.codec = codec
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def encode(self, request: Reply) -> bytes:
        """One request as it travels."""
        return encoded(self.codec, request)

    def send(self, cmd: str, **fields: Any) -> None:
        """One request, without waiting for its reply."""
        self.sock.sendall(self.encode({"cmd": cmd, **fields}))

    def frame(self, payload: bytes) -> None:
        """One frame of any bytes."""
        self.sock.sendall(payload + b"\n" if self.codec == TEXT else len(payload).to_bytes(4, "big") + payload)

    def read(self) -> Reply:
        """The next reply. Raises ConnectionError at the end."""
        if self.codec == TEXT:
            reply: Reply = json.loads(self._until_line())
            return reply
        size = int.from_bytes(self._take(4), "big")
        unpacked: Reply = msgpack.unpackb(self._take(size))
        return unpacked

    def ask(self, cmd: str, **fields: Any) -> Reply:
        """One request and its reply."""
        self.send(cmd, **fields)
        return self.read()

    def ok(self, cmd: str, **fields: Any) -> Reply:
        """As `ask`; the reply must be a success."""
        reply = self.ask(cmd, **fields)
        assert reply["ok"] is True, (cmd, fields, reply)
        assert reply["success"] is True
        return reply

    def refused(self, cmd: str, **fields: Any) -> Reply:
        """As `ask`; the reply must be a refusal with text and code."""
        reply = self.ask(cmd, **fields)
        assert reply["ok"] is False, (cmd, fields, reply)
        assert reply["error"]
        assert reply["code"]
        return reply

    def closed(self) -> bool:
        """Wait for the end; whether it came with nothing unread before it."""
        try:
            return not self._buffer and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _until_line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise ConnectionError("the server has closed")
        self._buffer += data


class Place:
    """Names and connections for one way through the cluster."""

    def __init__(self, cluster: Cluster, where: str, codec: str) -> None:
        self.cluster = cluster
        self.where = where
        self.codec = codec
        tag = f"{where[0]}{codec[0]}{os.urandom(4).hex()}-"
        self._names = cluster.queues_of(0, tag)
        self._foreign = cluster.queues_of(1, f"x{tag}")

    def queue(self) -> str:
        """A queue of the first shard that nobody has used."""
        return next(self._names)

    def foreign(self) -> str:
        """A queue of the second shard that nobody has used."""
        return next(self._foreign)

    def connect(self) -> Wire:
        """A connection that lives where this place says."""
        wire = Wire(self.cluster.connect(), self.codec)
        if self.where == "router":
            wire.ok("STATS")
        else:
            wire.ok("COUNT", queue=self.queue() if self.where == "own" else self.foreign())
        return wire


def counts(wire: Wire, queue: str) -> Reply:
    """What STATS says of one queue."""
    found: Reply = wire.ok("STATS")["queues"].get(queue, {})
    return found
