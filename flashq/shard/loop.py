"""The sequence of a shard: what a tick decided goes to the journal, then to the gauges, then to the clients.

Rules kept here
- A reply leaves only after its tick's record is as durable as the cluster promises; state may run ahead of the disk,
  words may not. A journal that writes behind holds back everything said since, in order.
- The first error of the journal ends the process: it answers nothing more, and its successor starts from the disk.
- The loop sleeps exactly until the next deadline.
"""

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import Final

import structlog

from flashq.clock import Clock
from flashq.engine.engine import Engine
from flashq.engine.hook_deliveries import fire
from flashq.engine.pull import give_up_waits, serve_freed
from flashq.engine.retry import end_leases
from flashq.engine.watching import settle
from flashq.errors import StorageError
from flashq.shard.dispatcher import ShardDispatcher
from flashq.shard.gauges import Gauges
from flashq.shard.holding import Holding, Release
from flashq.shard.postman import Postman
from flashq.storage.contract import Journal
from flashq.storage.journal_format import TOOK_MAX

_DUE_AT_ONCE: Final = 8
HEARTBEAT_S: Final = 1.0
SLOW_EVERY_MS: Final = 1_000
log = structlog.get_logger()
_NEVER: Final = 1 << 62


class ShardLoop:
    """One shard's ticks and timers."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, engine: Engine, journal: Journal,
        dispatcher: ShardDispatcher, gauges: Gauges, on_fault: Callable[[StorageError], None],
        deadline_ms: int, slow_ms: int = 250,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._clock = clock
        self.engine = engine
        self._journal = journal
        self._dispatcher = dispatcher
        self._gauges = gauges
        self._on_fault = on_fault
        self._mono_armed = self._wall_armed = _NEVER
        self._mono_timer: asyncio.TimerHandle | None = None
        self._wall_timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self.wake: Callable[[], None] = _unset
        """Starts a tick that no input caused; set once there is a gateway."""
        self.postman = Postman(dispatcher, loop)
        self._seq = 0
        """The last record appended."""
        self.holding = Holding(loop, clock, dispatcher, self.postman, journal, deadline_ms)
        self._slow_ns = slow_ms * 1_000_000
        self._slow_num = self._slow_again_ms = 0
        """Slow ticks since the last line about one, and when the next may be written."""
        self.faulty = False
        self._stopped = False
        dispatcher.publish = self._publish

    def end(self) -> list[Release] | None:
        """Commit the tick. Raises nothing: a fault of the journal ends the process.

        A list: the tick is not as durable as it has to be, so whoever has replies of it puts them there.
        """
        if self._stopped:
            return None
        engine = self.engine
        if engine.endings or engine.names.unused:
            settle(engine)
        while engine.freed:
            serve_freed(engine)
        if engine.woken or engine.ended_waits:
            self._dispatcher.answer_woken()
        hooks = engine.hooks
        if hooks.lines and engine.happenings:
            fire(engine)
        if engine.events:
            events, promise, sync = engine.taken()
            before_ns = monotonic_ns()
            took_ms = before_ns // 1_000_000 - engine.mono_ms
            if took_ms and not 0 < took_ms <= TOOK_MAX:
                took_ms = 0 if took_ms < 0 else TOOK_MAX
            try:
                self._seq = self._journal.append(
                    events, at_ms=engine.now_ms, mono_ms=engine.mono_ms, promise=promise, sync=sync,
                    took_ms=took_ms,
                )  # fmt: skip
            except StorageError as e:
                self.faulty = True
                self._on_fault(e)
            after_ns = monotonic_ns()
            # When the tick began is known to the millisecond: a third clock reading a tick is not worth more.
            tick_ns = after_ns - engine.mono_ms * 1_000_000
            self._gauges.times.add(tick_ns, after_ns - before_ns)
            if tick_ns > self._slow_ns:
                self._slow(tick_ns, after_ns - before_ns, len(events))
        waiting: list[Release] | None = None
        if self._seq > self._journal.durable_seq:
            waiting = self.holding.hold(self._seq, engine.mono_ms)
        else:
            if self._dispatcher.naming.later:
                self._dispatcher.naming.send()
            if engine.happenings:
                happened, engine.happenings = engine.happenings, []
                self._dispatcher.feed.publish(happened)
            if engine.outbox.fresh:
                self.postman.send()
            if hooks.fresh:
                self._dispatcher.hook_desk.tell()
        self._gauges.write(engine, engine.mono_ms)
        armed = self._mono_armed
        if (
            engine.lease_lines.soonest < armed or engine.wait_lines.soonest < armed
            or engine.mono_timers.soonest < armed or engine.timers.soonest < self._wall_armed
        ):  # fmt: skip
            self._arm()
        return waiting

    def _slow(self, tick_ns: int, commit_ns: int, events: int) -> None:
        """Say so, once a second: of a shard that has more to do than it can every tick is slow."""
        self._slow_num += 1
        now_ms = self._clock.mono_ms()
        if now_ms >= self._slow_again_ms:
            log.warning(
                "slow tick", shard=self._dispatcher.shard, took_ms=tick_ns // 1_000_000,
                commit_ms=commit_ns // 1_000_000, events=events, slow_ticks=self._slow_num,
            )  # fmt: skip
            self._slow_num, self._slow_again_ms = 0, now_ms + SLOW_EVERY_MS

    def _publish(self) -> None:
        self._gauges.write_rest(self.engine)
        self._gauges.write(self.engine, self.engine.mono_ms)

    # -- time

    def _arm(self) -> None:
        """Something is due sooner than was known: wake up in time for it."""
        engine = self.engine
        soonest = min(engine.lease_lines.soonest, engine.wait_lines.soonest, engine.mono_timers.soonest)
        if soonest < self._mono_armed:
            self._mono_armed = soonest
            if self._mono_timer is not None:
                self._mono_timer.cancel()
            delay = max(0, soonest - self._clock.mono_ms())
            self._mono_timer = self._loop.call_later(delay / 1000, self._mono_due)
        if engine.timers.soonest < self._wall_armed:
            self._wall_armed = engine.timers.soonest
            if self._wall_timer is not None:
                self._wall_timer.cancel()
            # At most a minute: the wall clock may be set, and what is due is due by the new time.
            delay = min(60_000, max(0, self._wall_armed - self._clock.wall_ms()))
            self._wall_timer = self._loop.call_later(delay / 1000, self._wall_due)

    def _mono_due(self) -> None:
        self.wake()
        engine = self.engine
        self._mono_armed = _NEVER
        give_up_waits(engine, engine.mono_ms)
        end_leases(engine, engine.mono_ms)
        for action, argument in engine.mono_timers.due(engine.mono_ms, _DUE_AT_ONCE):
            action(engine, argument)
        for moments in (engine.lease_lines, engine.wait_lines, engine.mono_timers):
            moments.recount()

    def _wall_due(self) -> None:
        self.wake()
        engine = self.engine
        self._wall_armed = _NEVER
        for action, argument in engine.timers.due(engine.now_ms, _DUE_AT_ONCE):
            action(engine, argument)
        engine.timers.recount()

    def beat(self) -> None:
        """The heartbeat, once a second."""
        self._gauges.beat(self.engine, self._clock.mono_ms())
        self._beat = self._loop.call_later(HEARTBEAT_S, self.beat)

    def stop(self) -> None:
        """No timer fires any more, and what a closing connection still stirs up is not carried out."""
        self._stopped = True
        self.postman.stop()
        self.holding.stop()
        for timer in (self._mono_timer, self._wall_timer, self._beat):
            if timer is not None:
                timer.cancel()


def _unset() -> None:
    raise AssertionError("the loop has no gateway yet")
