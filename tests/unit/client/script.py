"""A server that says what a test tells it to: real sockets and frames, no queue behind them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

Fields = dict[str, Any]
Answer = Callable[["Peer", Fields], Mapping[str, object] | None]
"""What to reply to a request; None for nothing (yet), CLOSE to die instead."""
CLOSE: Final[Mapping[str, object]] = {"close": True}


class Peer:
    """One client's connection, as the server sees it."""

    def __init__(self, number: int, writer: asyncio.StreamWriter, text: bool) -> None:
        self.number = number
        self._writer = writer
        self._text = text

    def send(self, reply: Mapping[str, object]) -> None:
        """Send a reply out of turn."""
        if self._text:
            self._writer.write(msgspec.json.encode(reply) + b"\n")
        else:
            body = msgspec.msgpack.encode(reply)
            self._writer.write(len(body).to_bytes(4, "big") + body)

    def send_bytes(self, data: bytes) -> None:
        """Send anything at all."""
        self._writer.write(data)

    def close(self) -> None:
        """Close as a dying process does."""
        self._writer.transport.abort()

    def close_in_order(self) -> None:
        """Close once everything is sent."""
        self._writer.close()


class Script:
    """What came, and how it is answered."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Fields] = []
        self.peers: list[Peer] = []
        self.ended: list[int] = []
        """Peers that closed their half, by number."""
        self.address = ""
        self._news = asyncio.Condition()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that changes with requests or connections."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(condition)

    async def wait_requests(self, number: int) -> None:
        """Wait until so many requests came."""
        await self.wait_for(lambda: len(self.requests) >= number)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            first = await reader.read(1)
            peer = Peer(len(self.peers), writer, text=first == b"{")
            self.peers.append(peer)
            while (frame := await _frame(reader, first)) is not None:
                first = b""
                fields = (msgspec.json if frame[:1] == b"{" else msgspec.msgpack).decode(frame)
                self.requests.append(fields)
                await self._tell()
                reply = self.answer(peer, fields)
                if reply is CLOSE:
                    peer.close()
                elif reply is not None:
                    peer.send({"reqId": fields["reqId"], **reply})
            self.ended.append(peer.number)
            self.answer(peer, {"cmd": "EOF"})
            await self._tell()
        except ConnectionError:
            await self._tell()
        finally:
            writer.close()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


async def _frame(reader: asyncio.StreamReader, first: bytes) -> bytes | None:
    """The next request, whose first byte may have been read; None at the end."""
    try:
        start = first or await reader.readexactly(1)
        if start == b"{":
            return start + await reader.readuntil(b"\n")
        length = start + await reader.readexactly(3)
        return await reader.readexactly(int.from_bytes(length, "big"))
    except asyncio.IncompleteReadError:
        return None


@asynccontextmanager
async def scripted(answer: Answer, *, unix: Path | None = None, port: int = 0) -> AsyncIterator[Script]:
    """A running server; `script.address` says where."""
    script = Script(answer)
    if unix is not None:
        server = await asyncio.start_unix_server(script.serve, unix)
        script.address = str(unix)
    else:
        server = await asyncio.start_server(script.serve, "127.0.0.1", port)
        script.address = f"flashq://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()
        for peer in script.peers:
            peer.close()
        await server.wait_closed()


@contextmanager
def scripted_in_thread(answer: Answer) -> Iterator[Script]:
    """A running server for tests that block."""
    loop = asyncio.new_event_loop()
    started, ended = threading.Event(), asyncio.Event()
    served: list[Script] = []

    async def serve() -> None:
        async with scripted(answer) as script:
            served.append(script)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield served[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
