"""A client over HTTP: a connection, of which one request at a time is in work."""

from flashq.api.calls import Caller
from flashq.api.http.live.listener import Listener


class Client(Caller):
    """One HTTP connection. It has at most one request in work: HTTP/1.1 answers in turn."""

    __slots__ = ("address", "listener", "principal")

    def __init__(self, gid: int, address: str) -> None:
        super().__init__(gid, address.rpartition(":")[0])
        self.address = address
        self.principal = ""
        """Who asked for what is under way; empty while nothing is."""
        self.listener: Listener | None = None
        """Set while it is told of events."""

    def leave(self) -> None:
        """The client has gone: whoever waits for its reply need not, and events need not be told."""
        super().leave()
        if self.listener is not None:
            self.listener.leave()
