"""Where the server is, and the ways that a request can take through it.

- own: the connection's first command names a queue of the shard that has the test's queues too
- other: it names a queue of another shard, which then has the connection and must forward
- router: it names no queue
- unix: as own, over the Unix socket
- http, routes, grpc: other doors (doors.py)

A server of one shard, or of another make, has no such ways; the connections are the same to it.
"""

import binascii
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc

from tests.conformance.doors import GrpcPeer, HttpPeer, RoutesPeer, http_peer
from tests.conformance.peer import CODECS, MSGPACK, TEXT, Peer

OWN: Final = "own"
OTHER: Final = "other"
ROUTER: Final = "router"
PATHS: Final = (OWN, OTHER, ROUTER)
UNIX: Final = "unix"
HTTP: Final = "http"
ROUTES: Final = "routes"
GRPC: Final = "grpc"
TCP_WAYS: Final = tuple((codec, path) for codec in CODECS for path in PATHS)
DOOR_WAYS: Final = (
    (TEXT, UNIX), (MSGPACK, UNIX), (TEXT, HTTP), (TEXT, ROUTES), (TEXT, GRPC), (MSGPACK, GRPC),
)  # fmt: skip
"""Codec and path. A server at an address is asked over TCP alone."""
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

    def __init__(
        self, host: str, port: int, shards: int, *, http_port: int = 0, grpc_port: int = 0, unix: Path | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.shards = shards
        self._http_port = http_port
        self._grpc_port = grpc_port
        self._unix = unix
        self._channel: grpc.Channel | None = None
        """One for all sessions."""

    def connect(self, codec: str, path: str = OWN) -> Peer:
        """A connection of which nothing was sent."""
        if path == HTTP:
            return http_peer(HttpPeer, self._http_port)
        if path == ROUTES:
            return http_peer(RoutesPeer, self._http_port)
        if path == GRPC:
            return GrpcPeer(self._grpc(), codec)
        if path == UNIX:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(self._unix))
            return Peer(sock, codec)
        return Peer(socket.create_connection((self.host, self.port), 10.0), codec)

    def _grpc(self) -> grpc.Channel:
        if self._channel is None:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
            self._channel = grpc.insecure_channel(f"{self.host}:{self._grpc_port}", options)
        return self._channel

    def close(self) -> None:
        """What it keeps for all."""
        if self._channel is not None:
            self._channel.close()


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
        return self.address.connect(self.codec, self.path)

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
            peer.ok("COUNT", queue=self.far() if self.path == OTHER else self.queue())
