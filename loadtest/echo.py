"""The floor: a bare uvloop echo, which may write and sync 200 bytes before it answers.

python -m loadtest.echo PORT [FILE]
"""

import asyncio
import os
import sys
from typing import cast

import uvloop

RECORD = bytes(200)


class Echo(asyncio.Protocol):
    """Sends back what comes, as it comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's inherits from none of asyncio's

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class SyncedEcho(Echo):
    """The least that a server can do that keeps its word over a power cut: append, sync, answer."""

    def __init__(self, file: int) -> None:
        self.file = file

    def data_received(self, data: bytes) -> None:
        os.write(self.file, RECORD)
        os.fdatasync(self.file)
        self.transport.write(data)


async def serve(port: int, file: int | None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo if file is None else lambda: SyncedEcho(file), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    path = sys.argv[2] if len(sys.argv) > 2 else None
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    uvloop.run(serve(int(sys.argv[1]), os.open(path, flags, 0o600) if path else None))
