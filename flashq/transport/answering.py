"""The answering half of an exchange: the ROUTER on which others ask us. See `exchange.py` for the rules."""

import asyncio
import socket
from collections.abc import Callable
from errno import EHOSTUNREACH
from pathlib import Path
from time import monotonic_ns
from typing import Final

import zmq

from flashq.transport.asking import DRAIN_MESSAGES_MAX, Report
from flashq.transport.endpoint import listen_at, socket_path
from flashq.transport.envelope import (
    APART,
    FAULTY,
    HEAD,
    HELLO,
    HELLO_ITEM,
    NOTICE,
    NOTICE_ITEM,
    REPLY,
    REQUEST,
    REQUEST_ITEM,
    TIMED_OUT_UNSENT,
    UNAVAILABLE,
    UNREADABLE,
    WELCOME,
    WELCOME_ITEM,
    Notice,
    Reader,
    Unread,
)
from flashq.transport.incoming import Caller, Incoming
from flashq.transport.outbox import Item
from flashq.transport.peer import MESSAGES_MAX
from flashq.transport.sockets import NOBLOCK, POLLIN, ZmqContext, ZmqSocket, descriptor, events, receive, send

DRAIN_BYTES_MAX: Final = 8 << 20
"""So many request bytes are taken at a time, then the loop turns and the tick has its turn."""
RETRY_S: Final = 0.01
"""A ROUTER does not tell which peer has room again, so those that had none are tried anew."""

_unpack_request: Final = REQUEST_ITEM.unpack_from

OnRequest = Callable[[Incoming], None]
OnNotice = Callable[[str, int, bytes], None]
OnUndelivered = Callable[[str, bytes], None]


