"""Where the server is, and the ways that a request can take through it.

- own: the connection's first command names a queue of the shard that has the test's queues too
- other: it names a queue of another shard, which then has the connection and must forward
- router: it names no queue

A server of one shard, or of another make, has no such ways; the connections are the same to it.
"""

import binascii
import os
import socket
from collections.abc import Iterator
from typing import Final

from tests.conformance.peer import Peer

OWN: Final = "own"
OTHER: Final = "other"
ROUTER: Final = "router"
PATHS: Final = (OWN, OTHER, ROUTER)
SLOTS: Final = 1024
ADDR: Final = os.environ.get("CONFORMANCE_ADDR", "")
SHARDS: Final = int(os.environ.get("CONFORMANCE_SHARDS") or 2)
DRIVER: Final = os.environ.get("CONFORMANCE_DATABASE", "")
"""Of the database that servers of our own keep their jobs in; empty: files."""


def shard_of(queue: str, shards: int) -> int:
    """The shard that has a queue on a cluster which was never resharded: slots go round robin."""
    return (binascii.crc32(queue.encode()) % SLOTS) % shards


def queues_of(shard: int, shards: int, prefix: str) -> Iterator[str]:
    """Names of queues of one shard, none of which was ever used."""
    tag = f"{prefix}{os.urandom(5).hex()}"
    number = 0
    while True:
        name = f"{tag}-{number}"
        if shard_of(name, shards) == shard:
            yield name
        number += 1


class Address:
    """A server."""

    def __init__(self, host: str, port: int, shards: int) -> None:
        self.host = host
        self.port = port
        self.shards = shards

    def connect(self, codec: str) -> Peer:
        """A connection of which nothing was sent."""
        return Peer(socket.create_connection((self.host, self.port), 10.0), codec)


class Way:
    """One codec and one path: makes queues and connections."""

    def __init__(self, address: Address, codec: str, path: str) -> None:
        self.address = address
        self.codec = codec
        self.path = path
        self._near = queues_of(0, address.shards, "c")
        self._far = queues_of(address.shards - 1, address.shards, "f")

    def queue(self) -> str:
        """A queue nobody has used; all that this gives are of one shard."""
        return next(self._near)

    def far(self) -> str:
        """A queue nobody has used, of another shard than `queue` gives, where there is one."""
        return next(self._far)

    def name(self) -> str:
        """A name nobody has used, of any slot: for custom ids, crons and keys."""
        return f"n-{os.urandom(8).hex()}"

    def bare(self) -> Peer:
        """A connection of which nothing was sent."""
        return self.address.connect(self.codec)

    def connect(self) -> Peer:
        """A connection whose first command has put it where this way says."""
        peer = self.bare()
        self.open(peer)
        return peer

    def open(self, peer: Peer) -> None:
        """Send the first command."""
        if self.path == ROUTER:
            peer.ok("PING")
            peer.ok("STATS")
        else:
            peer.ok("COUNT", queue=self.queue() if self.path == OWN else self.far())
