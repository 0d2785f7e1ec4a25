"""The gRPC process, in a loop of its own, from its birth to the order to stop."""

import asyncio
from typing import Final, Protocol

import uvloop

from flashq.access.access import Access
from flashq.api.grpc.command_service import CommandService
from flashq.api.grpc.desk import Desk
from flashq.api.grpc.queue_service import QueueService
from flashq.api.grpc.sealing import Sealing
from flashq.api.grpc.server import GrpcServer
from flashq.api.grpc.streams import Streams
from flashq.api.spans import open_spans
from flashq.api.ways import Ways
from flashq.transport.child import EXIT_STOPPED, ChildContext, Order, PeerGone, PeerReady
from flashq.transport.shared_memory import SharedState
from flashq.transport.tls import Certificates

STOP_SHARE: Final = 2
"""Of the time a stop may take, this part (a half) is for calls."""


class Peers(Protocol):
    """The ways to other processes, and their end."""

    ways: Ways
    access: Access

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""

    async def stop(self) -> None:
        """Send what can be sent, and close."""


class MakePeers(Protocol):
    """Puts them together."""

    def __call__(self, ctx: ChildContext, state: SharedState, /) -> Peers:
        """For one process."""


def run(ctx: ChildContext, make_peers: MakePeers) -> int:
    """The whole life of a gRPC process; its exit code."""
    return uvloop.run(_live(ctx, make_peers))


async def _live(ctx: ChildContext, make_peers: MakePeers) -> int:
    process = Process(ctx, make_peers)
    await process.start()
    ctx.control.ready()
    await process.stop_ordered.wait()
    await process.stop()
    return EXIT_STOPPED


class Process:
    """One gRPC process, put together."""

    def __init__(self, ctx: ChildContext, make_peers: MakePeers) -> None:
        settings = ctx.settings
        self._ctx = ctx
        self._number = 0
        self._state = SharedState.attach(ctx.run)
        self._peers = make_peers(ctx, self._state)
        ways = self._peers.ways
        certificates = Certificates(settings)
        ctx.control.on_reload.append(certificates.reload)
        desk = Desk(ways, self._peers.access, self._next_gid)
        self._spans = open_spans(settings, ctx.name)
        self._server = GrpcServer(
            _address(ctx), desk, QueueService(desk, settings.max_batch), Streams(desk),
            CommandService(desk, ways, self._next_gid), settings.frame_bytes_max,
            Sealing(settings, certificates) if certificates.context is not None else None, self._spans,
        )  # fmt: skip
        self._health: set[asyncio.Task[None]] = set()
        self.stop_ordered = asyncio.Event()
        """Set when the supervisor wants us to end."""

    def _next_gid(self) -> int:
        self._number += 1
        return self._ctx.gid(self._number)

    async def start(self) -> None:
        """Returns when calls are taken in."""
        self._ctx.control.attach(asyncio.get_running_loop(), self._on_order)
        await self._server.start()

    async def stop(self) -> None:
        """Returns when what was asked is answered and all is closed."""
        await self._server.stop(self._ctx.settings.stop_timeout_ms / 1_000 / STOP_SHARE)
        if self._spans is not None:
            await self._spans.stop()
        await self._peers.stop()
        self._state.close()

    def _on_order(self, order: Order) -> None:
        if isinstance(order, PeerGone | PeerReady):
            self._peers.on_peer(order)
            if order.name.startswith("shard-"):
                told = self._server.tell_health(order.name, serving=isinstance(order, PeerReady))
                task = asyncio.ensure_future(told)
                self._health.add(task)
                task.add_done_callback(self._health.discard)
        else:
            self.stop_ordered.set()


def _address(ctx: ChildContext) -> str:
    """Where to listen. The supervisor's socket holds the port for us; gRPC cannot take it over, and opens its own."""
    host, port = ctx.listeners[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
