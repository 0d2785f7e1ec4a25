"""The ways from a door to the shards, put together where routers and doors meet (flashq/cluster)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from flashq.api.calls import Call, Caller
from flashq.protocol.dispatch import Codec, Dispatcher
from flashq.transport.forwarding import Forwarder


class Command:
    """A request, ready for its shard."""

    __slots__ = ("flags", "frame", "slot", "wait_ms")

    def __init__(self, frame: bytes, slot: int | None = None, wait_ms: int = 0, flags: int = 0) -> None:
        self.frame = frame
        self.slot = slot
        """Where it goes; None: the dispatcher finds out."""
        self.wait_ms = wait_ms
        """How long its answer may wait for something to happen."""
        self.flags = flags


@dataclass(frozen=True, slots=True)
class Ways:
    """To one shard, where it is known which; else by the dispatcher, which finds out, splits and merges."""

    dispatcher: Dispatcher
    forwarder: Forwarder
    owner_of: Callable[[int], int]

    async def ask(self, caller: Caller, principal: str, command: Command) -> bytes:
        """Send a command; its reply, in text. Empty if the client has gone meanwhile."""
        call = self.begin(caller, principal, command)
        if caller.waits and caller.crowded:
            self.forwarder.ended(caller.gid)
        reply = await call.future
        caller.call = None
        caller.waits = False
        return reply

    def begin(self, caller: Caller, principal: str, command: Command, codec: Codec = Codec.TEXT) -> Call:
        """Send a command, and do not wait for its reply."""
        call = Call(caller, principal, asyncio.get_running_loop(), codec)
        caller.waits = command.wait_ms > 0
        if command.slot is None:
            self.dispatcher.submit(call, command.frame)
        else:
            shard = self.owner_of(command.slot)
            self.forwarder.send(shard, call, command.frame, b"", command.wait_ms, command.flags)
        return call
