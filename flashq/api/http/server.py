"""The listening end: connections from an open door to an application, until told to stop."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

from uvicorn.config import Config

from flashq.api.calls import Call
from flashq.api.http.asgi import App
from flashq.api.http.calls import Client
from flashq.api.http.connection import Hall, HttpConnection, SocketConnection
from flashq.transport.child import ChildContext
from flashq.transport.forwarding import Forwarder
from flashq.transport.tls import HANDSHAKE_S, Certificates

LOOK_S: Final = 0.02
"""Between looks while we stop."""
PING_S: Final = 30.0
SILENT_S: Final = 120.0
"""A WebSocket that answers no ping is ended after so long."""
MESSAGE_BYTES_MAX: Final = 64 << 10
"""What a client may send on a WebSocket at once; but for a token, it is ignored."""


class HttpServer:
    """Takes connections in and serves them."""

    def __init__(self, ctx: ChildContext, app: App, forwarder: Forwarder) -> None:
        self._loop = asyncio.get_running_loop()
        self._ctx = ctx
        self._forwarder = forwarder
        self._number = 0
        self._servers: list[asyncio.Server] = []
        self._listeners: Sequence[socket.socket] = ()
        self._certificates = Certificates(ctx.settings)
        self._renewing: asyncio.Task[None] | None = None
        config = Config(
            app, interface="asgi3", lifespan="off", ws=SocketConnection, http="httptools", log_config=None,
            access_log=False, proxy_headers=False, server_header=False,
            ws_max_size=MESSAGE_BYTES_MAX, ws_ping_interval=PING_S, ws_ping_timeout=SILENT_S - PING_S,
            ws_per_message_deflate=False, timeout_keep_alive=max(1, ctx.settings.http_keep_alive_ms // 1000),
        )  # fmt: skip
        # It notes each WebSocket with its whole address, and there may be a token in that.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        config.load()
        self._hall = Hall(
            self._loop, config, next_gid=self._next_gid, on_gone=self._gone, on_pipelined=self._end_waits,
            head_bytes_max=ctx.settings.preauth_frame_bytes_max, head_s=ctx.settings.preauth_timeout_ms / 1_000,
        )  # fmt: skip

    def _next_gid(self) -> int:
        self._number += 1
        return self._ctx.gid(self._number)

    def _gone(self, client: Client) -> None:
        self._forwarder.gone(client.gid)

    def _end_waits(self, client: Client) -> None:
        """A pull that waits is answered with what there is.

        So too where another request came in behind it: reading stops then, and with it we would not see its client
        leave and might give it jobs.
        """
        self._forwarder.ended(client.gid)
        if client.listener is not None:
            client.listener.end()

    def _connections(self) -> Iterator[HttpConnection]:
        return iter(cast(list[HttpConnection], list(self._hall.state.connections)))

    def sweep(self, stands: Callable[[str], bool]) -> None:
        """Cut the connections on which something is under way for somebody who may not any more."""
        for one in self._connections():
            if one.flashq.principal and not stands(one.flashq.principal):
                one.transport.abort()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._hall.state.connections)

    @property
    def requests(self) -> int:
        """How many were answered."""
        return self._hall.state.total_requests

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Returns when connections are taken in."""
        self._listeners = listeners
        for listener in listeners:
            listener.setblocking(False)
        await self._listen()
        self._certificates.on_change.append(self._renew)
        self._ctx.control.on_reload.append(self._certificates.reload)

    async def _listen(self) -> None:
        """Take connections in under the certificate of now. Those that are there keep theirs."""
        context = self._certificates.context
        handshake_s = None if context is None else HANDSHAKE_S
        old, self._servers = self._servers, []
        for listener in self._listeners:
            # A copy: its server closes it, and the door stays open for the next.
            server = await self._loop.create_server(
                self._hall.connection, sock=listener.dup(), ssl=context, ssl_handshake_timeout=handshake_s
            )
            self._servers.append(server)
        for server in old:
            server.close()

    def _renew(self) -> None:
        self._renewing = self._loop.create_task(self._listen())

    async def stop(self) -> None:
        """Take nothing new, answer what is asked, pulls that wait with what there is; then close."""
        if self._renewing is not None:
            await self._renewing
        for server in self._servers:
            server.close()
        self._servers.clear()
        for listener in self._listeners:
            listener.close()
        for one in self._connections():
            one.shutdown()
        told: set[Call] = set()
        deadline = self._loop.time() + self._ctx.settings.stop_timeout_ms / 2_000
        while self.connections and self._loop.time() < deadline:
            for one in self._connections():
                call = one.flashq.call
                if call is not None and call not in told:
                    told.add(call)
                    self._end_waits(one.flashq)
            await asyncio.sleep(LOOK_S)
        for one in self._connections():
            one.transport.abort()
