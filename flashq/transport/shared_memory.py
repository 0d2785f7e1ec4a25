"""The shared state: what every process may know of the cluster without asking anybody.

One file, `state` in the run folder, which each process maps by itself (`multiprocessing.shared_memory` lets
a second program unlink a live segment on Python 3.11). Its layout is `layout.py`, how a record is written
and read without a lock `records.py`; each region has one writer.

The supervisor creates the file under another name and renames it, so nobody sees half a header and the
file of a dead cluster does not matter. Who mapped that one keeps it, and has to attach anew.
"""

import os
from collections.abc import Iterator, Sequence
from enum import IntEnum
from mmap import ACCESS_READ, ACCESS_WRITE, mmap
from pathlib import Path
from typing import Final, NamedTuple

from flashq.clock import SystemClock, boot_id
from flashq.errors import ConfigError, Unavailable
from flashq.protocol.slots import SLOTS
from flashq.transport.histograms import Histogram, TickTimes, read_histograms
from flashq.transport.job_times import JobTimesWriter, QueueTimes, read_job_times, read_queue_times
from flashq.transport.layout import (
    FLOW,
    FLOW_STRIDE,
    GATE,
    GAUGE,
    NAME,
    REASON_BYTES_MAX,
    RECORD_BYTES,
    REST,
    REST_STRIDE,
    ROW,
    ROW_NAME_BYTES_MAX,
    SLOT_TABLE,
    Header,
    Layout,
    pack_header,
    unpack_header,
)
from flashq.transport.records import TRIES_MAX, RecordWriter, newest_copy, read_record
from flashq.transport.shard_region import OPEN, OTHER, ShardCounters, ShardWriter

STATE_FILE: Final = "state"
RECORDS_DEFAULT: Final = 1024
"""Queues a shard that get gauges of their own: 504 bytes each, taken only when used."""


class ProcessState(IntEnum):
    """What a process of ours is doing, as the supervisor knows it."""

    STARTING = 0
    SERVING = 1
    DRAINING = 2
    DOWN = 3
    REFUSED = 4
    """Stays down until somebody looks: its reason says why."""


class ProcessRow(NamedTuple):
    """One process."""

    name: str
    pid: int
    """0 while it has none."""
    state: ProcessState
    restarts: int
    since_ms: int
    """Wall time since when it is in this state."""
    reason: str


class ShardView(NamedTuple):
    """One shard's latest word."""

    heartbeat_ms: int
    """Monotonic."""
    epoch: int
    counters: ShardCounters


class QueueView(NamedTuple):
    """One queue's figures, or a shard's sum over those without a record: then `name` is `__other__`."""

    name: str
    shard: int
    waiting: int
    active: int
    delayed: int
    dead: int
    completed: int
    paused: bool
    rate_limit: int
    concurrency_limit: int


class Slots(NamedTuple):
    """Who owns each slot."""

    version: int
    owners: tuple[int, ...]


