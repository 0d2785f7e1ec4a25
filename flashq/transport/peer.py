"""The asking side of the exchange: one peer, the connection to it, and the requests it has not answered.

CLOSED -> CONNECTING -> GREETED -> CONNECTING (lost) ...
          a socket      the peer's epoch is known: requests may leave

Requests for a peer that is not there yet wait here, and may wait for a successor, as nobody has seen them.
What has left is bound to the epoch it left for: it fails when the connection breaks.
"""

import sys
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import zmq

from flashq.transport.envelope import HELLO, HELLO_ITEM, Failure
from flashq.transport.outbox import Outbox
from flashq.transport.sockets import ZmqContext, ZmqSocket, send

OnReply = Callable[[bytes], None]
OnFail = Callable[[Failure], None]
Bucket = dict[int, "Peer"]
Pending = tuple[OnReply, OnFail, Bucket]

RECONNECT_MS: Final = 5
RECONNECT_MAX_MS: Final = 200
MESSAGES_MAX: Final = 1000
"""ZeroMQ's high-water mark, in messages. What bounds memory is the credit, in bytes."""
NONE_UNSENT: Final = sys.maxsize


class Stage(Enum):
    """How far we are with a peer."""

    CLOSED = auto()
    CONNECTING = auto()
    GREETED = auto()


class Peer:
    """One process that we send requests to. The exchange drives it."""

    def __init__(self, name: str, credit_bytes: int) -> None:
        self.name = name
        self.credit_bytes = credit_bytes
        self.stage = Stage.CLOSED
        self.epoch = 0
        """Of its incarnation we are connected to."""
        self.pending: dict[int, Pending] = {}
        self.outbox = Outbox()
        self.unsent_from = NONE_UNSENT
        """The first correlation that has not left; all later ones have not either."""
        self.queued = 0
        """Request bytes put in on this connection, and those the peer has said it took."""
        self.acknowledged = 0
        self.starved = False
        """Somebody was told to wait for credit."""
        self.touched = False
        self.withdrawn = 0
        """Requests among the outbox's items that were given up."""
        self.greeting_sent = False
        self.socket: ZmqSocket | None = None
        self.monitor: ZmqSocket | None = None

    # Credit

    def in_flight(self) -> int:
        """Request bytes that the peer has not taken yet."""
        return self.queued - self.acknowledged

    def writable(self) -> bool:
        """Whether there is credit left; if not, the exchange says when there is again."""
        if self.queued - self.acknowledged < self.credit_bytes:
            return True
        self.starved = True
        return False

    def acknowledge(self, taken: int) -> bool:
        """The peer took so much. True if somebody waited for that."""
        self.acknowledged = max(self.acknowledged, taken)
        if self.starved and self.in_flight() * 2 <= self.credit_bytes:
            self.starved = False
            return True
        return False

    # Connection

    def connect(self, context: ZmqContext, path: str, identity: bytes, bytes_max: int) -> None:
        """Make the socket. It connects by itself, as soon and as often as somebody listens."""
        self.socket = dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.IDENTITY, identity)
        dealer.setsockopt(zmq.IMMEDIATE, 1)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.SNDHWM, MESSAGES_MAX)
        dealer.setsockopt(zmq.RCVHWM, MESSAGES_MAX)
        dealer.setsockopt(zmq.MAXMSGSIZE, bytes_max)
        dealer.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        self.monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        dealer.connect(f"ipc://{path}")
        self.stage = Stage.CONNECTING

    def disconnect(self, *, linger_ms: int = 0) -> None:
        """Drop the socket. What waits here waits on."""
        if self.socket is not None:
            self.socket.disable_monitor()
            self.socket.close(linger_ms)
            if self.monitor is not None:
                self.monitor.close(0)
            self.socket = self.monitor = None
        self.stage = Stage.CLOSED
        self.greeting_sent = False

    def greet(self, own_name: bytes, own_epoch: int) -> None:
        """Introduce ourselves, once a connection and as soon as there is one."""
        assert self.socket is not None
        if not self.greeting_sent:
            hello = Outbox()
            hello.items.append((0, HELLO_ITEM.pack(HELLO, len(own_name), self.credit_bytes), own_name))
            hello.seal(own_epoch, 0, 0)
            self.greeting_sent = send(self.socket, hello.messages[0][0])

    def greeted(self, epoch: int) -> None:
        """The peer answered: from now on requests leave, for this incarnation only."""
        self.stage = Stage.GREETED
        self.epoch = epoch
        self.drop_withdrawn()
        self.queued = sum(len(head) + len(body) for correlation, head, body in self.outbox.items if correlation)
        self.acknowledged = 0

    def lost(self) -> None:
        """The connection broke, and with it the requests on the way, which the exchange takes out."""
        self.stage = Stage.CONNECTING
        self.greeting_sent = False
        packed = [item for _, items in self.outbox.messages for item in items]
        self.outbox.messages.clear()
        self.outbox.items[:0] = [item for item in packed if item[0] == 0]  # notices are for any incarnation

    def waits_for_room(self) -> bool:
        """Whether ZeroMQ would not take our greeting or a message."""
        return bool(self.outbox.messages) or (self.stage is Stage.CONNECTING and not self.greeting_sent)

    # What waits

    def withdraw(self, correlation: int) -> Pending | None:
        """Nobody waits for it any more. If it has not left, it does not leave."""
        entry = self.pending.pop(correlation, None)
        if entry is not None:
            entry[2].pop(correlation, None)
            if correlation >= self.unsent_from:
                self.withdrawn += 1
                if self.withdrawn * 2 > len(self.outbox.items):
                    self.drop_withdrawn()
        return entry

    def drop_withdrawn(self) -> None:
        """Take those given up out of what is to leave."""
        if not self.withdrawn:
            return
        pending, kept = self.pending, []
        for item in self.outbox.items:
            if item[0] == 0 or item[0] in pending:
                kept.append(item)
            else:
                self.queued -= len(item[1]) + len(item[2])
        self.outbox.items = kept
        self.withdrawn = 0

    def take_pending(self, *, sent_only: bool) -> list[tuple[int, Pending]]:
        """Requests to be failed, taken out: all, or those that have left. Correlation and entry, oldest first."""
        border = self.unsent_from if sent_only else NONE_UNSENT
        taken = [entry for entry in self.pending.items() if entry[0] < border]
        for correlation, (_, _, bucket) in taken:
            del self.pending[correlation]
            bucket.pop(correlation, None)
            self.withdrawn += correlation >= self.unsent_from
        self.drop_withdrawn()
        return taken

    def idle(self) -> bool:
        """Nothing waits for an answer or to leave."""
        return not self.pending and not self.outbox.items
