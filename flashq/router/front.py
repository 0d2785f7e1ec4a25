"""The front of the cluster: takes connections in and passes each to the shard that owns what it asks for.

It has no say in what follows: a shard that gets a connection serves it for as long as it lives. What names no
single slot first stays here with the gateway; so does everything while tokens are configured, for a connection
must not leave before it is known whose it is.
"""

import asyncio
import resource
import socket
from typing import Protocol

from flashq.protocol.head import Head, slot_of
from flashq.router.arrivals import Arrivals
from flashq.router.gateway import Gateway
from flashq.router.waiting import Waiting, WaitingRoom
from flashq.transport.child import ChildContext, Order, PeerGone, PeerReady
from flashq.transport.shared_memory import SharedState


class HandOver(Protocol):
    """Passes connections to shards."""

    def __call__(self, shard: int, arrived: Waiting, /) -> bool:
        """Pass one, without waiting; what is ours of it is then to be closed. False if the shard cannot take it now."""


class Front:
    """One router's connections and where they go."""

    def __init__(self, ctx: ChildContext, state: SharedState, gateway: Gateway, hand_over: HandOver) -> None:
        loop = asyncio.get_running_loop()
        self._ctx = ctx
        self._loop = loop
        self._state = state
        self._gateway = gateway
        self._pass = hand_over
        self._serving: set[int] = set()
        """Shards that serve, as the supervisor says."""
        self._room = WaitingRoom(
            loop, patience_ms=ctx.settings.request_deadline_ms, send=self._hand_over, give_up=self._keep
        )
        descriptors_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._arrivals = Arrivals(
            loop,
            ctx.listeners,
            ctx.settings,
            self._on_head,
            gateway.access,
            descriptors_max=descriptors_max,
            on_sealed=self._on_sealed if gateway.speaks_tls else None,
        )
        self._number = 0
        self.stop_ordered = asyncio.Event()
        """Set when the supervisor wants us to end."""

    async def start(self) -> None:
        """Returns when connections are taken in."""
        await self._gateway.start()
        self._ctx.control.attach(self._loop, self._on_order)
        self._arrivals.open()

    async def stop(self) -> None:
        """Returns when nothing new comes in and what was kept has been served to its end."""
        self._arrivals.close()
        self._room.close()
        await self._gateway.stop()

    def _on_order(self, order: Order) -> None:
        if not isinstance(order, PeerGone | PeerReady):
            self.stop_ordered.set()
            return
        self._gateway.on_peer(order)
        kind, _, number = order.name.partition("-")
        if kind != "shard":
            return
        if isinstance(order, PeerReady):
            self._serving.add(int(number))
            self._room.retry(int(number))
        else:
            self._serving.discard(int(number))

    def _on_head(self, sock: socket.socket, data: bytes, head: Head | None) -> None:
        """A connection's first request is known, or it is known that it will not be."""
        self._number += 1
        arrived = Waiting(sock, data, self._ctx.gid(self._number))
        slot = slot_of(head) if head is not None and not self._gateway.access.required else None
        if slot is None:
            self._keep(arrived)
            return
        shard = self._state.owner(slot)
        serves = shard in self._serving
        # Nobody overtakes those who wait: the patient would be served last.
        if not serves or self._room.line(shard) or not self._hand_over(shard, arrived):
            self._room.add(shard, arrived, shard_serves=serves)

    def _on_sealed(self, sock: socket.socket) -> None:
        """A TCP connection that begins with a TLS handshake: it stays here, for what it says is known here alone."""
        self._number += 1
        self._gateway.keep_sealed(sock, self._ctx.gid(self._number))

    def _hand_over(self, shard: int, arrived: Waiting) -> bool:
        passed = self._pass(shard, arrived)
        if passed:
            arrived.sock.close()
        return passed

    def _keep(self, arrived: Waiting) -> None:
        self._gateway.keep(arrived.sock, arrived.data, arrived.gid)
