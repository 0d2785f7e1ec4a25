"""The few things we do with a ZeroMQ socket, never blocking."""

import zmq

from flashq.transport.outbox import Message

ZmqSocket = zmq.Socket[bytes]
ZmqContext = zmq.Context[ZmqSocket]


def descriptor(socket: ZmqSocket) -> int:
    """What to watch in a loop. It is edge-triggered: see `exchange.py`."""
    return int(socket.getsockopt(zmq.FD))


def events(socket: ZmqSocket) -> int:
    """POLLIN, POLLOUT or both. Also takes note of what the descriptor was telling. 2 us."""
    return int(socket.getsockopt(zmq.EVENTS))


def readable(socket: ZmqSocket) -> bool:
    """Whether a message is there; see `events`."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def receive(socket: ZmqSocket) -> tuple[bytes, list[bytes]]:
    """One message of a peer: its batch, and the bodies apart. Raises zmq.Again if there is none."""
    data = socket.recv(zmq.NOBLOCK)
    parts = []
    if data[2:4] != b"\0\0":
        while socket.getsockopt(zmq.RCVMORE):
            parts.append(socket.recv(zmq.NOBLOCK))
    return data, parts


def send(socket: ZmqSocket, message: Message) -> bool:
    """Hand one message to ZeroMQ; False if it has no room. Raises zmq.ZMQError for anything else.

    Only the first part can find no room, unless the connection breaks in the middle: then the rest is
    handed over and thrown away there, and the monitor will tell of the loss.
    """
    last = len(message) - 1
    for index, part in enumerate(message):
        try:
            socket.send(part, zmq.NOBLOCK | zmq.SNDMORE if index < last else zmq.NOBLOCK)
        except zmq.Again:
            if index == 0:
                return False
    return True
