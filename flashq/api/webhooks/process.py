"""The sender's process. It stands by as a loop and a socket; what it takes to send comes with the first delivery."""

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import uvloop

from flashq.api.webhooks.resolving import system_lookup
from flashq.api.webhooks.sender import Sender
from flashq.protocol.web_targets import Allowed
from flashq.transport.answering import OnNotice
from flashq.transport.child import EXIT_STOPPED, ChildContext, Order, PeerGone, PeerReady
from flashq.transport.forwarding import Forwarder, shard_of
from flashq.transport.hook_feed import HOOKS_READY, Parcel, Target
from flashq.transport.shared_memory import SharedState

if TYPE_CHECKING:
    from flashq.api.webhooks.http_client import HttpClient

SHARDS: Final = "shard-"


class Peers(Protocol):
    """The ways to the shards, and their end."""

    forwarder: Forwarder

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""

    async def stop(self) -> None:
        """Send what can be sent, and close."""


class MakePeers(Protocol):
    """Puts them together."""

    def __call__(
        self, ctx: ChildContext, state: SharedState, loop: asyncio.AbstractEventLoop, on_notice: OnNotice, /
    ) -> Peers:
        """For one process."""


def run(ctx: ChildContext, make_peers: MakePeers) -> int:
    """The whole life of the sender; its exit code."""
    return uvloop.run(_live(ctx, make_peers))


async def _live(ctx: ChildContext, make_peers: MakePeers) -> int:
    process = Process(ctx, make_peers)
    ctx.control.ready()
    await process.stop_ordered.wait()
    await process.stop()
    return EXIT_STOPPED


class Process:
    """The sender, put together."""

    def __init__(self, ctx: ChildContext, make_peers: MakePeers) -> None:
        self._settings = settings = ctx.settings
        loop = asyncio.get_running_loop()
        self._state = SharedState.attach(ctx.run)
        self._peers = make_peers(ctx, self._state, loop, self._on_notice)
        self._client: HttpClient | None = None
        self._sender = Sender(
            self._peers.forwarder.ask_shard, self._send, loop, shards=settings.shards,
            at_once=settings.webhook_concurrency, open_s=settings.webhook_breaker_ms / 1_000,
        )  # fmt: skip
        self.stop_ordered = asyncio.Event()
        ctx.control.attach(loop, self._on_order)

    async def _send(self, target: Target, parcel: Parcel) -> tuple[bool, str]:
        if self._client is None:
            from flashq.api.webhooks.http_client import HttpClient

            settings = self._settings
            self._client = HttpClient(
                system_lookup(), Allowed.of(settings.webhook_allow), timeout_s=settings.webhook_timeout_ms / 1_000
            )
        return await self._client.send(target, parcel)

    async def stop(self) -> None:
        """Returns when what is under way has ended, or has had time enough."""
        await self._sender.stop(self._settings.stop_timeout_ms / 4_000)
        if self._client is not None:
            await self._client.close()
        await self._peers.stop()
        self._state.close()

    def _on_order(self, order: Order) -> None:
        if not isinstance(order, PeerGone | PeerReady):
            self.stop_ordered.set()
            return
        self._peers.on_peer(order)
        if order.name.startswith(SHARDS):
            shard = shard_of(order.name)
            (self._sender.serves if isinstance(order, PeerReady) else self._sender.gone)(shard)

    def _on_notice(self, peer: str, kind: int, payload: bytes) -> None:
        if kind != HOOKS_READY:
            raise LookupError(f"The sender of webhooks takes no notices of kind {kind}, as {peer} sent")
        self._sender.more(shard_of(peer))
