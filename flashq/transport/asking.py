"""The asking half of an exchange: all peers we send requests to. See `exchange.py` for the rules."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from flashq.errors import LimitExceeded, Unavailable
from flashq.transport.deadlines import Deadlines
from flashq.transport.endpoint import socket_path
from flashq.transport.envelope import (
    APART,
    CAUSES,
    HEAD,
    NOTICE,
    NOTICE_ITEM,
    PEER_GONE,
    REFUSAL,
    REFUSAL_ITEM,
    REPLY,
    REPLY_ITEM,
    REQUEST,
    REQUEST_ITEM,
    TIMED_OUT,
    TIMED_OUT_UNSENT,
    UNAVAILABLE,
    UNREADABLE,
    WELCOME,
    WELCOME_ITEM,
    Failure,
    Notice,
    Reader,
    Unread,
)
from flashq.transport.outbox import sized
from flashq.transport.peer import NONE_UNSENT, OnFail, OnReply, Peer, Pending, Stage
from flashq.transport.sockets import NOBLOCK, POLLIN, POLLOUT, ZmqContext, descriptor, events, receive, send

_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
OVERDRAFT_BYTES_MAX: Final = 32 << 20
"""How far past its credit a peer can be asked by those who do not look at `writable`."""
NOTICES_MAX: Final = 100_000
"""Items that may wait for a peer which is not there before notices are refused."""
DRAIN_MESSAGES_MAX: Final = 64
"""A socket is drained so far at a time, then the loop turns: others, and the tick, have their turn."""

_pack_request: Final = REQUEST_ITEM.pack
_unpack_reply: Final = REPLY_ITEM.unpack_from

Report = Callable[[str, Exception], None]


class Asking:
    """Peers by name, and what they owe us."""

    def __init__(
        self,
        name: str,
        run: str | Path,
        *,
        epoch: int,
        loop: asyncio.AbstractEventLoop,
        context: ZmqContext,
        credit_bytes: int,
        body_bytes_max: int,
        schedule: Callable[[], None],
        report: Report,
        on_greeted: Callable[[str, int], None],
        on_writable: Callable[[str], None],
    ) -> None:
        self._name = name.encode()
        # Unique, so that a ROUTER never mistakes a successor for its predecessor.
        self._identity = self._name + b"#%d#" % epoch + os.urandom(4).hex().encode()
        self._run = run
        self._epoch = epoch
        self._loop = loop
        self._context = context
        self._credit_bytes = credit_bytes
        self._body_bytes_max = body_bytes_max
        self._schedule = schedule
        self._report = report
        self._on_greeted = on_greeted
        self._on_writable = on_writable
        self._peers: dict[str, Peer] = {}
        self._touched: list[Peer] = []
        self._correlation = 0
        self._deadlines = Deadlines[Peer](loop, self._expire)

    # What others call

    def request(
        self,
        peer: str,
        frame: bytes,
        *,
        codec: int,
        gid: int,
        principal: str,
        flags: int,
        deadline_ms: int,
        on_reply: OnReply,
        on_fail: OnFail,
    ) -> int:
        """Ask a peer. The frame travels as it is; its correlation id, for `cancel`.

        `deadline_ms` is a moment of the monotonic clock, which all processes of a machine share; 0: none.
        Exactly one of `on_reply` and `on_fail` is called later, unless it is cancelled. `on_fail` gets an
        error code that also says whether the request `may_have_happened`.

        Raises LimitExceeded for a frame the exchange cannot carry, Unavailable far past the peer's credit.
        """
        to = self._peers.get(peer)
        if to is None or to.socket is None:
            to = self._open(peer)
        who = principal.encode() if principal else b""
        self._correlation = correlation = self._correlation + 1
        head = _pack_request(REQUEST, codec, len(who), flags, correlation, gid, deadline_ms, sized(frame)) + who
        size = len(frame)
        queued = to.queued + len(head) + size
        if queued - to.acknowledged > to.credit_bytes or size > self._body_bytes_max:
            self._check_bounds(to, size)
        to.queued = queued
        bucket = self._deadlines.bucket(deadline_ms)
        bucket[correlation] = to
        to.pending[correlation] = (on_reply, on_fail, bucket)
        items = to.outbox.items
        if not items:
            to.unsent_from = correlation
        items.append((correlation, head, frame))
        if not to.touched:
            self._touch(to)
        return correlation

    def cancel(self, correlation: int) -> bool:
        """Nobody waits for this reply any more: neither callback comes. False if one has come already.

        The peer may still carry it out; its reply then goes back to it as undelivered.
        """
        return any(peer.withdraw(correlation) is not None for peer in self._peers.values())

    def notify(self, peer: str, kind: int, payload: bytes) -> None:
        """Tell a peer something, in order with the requests before. It waits for a peer that is not there.

        Raises Unavailable if very much waits already.
        """
        to = self._peers.get(peer)
        if to is None or to.socket is None:
            to = self._open(peer)
        items = to.outbox.items
        if len(items) >= NOTICES_MAX and to.stage is not Stage.GREETED:
            raise Unavailable(f"{peer} is not there, and {len(items)} messages wait for it")
        if not items:
            to.unsent_from = self._correlation + 1
        items.append((0, NOTICE_ITEM.pack(NOTICE, kind, 0, sized(payload)), payload))
        if not to.touched:
            self._touch(to)

    def writable(self, peer: str) -> bool:
        """Whether a peer has credit left. If not, `on_writable` tells when it has again."""
        to = self._peers.get(peer)
        return to is None or to.writable()

    def in_flight_bytes(self, peer: str) -> int:
        """Request bytes for a peer that it has not taken yet."""
        to = self._peers.get(peer)
        return 0 if to is None else to.in_flight()

    def peer_gone(self, name: str, epoch: int | None) -> None:
        """Fail all that is pending to a peer, unless it is a later incarnation that we are connected to."""
        peer = self._peers.get(name)
        if peer is None or (epoch is not None and peer.stage is Stage.GREETED and peer.epoch != epoch):
            return
        self._drain_all(peer)
        border = peer.unsent_from
        gone = peer.take_pending(sent_only=False)
        if peer.stage is Stage.GREETED:
            peer.lost()
        self._fail(gone, border)
        self._close_idle(peer)

    def flush(self) -> None:
        """Let everything leave that waits for peers who are there."""
        touched, self._touched = self._touched, []
        for peer in touched:
            peer.touched = False
            if peer.stage is Stage.GREETED:
                self._push(peer)

    def unsent(self) -> bool:
        """Whether something waits for a peer that is there."""
        return any(
            peer.outbox.messages or (peer.outbox.items and peer.stage is Stage.GREETED) for peer in self._peers.values()
        )

    def close(self, *, linger_ms: int) -> None:
        """Fail what is pending and close all sockets."""
        for peer in self._peers.values():
            border = peer.unsent_from
            gone = peer.take_pending(sent_only=False)
            self._disconnect(peer, linger_ms=linger_ms)
            self._fail(gone, border)
        self._peers.clear()
        self._deadlines.close()

    # Connections

    def _open(self, name: str) -> Peer:
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = Peer(name, self._credit_bytes)
        path = socket_path(self._run, f"{name}.zmq")
        peer.connect(self._context, path, self._identity, self._body_bytes_max)
        assert peer.socket is not None
        assert peer.monitor is not None
        self._loop.add_reader(descriptor(peer.socket), self._drain, peer)
        self._loop.add_reader(descriptor(peer.monitor), self._watch, peer)
        self._loop.call_soon(self._drain, peer)  # an edge may have passed before the reader was added
        return peer

    def _disconnect(self, peer: Peer, *, linger_ms: int = 0) -> None:
        if peer.socket is not None and peer.monitor is not None:
            self._loop.remove_reader(descriptor(peer.socket))
            self._loop.remove_reader(descriptor(peer.monitor))
        peer.disconnect(linger_ms=linger_ms)

    def _close_idle(self, peer: Peer) -> None:
        """A peer that is not there and for which nothing waits: do not go on knocking."""
        if peer.stage is not Stage.GREETED and peer.idle():
            self._disconnect(peer)

    def _watch(self, peer: Peer) -> None:
        """The monitor: a connection broke. What arrived before that still counts."""
        if self._connection_broke(peer):
            self._drain_all(peer)
            gone = peer.take_pending(sent_only=True)
            peer.lost()
            self._fail(gone, peer.unsent_from)
            self._drain(peer)
        elif peer.stage is Stage.CONNECTING and not peer.greeting_sent:
            self._greet(peer)

    def _connection_broke(self, peer: Peer) -> bool:
        """What the monitor tells: whether a connection broke; and where a new one stands, that it wants a greeting.

        The end of a connection is told before its pipe is gone, so a greeting of that moment may leave on the old one
        and be lost with it. A second one on one connection does no harm: requests come behind both.
        """
        broke = False
        while peer.monitor is not None and events(peer.monitor) & POLLIN:
            event = int.from_bytes(peer.monitor.recv_multipart(NOBLOCK)[0][:2], sys.byteorder)
            if event == _DISCONNECTED:
                broke = True
            elif peer.stage is Stage.CONNECTING:
                peer.greeting_sent = False
        return broke

    # Sending

    def _touch(self, peer: Peer) -> None:
        peer.touched = True
        if not self._touched:
            self._schedule()
        self._touched.append(peer)

    def _check_bounds(self, peer: Peer, frame_bytes: int) -> None:
        if frame_bytes > self._body_bytes_max:
            raise LimitExceeded(f"Request of {frame_bytes} bytes, the exchange carries {self._body_bytes_max}")
        if peer.in_flight() > peer.credit_bytes + OVERDRAFT_BYTES_MAX:
            raise Unavailable(f"{peer.name} does not keep up: {peer.in_flight()} bytes wait for it")

    def _push(self, peer: Peer) -> None:
        peer.drop_withdrawn()
        outbox, socket = peer.outbox, peer.socket
        if outbox.items:
            outbox.seal(self._epoch, peer.epoch, 0)
            peer.unsent_from = NONE_UNSENT
        if socket is None:
            return
        while outbox.messages and send(socket, outbox.messages[0][0]):
            outbox.messages.popleft()
        self._look_again(peer)

    def _look_again(self, peer: Peer) -> None:
        """Sending may have swallowed the edge that tells of a message, or of room for what had none a moment ago."""
        assert peer.socket is not None
        wanted = POLLIN | POLLOUT if peer.waits_for_room() else POLLIN
        if events(peer.socket) & wanted:
            self._loop.call_soon(self._drain, peer)

    # Receiving

    def _drain(self, peer: Peer) -> None:
        """The descriptor: something changed. Read all there is, within reason, then send what had no room."""
        socket = peer.socket
        if socket is None:
            return
        for _ in range(DRAIN_MESSAGES_MAX):
            try:
                data, parts = receive(socket)
            except zmq.Again:
                break
            self._read(peer, data, parts)
            if peer.socket is not socket:
                return
            if not (events(socket) & POLLIN):
                break
        else:
            self._loop.call_soon(self._drain, peer)
        if peer.stage is Stage.CONNECTING:
            self._greet(peer)
        elif peer.outbox.messages:
            self._push(peer)

    def _drain_all(self, peer: Peer) -> None:
        while peer.socket is not None:
            try:
                data, parts = receive(peer.socket)
            except zmq.Again:
                return
            self._read(peer, data, parts)

    def _greet(self, peer: Peer) -> None:
        self._connection_broke(peer)  # of earlier connections: there is nothing on this one to lose
        peer.greet(self._name, self._epoch)
        self._look_again(peer)

    def _read(self, peer: Peer, data: bytes, parts: list[bytes]) -> None:
        try:
            reader = Reader(data, parts)
            at, end = HEAD.size, len(data)
            while at < end:
                if data[at] == REPLY:
                    _, size, correlation = _unpack_reply(data, at)
                    at += REPLY_ITEM.size
                    if size == APART:
                        body = reader.part()
                    else:
                        body = data[at : at + size]
                        at += size
                    self._deliver(peer, correlation, body)
                else:
                    at = self._read_control(peer, reader, at)
            reader.ends(at)
        except UNREADABLE as error:
            self._report(f"A message of {peer.name} cannot be read", error)
            return
        if peer.acknowledge(reader.taken):
            self._tell_writable(peer)

    def _tell_writable(self, peer: Peer) -> None:
        try:
            self._on_writable(peer.name)
        except Exception as error:
            self._report(f"Going on with {peer.name} failed", error)

    def _deliver(self, peer: Peer, correlation: int, body: bytes) -> None:
        entry = peer.pending.pop(correlation, None)
        if entry is None:
            self.notify(peer.name, Notice.UNDELIVERED, body)
            return
        on_reply, _, bucket = entry
        bucket.pop(correlation, None)
        try:
            on_reply(body)
        except Exception as error:
            self._report(f"Taking a reply of {peer.name} failed", error)

    def _read_control(self, peer: Peer, reader: Reader, at: int) -> int:
        kind = reader.data[at]
        if kind == WELCOME:
            if peer.stage is not Stage.GREETED or peer.epoch != reader.epoch:
                peer.greeted(reader.epoch)
                self._on_greeted(peer.name, reader.epoch)
                self._push(peer)
            return at + WELCOME_ITEM.size
        if kind != REFUSAL:
            raise Unread(f"An answer cannot be of kind {kind}")
        _, cause, _, _, correlation = REFUSAL_ITEM.unpack_from(reader.data, at)
        entry = peer.withdraw(correlation)
        if entry is not None:
            self._call_fail(entry, CAUSES[cause])
        return at + REFUSAL_ITEM.size

    # Failing

    def _fail(self, gone: list[tuple[int, Pending]], border: int) -> None:
        """`border`: the first correlation that had not left."""
        for correlation, entry in gone:
            self._call_fail(entry, PEER_GONE if correlation < border else UNAVAILABLE)

    def _expire(self, due: dict[int, Peer]) -> None:
        for correlation, peer in due.items():
            unsent = correlation >= peer.unsent_from
            entry = peer.withdraw(correlation)
            if entry is not None:
                self._call_fail(entry, TIMED_OUT_UNSENT if unsent else TIMED_OUT)
        for peer in set(due.values()):
            self._close_idle(peer)

    def _call_fail(self, entry: Pending, failure: Failure) -> None:
        try:
            entry[1](failure)
        except Exception as error:
            self._report("Taking a failure failed", error)
