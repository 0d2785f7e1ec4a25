"""A door with an `Arrivals` behind it, in a loop that runs only while a test waits for something."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from flashq.access.access import Access
from flashq.config import Settings
from flashq.protocol.head import Head
from flashq.router.arrivals import Arrivals

PATIENCE_S = 10.0


class Placed(NamedTuple):
    """A connection that got its place."""

    sock: socket.socket
    data: bytes
    head: Head | None


class Door:
    """What a test needs of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, descriptors_max: int = 20_000) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.placed: list[Placed] = []
        self.address = self.listener.getsockname()
        self.arrivals = Arrivals(
            loop,
            [self.listener],
            settings,
            self._on_head,
            Access(settings.auth_tokens),
            descriptors_max=descriptors_max,
        )
        self.arrivals.open()
        self.clients: list[socket.socket] = []

    def _on_head(self, sock: socket.socket, data: bytes, head: Head | None) -> None:
        self.placed.append(Placed(sock, data, head))

    def client(self, data: bytes = b"") -> socket.socket:
        """A connection that sends this; its reads do not wait."""
        client = socket.create_connection(self.address, PATIENCE_S)
        client.sendall(data)
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def until(self, condition: Callable[[], object]) -> None:
        """Run the loop until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never came to that"
            await asyncio.sleep(0.001)

    async def answer(self, client: socket.socket) -> bytes:
        """All that a client gets until its connection ends."""
        loop = asyncio.get_running_loop()
        parts = []
        async with asyncio.timeout(PATIENCE_S):
            while data := await loop.sock_recv(client, 65536):
                parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        self.arrivals.close()
        for sock in (*self.clients, *(placed.sock for placed in self.placed)):
            sock.close()


def with_door(
    test: Callable[[Door], Coroutine[Any, Any, None]], settings: Settings | None = None, descriptors_max: int = 20_000
) -> None:
    """Run a test's coroutine with a door of its own."""

    async def run() -> None:
        door = Door(asyncio.get_running_loop(), settings or Settings(), descriptors_max)
        try:
            await test(door)
        finally:
            door.close()

    asyncio.run(run())
