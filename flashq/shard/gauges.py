"""What a shard tells everybody through shared memory: its counters, and each queue's figures."""

from flashq.engine.engine import Engine
from flashq.engine.queues import Queue
from flashq.transport.shard_region import NO_LIMIT, QueueGauge
from flashq.transport.shared_memory import SharedState


class Gauges:
    """The one writer of a shard's regions. Written at the end of a tick, before the replies that it belongs to."""

    def __init__(self, state: SharedState, shard: int, epoch: int) -> None:
        self._writer = state.writer(shard, epoch)
        self._queues: dict[str, QueueGauge] = {}
        self.connections = 0
        self.ticks = 0
        self.journal_bytes = 0
        self.forwarded_in = 0
        self.forwarded_out = 0
        self.memory_bytes = 0

    def write(self, engine: Engine, mono_ms: int) -> None:
        """Everything that changed in this tick."""
        t = engine.totals
        self.ticks += 1
        self._writer.write(
            mono_ms, t.pushed, t.completed, t.failed, t.retried, t.waiting, t.delayed, t.active, t.dead,
            t.completed_now, self.connections, self.journal_bytes, self.ticks, self.forwarded_in, self.forwarded_out,
            self.memory_bytes, t.latency_ms, t.latency_count,
        )  # fmt: skip
        if engine.touched:
            for queue in engine.touched:
                self._queue(queue)
            engine.touched.clear()

    def _queue(self, queue: Queue) -> None:
        queue.touched = False
        gauge = self._queues.get(queue.name)
        if gauge is None:
            gauge = self._queues[queue.name] = self._writer.gauge(queue.name)
        gauge.write(
            queue.waiting, queue.active, queue.delayed, queue.dead_count, queue.completed, int(queue.paused),
            NO_LIMIT if queue.rate is None else queue.rate.limit,
            NO_LIMIT if queue.concurrency is None else queue.concurrency,
        )  # fmt: skip
