"""A client that asks and is answered, as dispatchers see it: a `Link` a request, whose reply resolves a future.

What is tied to a connection at a shard (a pull that waits) is keyed by the id of the client, so one that leaves
withdraws it; a reply that comes after that goes back to its shard, with the jobs in it.
"""

import asyncio

from flashq.protocol.dispatch import Codec
from flashq.protocol.replies import failure_text


class Caller:
    """Whoever asks. It has at most one request in work."""

    __slots__ = ("call", "crowded", "gid", "host", "lost", "waits")

    def __init__(self, gid: int, host: str) -> None:
        self.gid = gid
        self.host = host
        """Its address without the port."""
        self.lost = False
        self.call: Call | None = None
        """The command that is under way."""
        self.waits = False
        """It waits for jobs, or for one to end."""
        self.crowded = False
        """It must not wait: another request of it stands behind the one in work, or it sends nothing more."""

    def leave(self) -> None:
        """The client has gone: whoever waits for its reply need not."""
        self.lost = True
        if self.call is not None:
            self.call.reply(b"")


class Call:
    """One command of a request. Its `held` is the place of the reply."""

    __slots__ = ("_caller", "address", "codec", "future", "gid", "held", "principal", "wrong_tokens")
    local = False
    takes_events = False

    def __init__(
        self, caller: Caller, principal: str, loop: asyncio.AbstractEventLoop, codec: Codec = Codec.TEXT
    ) -> None:
        self.gid = caller.gid
        self.codec = codec
        self.principal = principal
        self.wrong_tokens = 0
        self.address = caller.host
        self.future: asyncio.Future[bytes] = loop.create_future()
        """The reply; empty when the client has gone."""
        self._caller = caller
        self.held = HeldCall(self.future, caller)
        caller.call = self

    def reply(self, body: bytes) -> None:
        """Answer."""
        if not self.future.done():
            self.future.set_result(body)

    def forwarded_to(self, shard: int) -> None:
        """Its connection stays with its door."""

    def push_event(self, body: bytes) -> None:
        """A request has no room for events."""
        raise AssertionError("a subscription in a request is refused")

    def hold(self, *, ordered: bool) -> "HeldCall":
        """Answer later. The order of replies is that of requests, as each waits for the one before."""
        return self.held

    def fatal(self, text: str, code: str) -> None:
        """Answer why a connection of a stream would end here."""
        self.reply(failure_text(self.codec, text, code))

    def takes_jobs(self) -> bool:
        """Whether the client can be given jobs just now."""
        return not self._caller.lost


class HeldCall:
    """The place of a reply that comes later."""

    __slots__ = ("_caller", "_future")

    def __init__(self, future: asyncio.Future[bytes], caller: Caller) -> None:
        self._future = future
        self._caller = caller

    def takes_jobs(self) -> bool:
        """Whether the client can be given jobs just now."""
        return not self._caller.lost

    def reply(self, body: bytes) -> bool:
        """Deliver. False if the client has gone."""
        if self._caller.lost or self._future.done():
            return False
        self._future.set_result(body)
        return True
