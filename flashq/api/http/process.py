"""The HTTP process: a door and what stands behind it in a loop of its own, from its birth to the order to stop."""

import asyncio
from typing import Final, Protocol

import uvloop

from flashq.access.access import Access
from flashq.access.standing import Standing
from flashq.api.http.app import make_app
from flashq.api.http.asgi import Bodies
from flashq.api.http.cors import Cors
from flashq.api.http.door import Door
from flashq.api.http.history import History
from flashq.api.http.live.dashboard import Dashboard
from flashq.api.http.live.hub import Hub
from flashq.api.http.live.sockets import Sockets
from flashq.api.http.pages.page import Host
from flashq.api.http.server import HttpServer
from flashq.api.http.workers import WORKER_BEAT, Workers, decode_worker
from flashq.api.spans import open_spans
from flashq.api.ways import Ways
from flashq.transport.answering import OnNotice
from flashq.transport.child import EXIT_STOPPED, ChildContext, Order, PeerGone, PeerReady
from flashq.transport.following import Following
from flashq.transport.shared_memory import SharedState

BODIES_BYTES_MAX: Final = 512 << 20
"""Of all bodies that are being read by one process."""


class Peers(Protocol):
    """The ways to other processes, and their end."""

    ways: Ways
    following: Following
    access: Access

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""

    def tell_doors(self, kind: int, payload: bytes) -> None:
        """Send a notice to the other HTTP processes."""

    async def stop(self) -> None:
        """Send what can be sent, and close."""


class MakePeers(Protocol):
    """Puts them together."""

    def __call__(self, ctx: ChildContext, state: SharedState, on_notice: OnNotice, /) -> Peers:
        """For one process; `on_notice` hears what other HTTP processes tell."""


def run(ctx: ChildContext, make_peers: MakePeers) -> int:
    """The whole life of an HTTP process; its exit code."""
    return uvloop.run(_live(ctx, make_peers))


async def _live(ctx: ChildContext, make_peers: MakePeers) -> int:
    process = Process(ctx, make_peers)
    await process.start()
    ctx.control.ready()
    await process.stop_ordered.wait()
    await process.stop()
    return EXIT_STOPPED


class Process:
    """One HTTP process, put together."""

    def __init__(self, ctx: ChildContext, make_peers: MakePeers) -> None:
        settings = ctx.settings
        self._ctx = ctx
        self._state = SharedState.attach(ctx.run)
        self._peers = make_peers(ctx, self._state, self._on_notice)
        self._workers = Workers(lambda beat: self._peers.tell_doors(WORKER_BEAT, beat))
        self._history = History(self._state)
        ways = self._peers.ways
        access, cors = self._peers.access, Cors(settings.cors_allow_origin)
        host = Host(
            ctx.name, settings, self._state, ways, self._history, self._workers, self._count, access,
            ctx.control.changed, ctx.control.restart,
        )  # fmt: skip
        self._spans = open_spans(settings, ctx.name)
        self._hub = Hub(ways, self._peers.following, settings.shards, access)
        dashboard = Dashboard(host, ctx.gid(0), settings.dashboard_interval_ms / 1_000)
        sockets = Sockets(self._hub, dashboard, access=access, cors=cors, auth_s=settings.preauth_timeout_ms / 1_000)
        door = Door(
            ways, make_app(host), access=access, cors=cors, hub=self._hub, sockets=sockets,
            bodies=Bodies(settings.frame_bytes_max, BODIES_BYTES_MAX), spans=self._spans,
        )  # fmt: skip
        self._server = HttpServer(ctx, door, ways.forwarder)
        self._standing = Standing(asyncio.get_running_loop(), access, lambda: self._server.sweep(access.stands))
        self.stop_ordered = asyncio.Event()
        """Set when the supervisor wants us to end."""

    async def start(self) -> None:
        """Returns when connections are taken in."""
        self._ctx.control.attach(asyncio.get_running_loop(), self._on_order)
        self._history.start()
        await self._server.start(self._ctx.listeners)

    async def stop(self) -> None:
        """Returns when what was asked is answered and all is closed."""
        self._standing.stop()
        await self._hub.stop()
        await self._server.stop()
        self._history.stop()
        if self._spans is not None:
            await self._spans.stop()
        await self._peers.stop()
        self._state.close()

    def _count(self) -> tuple[int, int]:
        return self._server.connections, self._server.requests

    def _on_order(self, order: Order) -> None:
        if isinstance(order, PeerGone | PeerReady):
            self._peers.on_peer(order)
        else:
            self.stop_ordered.set()

    def _on_notice(self, peer: str, kind: int, payload: bytes) -> None:
        if kind == WORKER_BEAT:
            self._workers.heard(decode_worker(payload))
