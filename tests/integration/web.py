"""A plain HTTP client for tests: one kept connection, and nothing done behind the test's back."""

import http.client
import json
import socket
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from flashq.testing.cluster import Cluster

JSON: Final = {"content-type": "application/json"}


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        assert self.headers["content-type"].startswith("application/json"), self
        return json.loads(self.body)


class Web:
    """One connection to a cluster's HTTP door. Reads fail after the time-out."""

    def __init__(self, cluster: Cluster, token: str = "", timeout_s: float = 10.0) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", cluster.http_port, timeout=timeout_s)
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        """A request, without waiting for the answer. A body of bytes goes as it is, another as JSON."""
        whole = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None and "content-type" not in whole:
            whole |= JSON
        self.http.request(method, path, body, whole)

    def read(self) -> Answer:
        """Its answer."""
        found = self.http.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request and its answer."""
        self.send(method, path, body, **headers)
        return self.read()

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """As `ask`: the `data` of an answer that must be a success."""
        answer = self.ask(method, path, body, **headers)
        assert answer.status == 200, (method, path, answer)
        found = answer.json()
        assert found["ok"] is True, (method, path, found)
        return found["data"]

    def refused(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> dict[str, Any]:
        """As `ask`: an answer that must be a refusal of this status, with text and code."""
        answer = self.ask(method, path, body, **headers)
        assert answer.status == status, (method, path, answer)
        found: dict[str, Any] = answer.json()
        assert found["ok"] is False, (method, path, found)
        assert found["error"]
        assert found["code"]
        return found


def raw_connection(cluster: Cluster, timeout_s: float = 10.0) -> socket.socket:
    """A bare socket to the HTTP door."""
    return socket.create_connection(("127.0.0.1", cluster.http_port), timeout_s)
