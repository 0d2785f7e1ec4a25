"""What a shard writes into the shared state: its heartbeat and counters, and the gauges of its queues.

Hot: a shard writes its counters once a tick and the gauges of the queues it touched. Either is one
`pack_into`; what few ticks change has a record of its own, since each number costs its share.

Queues beyond the region's records are summed under `__other__`, which is record 0. A record that becomes
free goes to the next such queue that changes.
"""

import os
from mmap import mmap
from typing import Final, NamedTuple

from flashq.transport.layout import (
    CHUNK_BYTES,
    FLOW,
    FLOW_NUM,
    FLOW_STRIDE,
    GATE,
    GAUGE,
    NAME,
    NAME_BYTES_MAX,
    PAGE,
    RECORD_BYTES,
    RECORDS_A_CHUNK,
    REST,
    REST_NUM,
    REST_STRIDE,
    Layout,
)
from flashq.transport.records import last_sequence

OTHER: Final = "__other__"
NO_LIMIT: Final = -1
OPEN: Final = (0, NO_LIMIT, NO_LIMIT)
"""Not paused, no rate, no concurrency."""
REFUSING: Final = ("", "disk is nearly full", "memory budget is nearly used up")
"""Why a shard refuses pushes."""

_pack_flow = FLOW.pack_into
_pack_rest = REST.pack_into
_pack_gauge = GAUGE.pack_into
_pack_gate = GATE.pack_into


class ShardCounters(NamedTuple):
    """A shard's counters, in the order in which they are written. Totals count from the shard's first start on."""

    pushed: int
    completed: int
    queued: int
    """Waiting now."""
    active: int
    completed_now: int
    """Completed and still kept."""
    latency_sum_ms: int
    latency_count: int
    # Up to here `FLOW`; from here `REST`.
    failed: int
    """Died for good."""
    retried: int
    delayed: int
    """Now; so too `dead`."""
    dead: int
    connections: int
    journal_bytes: int
    ticks: int
    forwarded_in: int
    forwarded_out: int
    memory_bytes: int
    completed_per_1000_s: int
    """How fast jobs are completed: over the last seconds, as many a thousand seconds."""
    refusing: int
    """Why pushes are refused for now, one of `REFUSING`'s places; 0: they are not."""


COUNTERS: Final = ShardCounters._fields
assert len(COUNTERS) == FLOW_NUM + REST_NUM


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
        self._at = (at, at + FLOW_STRIDE)
        self._sequence = last_sequence(memory, at, FLOW.size, FLOW_STRIDE)
        at = layout.rest_at(shard)
        self._rest_at = (at, at + REST_STRIDE)
        self._rest_sequence = last_sequence(memory, at, REST.size, REST_STRIDE)
        self._set_used(0)
        self._other = _Other(self._allot(OTHER))

    def flow(
        self, heartbeat_ms: int, pushed: int, completed: int, queued: int, active: int, completed_now: int,
        latency_sum_ms: int, latency_count: int,
    ) -> None:  # fmt: skip
        """The heartbeat (monotonic) and the first of `COUNTERS`. Once a tick: spelled out, as a tuple takes longer."""
        self._sequence = sequence = self._sequence + 1
        _pack_flow(self._memory, self._at[sequence & 1], sequence, heartbeat_ms, pushed, completed, queued, active,
                   completed_now, latency_sum_ms, latency_count, sequence)  # fmt: skip

    def rest(self, *counters: int) -> None:
        """The other `COUNTERS`. Before `flow`: a reader takes a shard for there once it sees that."""
        self._rest_sequence = sequence = self._rest_sequence + 1
        _pack_rest(self._memory, self._rest_at[sequence & 1], sequence, self._epoch, *counters, sequence)

    def write(self, heartbeat_ms: int, *counters: int) -> None:
        """All of them."""
        self.rest(*counters[FLOW_NUM:])
        self.flow(heartbeat_ms, *counters[:FLOW_NUM])

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

    __slots__ = ("at", "gate_at", "gate_sequence", "generation", "index", "memory", "name_at", "sequence")

    def __init__(self, memory: mmap, at: int, index: int, generation: int) -> None:
        self.memory = memory
        self.name_at = at
        self.at = (at + NAME.size, at + NAME.size + GAUGE.size)
        self.index = index
        self.generation = generation
        self.sequence = last_sequence(memory, self.at[0], GAUGE.size, GAUGE.size)
        gate_at = self.at[1] + GAUGE.size
        self.gate_at = (gate_at, gate_at + GATE.size)
        self.gate_sequence = last_sequence(memory, gate_at, GATE.size, GATE.size)
        self.write_gate(OPEN)

    def write_gate(self, gate: tuple[int, int, int]) -> None:
        """Paused (0 or 1), the rate's limit, the concurrency's."""
        self.gate_sequence = sequence = self.gate_sequence + 1
        _pack_gate(self.memory, self.gate_at[sequence & 1], sequence, self.generation, *gate, sequence)


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
            place = record.at[sequence & 1]
            _pack_gauge(record.memory, place, sequence, record.generation, *self._sums, sequence)


_NOTHING: Final = (0, 0, 0, 0, 0)


class QueueGauge:
    """One queue's figures."""

    __slots__ = ("_last", "_queue", "_record", "_writer", "gate")

    def __init__(self, writer: ShardWriter, queue: str) -> None:
        self._writer = writer
        self._queue = queue
        self._record = writer._allot(queue)
        self._last: tuple[int, ...] = _NOTHING
        self.gate = OPEN
        """What was last written of it."""

    def write(self, waiting: int, active: int, delayed: int, dead: int, completed: int) -> None:
        """How many jobs it has now, by state."""
        record = self._record
        if record is None:
            figures = waiting, active, delayed, dead, completed
            record = self._beside(figures)
            if record is None:
                return
        record.sequence = sequence = record.sequence + 1
        _pack_gauge(record.memory, record.at[sequence & 1], sequence, record.generation, waiting, active, delayed,
                    dead, completed, sequence)  # fmt: skip

    def write_gate(self, paused: int, rate_limit: int, concurrency_limit: int) -> None:
        """What keeps its jobs back. `paused` is 0 or 1; a limit that is not set is NO_LIMIT."""
        gate = paused, rate_limit, concurrency_limit
        self.gate = OPEN if gate == OPEN else gate  # which is told by its identity
        if self._record is not None:
            self._record.write_gate(self.gate)

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
        record.write_gate(self.gate)
        return record
