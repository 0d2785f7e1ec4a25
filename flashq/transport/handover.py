"""Passing a client's connection to the shard that serves it: the descriptor, and what is known of it so far.

Every shard listens at `<run>/shard-NN.front` (SOCK_SEQPACKET: a packet is one connection); routers, and shards that
hand a connection on, connect to it.

Rules kept here
- A connection is passed whole, in one packet, or not at all. What is too large for a packet goes along as a
  second descriptor, a file in memory.
- Nothing blocks: a shard that is not there, or whose backlog is full, is answered with False, and the sender
  keeps the connection.
- A receiver that runs out of descriptors stops taking packets, so that they wait or go back to their senders:
  a kernel without room for a descriptor drops it, and the client with it.
- A receiver that closes first refuses what comes, then takes what had come.
"""

import array
import asyncio
import os
import resource
import socket
from collections.abc import Callable
from errno import EAGAIN, EINVAL, ENOBUFS, ENOMEM, ETOOMANYREFS
from pathlib import Path
from typing import Final

import msgspec

from flashq.transport.endpoint import listen_at, socket_path

INLINE_BYTES_MAX: Final = 64 * 1024
"""What goes in the packet itself; a packet is bounded by the socket's buffer, 208 KiB by default."""
HANDED_BYTES_MAX: Final = 64 << 20
SPARE_DESCRIPTORS: Final = 32
"""Kept free for files and for sockets between our own processes."""
RETRY_S: Final = 0.1
_BURST: Final = 64
_PACKET_BYTES: Final = INLINE_BYTES_MAX + 4096
_BUFFER_BYTES: Final = 1 << 20
_DESCRIPTORS_MAX: Final = 2
_INT: Final = array.array("i").itemsize
_ANCILLARY: Final = socket.CMSG_SPACE(_DESCRIPTORS_MAX * _INT)
_FULL: Final = frozenset((EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS))
"""Not now, but the connection is good."""


