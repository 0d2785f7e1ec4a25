"""The ways from this door to the shards, put together where routers and doors meet (cluster/http_door.py)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from flashq.api.http.calls import Call, Client
from flashq.api.http.plans import Command
from flashq.protocol.dispatch import Dispatcher
from flashq.transport.forwarding import Forwarder


@dataclass(frozen=True, slots=True)
class Ways:
    """To one shard, where it is known which; else by the dispatcher, which finds out, splits and merges."""

    dispatcher: Dispatcher
    forwarder: Forwarder
    owner_of: Callable[[int], int]

    async def ask(self, client: Client, principal: str, command: Command) -> bytes:
        """Send a command; its reply, in text. Empty if the client has gone meanwhile."""
        call = Call(client, principal, asyncio.get_running_loop())
        client.waits = command.wait_ms > 0
        if command.slot is None:
            self.dispatcher.submit(call, command.frame)
        else:
            shard = self.owner_of(command.slot)
            self.forwarder.send(shard, call, command.frame, b"", command.wait_ms, command.flags)
        if client.waits and client.crowded:
            self.forwarder.ended(client.gid)
        reply = await call.future
        client.call = None
        client.waits = False
        return reply
