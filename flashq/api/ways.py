"""The ways from a door to the shards, put together where routers and doors meet (flashq/cluster)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from flashq.api.calls import Call, Caller
from flashq.protocol.dispatch import Codec, Dispatcher
from flashq.protocol.given_back import leased_in
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
        """Send a command; its reply, in text. Empty if the client has gone meanwhile, or had gone before."""
        left_before = caller.lost
        call = self.begin(caller, principal, command)
        if left_before:
            # Shards were told that it had gone before they heard of this request: they are told again, behind it.
            self.forwarder.gone(caller.gid)
            return b""
        if caller.waits and caller.crowded:
            self.forwarder.ended(caller.gid)
        reply = await call.future
        caller.call = None
        caller.waits = False
        if caller.lost and reply:  # it left in the very turn of the loop in which its reply came
            self.take_back(reply)
            return b""
        return reply

    def take_back(self, reply: bytes) -> None:
        """Nobody gets this reply: the jobs that it gives out go back, each to its shard, no attempt counted."""
        tokens: dict[int, list[int]] = {}
        for job_id, token in leased_in(reply):
            tokens.setdefault(token, []).append(job_id)
        for token, job_ids in tokens.items():
            self.forwarder.give_back(job_ids, token)

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
