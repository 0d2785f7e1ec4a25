"""A TCP proxy on loopback that cuts connections at the worst moment: the request went through, the answer does not."""

import selectors
import socket
import threading
from types import TracebackType
from typing import Final, Self

_BYTES: Final = 64 * 1024


class CuttingProxy:
    """Forwards to one port. Runs in a thread of its own, from entering its context to leaving it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        """Pairs of connections that were cut."""
        self._armed = 0
        self._other: dict[socket.socket, socket.socket] = {}
        self._servers: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wake.send(b"e")
        self._thread.join()
        for sock in (*self._other, self._listener, self._wake, self._woken):
            sock.close()

    def cut_before_next_answer(self, timeout_s: float = 10.0) -> None:
        """The next answer of the server is thrown away and its connection cut. Returns when that has happened."""
        with self._done:
            before = self.cuts
            self._armed += 1
            if not self._done.wait_for(lambda: self.cuts > before, timeout_s):
                raise AssertionError("the server has answered nothing that could be cut")

    def cut_all(self) -> None:
        """Cut every connection."""
        self._wake.send(b"c")

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._listener:
                    self._accept()
                elif sock is self._woken:
                    if sock.recv(1) == b"e":
                        return
                    for one in list(self._servers):
                        self._cut(one)
                elif sock in self._other:
                    self._forward(sock)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._servers.add(server)
        for sock, other in ((client, server), (server, client)):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._other[sock] = other
            self._selector.register(sock, selectors.EVENT_READ)

    def _forward(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(_BYTES)
        except OSError:
            data = b""
        with self._lock:
            cut = bool(data) and sock in self._servers and self._armed > 0
            self._armed -= cut
        if not data or cut:
            self._cut(sock)
            return
        try:
            self._other[sock].sendall(data)
        except OSError:
            self._cut(sock)

    def _cut(self, sock: socket.socket) -> None:
        other = self._other[sock]
        for one in (sock, other):
            self._selector.unregister(one)
            del self._other[one]
            self._servers.discard(one)
            one.close()
        with self._done:
            self.cuts += 1
            self._done.notify_all()
