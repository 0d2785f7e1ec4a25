"""The stream gateway: all connections of one process, whichever process that is."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from flashq.access.access import ANYONE, STRANGER, Access
from flashq.access.standing import Standing
from flashq.api.stream.connection import Bounds, Connection
from flashq.api.stream.ticks import Ticks
from flashq.clock import Clock
from flashq.config import Settings
from flashq.protocol.dispatch import Codec, Dispatcher
from flashq.transport.handover import Handed, HandoverSender
from flashq.transport.tls import HANDSHAKE_S, HANDSHAKES_MAX

log = structlog.get_logger()


def _never(gid: int, shard: int) -> None:
    """Nothing is handed on from here."""


def _nobody(gid: int) -> None:
    """Nothing has left."""


class StreamGateway:
    """Adopts sockets and serves them through a dispatcher."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, settings: Settings, dispatcher: Dispatcher,
        access: Access, *, on_begin: Callable[[int, int], None], on_end: Callable[[], list[Any] | None], inline: bool,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._dispatcher = dispatcher
        self._access = access
        self._standing = Standing(loop, access, self._sweep)
        self._strangers_s = settings.preauth_timeout_ms / 1_000
        self._strangers: deque[tuple[float, Connection]] = deque()
        """Until when those that have shown no token may take to do so; all have the same time."""
        self._strangers_timer: asyncio.TimerHandle | None = None
        self.ticks = Ticks(
            loop, clock, bytes_max=settings.tick_bytes_max, inline=inline, on_begin=on_begin, on_end=on_end
        )
        self._bounds = Bounds(
            settings.frame_bytes_max, settings.in_flight_bytes_max, settings.in_flight_requests_max,
            settings.preauth_frame_bytes_max,
        )  # fmt: skip
        self._connections: set[Connection] = set()
        self._sender: HandoverSender | None = None
        self._leaving: Callable[[int, int], list[int] | None] = _never
        self._left: Callable[[int], None] = _nobody
        self._adopting: set[asyncio.Task[object]] = set()
        self._holding_input = False

    def __len__(self) -> int:
        return len(self._connections)

    def adopt(self, sock: socket.socket, gid: int, head: bytes, principal: str, codec: Codec | None = None) -> None:
        """Serve a connection from now on; `head` was read of it so far, `codec` is what it speaks, if known."""
        connection = Connection(
            gid, self._dispatcher, self.ticks, self._bounds, first=head, principal=self._who(principal),
            on_lost=self._connections.discard,
        )  # fmt: skip
        connection.on_wander = self._wander
        if codec is not None:
            connection.codec, connection.first = codec, None
        connection.holds_input = self._holding_input
        self._connections.add(connection)
        self._watch_stranger(connection)
        task = self._loop.create_task(self._connect(sock, connection))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    def adopt_sealed(self, sock: socket.socket, gid: int, context: ssl.SSLContext) -> None:
        """Serve a connection once its TLS handshake is done; it stays in this process for good."""
        if len(self._adopting) >= HANDSHAKES_MAX:
            sock.close()
            return
        task = self._loop.create_task(self._unseal(sock, gid, context))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _unseal(self, sock: socket.socket, gid: int, context: ssl.SSLContext) -> None:
        connection = Connection(
            gid, self._dispatcher, self.ticks, self._bounds, principal=self._who(""),
            on_lost=self._connections.discard, sealed=True,
        )  # fmt: skip
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, asyncio.CancelledError) as error:
            sock.close()
            log.info("a TLS handshake failed", reason=str(error) or type(error).__name__)
            return
        if not connection.lost:
            self._connections.add(connection)
            self._watch_stranger(connection)

    def _watch_stranger(self, connection: Connection) -> None:
        if not connection.principal:
            self._strangers.append((self._loop.time() + self._strangers_s, connection))
            self._plan_strangers()

    def _who(self, principal: str) -> str:
        """Who a connection is that comes with this principal, or with none. One that stands no more is a stranger."""
        if principal and self._access.stands(principal):
            return principal
        return "" if self._access.required else ANYONE

    def _sweep(self) -> None:
        """Cut the connections of tokens that are good no more, and of those who came when everybody might."""
        for connection in list(self._connections):
            if connection.principal and not self._access.stands(connection.principal):
                connection.cut(f"{STRANGER}: the token is not valid any more")

    def _plan_strangers(self) -> None:
        if self._strangers and self._strangers_timer is None:
            self._strangers_timer = self._loop.call_at(self._strangers[0][0], self._sweep_strangers)

    def _sweep_strangers(self) -> None:
        self._strangers_timer = None
        now = self._loop.time()
        while self._strangers and (self._strangers[0][0] <= now or self._strangers[0][1].principal):
            _, connection = self._strangers.popleft()
            if not connection.principal:
                connection.cut(f"{STRANGER}: no token within the time allowed before login")
        self._plan_strangers()

    def let_wander(
        self, sender: HandoverSender, leaving: Callable[[int, int], list[int] | None], left: Callable[[int], None]
    ) -> None:
        """Connections may be handed on to shards. `leaving(gid, shard)`: the shards that may hold something of one that
        is about to move there; None if it must stay. `left(gid)`: it lives there now.
        """
        self._sender, self._leaving, self._left = sender, leaving, left

    def _wander(self, connection: Connection, shard: int) -> bool:
        """A connection keeps talking to another shard: it moves there, with what is known of it."""
        holders = self._leaving(connection.gid, shard) if self._sender is not None else None
        if holders is None or self._sender is None:
            return False
        protocol = "text" if connection.codec is Codec.TEXT else "binary"
        principal = "" if connection.principal == ANYONE else connection.principal
        handed = Handed(connection.gid, protocol, principal, b"", holders=holders)
        if not connection.hand_on(self._sender, shard, handed):
            return False
        self._left(connection.gid)
        return True

    def hold_input(self, on: bool) -> None:
        """Read nothing of any connection until this is taken back."""
        self._holding_input = on
        for connection in self._connections:
            connection.hold_input(on)

    async def _connect(self, sock: socket.socket, connection: Connection) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, sock)
        except OSError:
            self._connections.discard(connection)
            sock.close()

    async def stop(self) -> None:
        """Answer what was asked, then close every connection."""
        self._standing.stop()
        if self._strangers_timer is not None:
            self._strangers_timer.cancel()
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
