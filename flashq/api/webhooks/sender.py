"""The sender: takes deliveries from shards, has them sent, and says how it went. It keeps nothing that must last.

Rules kept here
- A shard gives out a delivery once, and gives it out again only when it is told that we do not have it: after its
  restart, and when its answer to us was lost, we say all that we hold.
- What a shard was not told yet is told before anything more is taken from it.
- At most `at_once` deliveries are held, and EACH of one webhook, so that one that hangs leaves room for the others;
  one whose breaker is open is given back.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from flashq.api.webhooks.breakers import Breaker
from flashq.transport.envelope import Failure
from flashq.transport.event_desk import AskShard
from flashq.transport.hook_feed import Parcel, Target, taken_of

EACH: Final = 8
BYTES_MAX: Final = 8 << 20
"""Of one answer of a shard."""
AGAIN_S: Final = 0.5
DELIVERED, AGAIN, BACK = 0, 1, 3
"""As engine/hook_deliveries.py has them."""
Send = Callable[[Target, Parcel], Awaitable[tuple[bool, str]]]
Key = tuple[int, int]
"""(webhook, number)"""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_answer: Final = msgspec.msgpack.Decoder(tuple[bool, Any, str]).decode
log = structlog.get_logger()


class Source:
    """One shard."""

    __slots__ = ("blocked", "busy", "more", "results", "serves", "unsure")

    def __init__(self) -> None:
        self.serves = False
        self.busy = False
        """It was asked something."""
        self.more = True
        """It may have something for us."""
        self.blocked = False
        """It has, but nothing that may be sent just now."""
        self.unsure = True
        """It may not know what we hold."""
        self.results: dict[Key, tuple[int, str]] = {}
        """What it has not been told."""


class Held:
    """A webhook that we hold deliveries for."""

    __slots__ = ("queued", "target", "under_way")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.queued: deque[tuple[int, Parcel]] = deque()
        """(shard, parcel)"""
        self.under_way = 0

    def __len__(self) -> int:
        return len(self.queued) + self.under_way


class Sender:
    """See above."""

    def __init__(
        self, ask_shard: AskShard, send: Send, loop: asyncio.AbstractEventLoop, *, shards: int, at_once: int,
        open_s: float,
    ) -> None:  # fmt: skip
        self._ask_shard = ask_shard
        self._send = send
        self._loop = loop
        self._at_once = at_once
        self._open_s = open_s
        self._sources = [Source() for _ in range(shards)]
        self._held: dict[int, Held] = {}
        self._where: dict[Key, int] = {}
        """Deliveries in hand -> their shard."""
        self._breakers: dict[str, Breaker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumping: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._stopping = False

    def serves(self, shard: int) -> None:
        """A shard came up, perhaps again: it does not know what we hold."""
        source = self._sources[shard]
        source.serves = source.more = source.unsure = True
        source.busy = False
        self._pump_soon()

    def gone(self, shard: int) -> None:
        """A shard died."""
        self._sources[shard].serves = False

    def more(self, shard: int) -> None:
        """A shard says that it has something for us."""
        self._sources[shard].more = True
        self._pump_soon()

    async def stop(self, within_s: float) -> None:
        """Take nothing more; returns when what is under way has ended and was told, or after `within_s`."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in self._tasks:
            task.cancel()
        told = [self._told(shard) for shard, source in enumerate(self._sources) if source.serves and source.results]
        if told:
            await asyncio.wait(told, timeout=within_s)
        for timer in (self._pumping, self._alarm):
            if timer is not None:
                timer.cancel()

    # -- shards

    def _pump_soon(self) -> None:
        """Once in this turn of the loop, however much happened in it."""
        if self._pumping is None and not self._stopping:
            self._pumping = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        for shard, source in enumerate(self._sources):
            if not source.serves or source.busy:
                continue
            if source.results:
                self._told(shard)
            elif source.more and len(self._where) < self._at_once:
                self._take(shard)

    def _ask(self, shard: int, word: str, value: Any, came: Callable[[Any], None], lost: Callable[[], None]) -> None:
        source = self._sources[shard]
        source.busy = True

        def answered(body: bytes) -> None:
            ok, answer, _ = _decode_answer(body)
            if not ok:
                log.error("a shard refuses the sender of webhooks", shard=shard, reason=answer)
                failed(None)
                return
            source.busy = False
            came(answer)
            self._pump_soon()

        def failed(failure: Failure | None) -> None:
            source.busy = False
            lost()
            self._loop.call_later(AGAIN_S, self._pump_soon)

        self._ask_shard(shard, _encode((word, value)), answered, failed)

    def _told(self, shard: int) -> asyncio.Future[None]:
        """Tell a shard how it went; done when it was answered."""
        source = self._sources[shard]
        told = dict(source.results)
        done: asyncio.Future[None] = self._loop.create_future()

        def came(answer: Any) -> None:
            for key, result in told.items():
                if source.results.get(key) == result:
                    del source.results[key]
            done.set_result(None)

        value = [(*key, how, text) for key, (how, text) in told.items()]
        self._ask(shard, "hooks_tried", value, came, lambda: done.set_result(None))
        return done

    def _take(self, shard: int) -> None:
        source = self._sources[shard]
        held = [key for key, where in self._where.items() if where == shard] if source.unsure else None
        room = self._at_once - len(self._where)
        source.more = source.unsure = False

        def came(answer: Any) -> None:
            taken = taken_of(answer)
            source.more = source.more or taken.more
            targets = {target.hook: target for target in taken.targets}
            for parcel in taken.parcels:
                self._hold(shard, targets[parcel.hook], parcel)
            for hook in targets:
                self._start(hook)
            if taken.more and not taken.parcels:  # all of it is for webhooks that may not be sent to just now
                source.more, source.blocked = False, True
                if self._alarm is None:
                    self._alarm = self._loop.call_later(AGAIN_S, self._unblock)

        def lost() -> None:
            source.more = source.unsure = True

        self._ask(shard, "hooks_take", (room, EACH, BYTES_MAX, self._full(), held), came, lost)

    def _unblock(self) -> None:
        """What shards have for webhooks that were full or left alone may go now: ask for it."""
        self._alarm = None
        for source in self._sources:
            source.more = source.more or source.blocked
            source.blocked = False
        self._pump_soon()

    def _full(self) -> list[int]:
        """Webhooks that nothing more is wanted for now."""
        return [hook for hook, held in self._held.items() if len(held) >= EACH or not self._may_try(held)]

    # -- deliveries

    def _hold(self, shard: int, target: Target, parcel: Parcel) -> None:
        key = parcel.hook, parcel.no
        if key in self._where:
            return
        held = self._held.get(parcel.hook)
        if held is None:
            held = self._held[parcel.hook] = Held(target)
        held.queued.append((shard, parcel))
        self._where[key] = shard

    def _may_try(self, held: Held) -> bool:
        breaker = self._breakers.get(held.target.url)
        return breaker is None or breaker.may_try(held.under_way, self._loop.time())

    def _start(self, hook: int) -> None:
        """Send what may be sent of a webhook's; give back what has to wait for its breaker."""
        held = self._held.get(hook)
        if held is None:
            return
        while held.queued and not self._stopping and self._may_try(held):
            shard, parcel = held.queued.popleft()
            held.under_way += 1
            task = self._loop.create_task(self._deliver(held, shard, parcel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if held.queued and not held.under_way:
            for shard, parcel in held.queued:
                self._ended(shard, parcel, BACK, "")
            held.queued.clear()
        breaker = self._breakers.get(held.target.url)
        if not len(held) and (breaker is None or breaker.idle):
            del self._held[hook]
            self._breakers.pop(held.target.url, None)

    async def _deliver(self, held: Held, shard: int, parcel: Parcel) -> None:
        ok, text = await self._send(held.target, parcel)
        held.under_way -= 1
        breaker = self._breakers.setdefault(held.target.url, Breaker(self._open_s))
        breaker.ended(ok=ok, now_s=self._loop.time())
        if not ok:
            log.info(
                "a webhook was not delivered", delivery=f"wh_{parcel.hook}-{parcel.no}", attempt=parcel.attempts + 1,
                reason=text[:200],
            )  # fmt: skip
        self._ended(shard, parcel, DELIVERED if ok else AGAIN, text)
        self._start(parcel.hook)
        if self._alarm is not None and self._may_try(held):
            self._alarm.cancel()
            self._unblock()
        self._pump_soon()

    def _ended(self, shard: int, parcel: Parcel, how: int, text: str) -> None:
        key = parcel.hook, parcel.no
        self._where.pop(key, None)
        self._sources[shard].results[key] = (how, text)
