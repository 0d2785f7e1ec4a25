"""An HTTP connection: uvicorn's protocol, which tells us when its client has gone, and bounds what strangers cost.

A client that leaves is noticed at once, not at the next look: its pull that waits is withdrawn, no job is lost to it.
"""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from flashq.api.http.calls import Client
from flashq.api.http.marks import CLIENT

STALLS: Final = 3
"""A body may pause this many times as long as a head may take."""


class Hall:
    """What the connections of one process share."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: Config, *, next_gid: Callable[[], int],
        on_gone: Callable[[Client], None], on_pipelined: Callable[[Client], None], head_bytes_max: int, head_s: float,
    ) -> None:  # fmt: skip
        """`on_gone`: a client has left. `on_pipelined`: one sent a request while another of it is in work.

        `head_bytes_max`: of request line and headers together; `head_s`: how long they may take once they have begun,
        and how long a new connection may be silent.
        """
        self.head_bytes_max = head_bytes_max
        self.head_s = head_s
        self.loop = loop
        self.config = config
        self.state = ServerState()
        self.next_gid = next_gid
        self.on_gone = on_gone
        self.on_pipelined = on_pipelined
        self._dated = -1.0

    def connection(self) -> "HttpConnection":
        """For one more client."""
        return HttpConnection(self)

    def put_date(self) -> None:
        """Keep the header Date true to the second, at the cost of a look at the clock."""
        now = self.loop.time()
        if now - self._dated >= 1.0:
            self._dated = now
            self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]


class SocketConnection(WebSocketsSansIOProtocol):
    """A connection that has become a WebSocket."""

    flashq: Client
    _on_gone: Callable[[Client], None]

    def belongs_to(self, client: Client, on_gone: Callable[[Client], None]) -> None:
        """Whose it is, and who wants to know when it has gone. Called before the application is."""
        self.flashq = client
        self._on_gone = on_gone
        if hasattr(self, "scope"):  # else the handshake was wrong, and has been answered
            self.scope[CLIENT] = client  # type: ignore[typeddict-unknown-key]

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        super().connection_lost(exc)
        self.flashq.leave()
        self._on_gone(self.flashq)


class HttpConnection(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, hall: Hall) -> None:
        super().__init__(hall.config, hall.state, {}, hall.loop)
        self.flashq: Client
        self._hall = hall
        self._patience: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        host, port = self.client or ("", 0)
        self.flashq = Client(self._hall.next_gid(), f"{host}:{port}")
        self._wait(self._hall.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        super().connection_lost(exc)
        self._wait(None)
        self.flashq.leave()
        self._hall.on_gone(self.flashq)

    def handle_websocket_upgrade(self) -> None:
        """It goes on as a WebSocket, still the same client."""
        super().handle_websocket_upgrade()
        self._wait(None)
        cast(SocketConnection, self.transport.get_protocol()).belongs_to(self.flashq, self._hall.on_gone)

    def eof_received(self) -> bool:  # type: ignore[override]
        """It sends nothing more: what it asked is answered, unless it waits for jobs, which then may be lost on it."""
        if self._at_rest() or self.cycle.more_body or self.flashq.waits:
            return False
        self.cycle.keep_alive = False
        self.flashq.crowded = True  # what it asked may not have begun yet; nobody could tell later that it has left
        return self.scheme != "https"  # half of a TLS connection cannot be closed

    def data_received(self, data: bytes) -> None:
        """Read. What takes too long, or grows too large before it is a request, is ended."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            most = self._hall.head_bytes_max
            if self._head_bytes > most:
                self._refuse(b"431 Request Header Fields Too Large", b"Request head too large (max %d bytes)" % most)
            elif self._patience is None:
                self._wait(self._hall.head_s)
        elif self._at_rest() or not self.cycle.more_body:
            self._wait(None)
        else:
            self._wait(STALLS * self._hall.head_s)

    def _at_rest(self) -> bool:
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return cycle is None or cycle.response_complete

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._hall.put_date()
        self.scope[CLIENT] = self.flashq  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Its head is known."""
        self._in_head = False
        super().on_headers_complete()
        if self.pipeline:
            self.flashq.crowded = True
            self._hall.on_pipelined(self.flashq)

    def on_response_complete(self) -> None:
        """A request is answered; the next of this connection begins."""
        super().on_response_complete()
        self.flashq.principal = ""
        self.flashq.crowded = bool(self.pipeline)

    def _wait(self, patience_s: float | None) -> None:
        """Be patient for so long from now; None: for ever."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if patience_s is not None:
            self._patience = self.loop.call_later(patience_s, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        self._refuse(b"408 Request Timeout", b"No request within the time allowed")

    def _refuse(self, status: bytes, words: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (status, len(words), words)
        )
        self.transport.close()
