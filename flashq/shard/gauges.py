"""What a shard tells everybody through shared memory: its counters, and each queue's figures."""

from collections import deque
from itertools import chain
from typing import Final

from flashq.engine.engine import Engine
from flashq.engine.queues import Queue
from flashq.transport.shard_region import NO_LIMIT, OPEN, OTHER, QueueGauge
from flashq.transport.shared_memory import SharedState

RATE_BEATS: Final = 5
"""Over so many heartbeats the rate of completion is taken."""


class Gauges:
    """The one writer of a shard's regions. Written at the end of a tick, before the replies that it belongs to."""

    def __init__(self, state: SharedState, shard: int, epoch: int) -> None:
        self._state, self._shard = state, shard
        self._writer = state.writer(shard, epoch)
        self._flow = self._writer.flow
        self.times = state.tick_times(shard)
        """Of ticks in which something was committed."""
        self._job_times = state.job_times_writer(shard, epoch)
        self._queues: dict[str, QueueGauge] = {}
        self.connections = 0
        self.ticks = 0
        self.journal_bytes = 0
        self.forwarded_in = 0
        self.forwarded_out = 0
        self.memory_bytes = 0
        self.refusing = 0
        """A place in `REFUSING`."""
        self._rate = 0
        self._samples: deque[tuple[int, int]] = deque(maxlen=RATE_BEATS + 1)
        """(monotonic, jobs completed until then), once a heartbeat."""

    def beat(self, engine: Engine, mono_ms: int) -> None:
        """The heartbeat: everything as it is, and how fast jobs were completed since some beats ago."""
        completed = engine.totals.completed
        self._samples.append((mono_ms, completed))
        since, before = self._samples[0]
        if mono_ms > since:
            self._rate = (completed - before) * 1_000_000 // (mono_ms - since)
        for name in engine.forgotten:
            if name in engine.queues:
                continue
            engine.times.forget(name)
            self._job_times.close(name)
            if name in self._queues:
                self._queues.pop(name).close()
        engine.forgotten.clear()
        self.times.write()
        self.write_rest(engine)
        self._show_job_times(engine)
        self._state.set_history_points(self._shard, engine.chosen.history_points or 0)
        self.write(engine, mono_ms)

    def _show_job_times(self, engine: Engine) -> None:
        times, writer = engine.times, self._job_times
        for name, one in chain(times.own.items(), ((OTHER, times.other),)):
            if one.fresh:
                one.fresh = False
                writer.write(name, one.waits, one.runs)
        writer.write_sums()

    def write(self, engine: Engine, mono_ms: int) -> None:
        """Everything that changed in this tick."""
        t = engine.totals
        self.ticks += 1
        if t.rare_changed:
            self.write_rest(engine)
        self._flow(
            mono_ms, t.pushed, t.completed, t.waiting, t.active, t.completed_now, t.latency_ms, t.latency_count
        )  # fmt: skip
        if engine.touched:
            for queue in engine.touched:
                queue.touched = False
                gauge = self._queues.get(queue.name) or self._gauge(queue)
                if queue.gate or gauge.gate is not OPEN:
                    _write_gate(queue, gauge)
                gauge.write(queue.waiting, queue.active, queue.delayed, queue.dead_count, queue.completed)
            engine.touched.clear()

    def write_rest(self, engine: Engine) -> None:
        """What few ticks change, and what may be a heartbeat old."""
        t = engine.totals
        t.rare_changed = False
        self._writer.rest(
            t.failed, t.retried, t.delayed, t.dead, self.connections, self.journal_bytes, self.ticks,
            self.forwarded_in, self.forwarded_out, self.memory_bytes, self._rate, self.refusing,
        )  # fmt: skip

    def _gauge(self, queue: Queue) -> QueueGauge:
        gauge = self._queues[queue.name] = self._writer.gauge(queue.name)
        return gauge


def _write_gate(queue: Queue, gauge: QueueGauge) -> None:
    rate, concurrency = queue.rate, queue.concurrency
    gauge.write_gate(
        queue.paused, NO_LIMIT if rate is None else rate.limit, NO_LIMIT if concurrency is None else concurrency
    )
