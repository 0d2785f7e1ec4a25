"""One connection to a server: requests go out as they come, replies find theirs by `reqId`.

Rules kept here
- A request ends in exactly one way: its reply, its deadline, or the loss of the connection.
- Requests made in one turn of the event loop leave in one write.
- A reply that nobody waits for any more still reaches the request's `orphaned`, so that jobs in it are not lost.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from itertools import count
from typing import Final, cast

from flashq.client.address import Address
from flashq.client.errors import UnknownOutcome, Unreachable, error_of
from flashq.client.wire import CodecName, Head, Wire, wire_for
from flashq.errors import ConfigError, FlashqError, MalformedFrame

Orphaned = Callable[[bytes], None]
"""Given the body of an ok reply whose request was cancelled."""
OnEvent = Callable[[bytes], None]
"""Given the body of an event."""

_KEEPALIVE: Final = (
    (socket.TCP_KEEPIDLE, 15),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 30_000),
)
"""Seconds, seconds, probes; milliseconds that sent data may stay unacknowledged."""


class ConnectionLost(Exception):
    """The connection ended before the reply; internal, as only the client knows whether it may send again."""


class Connection(asyncio.Protocol):
    """Built by `open_connection`."""

    def __init__(self, wire: Wire, on_event: OnEvent | None = None) -> None:
        self.wire = wire
        self._on_event = on_event
        self.closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._ids = count(1)
        self._waiting: dict[str, tuple[asyncio.Future[bytes], Orphaned | None]] = {}
        self._orphans: dict[str, Orphaned] = {}
        self._out: list[bytes] = []
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._fault: FlashqError | None = None

    @property
    def alive(self) -> bool:
        """Whether requests may be made."""
        return self._transport is not None and not self._transport.is_closing()

    async def request(
        self, fields: Mapping[str, object], *, timeout_s: float, orphaned: Orphaned | None = None
    ) -> bytes:
        """The body of the ok reply. Raises ConnectionLost, UnknownOutcome at the deadline, or what the server says."""
        request_id = str(next(self._ids))
        frame = self.wire.frame({**fields, "reqId": request_id})
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._may_write.wait()
                self._send(frame)
                self._waiting[request_id] = reply, orphaned
                return await reply
        except TimeoutError:
            self._give_up(request_id)
            raise UnknownOutcome(f"{fields['cmd']}: no answer within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            self._give_up(request_id)
            raise
        finally:
            self._waiting.pop(request_id, None)

    async def finish(self, timeout_s: float) -> None:
        """Say that nothing more will come, take the replies that do, and close."""
        if self._transport is not None and self.alive:
            self._flush()
            if self._transport.can_write_eof():
                self._transport.write_eof()
            elif self._waiting:  # half of a TLS connection cannot be closed: wait for what was asked instead
                await asyncio.wait([reply for reply, _ in self._waiting.values()], timeout=timeout_s)
                self._transport.close()
            else:
                self._transport.close()
        try:
            await asyncio.wait_for(self.closed.wait(), timeout_s)
        except TimeoutError:
            self.abort()

    def read_on(self, reading: bool) -> None:
        """Whether anything is read just now; what is not waits at the server, which bounds it."""
        if self._transport is not None and self.alive:
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def abort(self) -> None:
        """Close at once; what waits gets ConnectionLost."""
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, request_id: str) -> None:
        reply, orphaned = self._waiting.get(request_id, (None, None))
        if reply is None or orphaned is None:
            return
        if reply.cancelled():
            self._orphans[request_id] = orphaned
        elif reply.exception() is None:  # it came while the cancellation was on its way to us
            orphaned(reply.result())

    # --- out ---

    def _send(self, frame: bytes) -> None:
        if not self.alive:
            raise ConnectionLost(self._reason())
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame)

    def _flush(self) -> None:
        if self._out and self._transport is not None and self.alive:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Taken into use."""
        # By its type it could be any transport; uvloop's do not derive from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        _watch(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Replies, in pieces of any size."""
        try:
            for body in self.wire.feed(data):
                self._take(body)
        except MalformedFrame as fault:
            self._fault = fault
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything that waits ends."""
        waiting, self._waiting = self._waiting, {}
        # An error without a reqId came before the end: with one request out, it is that one's answer.
        alone = len(waiting) == 1
        for reply, _ in waiting.values():
            if not reply.done():
                reply.set_exception(self._fault if self._fault and alone else ConnectionLost(self._reason(exc)))
        self._orphans.clear()
        self._may_write.set()
        self.closed.set()

    def pause_writing(self) -> None:
        """The server takes no more just now."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._may_write.set()

    # --- in ---

    def _take(self, body: bytes) -> None:
        head = self.wire.decode(body, Head)
        if head.event is not None and self._on_event is not None:
            self._on_event(body)
            return
        error = None if head.ok else error_of(head.code, head.error)
        reply, orphaned = self._waiting.get(head.reqId or "", (None, None))
        if reply is None or reply.cancelled():
            self._waiting.pop(head.reqId or "", None)
            self._take_unexpected(head, error, body, orphaned)
        elif error is None:
            reply.set_result(body)
        else:
            reply.set_exception(error)

    def _take_unexpected(self, head: Head, error: FlashqError | None, body: bytes, orphaned: Orphaned | None) -> None:
        orphaned = self._orphans.pop(head.reqId or "", orphaned)
        if error is None and orphaned is not None:
            orphaned(body)
        elif error is not None and head.reqId is None:
            self._fault = error

    def _reason(self, exc: Exception | None = None) -> str:
        return str(self._fault or exc or "the server closed the connection")


