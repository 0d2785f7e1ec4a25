"""Gates: a connection whose request is held back keeps the order of its effects.

A push that has to ask other shards about its names takes effect later than it came. What the same connection sends
meanwhile is kept and carried out after it, each request in its turn; replies keep the places they would have had.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Final

from msgspec import Raw

from flashq.errors import Unavailable
from flashq.protocol.dispatch import Codec, Link, Ticket
from flashq.protocol.replies import failure_text, with_req_id

NO_REQ_ID: Final = (b"", b"null", b"\xc0")


class Gates:
    """Connections whose requests wait, by their global ids."""

    __slots__ = ("_lines", "_refusal", "_req_id_of", "_sieve", "_submit", "lines")

    def __init__(self, submit: Callable[[Link, bytes], None], req_id_of: Callable[[bytes, int], bytes | Raw]) -> None:
        self._lines: dict[int, deque[tuple[GatedLink, bytes]]] = {}
        """Of each connection whose gate is closed, what waits."""
        self.lines: Collection[int] = self._lines
        """Connections to be held back. Looked at for every request, so it is no method."""
        self._refusal = ""
        self._sieve: Sieve | None = None
        self._submit = submit
        self._req_id_of = req_id_of

    def close(self, gid: int) -> None:
        """From now on its requests wait. It is open."""
        assert gid not in self._lines, "a held request is carried out before the next of its connection"
        self._lines[gid] = deque()

    def end(self, gid: int) -> None:
        """A connection sends nothing more, or has gone: what waits of it is carried out, and takes no jobs."""
        for link, _ in self._lines.get(gid, ()):
            link.over = True

    def refuse_all(self, reason: str) -> None:
        """From now on every request is refused, with code `unavailable`, before it is looked at; empty: none is."""
        self._refusal = reason
        self._look_at_all()

    def sift(self, sieve: "Sieve | None") -> None:
        """From now on each request is shown to `sieve`, which may hold it; None: no more."""
        self._sieve = sieve
        self._look_at_all()

    def _look_at_all(self) -> None:
        self.lines = _EVERYBODY if self._refusal or self._sieve is not None else self._lines

    def hold_back(self, link: Link, frame: bytes) -> None:
        """A request of a connection whose gate is closed. Its reply has its place from now on."""
        req_id = self._req_id_of(frame, link.codec)
        if self._refusal:
            body = failure_text(link.codec, self._refusal, Unavailable.code)
            link.reply(with_req_id(link.codec, body, req_id))
            return
        if link.gid not in self._lines and self._sieve is not None:
            if not self._sieve(link, frame):
                self._pass(link, frame)
            return
        ordered = bytes(req_id) in NO_REQ_ID
        self._lines[link.gid].append((GatedLink(link, link.hold(ordered=ordered)), frame))

    def _pass(self, link: Link, frame: bytes) -> None:
        """One request goes through, whatever the gates are looked at for."""
        self.lines = self._lines
        try:
            self._submit(link, frame)
        finally:
            self._look_at_all()

    def open(self, gid: int, first: "tuple[GatedLink, bytes] | None" = None) -> None:
        """What waited is carried out, in order, up to the next that is held. `first`: the one that closed the gate."""
        line = self._lines.pop(gid)
        if first is not None:
            line.appendleft(first)
        while line:
            link, frame = line.popleft()
            self._submit(link, frame)
            if gid in self._lines:
                self._lines[gid].extend(line)
                return


Sieve = Callable[[Link, bytes], bool]
"""Shown a request; whether it holds it."""


class _Everybody(Collection[int]):
    """All connections."""

    def __contains__(self, gid: object) -> bool:
        return True

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1


_EVERYBODY: Final = _Everybody()


class GatedLink:
    """A client, for the time of one request that was held back: its reply has a place already."""

    __slots__ = ("_link", "_ticket", "codec", "gid", "over")

    def __init__(self, link: Link, ticket: Ticket) -> None:
        self._link = link
        self._ticket = ticket
        self.gid = link.gid
        self.codec: Codec = link.codec
        self.over = False
        """Nothing more will come from it."""

    @property
    def local(self) -> bool:
        return self._link.local

    @property
    def principal(self) -> str:
        return self._link.principal

    @principal.setter
    def principal(self, value: str) -> None:
        self._link.principal = value

    @property
    def address(self) -> str:
        return self._link.address

    @property
    def wrong_tokens(self) -> int:
        return self._link.wrong_tokens

    @wrong_tokens.setter
    def wrong_tokens(self, value: int) -> None:
        self._link.wrong_tokens = value

    @property
    def _ended(self) -> bool:
        """Nothing more will come: what the connection says of itself, where it says anything."""
        return self.over or bool(getattr(self._link, "_ended", False))

    def forwarded_to(self, shard: int) -> None:
        """The connection was held back already."""

    @property
    def takes_events(self) -> bool:
        return self._link.takes_events

    def push_event(self, body: bytes) -> None:
        self._link.push_event(body)

    def reply(self, body: bytes) -> None:
        self._ticket.reply(body)

    def hold(self, *, ordered: bool) -> Ticket:
        """The place that it has."""
        return self._ticket

    def fatal(self, text: str, code: str) -> None:
        self._link.fatal(text, code)

    def takes_jobs(self) -> bool:
        return not self.over and self._ticket.takes_jobs()