class Handed(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a connection beside its descriptor."""

    gid: int
    protocol: str
    """"text", "binary" or "unknown": what the sender found. A hint: the receiver looks again."""
    principal: str
    """Who is authenticated; empty: nobody, or no tokens are configured."""
    head: bytes
    """Read, and not yet parsed."""
    pending_out: bytes = b""
    """Replies not yet written: they come before any other."""
    holders: list[int] = []
    """Shards that may hold something of this connection (leases that end with it), and are told when it ends."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Handed).decode


def front_name(shard: int) -> str:
    """The name of a shard's socket in the run folder."""
    return f"shard-{shard:02}.front"


class HandoverSender:
    """One process's way to the shards' fronts."""

    def __init__(self, run: str | Path) -> None:
        self._run = run
        self._socks: dict[int, socket.socket] = {}

    def send(self, shard: int, fd: int, handed: Handed) -> bool:
        """Pass a descriptor on. True: the shard's process has it, and the caller closes its own copy.

        False: the shard is not there or its backlog is full; nothing was passed. Raises ValueError for more
        than HANDED_BYTES_MAX beside the descriptor.
        """
        packet = _encode(handed)
        if len(packet) <= INLINE_BYTES_MAX:
            return self._send(shard, packet, [fd])
        if len(packet) > HANDED_BYTES_MAX:
            raise ValueError(f"{len(packet)} bytes beside a connection, at most {HANDED_BYTES_MAX}")
        try:
            beside = _file_in_memory(packet)
        except OSError:  # no descriptor or no memory for it: so too at the next try, unless something ends
            return False
        try:
            return self._send(shard, b"", [fd, beside])
        finally:
            os.close(beside)

    def _send(self, shard: int, packet: bytes, fds: list[int]) -> bool:
        for _ in range(2):  # a second try, on a new connection: the shard may have been restarted
            sock = self._socks.get(shard) or self._connect(shard)
            if sock is None:
                return False
            try:
                socket.send_fds(sock, [packet or b"\0"], fds)
                return True
            except ConnectionError:
                self._drop(shard)
            except OSError as error:
                if error.errno in _FULL:
                    return False
                raise
        return False

    def _connect(self, shard: int) -> socket.socket | None:
        path = socket_path(self._run, front_name(shard))
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        try:
            sock.connect(path)
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


def hand_on(transport: asyncio.Transport, sender: HandoverSender, shard: int, handed: Handed) -> bool:
    """Pass on a connection that a loop serves. True: the transport ends here, and the client notices nothing.

    False, and reading goes on as before, while replies are still in the transport's buffer (they cannot be
    taken out) or the shard does not take it. `handed.head` has what the protocol was given and did not parse.
    """
    if transport.is_closing() or transport.get_write_buffer_size():
        return False
    was_reading = transport.is_reading()
    transport.pause_reading()
    fd = transport.get_extra_info("socket").fileno()
    if sender.send(shard, fd, handed):
        transport.abort()  # closes our descriptor; without a shutdown, so the connection lives on
        return True
    if was_reading:
        transport.resume_reading()
    return False


class HandoverReceiver:
    """A shard's front."""

    def __init__(
        self,
        run: str | Path,
        shard: int,
        loop: asyncio.AbstractEventLoop,
        on_connection: Callable[[socket.socket, Handed], None],
    ) -> None:
        """Takes the name over from a predecessor. `on_connection` owns the socket, which does not block.

        Faults go to the loop's exception handler. Raises ConfigError for too long a path.
        """
        self._loop = loop
        self._on_connection = on_connection
        self._descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
        self._senders: set[socket.socket] = set()
        self._listener: socket.socket | None = listen_at(socket_path(run, front_name(shard)), socket.SOCK_SEQPACKET)
        self._retry: asyncio.TimerHandle | None = None
        self.truncated = 0
        """Connections lost because the kernel had no room for their descriptor."""
        self._watch()

    def close(self) -> None:
        """Refuse what comes from now on, take what had come before. A second call does nothing."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._unwatch(listener)
        listener.shutdown(socket.SHUT_RD)  # who connects now is refused
        while (sender := _accept(listener)) is not None:
            self._senders.add(sender)
        listener.close()
        for sender in self._senders:
            sender.shutdown(socket.SHUT_RD)  # who sends now gets an error, and keeps the connection
            more = True
            while more:
                more = self._take(sender)
            sender.close()
        self._senders.clear()

    # What is watched

    def _watch(self) -> None:
        assert self._listener is not None
        self._loop.add_reader(self._listener.fileno(), self._accept)
        for sender in self._senders:
            self._loop.add_reader(sender.fileno(), self._receive, sender)

    def _unwatch(self, listener: socket.socket) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._loop.remove_reader(listener.fileno())
        for sender in self._senders:
            self._loop.remove_reader(sender.fileno())

    def _pause(self) -> None:
        """Near the limit: leave everything where it is until descriptors are free again."""
        if self._listener is None or self._retry is not None:
            return
        self._unwatch(self._listener)
        self._retry = self._loop.call_later(RETRY_S, self._try_again)
        self._report("No descriptors left: connections wait to be taken over")

    def _try_again(self) -> None:
        self._retry = self._loop.call_later(RETRY_S, self._try_again)
        if self._has_room():
            self._retry.cancel()
            self._retry = None
            self._watch()

    def _has_room(self) -> bool:
        """The kernel gives the lowest number that is free."""
        assert self._listener is not None
        try:
            lowest = os.dup(self._listener.fileno())
        except OSError:
            return False
        os.close(lowest)
        return lowest < self._descriptors

    def _report(self, text: str, error: Exception | None = None) -> None:
        context: dict[str, object] = {"message": text}
        if error is not None:
            context["exception"] = error
        self._loop.call_exception_handler(context)

    # What comes

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(_BURST):
            try:
                sender = _accept(self._listener)
            except OSError:
                self._pause()
                return
            if sender is None:
                return
            self._senders.add(sender)
            self._loop.add_reader(sender.fileno(), self._receive, sender)

    def _receive(self, sender: socket.socket) -> None:
        for _ in range(_BURST):
            if self._retry is not None:  # paused; a callback of this turn may still come
                return
            try:
                more = self._take(sender)
            except BlockingIOError:
                return
            if not more:
                self._loop.remove_reader(sender.fileno())
                self._senders.discard(sender)
                sender.close()
                return

    def _take(self, sender: socket.socket) -> bool:
        """One packet. False when there will be no more; raises BlockingIOError while there is none."""
        try:
            packet, fds, flags = _recv_packet(sender)
        except ConnectionError:
            return False
        if not packet:
            return False
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) or not fds:
            self.truncated += 1
            _close_all(fds)
            self._report(f"A connection was lost on its way: flags {flags:#x}, {len(fds)} descriptors")
            return True
        if max(fds) >= self._descriptors:
            self._pause()
        self._deliver(packet, fds)
        return True

    def _deliver(self, packet: bytes, fds: list[int]) -> None:
        fd, *beside = fds
        try:
            handed = _decode(_read_file(beside[0]) if beside else packet)
        except (msgspec.MsgspecError, OSError) as error:
            os.close(fd)
            self._report("A connection came with what cannot be read", error)
            return
        finally:
            _close_all(beside)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        try:
            self._on_connection(sock, handed)
        except Exception as error:
            sock.close()
            self._report("Taking over a connection failed", error)


def _accept(listener: socket.socket) -> socket.socket | None:
    """The next sender; None if there is none. Raises OSError without a descriptor for it."""
    try:
        sender, _ = listener.accept()
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == EINVAL:  # shut down, and all have been accepted
            return None
        raise
    sender.setblocking(False)
    return sender


def _recv_packet(sock: socket.socket) -> tuple[bytes, list[int], int]:
    """A packet, its descriptors and flags; an empty packet at the end."""
    packet, ancillary, flags, _ = sock.recvmsg(_PACKET_BYTES, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _INT])
    return packet, list(fds), flags


def _file_in_memory(data: bytes) -> int:
    fd = os.memfd_create("flashq-handed", os.MFD_CLOEXEC)
    try:
        done = 0
        while done < len(data):
            done += os.write(fd, data[done:])
    except BaseException:
        os.close(fd)
        raise
    return fd


def _read_file(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    pieces, done = [], 0
    while done < size and (piece := os.pread(fd, size - done, done)):
        pieces.append(piece)
        done += len(piece)
    return b"".join(pieces)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
