"""One session: a client that sends commands on one call and reads replies there, as on a connection over TCP."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from flashq.api.grpc.failures import GrpcFailure
from flashq.protocol.dispatch import Codec
from flashq.protocol.replies import failure_text

WRITTEN_BYTES_MAX: Final = 1 << 20
"""Replies that wait to be read; past them the client is given no jobs."""


class Place:
    """The place of one reply."""

    __slots__ = ("_session", "body", "ordered")

    def __init__(self, session: "Session", *, ordered: bool) -> None:
        self._session = session
        self.ordered = ordered
        self.body: bytes | None = None

    def takes_jobs(self) -> bool:
        """Whether the client can be given jobs just now."""
        return self._session.takes_jobs()

    def reply(self, body: bytes) -> bool:
        """Deliver. False if the client has gone."""
        if self._session.lost:
            return False
        self.body = body
        self._session.came(self)
        return True


class Session:
    """The `Link` of a session."""

    local = False
    takes_events = False

    def __init__(self, gid: int, principal: str, address: str, codec: Codec) -> None:
        self.gid = gid
        self.principal = principal
        self.address = address
        self.codec = codec
        self.wrong_tokens = 0
        self.lost = False
        self.failure: GrpcFailure | None = None
        """Why the session ends by us."""
        self.unanswered = 0
        self._turns: deque[Place] = deque()
        """Those whose replies keep the order of their commands."""
        self._out: deque[Place] = deque()
        self._out_bytes = 0
        self._stirred = asyncio.Event()
        self._answered = asyncio.Event()

    # -- what a dispatcher calls

    def reply(self, body: bytes) -> None:
        """Answer the request that is being dispatched, in its turn."""
        self.hold(ordered=True).reply(body)

    def hold(self, *, ordered: bool) -> Place:
        """Answer it later."""
        place = Place(self, ordered=ordered)
        self.unanswered += 1
        if ordered:
            self._turns.append(place)
        return place

    def forwarded_to(self, shard: int) -> None:
        """Who answers does not matter here."""

    def push_event(self, body: bytes) -> None:
        """Events have no place here yet: SUBSCRIBE is refused."""
        raise AssertionError("a subscription in a session is refused")

    def fatal(self, text: str, code: str) -> None:
        """Say why, then end."""
        self.reply(failure_text(self.codec, text, code))
        self.failure = GrpcFailure(text, code)

    def takes_jobs(self) -> bool:
        """Whether the client is there, and reads."""
        return not self.lost and self._out_bytes < WRITTEN_BYTES_MAX

    # -- what the call does

    def came(self, place: Place) -> None:
        """A reply is there: it leaves now, or when those before it have come."""
        if not place.ordered:
            self._leaves(place)
        while self._turns and self._turns[0].body is not None:
            self._leaves(self._turns.popleft())

    def _leaves(self, place: Place) -> None:
        self._out.append(place)
        self._out_bytes += len(place.body or b"")
        self._stirred.set()

    def stir(self) -> None:
        """Have whoever waits for replies look again."""
        self._stirred.set()

    async def next_reply(self, over: Callable[[], bool]) -> Place | None:
        """The next reply to write; None when `over` says that none will come."""
        while not self._out:
            if over():
                return None
            self._stirred.clear()
            await self._stirred.wait()
        return self._out[0]

    def written(self, place: Place) -> None:
        """It is on its way."""
        self._out.popleft()
        self._out_bytes -= len(place.body or b"")
        self.unanswered -= 1
        self._answered.set()

    async def answered(self) -> None:
        """Wait until one more reply was written."""
        self._answered.clear()
        await self._answered.wait()

    def unwritten(self) -> list[Place]:
        """Replies that did not leave."""
        return [place for place in (*self._out, *self._turns) if place.body is not None]
