"""Passing a client's connection to the shard that serves it: the descriptor, and all that was read of it so far.

Every shard listens at `<run>/shard-NN.front` (SOCK_SEQPACKET: a packet is one connection); routers, and shards that
hand a connection on, connect to it. Nothing blocks: a shard that is not there, or whose backlog is full, is answered
with False, and the sender keeps the connection.
"""

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from flashq.errors import StorageError
from flashq.transport.endpoint import listen_at, socket_path

HEAD_BYTES_MAX: Final = 96 * 1024
"""What may have been read of a connection that is passed on; a packet is bounded by the socket's buffer."""
_PACKET_BYTES: Final = HEAD_BYTES_MAX + 8 * 1024
_BURST: Final = 64


class Handed(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a connection beside its descriptor."""

    gid: int
    protocol: str
    """"text", "binary" or "unknown": what the sender found. A hint: the receiver looks again."""
    principal: str
    """Who is authenticated; empty: nobody, or no tokens are configured."""
    head: bytes
    """Read, and not yet parsed."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Handed).decode


def front_name(shard: int) -> str:
    return f"shard-{shard:02}.front"


class HandoverSender:
    """One process's way to the shards' fronts."""

    def __init__(self, run: str | Path) -> None:
        self._run = run
        self._socks: dict[int, socket.socket] = {}

    def send(self, shard: int, fd: int, handed: Handed) -> bool:
        """Pass a descriptor on. True: the shard's process has it, and the caller closes its own copy."""
        packet = _encode(handed)
        if len(handed.head) > HEAD_BYTES_MAX:
            return False
        for _ in range(2):  # a second try, on a new connection: the shard may have been restarted
            sock = self._socks.get(shard) or self._connect(shard)
            if sock is None:
                return False
            try:
                socket.send_fds(sock, [packet], [fd])
                return True
            except BlockingIOError:
                return False
            except OSError:
                self._drop(shard)
        return False

    def _connect(self, shard: int) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        try:
            sock.connect(str(Path(self._run) / front_name(shard)))
        except OSError:
            sock.close()
            return None
        self._socks[shard] = sock
        return sock

    def _drop(self, shard: int) -> None:
        sock = self._socks.pop(shard, None)
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Let all go. A second call does nothing."""
        for shard in list(self._socks):
            self._drop(shard)


class HandoverReceiver:
    """A shard's front."""

    def __init__(
        self, run: str | Path, shard: int, loop: asyncio.AbstractEventLoop,
        on_connection: Callable[[socket.socket, Handed], None],
    ) -> None:  # fmt: skip
        self._loop = loop
        self._on_connection = on_connection
        self._path = socket_path(run, front_name(shard))
        with contextlib.suppress(FileNotFoundError):
            Path(self._path).unlink()
        self._listener: socket.socket | None = listen_at(self._path, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._senders: set[socket.socket] = set()
        self.truncated = 0
        """Descriptors that the kernel did not pass, for want of room in our table."""
        loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(_BURST):
            try:
                sender, _ = self._listener.accept()
            except BlockingIOError:
                return
            sender.setblocking(False)
            self._senders.add(sender)
            self._loop.add_reader(sender.fileno(), self._receive, sender)

    def _receive(self, sender: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                packet, fds, flags = _recv_one(sender)
            except BlockingIOError:
                return
            except OSError:
                packet, fds, flags = b"", [], 0
            if not packet:
                self._loop.remove_reader(sender.fileno())
                self._senders.discard(sender)
                sender.close()
                return
            if flags & socket.MSG_CTRUNC or len(fds) != 1:
                # The client's connection ends with the descriptor that was dropped: it sees a reset, not silence.
                self.truncated += 1
                for fd in fds:
                    os.close(fd)
                continue
            sock = socket.socket(fileno=fds[0])
            sock.setblocking(False)
            self._on_connection(sock, _decode(packet))

    def close(self) -> None:
        """Take no more. A second call does nothing."""
        if self._listener is None:
            return
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._listener = None
        for sender in self._senders:
            self._loop.remove_reader(sender.fileno())
            sender.close()
        self._senders.clear()


def _recv_one(sock: socket.socket) -> tuple[bytes, list[int], int]:
    """A packet, its descriptors and flags."""
    size = array.array("i").itemsize
    packet, ancillary, flags, _ = sock.recvmsg(_PACKET_BYTES, socket.CMSG_LEN(4 * size), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % size])
    if flags & socket.MSG_TRUNC:
        for fd in fds:
            os.close(fd)
        raise StorageError("a connection came with more bytes than a packet may have")
    return packet, list(fds), flags
