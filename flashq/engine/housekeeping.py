"""What time alone does to queues: completed jobs grow too old to be kept, and queues that nobody uses are forgotten.

Nothing on the way of a job looks at this. One timer a shard passes over its queues now and then, in slices; so what
has its day ends up to an eighth of that later, but for jobs with a `keep_completed_age` of their own, which have a
timer each.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from flashq.engine import events
from flashq.engine.endings import await_age, evict_old, own_age
from flashq.engine.engine import Engine
from flashq.engine.queues import Queue
from flashq.engine.slices import SLICE, carry_on

IN_USE: Final[list[Callable[[Engine, Queue], bool]]] = []
"""What else a queue is remembered for, though it has no job and no limit."""
LOOKS: Final = 8
"""Passes in the time that the shorter of both bounds lasts."""
PERIOD_MS: Final = (50, 60_000)
QUEUES_AT_ONCE: Final = 4 * SLICE


def start_housekeeping(engine: Engine) -> None:
    """After a start: jobs with an age of their own get their timers, and the passes begin."""
    for queue in engine.queues.values():
        for kept in queue.kept:
            if own_age(kept):
                await_age(engine, kept)
    _Housekeeping().arm(engine)


class _Housekeeping:
    """One shard's passes."""

    def __init__(self) -> None:
        self._idle: dict[Queue, tuple[int, int]] = {}
        """Queues of which nothing is left: since when (monotonic), and how many jobs they had had by then."""
        self._queues: Iterator[Queue] = iter(())

    def arm(self, engine: Engine) -> None:
        """See to the next pass."""
        limits = engine.limits
        shortest, longest = PERIOD_MS
        if limits.cleanup_interval_ms:
            engine.mono_timers.add(engine.mono_ms + limits.cleanup_interval_ms, _begin, self)
            return
        bounds = [bound for bound in (limits.keep_completed_age_ms, limits.queue_forget_ms) if bound]
        period = min(longest, max(shortest, min(bounds, default=longest) // LOOKS))
        engine.mono_timers.add(engine.mono_ms + period, _begin, self)

    def begin(self, engine: Engine) -> None:
        """A pass starts."""
        self._queues = iter(list(engine.queues.values()))
        carry_on(engine, self)

    def step(self, engine: Engine) -> bool:
        """One slice of a pass; whether that was the last. Then the next is armed."""
        room = QUEUES_AT_ONCE
        for queue in self._queues:
            room -= 1
            if queue.kept and evict_old(engine, queue, SLICE) == SLICE:
                self._queues = chain((queue,), self._queues)
                return False
            self._look(engine, queue)
            if room <= 0:
                return False
        self.arm(engine)
        return True

    def _look(self, engine: Engine, queue: Queue) -> None:
        """Forget the queue if it has been idle for long enough."""
        most = engine.limits.queue_forget_ms
        if not most or is_in_use(engine, queue):
            self._idle.pop(queue, None)
            return
        since, pushed = self._idle.get(queue, (engine.mono_ms, -1))
        if pushed != queue.pushed_total:
            self._idle[queue] = (engine.mono_ms, queue.pushed_total)
        elif engine.mono_ms - since >= most:
            del self._idle[queue]
            engine.record(events.QueueForgotten(queue.name), promise=False)
            forget_queue(engine, queue)


class CleanUp:
    """One pass at once, which also brings queues down to as many completed jobs as are to be kept now."""

    def __init__(self, engine: Engine, on_done: Callable[[int], object]) -> None:
        """`on_done` is told how many jobs were forgotten."""
        self._queues: Iterator[Queue] = iter(list(engine.queues.values()))
        self._on_done = on_done
        self._count = 0

    def step(self, engine: Engine) -> bool:
        """One slice of it; whether that was the last."""
        room = QUEUES_AT_ONCE
        for queue in self._queues:
            room -= 1
            if queue.kept:
                n = evict_old(engine, queue, SLICE, queue.completed - engine.limits.keep_completed_count)
                self._count += n
                if n == SLICE:
                    self._queues = chain((queue,), self._queues)
                    return False
            if room <= 0:
                return False
        self._on_done(self._count)
        return True


def _begin(engine: Engine, housekeeping: _Housekeeping) -> None:
    housekeeping.begin(engine)


def is_in_use(engine: Engine, queue: Queue) -> bool:
    """Whether the queue has any job or setting, or anybody waits for it."""
    if queue.waiting or queue.delayed or queue.active or queue.dead_count or queue.held or queue.completed:
        return True
    if queue.gate or queue.key_rate is not None or queue.key_concurrency is not None:
        return True
    if queue.sweep is not None or queue.debounced or queue.touched or any(w.live for w in queue.waiters):
        return True
    return any(used(engine, queue) for used in IN_USE)


def forget_queue(engine: Engine, queue: Queue) -> None:
    """Nothing is known of the queue any more; one of its name that comes later is a new one."""
    queue.open_pages = [None, None]
    for page in list(queue.pages.values()):
        page.drop_if_done()
    assert not queue.pages, queue.name
    del engine.queues[queue.name]
    if not engine.replaying:
        engine.forgotten.append(queue.name)
