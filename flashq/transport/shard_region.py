"""What a shard writes into the shared state: its heartbeat and counters, and the gauges of its queues.

Hot: a shard writes its counters once a tick and the gauges of the queues it touched. Either is one
`pack_into`, 0.4 us with the call.

Queues beyond the region's records are summed under `__other__`, which is record 0. A record that becomes
free goes to the next such queue that changes.
"""

import os
from mmap import mmap
from typing import Final, NamedTuple

from flashq.transport.layout import (
    CHUNK_BYTES,
    COUNTERS_NUM,
    GAUGE,
    NAME,
    NAME_BYTES_MAX,
    PAGE,
    RECORD_BYTES,
    RECORDS_A_CHUNK,
    SHARD,
    SHARD_STRIDE,
    Layout,
)
from flashq.transport.records import last_sequence

OTHER: Final = "__other__"
NO_LIMIT: Final = -1
REFUSING: Final = ("", "disk is nearly full", "memory budget is nearly used up")
"""Why a shard refuses pushes."""

_pack_shard = SHARD.pack_into
_pack_gauge = GAUGE.pack_into


class ShardCounters(NamedTuple):
    """A shard's counters, in the order in which they are written. Totals count from the shard's first start on."""

    pushed: int
    completed: int
    failed: int
    """Died for good."""
    retried: int
    queued: int
    """Waiting now; so too the next three."""
    delayed: int
    active: int
    dead: int
    completed_now: int
    """Completed and still kept."""
    connections: int
    journal_bytes: int
    ticks: int
    forwarded_in: int
    forwarded_out: int
    memory_bytes: int
    latency_sum_ms: int
    latency_count: int
    completed_per_1000_s: int
    """How fast jobs are completed: over the last seconds, as many a thousand seconds."""
    refusing: int
    """Why pushes are refused for now, one of `REFUSING`'s places; 0: they are not."""


COUNTERS: Final = ShardCounters._fields
assert len(COUNTERS) == COUNTERS_NUM


class ShardWriter:
    """One shard's regions. Its owner is the only writer; a new one begins with no queues."""

    def __init__(self, memory: mmap, fd: int, layout: Layout, shard: int, epoch: int) -> None:
        self._memory = memory
        self._fd = fd
        self._region_at = layout.gauges_at(shard)
        self._region_end = layout.gauges_at(shard + 1)
        self._records = layout.records
        self._used_at = layout.used_at(shard)
        self._epoch = epoch
        self._generation = epoch << 24
        self._free: list[int] = []
        self._used = 0
        self._reserved = 0
        at = layout.shard_at(shard)
        self._at = (at, at + SHARD_STRIDE)
        self._sequence = last_sequence(memory, at, SHARD.size, SHARD_STRIDE)
        self._set_used(0)
        self._other = _Other(self._allot(OTHER))

    def write(
        self, heartbeat_ms: int, pushed: int, completed: int, failed: int, retried: int, queued: int, delayed: int,
        active: int, dead: int, completed_now: int, connections: int, journal_bytes: int, ticks: int,
        forwarded_in: int, forwarded_out: int, memory_bytes: int, latency_sum_ms: int, latency_count: int,
        completed_per_1000_s: int, refusing: int,
    ) -> None:  # fmt: skip
        """The heartbeat (monotonic) and all of `COUNTERS`. Once a tick: spelled out, as a tuple takes longer."""
        self._sequence = sequence = self._sequence + 1
        # fmt: off
        _pack_shard(self._memory, self._at[sequence & 1], sequence, heartbeat_ms, self._epoch, pushed, completed,
                    failed, retried, queued, delayed, active, dead, completed_now, connections, journal_bytes, ticks,
                    forwarded_in, forwarded_out, memory_bytes, latency_sum_ms, latency_count, completed_per_1000_s,
                    refusing, sequence)
        # fmt: on

    def gauge(self, queue: str) -> "QueueGauge":
        """Where a queue's figures are written, until it is closed. Ask once a queue."""
        return QueueGauge(self, queue)

    def room(self) -> bool:
        """Whether one more queue gets a record of its own."""
        return bool(self._free) or self._reserve(self._used)

    def _reserve(self, index: int) -> bool:
        """Make sure the file system has the pages of record `index`: a store into a hole of a full one is SIGBUS."""
        if index >= self._records:
            return False
        if index < self._reserved:
            return True
        start = self._region_at + index * RECORD_BYTES // PAGE * PAGE
        try:
            os.posix_fallocate(self._fd, start, min(CHUNK_BYTES, self._region_end - start))
        except OSError:
            self._records = index  # no room on the device: the rest is summed, which loses detail and no figure
            return False
        self._reserved = index + RECORDS_A_CHUNK
        return True

    def _set_used(self, used: int) -> None:
        self._used = used
        self._memory[self._used_at : self._used_at + 8] = used.to_bytes(8, "little")

    def _allot(self, queue: str) -> "_Record | None":
        name = queue.encode("utf-8", "surrogatepass")
        if len(name) > NAME_BYTES_MAX or not self.room():
            return None
        index = self._free.pop() if self._free else self._used
        self._generation += 1
        record = _Record(self._memory, self._region_at + index * RECORD_BYTES, index, self._generation)
        NAME.pack_into(self._memory, record.name_at, self._generation, len(name), name, self._generation)
        if index == self._used:
            self._set_used(index + 1)
        return record

    def _release(self, record: "_Record") -> None:
        NAME.pack_into(self._memory, record.name_at, 0, 0, b"", 0)
        self._free.append(record.index)