class Answering:
    """Callers by the identity of their connection, and the replies on their way to them."""

    def __init__(
        self,
        name: str,
        run: str | Path,
        *,
        epoch: int,
        loop: asyncio.AbstractEventLoop,
        context: ZmqContext,
        body_bytes_max: int,
        schedule: Callable[[], None],
        report: Report,
        on_greeted: Callable[[str, int], None],
        on_request: OnRequest,
        on_notice: OnNotice,
        on_undelivered: OnUndelivered,
    ) -> None:
        self._path = socket_path(run, f"{name}.zmq")
        self._epoch = epoch
        self._loop = loop
        self._body_bytes_max = body_bytes_max
        self._schedule = schedule
        self._report = report
        self._on_greeted = on_greeted
        self._on_request = on_request
        self._on_notice = on_notice
        self._on_undelivered = on_undelivered
        self._callers: dict[bytes, Caller] = {}
        self._touched: list[Caller] = []
        self._blocked: dict[bytes, Caller] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._socket = self._bind(context)
        self._fd = descriptor(self._socket)
        loop.add_reader(self._fd, self._drain)
        loop.call_soon(self._drain)  # an edge may have passed before the reader was added

    def _bind(self, context: ZmqContext) -> ZmqSocket:
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.SNDHWM, MESSAGES_MAX)
        router.setsockopt(zmq.RCVHWM, MESSAGES_MAX)
        router.setsockopt(zmq.MAXMSGSIZE, self._body_bytes_max)
        # A listener of our own: ZeroMQ would bind with the umask's mode, and its close would remove the
        # path, which may be the successor's by then.
        router.setsockopt(zmq.USE_FD, listen_at(self._path, socket.SOCK_STREAM).detach())
        router.bind(f"ipc://{self._path}")
        return router

    def close(self, *, linger_ms: int) -> None:
        """Close the socket. Callers see their connections break."""
        if self._socket.closed:
            return
        self._loop.remove_reader(self._fd)
        if self._retry is not None:
            self._retry.cancel()
        self._socket.close(linger_ms)

    def peer_gone(self, name: str, epoch: int | None) -> None:
        """Forget a dead process: its requests are dropped, replies on their way to it are undelivered."""
        for caller in [one for one in self._callers.values() if one.name == name and epoch in (None, one.epoch)]:
            self._drop(caller)

    def unsent(self) -> bool:
        """Whether replies wait for somebody who is there."""
        return bool(self._blocked or self._touched)

    def flush(self) -> None:
        """Let the replies of this tick leave."""
        touched, self._touched = self._touched, []
        if not touched or self._socket.closed:
            return
        for caller in touched:
            caller.touched = False
            if caller.outbox.items or caller.owes_credit():
                caller.outbox.seal(self._epoch, caller.epoch, caller.tell_taken())
            self._push(caller)
        if events(self._socket) & POLLIN:
            self._loop.call_soon(self._drain)

    # Sending

    def _touch(self, caller: Caller) -> None:
        caller.touched = True
        if not self._touched:
            self._schedule()
        self._touched.append(caller)

    def _push(self, caller: Caller) -> None:
        messages = caller.outbox.messages
        try:
            while messages:
                if not send(self._socket, [caller.identity, *messages[0][0]]):
                    self._block(caller)
                    return
                messages.popleft()
        except zmq.ZMQError as error:
            if error.errno != EHOSTUNREACH:
                raise
            self._drop(caller)
        self._blocked.pop(caller.identity, None)

    def _block(self, caller: Caller) -> None:
        self._blocked[caller.identity] = caller
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._unblock)

    def _unblock(self) -> None:
        self._retry = None
        for caller in list(self._blocked.values()):
            self._push(caller)
            if caller.owes_credit():
                self._touch_once(caller)
        if events(self._socket) & POLLIN:
            self._loop.call_soon(self._drain)

    def _touch_once(self, caller: Caller) -> None:
        if not caller.touched:
            self._touch(caller)

    def _drop(self, caller: Caller) -> None:
        caller.gone = True
        self._callers.pop(caller.identity, None)
        self._blocked.pop(caller.identity, None)
        for item in caller.outbox.take_all():
            self._return(caller, item)

    def _return(self, caller: Caller, item: Item) -> None:
        if item[0] and item[1][0] == REPLY:
            self._call(f"Taking back a reply to {caller.name}", self._on_undelivered, caller.name, item[2])

    # Receiving

    def _drain(self) -> None:
        """The descriptor: something changed. Read all there is, within reason."""
        room = DRAIN_BYTES_MAX
        for _ in range(DRAIN_MESSAGES_MAX):
            if self._socket.closed:
                return
            try:
                identity = self._socket.recv(NOBLOCK)
            except zmq.Again:
                return
            data, parts = receive(self._socket)
            room -= len(data) + sum(map(len, parts))
            self._read(identity, data, parts)
            if not self._more():
                return
            if room < 0:
                break
        self._loop.call_soon(self._drain)

    def _more(self) -> bool:
        return not self._socket.closed and bool(events(self._socket) & POLLIN)

    def _read(self, identity: bytes, data: bytes, parts: list[bytes]) -> None:
        caller = self._callers.get(identity)
        if caller is None:  # until it has said hello, all it gets is refusals
            caller = Caller(identity, self._touch, self._body_bytes_max)
        try:
            reader = Reader(data, parts)
            at, end = HEAD.size, len(data)
            while at < end:
                if data[at] == REQUEST:
                    at = self._read_requests(caller, reader, at)
                elif data[at] == NOTICE:
                    at = self._read_notice(caller, reader, at)
                else:
                    at = self._read_hello(caller, reader, at)
            reader.ends(at)
        except UNREADABLE as error:
            self._report(f"A message of {caller.name or identity!r} cannot be read", error)
        if caller.owes_credit():
            self._touch_once(caller)

    def _read_requests(self, caller: Caller, reader: Reader, at: int) -> int:
        """A run of requests from `at` on; where it ends."""
        data, end = reader.data, len(reader.data)
        now_ms = monotonic_ns() // 1_000_000
        known = caller.identity in self._callers and reader.receiver_epoch == self._epoch
        while at < end and data[at] == REQUEST:
            _, codec, length, flags, correlation, gid, deadline_ms, size = _unpack_request(data, at)
            start = at
            at += REQUEST_ITEM.size
            principal = ""
            if length:
                principal = data[at : at + length].decode()
                at += length
            if size == APART:
                frame = reader.part()
                caller.taken += at - start + len(frame)
            else:
                frame = data[at : at + size]
                at += size
                caller.taken += at - start
            if not known:
                caller.refuse(correlation, UNAVAILABLE)
            elif deadline_ms and deadline_ms < now_ms:
                caller.refuse(correlation, TIMED_OUT_UNSENT)
            else:
                incoming = Incoming(caller, correlation, codec, gid, principal, flags, deadline_ms, frame)
                try:
                    self._on_request(incoming)
                except Exception as error:
                    self._report(f"A request of {caller.name} failed", error)
                    if not incoming.answered:
                        incoming.refuse(FAULTY)
        return at

    def _read_notice(self, caller: Caller, reader: Reader, at: int) -> int:
        _, about, _, size = NOTICE_ITEM.unpack_from(reader.data, at)
        payload, behind = reader.body(at + NOTICE_ITEM.size, size)
        if caller.identity not in self._callers:
            return behind  # of a process that has died since
        if about == Notice.UNDELIVERED:
            self._call(f"Taking back a reply to {caller.name}", self._on_undelivered, caller.name, payload)
        else:
            self._call(f"A notice of {caller.name}", self._on_notice, caller.name, about, payload)
        return behind

    def _read_hello(self, caller: Caller, reader: Reader, at: int) -> int:
        kind, length, credit_bytes = HELLO_ITEM.unpack_from(reader.data, at)
        if kind != HELLO:
            raise Unread(f"A question cannot be of kind {kind}")
        end = at + HELLO_ITEM.size + int(length)
        caller.name = reader.data[end - length : end].decode()
        caller.epoch = reader.epoch
        caller.taken = caller.told = 0
        caller.credit_step = max(credit_bytes // 4, 1)
        self._callers[caller.identity] = caller
        caller.put(0, WELCOME_ITEM.pack(WELCOME), b"")
        self._on_greeted(caller.name, caller.epoch)
        return end

    def _call(self, what: str, function: Callable[..., None], *arguments: object) -> None:
        try:
            function(*arguments)
        except Exception as error:
            self._report(f"{what} failed", error)
