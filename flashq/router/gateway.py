"""What a router does with connections that it keeps, seen from the router: a port.

It is filled with the stream gateway and a dispatcher that forwards; `cluster/roles.py` puts them together, so
that neither of the two knows the other.
"""

import socket
from collections.abc import Callable
from typing import Protocol

from flashq.access.access import Access
from flashq.lifecycle import Service
from flashq.protocol.head import codec_of
from flashq.router.refusals import refuse
from flashq.transport.child import ChildContext, PeerGone, PeerReady
from flashq.transport.shared_memory import SharedState


class Gateway(Service, Protocol):
    """Serves connections in this process."""

    access: Access
    """Who may enter."""

    @property
    def speaks_tls(self) -> bool:
        """Whether TCP connections begin with a TLS handshake."""

    def keep(self, sock: socket.socket, data: bytes, gid: int) -> None:
        """Serve a connection from now on. It is non-blocking; `data` is what was read of it so far."""

    def keep_sealed(self, sock: socket.socket, gid: int) -> None:
        """As `keep`, for a connection whose TLS handshake is still to come."""

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""


MakeGateway = Callable[[ChildContext, SharedState], Gateway]


class NoGateway:
    """For a router that only hands connections over: what it would have to keep is refused."""

    def __init__(self, ctx: ChildContext, state: SharedState) -> None:
        self.refused = 0
        self.access = Access(ctx.settings.auth_tokens, ctx.settings.data)
        ctx.control.on_reload.append(self.access.reload)

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def keep(self, sock: socket.socket, data: bytes, gid: int) -> None:
        """Answer that it cannot be served here, and close."""
        self.refused += 1
        refuse(sock, "The shard of this request cannot be reached", codec_of(data))

    speaks_tls = False

    def keep_sealed(self, sock: socket.socket, gid: int) -> None:
        """Close: nobody here speaks TLS."""
        sock.close()

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """Peers do not matter here."""
