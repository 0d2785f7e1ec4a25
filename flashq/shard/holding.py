"""Ticks that are carried out but not on disk yet: what they have to say waits here, in order.

A journal that writes behind `append` says later how far it is. Until then replies, words to other shards and events
of a tick are kept; so are those of ticks that changed nothing, for what a read shows must be durable too.

Bounds: past `BACKLOG_BYTES` of events that are not durable no client is read. What waits for longer than a request may
is answered with `unavailable`, and every further request at once, until the journal is back: it may have been carried
out or not, as with a connection that breaks.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from flashq.clock import Clock
from flashq.protocol.happenings import Happening
from flashq.shard.postman import Postman
from flashq.storage.contract import Journal

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

BACKLOG_BYTES: Final = 32 << 20
UNKNOWN: Final = "The database does not answer: whether this was done is not known"
REFUSED: Final = "The database does not answer: nothing is done until it does"
_LOOK_S: Final = 0.1

log = structlog.get_logger()


class Release(Protocol):
    """Replies of one tick, of one connection."""

    def release(self) -> None: ...

    def give_up(self, reason: str) -> list[bytes]: ...


class HeldTick:
    """What one tick has to say."""

    __slots__ = ("given_up", "happened", "hooks", "later", "marks", "mono_ms", "replies", "seq")

    def __init__(
        self, seq: int, mono_ms: int, later: list[Callable[[], None]], happened: list[Happening],
        marks: dict[tuple[int, int], int],
    ) -> None:  # fmt: skip
        self.seq = seq
        self.mono_ms = mono_ms
        self.later = later
        self.happened = happened
        self.marks = marks
        """The last message to each slot."""
        self.replies: list[Release] = []
        self.hooks = False
        """There is something to be delivered to webhooks."""
        self.given_up = False


class Holding:
    """One shard's held ticks."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, dispatcher: "ShardDispatcher", postman: Postman,
        journal: Journal, deadline_ms: int,
    ) -> None:  # fmt: skip
        self.hold_input: Callable[[bool], Any] = _nobody_reads
        """Stops and resumes the reading of clients; set once there is a gateway."""
        self._loop = loop
        self._clock = clock
        self._dispatcher = dispatcher
        self._postman = postman
        self._journal = journal
        self._deadline_ms = deadline_ms
        self._ticks: deque[HeldTick] = deque()
        self._look: asyncio.TimerHandle | None = None
        self._reading = True
        self._refusing = False
        self._empty: asyncio.Future[None] | None = None
        journal.on_durable = self._reached

    def hold(self, seq: int, mono_ms: int) -> list[Release]:
        """The tick that ends now waits for this record; the list to put its replies in."""
        engine = self._dispatcher.engine
        happened: list[Happening] = []
        marks: dict[tuple[int, int], int] = {}
        if engine.happenings:
            happened, engine.happenings = engine.happenings, []
        if engine.outbox.fresh:
            marks = {pair: engine.outbox.last_sent.get(pair, 0) for pair in engine.outbox.fresh}
            engine.outbox.fresh = set()
        later = self._dispatcher.naming.take_later() if self._dispatcher.naming.later else []
        tick = HeldTick(seq, mono_ms, later, happened, marks)
        if engine.hooks.fresh:
            engine.hooks.fresh, tick.hooks = False, True
        self._ticks.append(tick)
        if self._look is None:
            self._look = self._loop.call_later(_LOOK_S, self._on_look)
        if self._refusing:
            self._loop.call_soon(self._give_up)
        elif self._reading and self._journal.backlog_bytes > BACKLOG_BYTES:
            self._read(on=False)
        return tick.replies

    def _reached(self, seq: int) -> None:
        """Records up to this one are durable."""
        ticks = self._ticks
        while ticks and ticks[0].seq <= seq:
            tick = ticks.popleft()
            if tick.later or tick.happened or tick.marks or tick.hooks:
                self._tell(tick)  # first: who is answered may ask another shard at once what it was told
            for one in tick.replies:
                one.release()
        if not ticks:
            if self._refusing:
                self._refuse(on=False)
            if self._empty is not None and not self._empty.done():
                self._empty.set_result(None)
        if not self._reading and self._journal.backlog_bytes < BACKLOG_BYTES // 2:
            self._read(on=True)

    def _tell(self, tick: HeldTick) -> None:
        """Words to others: outside any tick, so one begins."""
        self._dispatcher.wake()
        for later in tick.later:
            later()
        if tick.happened:
            self._dispatcher.feed.publish(tick.happened)
        if tick.marks:
            self._postman.reached(tick.marks)
        if tick.hooks:
            self._dispatcher.hook_desk.tell()

    # -- when it takes too long

    def _on_look(self) -> None:
        self._look = None
        if not self._ticks:
            return
        if not self._refusing and self._clock.mono_ms() - self._ticks[0].mono_ms > self._deadline_ms:
            self._refuse(on=True)
        self._give_up()
        self._look = self._loop.call_later(_LOOK_S, self._on_look)

    def _give_up(self) -> None:
        """Answer what waits too long; while all is refused, everything that waits."""
        if not self._refusing:
            return
        for tick in self._ticks:
            if not tick.given_up:
                tick.given_up = True
                for one in tick.replies:
                    for body in one.give_up(UNKNOWN):
                        self._dispatcher.wake()
                        self._dispatcher.undelivered_body(body)

    def _refuse(self, *, on: bool) -> None:
        self._refusing = on
        self._dispatcher.gates.refuse_all(REFUSED if on else "")
        if on:
            log.error("the database does not answer: requests are refused", shard=self._dispatcher.shard)
            self._read(on=True)  # a refused request takes no memory
        else:
            log.info("requests are carried out again", shard=self._dispatcher.shard)

    def _read(self, *, on: bool) -> None:
        if self._reading != on:
            self._reading = on
            self.hold_input(not on)

    # -- the end

    async def emptied(self) -> None:
        """Returns when nothing waits any more."""
        if self._ticks:
            self._empty = self._loop.create_future()
            await self._empty

    def stop(self) -> None:
        """Nothing is looked at any more."""
        if self._look is not None:
            self._look.cancel()


def _nobody_reads(on: bool) -> None:
    """There is no gateway yet, so nobody is read."""
