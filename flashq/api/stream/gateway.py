"""The stream gateway: all connections of one process, whichever process that is."""

import asyncio
import socket
from collections.abc import Callable

from flashq.api.stream.connection import Bounds, Connection
from flashq.api.stream.ticks import Ticks
from flashq.clock import Clock
from flashq.config import Settings
from flashq.protocol.dispatch import Dispatcher


class StreamGateway:
    """Adopts sockets and serves them through a dispatcher."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, settings: Settings, dispatcher: Dispatcher, *,
        on_begin: Callable[[int, int], None], on_end: Callable[[], None], inline: bool,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._dispatcher = dispatcher
        self._anyone = "" if settings.auth_tokens else "anyone"
        """Who a connection is before a token was shown."""
        self.ticks = Ticks(
            loop, clock, bytes_max=settings.tick_bytes_max, inline=inline, on_begin=on_begin, on_end=on_end
        )
        self._bounds = Bounds(
            settings.frame_bytes_max, settings.in_flight_bytes_max, settings.in_flight_requests_max,
            settings.preauth_frame_bytes_max,
        )  # fmt: skip
        self._connections: set[Connection] = set()
        self._adopting: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def adopt(self, sock: socket.socket, gid: int, head: bytes, principal: str) -> None:
        """Serve a connection from now on; `head` is what was read of it so far."""
        connection = Connection(
            gid, self._dispatcher, self.ticks, self._bounds, first=head, principal=principal or self._anyone,
            on_lost=self._connections.discard,
        )  # fmt: skip
        self._connections.add(connection)
        task = self._loop.create_task(self._connect(sock, connection))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _connect(self, sock: socket.socket, connection: Connection) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, sock)
        except OSError:
            self._connections.discard(connection)
            sock.close()

    async def stop(self) -> None:
        """Answer what was asked, then close every connection."""
        if self._adopting:
            await asyncio.wait(self._adopting, timeout=1)
        self.ticks.end()
        for connection in list(self._connections):
            connection.finish()
        for _ in range(50):
            if not self._connections:
                return
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
