"""A client over HTTP, as dispatchers see it: a `Link` a request, whose reply resolves a future.

What is tied to a connection at a shard (a pull that waits) is keyed by the id of the client's HTTP connection, so a
client that leaves withdraws it; a reply that comes after that goes back to its shard, with the jobs in it.
"""

import asyncio

from flashq.api.http.live.listener import Listener
from flashq.protocol.dispatch import Codec
from flashq.protocol.replies import failure_text


class Client:
    """One HTTP connection. It has at most one request in work: HTTP/1.1 answers in turn."""

    __slots__ = ("address", "call", "crowded", "gid", "listener", "lost", "principal", "waits")

    def __init__(self, gid: int, address: str) -> None:
        self.gid = gid
        self.address = address
        self.lost = False
        self.principal = ""
        """Who asked for what is under way; empty while nothing is."""
        self.call: Call | None = None
        """The command that is under way."""
        self.listener: Listener | None = None
        """Set while it is told of events."""
        self.waits = False
        """It waits for jobs, or for one to end."""
        self.crowded = False
        """Another request of it stands behind the one in work, and the connection is not read."""

    @property
    def host(self) -> str:
        """Its address without the port."""
        return self.address.rpartition(":")[0]

    def leave(self) -> None:
        """The client has gone: whoever waits for its reply need not."""
        self.lost = True
        if self.call is not None:
            self.call.reply(b"")
        if self.listener is not None:
            self.listener.leave()


class Call:
    """One command of a request. Its `held` is the place of the reply."""

    __slots__ = ("_client", "address", "codec", "future", "gid", "held", "principal", "wrong_tokens")
    local = False
    takes_events = False

    def __init__(self, client: Client, principal: str, loop: asyncio.AbstractEventLoop) -> None:
        self.gid = client.gid
        self.codec = Codec.TEXT
        self.principal = principal
        self.wrong_tokens = 0
        self.address = client.host
        self.future: asyncio.Future[bytes] = loop.create_future()
        """The reply; empty when the client has gone."""
        self._client = client
        self.held = HeldCall(self.future, client)
        client.call = self

    def reply(self, body: bytes) -> None:
        """Answer."""
        if not self.future.done():
            self.future.set_result(body)

    def forwarded_to(self, shard: int) -> None:
        """HTTP connections stay with their door."""

    def push_event(self, body: bytes) -> None:
        """A request has no room for events: they have routes of their own."""
        raise AssertionError("a subscription over HTTP is refused")

    def hold(self, *, ordered: bool) -> "HeldCall":
        """Answer later. The order of replies is that of requests, as each waits for the one before."""
        return self.held

    def fatal(self, text: str, code: str) -> None:
        """Answer why a connection of a stream would end here."""
        self.reply(failure_text(self.codec, text, code))

    def takes_jobs(self) -> bool:
        """Whether the client can be given jobs just now."""
        return not self._client.lost


class HeldCall:
    """The place of a reply that comes later."""

    __slots__ = ("_client", "_future")

    def __init__(self, future: asyncio.Future[bytes], client: Client) -> None:
        self._future = future
        self._client = client

    def takes_jobs(self) -> bool:
        """Whether the client can be given jobs just now."""
        return not self._client.lost

    def reply(self, body: bytes) -> bool:
        """Deliver. False if the client has gone."""
        if self._client.lost or self._future.done():
            return False
        self._future.set_result(body)
        return True
