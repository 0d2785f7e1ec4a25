"""The few things we do with a ZeroMQ socket, never blocking.

Flags are plain integers here: with the library's enums a round trip takes 15 us more.
"""

from typing import Final

import zmq

from flashq.transport.outbox import Message

ZmqSocket = zmq.Socket[bytes]
ZmqContext = zmq.Context[ZmqSocket]

POLLIN: Final = int(zmq.POLLIN)
POLLOUT: Final = int(zmq.POLLOUT)
NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_RCVMORE: Final = int(zmq.RCVMORE)


def descriptor(socket: ZmqSocket) -> int:
    """What to watch in a loop. It is edge-triggered: see `exchange.py`."""
    return int(socket.getsockopt(zmq.FD))


def events(socket: ZmqSocket) -> int:
    """POLLIN, POLLOUT or both. Also takes note of what the descriptor was telling. 2 us."""
    return socket.get(_EVENTS)  # type: ignore[return-value]  # an int for this option


def receive(socket: ZmqSocket) -> tuple[bytes, list[bytes]]:
    """One message of a peer: its batch, and the bodies apart. Raises zmq.Again if there is none."""
    data = socket.recv(NOBLOCK)
    parts: list[bytes] = []
    # Asked, not taken from the head: where a damaged head denies parts that are there, they would be read as a message.
    while socket.getsockopt(_RCVMORE):
        parts.append(socket.recv(NOBLOCK))
    return data, parts


def send(socket: ZmqSocket, message: Message) -> bool:
    """Hand one message to ZeroMQ; False if it has no room. Raises zmq.ZMQError for anything else.

    Only the first part can find no room, unless the connection breaks in the middle: then the rest is
    handed over and thrown away there, and the monitor will tell of the loss.
    """
    last = len(message) - 1
    for index, part in enumerate(message):
        try:
            socket.send(part, _MORE if index < last else NOBLOCK)
        except zmq.Again:
            if index == 0:
                return False
    return True