class SharedState:
    """One process's mapping of the file. Not for several threads."""

    def __init__(self, memory: mmap, fd: int, header: Header) -> None:
        self.header = header
        self.layout = header.layout
        self._memory = memory
        self._fd = fd
        self._words = memoryview(memory).cast("Q")
        self._slots_word = self.layout.slots_sequence_at // 8
        self._slots_sequence = 0
        self._slots = Slots(0, ())
        self._slots_writer: RecordWriter | None = None
        self._row_writers: dict[int, RecordWriter] = {}

    @classmethod
    def create(
        cls,
        run: str | Path,
        *,
        shards: int,
        owners: Sequence[int],
        slots_version: int,
        durability: str,
        records: int = RECORDS_DEFAULT,
        rows: int | None = None,
        timed: int = 1,
    ) -> "SharedState":
        """Make the file anew and map it for writing. Raises ConfigError if the file system has no room for it.

        `timed`: records of histograms a shard, that of all queues without one included.
        """
        layout = Layout(shards, records, shards + 32 if rows is None else rows, timed)
        clock = SystemClock()
        header = Header(layout, clock.wall_ms(), clock.mono_ms(), os.getpid(), durability, boot_id())
        path = Path(run) / STATE_FILE
        draft = path.with_suffix(f".{os.getpid()}")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _make_room(fd, layout, str(run))
            os.pwrite(fd, pack_header(header), 0)
            state = cls(mmap(fd, layout.file_bytes, access=ACCESS_WRITE), fd, header)
            state.set_slots(owners, slots_version)
            draft.rename(path)
        except BaseException:
            os.close(fd)
            draft.unlink(missing_ok=True)
            raise
        return state

    @classmethod
    def attach(cls, run: str | Path, *, writable: bool = False) -> "SharedState":
        """Map the file of a cluster, running or not. `writable`: for a shard, which writes its own region.

        Raises ConfigError when there is none, or it is of another version or damaged.
        """
        path = Path(run) / STATE_FILE
        try:
            fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ConfigError(f"No cluster in {run}: it has no file {STATE_FILE!r}") from None
        try:
            header = unpack_header(os.pread(fd, 4096, 0), str(path))
            size = os.fstat(fd).st_size
            if size != header.layout.file_bytes:
                raise ConfigError(f"{path} has {size} bytes, its header says {header.layout.file_bytes}")
            return cls(mmap(fd, size, access=ACCESS_WRITE if writable else ACCESS_READ), fd, header)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Unmap. What was read stays valid; writers made from it must no longer be used."""
        self._words.release()
        self._memory.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # Slots

    def owner(self, slot: int) -> int:
        """The shard that owns a slot. One load and one index: 0.1 us."""
        if self._words[self._slots_word] != self._slots_sequence:
            self._load_slots()
        return self._slots.owners[slot]

    def slots(self) -> Slots:
        """The whole table."""
        if self._words[self._slots_word] != self._slots_sequence:
            self._load_slots()
        return self._slots

    def set_slots(self, owners: Sequence[int], version: int) -> None:
        """Supervisor: publish a map that has been made durable. Raises ValueError if it cannot be right."""
        if len(owners) != SLOTS or not all(0 <= owner < self.layout.shards for owner in owners):
            raise ValueError(f"A slot map has {SLOTS} owners, each below {self.layout.shards}")
        if self._slots_writer is None:
            self._slots_writer = RecordWriter(self._memory, self.layout.slots_at, SLOT_TABLE)
        self._slots_writer.write(version, *owners)
        self._words[self._slots_word] = self._slots_writer.sequence

    def _load_slots(self) -> None:
        fields = read_record(self._memory, self.layout.slots_at, SLOT_TABLE, SLOT_TABLE.size)
        assert fields is not None, "the file gets its name after the slots are written"
        self._slots_sequence, version, *owners, _ = fields
        self._slots = Slots(version, tuple(owners))

    # Processes

    def set_process(
        self, row: int, name: str, *, pid: int, state: ProcessState, restarts: int, since_ms: int, reason: str = ""
    ) -> None:
        """Supervisor: what a process is doing. Too long a reason is cut."""
        if not 0 <= row < self.layout.rows:
            raise ValueError(f"The state file has {self.layout.rows} rows, not row {row}")
        writer = self._row_writers.get(row)
        if writer is None:
            writer = self._row_writers[row] = RecordWriter(self._memory, self.layout.row_at(row), ROW)
        text, label = _cut(reason, REASON_BYTES_MAX), _cut(name, ROW_NAME_BYTES_MAX)
        writer.write(pid, state, restarts, len(text), since_ms, label, text)

    def processes(self) -> list[ProcessRow]:
        """All rows in use, in their order."""
        rows = (self._row(row) for row in range(self.layout.rows))
        return [row for row in rows if row is not None]

    def _row(self, row: int) -> ProcessRow | None:
        fields = read_record(self._memory, self.layout.row_at(row), ROW, ROW.size)
        if fields is None:
            return None
        _, pid, state, restarts, length, since_ms, name, reason, _ = fields
        label = name.rstrip(b"\0").decode()
        return ProcessRow(label, pid, ProcessState(state), restarts, since_ms, reason[:length].decode())

    # Shards and queues

    def writer(self, shard: int, epoch: int) -> ShardWriter:
        """A shard: its own region, emptied. `epoch` must be larger than any before."""
        return ShardWriter(self._memory, self._fd, self.layout, shard, epoch)

    def shard(self, shard: int) -> ShardView | None:
        """A shard's latest heartbeat and counters; None until it has ever written any."""
        flow = read_record(self._memory, self.layout.shard_at(shard), FLOW, FLOW_STRIDE)
        rest = read_record(self._memory, self.layout.rest_at(shard), REST, REST_STRIDE)
        if flow is None or rest is None:
            return None
        return ShardView(flow[1], rest[1], ShardCounters(*flow[2:-1], *rest[2:-1]))

    def tick_times(self, shard: int) -> TickTimes:
        """A shard: its own histograms."""
        return TickTimes(self._words, self.layout.histograms_at(shard))

    def histograms(self, shard: int) -> dict[str, Histogram]:
        """A shard's histograms, by name."""
        return read_histograms(self._words, self.layout.histograms_at(shard))

    def job_times_writer(self, shard: int, epoch: int) -> JobTimesWriter:
        """A shard: its jobs' histograms, those of queues emptied."""
        return JobTimesWriter(self._memory, self._words, self.layout, shard, epoch)

    def job_times(self, shard: int) -> tuple[Histogram, Histogram]:
        """How long a shard's jobs waited, and how long they ran."""
        return read_job_times(self._memory, self.layout, shard)

    def queue_times(self) -> list[QueueTimes]:
        """The same of each queue that has its own. Each shard has one `__other__` among them."""
        shards = range(self.layout.shards)
        return [times for shard in shards for times in read_queue_times(self._memory, self.layout, shard)]

    def set_history_points(self, shard: int, points: int) -> None:
        """A shard: how many points of figures are to be kept; 0: nothing was chosen."""
        self._words[self.layout.history_at(shard) // 8] = points

    def history_points(self) -> int:
        """As the shard knows where such things are chosen."""
        return self._words[self.layout.history_at(self.owner(0)) // 8]

    def queues(self, shard: int | None = None) -> list[QueueView]:
        """The gauges of all queues, or of one shard's: some 4 us each.

        `__other__` is among them only where it counts something.
        """
        shards = range(self.layout.shards) if shard is None else (shard,)
        return [view for one in shards for view in self._queues_of(one)]

    def _queues_of(self, shard: int) -> Iterator[QueueView]:
        used = min(self._words[self.layout.used_at(shard) // 8], self.layout.records)
        start = self.layout.gauges_at(shard)
        raw = self._memory[start : start + used * RECORD_BYTES]
        again = self._memory[start : start + used * RECORD_BYTES]
        for at in range(0, len(raw), RECORD_BYTES):
            record = raw[at : at + RECORD_BYTES]
            if record != again[at : at + RECORD_BYTES]:
                record = self._settled(start + at)
            view = _queue_view(record, shard)
            if view is not None:
                yield view

    def _settled(self, at: int) -> bytes:
        """A gauge record, looked at until it is the same twice."""
        raw = self._memory[at : at + RECORD_BYTES]
        for _ in range(TRIES_MAX):
            again = self._memory[at : at + RECORD_BYTES]
            if raw == again:
                return raw
            raw = again
        raise Unavailable("A queue's gauges are rewritten faster than they can be read")


def _queue_view(record: bytes, shard: int) -> QueueView | None:
    """What a gauge record says; None while it is free, or its queue's first figures are still to come."""
    generation, length, name, behind = NAME.unpack_from(record)
    copy = newest_copy(record, NAME.size, GAUGE.size, GAUGE.size)
    if generation == 0 or generation != behind or copy is None:
        return None
    _, tag, waiting, active, delayed, dead, completed, _ = GAUGE.unpack_from(record, copy)
    if tag != generation:  # figures of the queue that had the record before
        return None
    text = name[:length].decode("utf-8", "surrogatepass")
    if text == OTHER and not (waiting or active or delayed or dead or completed):
        return None
    copy = newest_copy(record, NAME.size + 2 * GAUGE.size, GATE.size, GATE.size)
    gate = GATE.unpack_from(record, copy) if copy is not None else None
    paused, rate, concurrency = gate[2:5] if gate is not None and gate[1] == generation else OPEN
    return QueueView(text, shard, waiting, active, delayed, dead, completed, bool(paused), rate, concurrency)


def _cut(text: str, bytes_max: int) -> bytes:
    """UTF-8 of at most so many bytes, cut between characters."""
    return text.encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore").encode()


def _make_room(fd: int, layout: Layout, run: str) -> None:
    """Size the file. All but the gauges is reserved at once: a store into a hole of a full device is SIGBUS."""
    try:
        os.ftruncate(fd, layout.file_bytes)
        os.posix_fallocate(fd, 0, layout.fixed_bytes)
    except OSError as error:
        free = os.fstatvfs(fd)
        have = free.f_bavail * free.f_frsize
        need = f"needs {layout.fixed_bytes} bytes, {have} are free ({error.strerror})"
        raise ConfigError(f"No room for the shared state in {run}: {need}") from error