def tls_context() -> ssl.SSLContext:
    """For `flashqs://`: who the server is is checked against the system's authorities, or those in `FLASHQ_CA`.

    `FLASHQ_CLIENT_CERT` has a certificate and key of our own, where the server asks for one. Raises ConfigError.
    """
    try:
        context = ssl.create_default_context(cafile=os.environ.get("FLASHQ_CA") or None)
        if own := os.environ.get("FLASHQ_CLIENT_CERT"):
            context.load_cert_chain(own)
    except OSError as error:
        raise ConfigError(f"FLASHQ_CA, FLASHQ_CLIENT_CERT: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def open_connection(
    address: Address, *, token: str | None, codec: CodecName, timeout_s: float, on_event: OnEvent | None = None
) -> Connection:
    """Connect, and show the token if there is one. Raises Unreachable, Unauthenticated."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            if address.path is not None:
                _, connection = await loop.create_unix_connection(
                    lambda: Connection(wire_for(codec), on_event), str(address.path)
                )
            else:
                _, connection = await loop.create_connection(
                    lambda: Connection(wire_for(codec), on_event),
                    address.host,
                    address.port,
                    ssl=tls_context() if address.tls else None,
                )
    except TimeoutError:
        raise Unreachable(f"{address}: no connection within {timeout_s:g} s") from None
    except ssl.SSLError as error:
        raise Unreachable(f"{address}: {getattr(error, 'verify_message', '') or error.reason or error}") from error
    except OSError as error:
        # asyncio puts its own words ("Connect call failed") into strerror; a failed look-up has a negative errno.
        code = error.errno or 0
        raise Unreachable(f"{address}: {os.strerror(code) if code > 0 else error.strerror or error}") from error
    if token is not None:
        await _show(connection, token, address, timeout_s)
    return connection


def _watch(sock: socket.socket) -> None:
    """Let the kernel find out within some 30 s that a TCP peer has gone without a word."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _show(connection: Connection, token: str, address: Address, timeout_s: float) -> None:
    try:
        await connection.request({"cmd": "AUTH", "token": token}, timeout_s=timeout_s)
    except (ConnectionLost, UnknownOutcome) as error:
        connection.abort()
        raise Unreachable(f"{address}: {error}") from error
    except FlashqError:
        connection.abort()
        raise
