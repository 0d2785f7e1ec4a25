"""A receiver of webhooks, on loopback: keeps what it got, and answers as it is told."""

import http.server
import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self


class Got(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """What it tells."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def delivery(self) -> str:
        """Its number."""
        return self.headers["x-flashq-delivery"]


class Receiver:
    """See above. `status(got)` says how a request is answered; it may block."""

    def __init__(self, status: Callable[[Got], int] = lambda got: 200) -> None:
        self.status = status
        self.got: list[Got] = []
        self._changed = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                one = Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                with outer._changed:
                    outer.got.append(one)
                    outer._changed.notify_all()
                try:
                    self.send_response(outer.status(one))
                    self.send_header("content-length", "0")
                    self.end_headers()
                except ConnectionError:
                    return  # the sender was killed meanwhile

            def log_message(self, *_: object) -> None:
                """The test tells what went wrong."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, true: Callable[[list[Got]], bool], timeout_s: float = 20.0) -> list[Got]:
        """What it has got, once that is as wanted."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not true(self.got):
                left = deadline - time.monotonic()
                assert left > 0, f"not in time; it has {[(g.delivery, g.event['event']) for g in self.got]}"
                self._changed.wait(left)
            return list(self.got)
