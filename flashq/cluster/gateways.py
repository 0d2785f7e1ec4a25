"""The stream gateway, put into routers and shards: the one place where doors and dispatchers meet."""

import asyncio
import socket

from flashq.api.stream.gateway import StreamGateway
from flashq.clock import SystemClock
from flashq.cluster.peers import Peers
from flashq.router import process as router
from flashq.shard import process as shard
from flashq.transport.child import ChildContext, PeerGone, PeerReady
from flashq.transport.handover import HandoverSender
from flashq.transport.shared_memory import SharedState
from flashq.transport.tls import Certificates


class RouterGateway:
    """The connections that a router keeps, dispatched over ZeroMQ."""

    def __init__(self, ctx: ChildContext, state: SharedState) -> None:
        loop = asyncio.get_running_loop()
        self._peers = Peers(ctx, state, loop)
        self.access = self._peers.access
        self._certificates = Certificates(ctx.settings)
        ctx.control.on_reload.append(self._certificates.reload)
        self._gateway = StreamGateway(
            loop, SystemClock(), ctx.settings, self._peers.dispatcher, self.access, on_begin=_no_clock,
            on_end=_nothing_to_commit, inline=True,
        )  # fmt: skip
        self._sender = HandoverSender(ctx.run)
        self._gateway.let_wander(self._sender, self._on_leaving, self._peers.forwarder.let_go)
        self._peers.before_events = self._gateway.ticks.wake

    async def start(self) -> None:
        """Connections are adopted one by one: there is nothing to start."""

    def _on_leaving(self, gid: int, shard: int) -> list[int] | None:
        """A connection is about to move to a shard, which will tell the holders when it ends."""
        if self._peers.dispatcher.desk.listens(gid):
            return None
        return self._peers.forwarder.holders(gid)

    async def stop(self) -> None:
        """Returns when all are closed."""
        await self._gateway.stop()
        self._sender.close()
        await self._peers.stop()

    def keep(self, sock: socket.socket, data: bytes, gid: int) -> None:
        """Serve a connection from now on."""
        self._gateway.adopt(sock, gid, data, "")

    @property
    def speaks_tls(self) -> bool:
        """Whether TCP connections begin with a TLS handshake."""
        return self._certificates.context is not None

    def keep_sealed(self, sock: socket.socket, gid: int) -> None:
        """Serve a connection whose TLS handshake is still to come."""
        assert self._certificates.context is not None
        self._gateway.adopt_sealed(sock, gid, self._certificates.context)

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""
        self._peers.on_peer(order)


def _no_clock(now_ms: int, mono_ms: int) -> None:
    """A router keeps no time."""


def _nothing_to_commit() -> None:
    """Replies of a router come from shards, which have committed."""


def run_shard(ctx: ChildContext) -> int:
    """The life of a shard with its gateway."""
    return shard.run(ctx, StreamGateway)


def run_router(ctx: ChildContext) -> int:
    """The life of a router with its gateway."""
    return router.run(ctx, RouterGateway)
