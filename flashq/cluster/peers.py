"""The ways of a door's process to the shards: an exchange, a forwarder, and a dispatcher over both."""

import asyncio
from collections.abc import Callable

from flashq.access.access import Access
from flashq.clock import SystemClock
from flashq.router.dispatcher import RoutingDispatcher
from flashq.transport.answering import OnNotice
from flashq.transport.child import ChildContext, PeerGone, PeerReady
from flashq.transport.envelope import UNAVAILABLE
from flashq.transport.event_desk import FEED
from flashq.transport.exchange import Exchange
from flashq.transport.forwarding import Forwarder, shard_of
from flashq.transport.incoming import Incoming
from flashq.transport.shared_memory import SharedState
from flashq.transport.totals import SharedTotals


class Peers:
    """Those of one process."""

    def __init__(
        self, ctx: ChildContext, state: SharedState, loop: asyncio.AbstractEventLoop, on_notice: OnNotice | None = None
    ) -> None:
        """`on_notice` gets what is no event."""
        settings = ctx.settings
        self._other_notices = on_notice
        self.access = Access(settings.auth_tokens, settings.data)
        """Who may enter, and do what."""
        ctx.control.on_reload.append(self.access.reload)
        self.exchange = Exchange(
            ctx.name, ctx.run, epoch=ctx.incarnation, loop=loop, on_request=_nothing_to_ask, on_peer_gone=_noted,
            on_notice=self._on_notice,
        )  # fmt: skip
        self.forwarder = Forwarder(
            self.exchange, state.owner, deadline_ms=settings.request_deadline_ms, mono_ms=SystemClock().mono_ms
        )
        self.before_events: Callable[[], None] = _no_ticks
        """Called before events are written to connections: a gateway that has ticks begins one."""
        self.dispatcher = RoutingDispatcher(
            self.forwarder, owner_of=state.owner, totals=SharedTotals(state, settings.shards),
            access=self.access, max_batch=settings.max_batch, shards=settings.shards,
            process=ctx.name,
        )  # fmt: skip

    def on_peer(self, order: PeerGone | PeerReady) -> None:
        """A peer came or went."""
        if isinstance(order, PeerGone):
            self.exchange.peer_gone(order.name, order.incarnation)
        elif order.name.startswith("shard-"):
            shard = shard_of(order.name)
            self.forwarder.announce(shard)
            self.dispatcher.desk.shard_serves(shard)

    def _on_notice(self, peer: str, kind: int, payload: bytes) -> None:
        if kind == FEED:
            self.before_events()
            self.dispatcher.desk.came(payload)
        elif self._other_notices is not None:
            self._other_notices(peer, kind, payload)
        else:
            raise LookupError(f"Nobody here takes notices of kind {kind}, as {peer} sent")

    async def stop(self) -> None:
        """Send what can be sent, and close."""
        await self.exchange.stop()


def _no_ticks() -> None:
    """A door without ticks writes at once."""


def _nothing_to_ask(incoming: Incoming) -> None:
    incoming.refuse(UNAVAILABLE)


def _noted(name: str, epoch: int) -> None:
    """What was pending to it has failed already."""
