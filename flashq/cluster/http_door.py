"""The HTTP door, put together: the application, and the ways to the shards."""

import asyncio

from flashq.api.http import process
from flashq.api.ways import Ways
from flashq.cluster.peers import Peers
from flashq.transport.answering import OnNotice
from flashq.transport.child import ChildContext, PeerGone, PeerReady
from flashq.transport.event_desk import FEED
from flashq.transport.following import Following
from flashq.transport.forwarding import shard_of
from flashq.transport.shared_memory import SharedState


class HttpPeers(Peers):
    """The ways of an HTTP process."""

    def __init__(self, ctx: ChildContext, state: SharedState, on_notice: OnNotice) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(ctx, state, loop, on_notice)
        self.following = Following(ctx.name, self.forwarder.ask_shard, loop)
        self.ways = Ways(self.dispatcher, self.forwarder, state.owner)
        self._doors: set[str] = set()
        """Other HTTP processes that serve."""

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""
        super().on_peer(order)
        if order.name.startswith("http-"):
            (self._doors.add if isinstance(order, PeerReady) else self._doors.discard)(order.name)
        elif order.name.startswith("shard-") and isinstance(order, PeerReady):
            self.following.shard_serves(shard_of(order.name))

    def _on_notice(self, peer: str, kind: int, payload: bytes) -> None:
        if kind == FEED:
            self.following.came(shard_of(peer), payload)
        else:
            super()._on_notice(peer, kind, payload)

    async def stop(self) -> None:
        """Send what can be sent, and close."""
        self.following.stop()
        await super().stop()

    def tell_doors(self, kind: int, payload: bytes) -> None:
        """Send a notice to the other HTTP processes."""
        for name in self._doors:
            self.exchange.notify(name, kind, payload)


def run_http(ctx: ChildContext) -> int:
    """The life of an HTTP process."""
    return process.run(ctx, HttpPeers)
