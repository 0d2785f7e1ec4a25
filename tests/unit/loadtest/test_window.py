"""Both window drivers, on an echo: every request is sent once, every reply is had, never more are in flight."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from loadtest.sockets import Line, Requests, SilentServerError
from loadtest.window import Driver, library, run_compiled, run_python


class Echo:
    """Sends back what comes, and remembers the most that it had unanswered of one connection."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.largest = 0
        self.hang_up_after = 0
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(client,))
            thread.start()
            self._threads.append(thread)
            if not self._size:
                return

    def _serve(self, client: socket.socket) -> None:
        served = 0
        with client:
            while data := client.recv(1 << 16):
                self.largest = max(self.largest, len(data) // max(self._size, 1))
                served += len(data)
                if self.hang_up_after and served >= self.hang_up_after:
                    return
                client.sendall(data)

    def close(self) -> None:
        self._size = 0
        socket.create_connection(("127.0.0.1", self.port)).close()  # so that accept returns, and ends
        self._acceptor.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()


REQUESTS = Requests.of([b"%015d\n" % number for number in range(1_000)])


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo(REQUESTS.size)
    yield echo
    echo.close()


@pytest.fixture(params=["compiled", "python"])
def run(request: pytest.FixtureRequest) -> Driver:
    if request.param == "python":
        return run_python
    assert library() is not None, "no C compiler (cc) here: the load test falls back to Python, this test cannot"
    return run_compiled


@pytest.mark.parametrize(("connections", "depth"), [(1, 1), (7, 1), (1, 64), (3, 10)])
def test_every_request_is_answered_once(run: Driver, echo: Echo, connections: int, depth: int) -> None:
    with contextlib.ExitStack() as open_lines:
        lines = [open_lines.enter_context(contextlib.closing(Line(echo.port))) for _ in range(connections)]
        replies = run(lines, depth, REQUESTS)
    assert sorted(replies.received.split()) == REQUESTS.blob.split()
    assert len(replies.latencies_ns) == REQUESTS.count
    assert 0 < min(replies.latencies_ns) <= max(replies.latencies_ns) <= replies.elapsed_ns
    assert 1 <= echo.largest <= depth


def test_server_that_hangs_up_is_an_error(run: Driver, echo: Echo) -> None:
    echo.hang_up_after = 100 * REQUESTS.size
    with contextlib.closing(Line(echo.port)) as line, pytest.raises(SilentServerError, match="closed"):
        run([line], 1, REQUESTS)


def test_requests_have_one_length() -> None:
    with pytest.raises(ValueError, match="differ"):
        Requests.of([b"a\n", b"bc\n"])
