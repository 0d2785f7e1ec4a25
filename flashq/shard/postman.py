"""Carries the outbox: sends what waits for other shards once it is on disk here, until they have it on theirs.

One batch of a pair of slots is under way at a time, so that messages arrive in order; what fails is sent again soon,
or when its receiver serves again.

A client whose request is carried out by messages too is answered when they have arrived (`when_told`): what it asks
next, of whichever shard, comes behind them.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.engine.outbox import Message, take, told
from flashq.errors import FlashqError, Unavailable
from flashq.shard import internal

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

BATCH_MAX: Final = 256
RETRY_S: Final = 0.1
TOLD_WITHIN_S: Final = 1.0
"""So long an answer waits for a shard that is down. What was decided is on disk, and will be told."""
_messages: Final = list[Message]


class _Wait:
    """An answer that waits until messages have arrived."""

    __slots__ = ("done", "left", "timer")

    def __init__(self, left: dict[tuple[int, int], int], done: Callable[[], object]) -> None:
        self.left = left
        """The last message that matters, by pair of slots."""
        self.done = done
        self.timer: asyncio.TimerHandle | None = None


class Postman:
    """The sender of one shard's outbox."""

    def __init__(self, here: "ShardDispatcher", loop: asyncio.AbstractEventLoop) -> None:
        self._here = here
        self._loop = loop
        self._under_way: set[tuple[int, int]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._waits: dict[_Wait, None] = {}
        here.when_told = self.when_told
        here.engine.outbox.fresh |= here.engine.outbox.waiting.keys()
        self._on_disk: dict[tuple[int, int], int] | None = None
        """The last message of each pair that is on disk, where a tick's end does not mean that all are."""

    def when_told(self, source: int, targets: Iterable[int], done: Callable[[], object]) -> None:
        """Call `done` when these slots have on disk all that waits for them now; at once if nothing does.

        After `TOLD_WITHIN_S` it is called all the same.
        """
        lines = self._here.engine.outbox.waiting
        left = {(source, target): line[-1].no for target in targets if (line := lines.get((source, target)))}
        if not left:
            done()
            return
        wait = _Wait(left, done)
        self._waits[wait] = None
        wait.timer = self._loop.call_later(TOLD_WITHIN_S, partial(self._give_up, wait))

    def _give_up(self, wait: _Wait) -> None:
        if wait in self._waits:
            del self._waits[wait]
            self._here.wake()
            wait.done()

    def _told(self, pair: tuple[int, int], through: int) -> None:
        for wait in [wait for wait in self._waits if pair in wait.left and wait.left[pair] <= through]:
            del wait.left[pair]
            if not wait.left:
                del self._waits[wait]
                if wait.timer is not None:
                    wait.timer.cancel()
                wait.done()

    def reached(self, marks: dict[tuple[int, int], int]) -> None:
        """Messages up to these are on disk: send what is new among them."""
        self._on_disk = (self._on_disk or {}) | marks
        self._here.engine.outbox.fresh |= marks.keys()
        self.send()

    def send(self) -> None:
        """Send what is new. To be called when all that waits is on disk: at the end of a tick."""
        box = self._here.engine.outbox
        fresh, box.fresh = box.fresh, set()
        for pair in fresh:
            line = box.waiting.get(pair)
            if line and pair not in self._under_way:
                messages = list(islice(line, BATCH_MAX))
                if self._on_disk is not None:
                    last = self._on_disk.get(pair, 0)
                    messages = [message for message in messages if message.no <= last]
                if messages:
                    self._under_way.add(pair)
                    self._send(pair, messages)

    def _send(self, pair: tuple[int, int], messages: list[Message]) -> None:
        shard = self._here.owner_of(pair[1])
        internal.ask(
            self._here, shard, "post", messages, lambda through: self._came(pair, through),
            lambda error: self._failed(pair, error),
        )  # fmt: skip

    def _came(self, pair: tuple[int, int], through: int) -> None:
        """They have it."""
        self._under_way.discard(pair)
        told(self._here.engine, *pair, through)
        if self._waits:
            self._told(pair, through)
        if pair in self._here.engine.outbox.waiting:
            self._here.engine.outbox.fresh.add(pair)

    def _failed(self, pair: tuple[int, int], error: FlashqError) -> None:
        self._under_way.discard(pair)
        self._here.engine.outbox.fresh.add(pair)
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self.again)

    def again(self) -> None:
        """Try what failed: some time has passed, or a shard serves again."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.send()

    def stop(self) -> None:
        for timer in (self._retry, *(wait.timer for wait in self._waits)):
            if timer is not None:
                timer.cancel()


def _post(here: "ShardDispatcher", value: Any, way: internal.Answer) -> int:
    messages = msgspec.convert(value, _messages)
    if not here.engine.owns[messages[0].target]:
        raise Unavailable(f"slot {messages[0].target} is not here: it has moved, or is on its way")
    through = take(here.engine, messages)
    here.hook_desk.look()
    return through


internal.WORDS["post"] = _post
