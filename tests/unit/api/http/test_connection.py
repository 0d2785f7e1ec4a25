"""A connection whose client sends a request and leaves in one turn of the loop, before the request had its own."""

import asyncio
from typing import Any, cast

import pytest
from uvicorn.config import Config

from flashq.api.http.connection import Hall
from flashq.api.http.marks import CLIENT


class Transport(asyncio.Transport):
    """To nobody."""

    def __init__(self, *, sealed: bool) -> None:
        super().__init__({"sslcontext": object()} if sealed else {})
        self.closed = False
        self.written = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4711) if name in ("peername", "sockname") else super().get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def write(self, data: Any) -> None:
        self.written += bytes(data)


@pytest.mark.parametrize("sealed", [False, True])
async def test_request_that_came_with_the_end_of_its_client_is_known_to_wait_for_nothing(sealed: bool) -> None:
    seen: list[tuple[bool, bool]] = []
    gone: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        client = scope[CLIENT]
        seen.append((client.lost, client.crowded))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    loop = asyncio.get_running_loop()
    config = Config(app=app, lifespan="off")
    config.load()
    hall = Hall(
        loop, config, next_gid=lambda: 7, on_gone=lambda client: gone.append(client.gid),
        on_pipelined=lambda client: None, head_bytes_max=16_384, head_s=5.0,
    )  # fmt: skip
    connection, transport = hall.connection(), Transport(sealed=sealed)
    connection.connection_made(cast(asyncio.Transport, transport))
    connection.data_received(b"GET /queues/mail/jobs HTTP/1.1\r\nhost: a\r\n\r\n")
    stays_open = connection.eof_received()
    if not stays_open:
        transport.close()
        connection.connection_lost(None)
    async with asyncio.timeout(20):
        while not seen:
            await asyncio.sleep(0)
    assert stays_open is not sealed  # half of a TLS connection cannot be closed
    assert seen == [(sealed, True)]
    assert gone == ([7] if sealed else [])
