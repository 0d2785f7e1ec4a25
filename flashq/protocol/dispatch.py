"""The port between the doors of a process and whatever answers commands.

A gateway owns connections and the order of replies. It hands each whole request to a `Dispatcher`,
which answers through the `Link` it was given: the engine of this process, or peers over ZeroMQ.
"""

from enum import IntEnum
from typing import Protocol


class Codec(IntEnum):
    """How a request came and its reply must go."""

    TEXT = 0
    """JSON. A frame is one line, with or without its LF; a reply ends with LF."""
    BINARY = 1
    """MessagePack. A frame and a reply are the map's bytes, without the 4-byte length."""


class Ticket(Protocol):
    """The place of one reply that comes later."""

    def takes_jobs(self) -> bool:
        """Whether the client can be given jobs just now."""

    def reply(self, body: bytes) -> bool:
        """Deliver. False if the client has gone, so that what was taken for it goes back."""


class Link(Protocol):
    """One client, as a dispatcher sees it."""

    gid: int
    """Global connection id: unique over all processes and restarts; what is tied to a connection is keyed by it."""
    codec: Codec
    principal: str
    """Who is authenticated (flashq/access/access.py); empty while a token has to be shown and none was."""

    @property
    def address(self) -> str:
        """Where the client is: its host, or "unix". Only asked when a token is shown."""

    @property
    def local(self) -> bool:
        """Another shard asks, on behalf of a client: answer for your own part alone."""

    def reply(self, body: bytes) -> None:
        """Answer the request that is being dispatched, in its turn."""

    wrong_tokens: int
    """How many wrong ones it has shown."""

    def fatal(self, text: str, code: str) -> None:
        """Say why, then close: the connection cannot go on."""

    def hold(self, *, ordered: bool) -> Ticket:
        """Answer it later. `ordered` (no reqId): the replies of later requests wait behind it."""

    def forwarded_to(self, shard: int) -> None:
        """The request that is being dispatched went to that shard: a connection may wish to move there."""

    @property
    def takes_events(self) -> bool:
        """Whether events can be sent on it, unasked."""

    def push_event(self, body: bytes) -> None:
        """Send an event, if the client reads; else it is counted, and the client told how many it missed."""

    def takes_jobs(self) -> bool:
        """False while it has gone, its reading is paused or its output is backed up: give it no jobs."""


class Dispatcher(Protocol):
    """Carries requests out, here or elsewhere."""

    def submit(self, link: Link, frame: bytes) -> None:
        """Carry out one whole request. Never raises: faults are answered."""

    def submit_lines(self, link: Link, whole: bytes, lines: list[bytes]) -> bool:
        """Carry out all of several requests in text, the lines of `whole`; False, nothing done: submit each."""

    def ended(self, link: Link) -> None:
        """The client sends nothing more: pulls of it that wait are answered with what there is."""

    def gone(self, link: Link) -> None:
        """The client left: withdraw its waits, release what was tied to the connection."""

    def takes_jobs_again(self, link: Link) -> None:
        """Its output was backed up and is not any more."""
