"""The HTTP process: a door and what stands behind it in a loop of its own, from its birth to the order to stop."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import uvloop

from flashq.api.http.app import make_app
from flashq.api.http.cors import Cors
from flashq.api.http.door import Door
from flashq.api.http.server import HttpServer
from flashq.api.http.ways import Ways
from flashq.protocol.tokens import authenticator
from flashq.transport.child import EXIT_STOPPED, ChildContext, Order, PeerGone, PeerReady
from flashq.transport.shared_memory import SharedState


class Peers(Protocol):
    """The ways to other processes, and their end."""

    ways: Ways

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""

    async def stop(self) -> None:
        """Send what can be sent, and close."""


MakePeers = Callable[[ChildContext, SharedState], Peers]


def run(ctx: ChildContext, make_peers: MakePeers) -> int:
    """The whole life of an HTTP process; its exit code."""
    return uvloop.run(_live(ctx, make_peers))


async def _live(ctx: ChildContext, make_peers: MakePeers) -> int:
    state = SharedState.attach(ctx.run)
    peers = make_peers(ctx, state)
    settings = ctx.settings
    app = make_app(ctx, state, peers.ways)
    authenticate = authenticator(settings.auth_tokens)
    door = Door(
        peers.ways, app, authenticate=authenticate, cors=Cors(settings.cors_allow_origin),
        body_bytes_max=settings.frame_bytes_max,
    )  # fmt: skip
    server = HttpServer(ctx, door, peers.ways.forwarder)
    stop_ordered = asyncio.Event()

    def on_order(order: Order) -> None:
        if isinstance(order, PeerGone | PeerReady):
            peers.on_peer(order)
        else:
            stop_ordered.set()

    ctx.control.attach(asyncio.get_running_loop(), on_order)
    await server.start(ctx.listeners)
    ctx.control.ready()
    await stop_ordered.wait()
    await server.stop()
    await peers.stop()
    state.close()
    return EXIT_STOPPED
