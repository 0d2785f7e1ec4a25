"""The stream gateway, put into routers and shards: the one place where doors and dispatchers meet."""

import asyncio
import socket

from flashq.api.stream.gateway import StreamGateway
from flashq.clock import SystemClock
from flashq.protocol.tokens import authenticator
from flashq.router import process as router
from flashq.router.dispatcher import RoutingDispatcher
from flashq.shard import process as shard
from flashq.transport.child import ChildContext, PeerGone, PeerReady
from flashq.transport.envelope import UNAVAILABLE
from flashq.transport.exchange import Exchange
from flashq.transport.forwarding import Forwarder
from flashq.transport.incoming import Incoming
from flashq.transport.shared_memory import SharedState
from flashq.transport.totals import SharedTotals


class RouterGateway:
    """The connections that a router keeps, dispatched over ZeroMQ."""

    def __init__(self, ctx: ChildContext, state: SharedState) -> None:
        loop = asyncio.get_running_loop()
        settings = ctx.settings
        clock = SystemClock()
        self._exchange = Exchange(
            ctx.name, ctx.run, epoch=ctx.incarnation, loop=loop, on_request=_nothing_to_ask, on_peer_gone=_noted
        )
        self._forwarder = Forwarder(
            self._exchange, state.owner, deadline_ms=settings.request_deadline_ms, mono_ms=clock.mono_ms
        )
        dispatcher = RoutingDispatcher(
            self._forwarder, owner_of=state.owner, totals=SharedTotals(state, settings.shards),
            authenticate=authenticator(settings.auth_tokens), max_batch=settings.max_batch,
            shards=settings.shards,
        )  # fmt: skip
        self._gateway = StreamGateway(
            loop, clock, settings, dispatcher, on_begin=_no_clock, on_end=_nothing_to_commit, inline=True
        )

    async def start(self) -> None:
        """Connections are adopted one by one: there is nothing to start."""

    async def stop(self) -> None:
        """Returns when all are closed."""
        await self._gateway.stop()
        await self._exchange.stop()

    def keep(self, sock: socket.socket, data: bytes, gid: int) -> None:
        """Serve a connection from now on."""
        self._gateway.adopt(sock, gid, data, "")

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""
        if isinstance(order, PeerGone):
            self._exchange.peer_gone(order.name, order.incarnation)
        elif order.name.startswith("shard-"):
            self._forwarder.announce(int(order.name.removeprefix("shard-")))


def _nothing_to_ask(incoming: Incoming) -> None:
    incoming.refuse(UNAVAILABLE)


def _noted(name: str, epoch: int) -> None:
    """What was pending to it has failed already."""


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
