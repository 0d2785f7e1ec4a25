"""A bare client of server-sent events: one socket, and what it reads is what was sent."""

import json
import socket
from types import TracebackType
from typing import Any, NamedTuple, Self

from flashq.testing.cluster import Cluster
from tests.integration.web import raw_connection


class Record(NamedTuple):
    """One record of a stream."""

    event: str
    id: str
    data: Any
    comment: bool = False


class EventSource:
    """One stream. Reads fail after the time-out."""

    def __init__(self, cluster: Cluster, path: str, timeout_s: float = 15.0, **headers: str) -> None:
        self.sock: socket.socket = raw_connection(cluster, timeout_s)
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{cluster.http_port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._bytes = b""
        self._text = b""
        head = self._until(b"\r\n\r\n").decode()
        self.status = int(head.split()[1])
        self.headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._bytes:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError(self._bytes[:200])
            self._bytes += data
        found, _, self._bytes = self._bytes.partition(mark)
        return found

    def _chunk(self) -> bytes:
        """The next chunk; empty: the stream has ended in order."""
        size = int(self._until(b"\r\n"), 16)
        while len(self._bytes) < size + 2:
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError("in a chunk")
            self._bytes += data
        found, self._bytes = self._bytes[:size], self._bytes[size + 2 :]
        return found

    def record(self) -> Record | None:
        """The next record, comments and openings too; None at the end."""
        while b"\n\n" not in self._text:
            chunk = self._chunk()
            if not chunk:
                assert not self._text
                return None
            self._text += chunk
        whole, _, self._text = self._text.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in whole.decode().split("\n") if not line.startswith(":"))
        data = json.loads(fields["data"]) if "data" in fields else None
        return Record(fields.get("event", ""), fields.get("id", ""), data, comment=whole.startswith(b":"))

    def opening(self) -> str:
        """The id of the record that every stream begins with."""
        record = self.record()
        assert record is not None
        assert record.comment
        assert record.data is None
        return record.id

    def event(self) -> Record:
        """The next event."""
        while True:
            record = self.record()
            assert record is not None, "the stream ended"
            if record.data is not None:
                return record

    def events(self, n: int) -> list[tuple[str, int]]:
        """The next, by name and job."""
        found = [self.event() for _ in range(n)]
        assert all("job_id" in e.data for e in found), [e for e in found if "job_id" not in e.data]
        return [(e.event, e.data["job_id"]) for e in found]