class _Record:
    """A queue's place in the file."""

    __slots__ = ("at", "generation", "index", "memory", "name_at", "sequence")

    def __init__(self, memory: mmap, at: int, index: int, generation: int) -> None:
        self.memory = memory
        self.name_at = at
        self.at = (at + NAME.size, at + NAME.size + GAUGE.size)
        self.index = index
        self.generation = generation
        self.sequence = last_sequence(memory, at + NAME.size, GAUGE.size, GAUGE.size)


class _Other:
    """The sum over all queues without a record of their own."""

    def __init__(self, record: _Record | None) -> None:
        self._record = record
        self._sums = [0, 0, 0, 0, 0]

    def change(self, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        """One of them went from `old` to `new`: waiting, active, delayed, dead, completed."""
        self._sums = [total + after - before for total, before, after in zip(self._sums, old, new, strict=True)]
        record = self._record
        if record is not None:  # without even one page there is nothing to write to
            record.sequence = sequence = record.sequence + 1
            limits = 0, NO_LIMIT, NO_LIMIT
            place = record.at[sequence & 1]
            _pack_gauge(record.memory, place, sequence, record.generation, *self._sums, *limits, sequence)


_NOTHING: Final = (0, 0, 0, 0, 0)


class QueueGauge:
    """One queue's figures."""

    __slots__ = ("_last", "_queue", "_record", "_writer")

    def __init__(self, writer: ShardWriter, queue: str) -> None:
        self._writer = writer
        self._queue = queue
        self._record = writer._allot(queue)
        self._last: tuple[int, ...] = _NOTHING

    def write(
        self,
        waiting: int,
        active: int,
        delayed: int,
        dead: int,
        completed: int,
        paused: int,
        rate_limit: int,
        concurrency_limit: int,
    ) -> None:
        """The queue's figures now. `paused` is 0 or 1; a limit that is not set is NO_LIMIT."""
        record = self._record
        if record is None:
            figures = waiting, active, delayed, dead, completed
            record = self._beside(figures)
            if record is None:
                return
        record.sequence = sequence = record.sequence + 1
        # fmt: off
        _pack_gauge(record.memory, record.at[sequence & 1], sequence, record.generation, waiting, active, delayed,
                    dead, completed, paused, rate_limit, concurrency_limit, sequence)
        # fmt: on

    def close(self) -> None:
        """The queue is forgotten: its record is free for another."""
        writer = self._writer
        if self._record is not None:
            writer._release(self._record)
            self._record = None
        else:
            writer._other.change(self._last, _NOTHING)
        self._last = _NOTHING

    def _beside(self, figures: tuple[int, ...]) -> _Record | None:
        """Without a record: get one that became free, or be part of the sum."""
        writer = self._writer
        record = writer._allot(self._queue)
        if record is None:
            writer._other.change(self._last, figures)
            self._last = figures
            return None
        writer._other.change(self._last, _NOTHING)
        self._last = _NOTHING
        self._record = record
        return record
