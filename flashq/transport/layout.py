"""The layout of the shared state file: what lies where, in one place, with a version.

    header   magic, version, sizes, start time, durability, boot; written once, before the file gets its name
    slots    which shard owns each slot                              writer: supervisor
    rows     one a process: name, pid, state, restarts, reason       writer: supervisor
    shards   one a shard: heartbeat, epoch, counters                 writer: that shard
             behind them histograms, single words (histograms.py, job_times.py)
    timed    N records a shard, one a queue that has histograms of its own (job_times.py)   writer: that shard
    gauges   N records a shard, one a queue, page aligned            writer: that shard

All integers are little-endian. Every record but the header is kept as two copies, written in turn
(see `records.py`). The gauges' pages are reserved in the file system only when a shard needs them.
"""

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from flashq.errors import ConfigError
from flashq.protocol.slots import SLOTS

VERSION: Final = 5
"""Changes with anything in this module: processes of two layouts must not read each other."""
MAGIC: Final = b"flashqST"
PAGE: Final = 4096

HEADER: Final = Struct("<8sIIIIIQQI16s48sI")
"""magic, version, shards, records a shard, rows, timed queues a shard, wall ms, mono ms, pid, durability, boot, CRC-32
of all before."""

NAME_BYTES_MAX: Final = 256
"""A queue's name, in UTF-8; longer ones are counted under `__other__`."""
REASON_BYTES_MAX: Final = 512
ROW_NAME_BYTES_MAX: Final = 32

SLOT_TABLE: Final = Struct(f"<QQ{SLOTS}HQ")
"""sequence, version of the map, owners, sequence."""
ROW: Final = Struct(f"<QIBxxxIIQ{ROW_NAME_BYTES_MAX}s{REASON_BYTES_MAX}sQ")
"""sequence, pid, state, restarts, reason's length, since (wall ms), name, reason, sequence."""
FLOW_NUM: Final = 7
REST_NUM: Final = 12
FLOW: Final = Struct(f"<QQ{FLOW_NUM}QQ")
"""sequence, heartbeat (mono ms), the counters that most ticks change, sequence."""
REST: Final = Struct(f"<QQ{REST_NUM}QQ")
"""sequence, epoch, all other counters of a shard, sequence."""
NAME: Final = Struct(f"<QQ{NAME_BYTES_MAX}sQ")
"""generation (0: free), length, name, generation. Single: a change of generation shows a torn one."""
GAUGE: Final = Struct("<QQ5QQ")
"""sequence, generation, waiting, active, delayed, dead, completed, sequence."""
GATE: Final = Struct("<QQqqqQ")
"""sequence, generation, paused, rate, concurrency, sequence."""

RECORD_BYTES: Final = 504
"""A queue's record: its name, then two copies of its gauges, and two of what keeps its jobs back."""
RECORDS_A_CHUNK: Final = 512
"""Gauges are reserved in the file system by so many records: whole pages, and a page is never shared."""
CHUNK_BYTES: Final = RECORD_BYTES * RECORDS_A_CHUNK
FLOW_STRIDE: Final = 128
REST_STRIDE: Final = 128
"""A copy of a shard's counters, in whole cache lines: two shards never write to one line."""

BUCKETS: Final = 25
HISTOGRAM_WORDS: Final = BUCKETS + 1
"""How many durations fell into each bucket, then the sum of all, in nanoseconds."""
HISTOGRAMS: Final = ("tick", "commit")
JOB_HISTOGRAMS: Final = ("wait", "run")
"""In milliseconds; behind the others."""
TIMED_BYTES: Final = NAME.size + len(JOB_HISTOGRAMS) * HISTOGRAM_WORDS * 8
"""A queue's record: its name, then its histograms."""
_HISTOGRAM_BYTES: Final = (len(HISTOGRAMS) + len(JOB_HISTOGRAMS)) * HISTOGRAM_WORDS * 8
SHARD_BYTES: Final = 2 * FLOW_STRIDE + 2 * REST_STRIDE + 64 + (-(-_HISTOGRAM_BYTES // 64) * 64)
"""A shard's counters, its word and its histograms, in whole cache lines."""

assert NAME.size + 2 * GAUGE.size + 2 * GATE.size == RECORD_BYTES, (NAME.size, GAUGE.size, GATE.size)
assert CHUNK_BYTES % PAGE == 0, CHUNK_BYTES
assert FLOW.size <= FLOW_STRIDE, FLOW.size
assert REST.size <= REST_STRIDE, REST.size


def _paged(size: int) -> int:
    return -(-size // PAGE) * PAGE


class Layout(NamedTuple):
    """Offsets in a state file of so many shards, gauge records a shard, process rows and timed queues a shard."""

    shards: int
    records: int
    rows: int
    timed: int = 1

    @property
    def slots_at(self) -> int:
        """The slot table's two copies."""
        return PAGE

    @property
    def slots_sequence_at(self) -> int:
        """A lone word: the sequence of the latest slot table, so that a reader sees a change in one load."""
        return PAGE - 8

    @property
    def rows_at(self) -> int:
        """The process table."""
        return self.slots_at + _paged(2 * SLOT_TABLE.size)

    def row_at(self, row: int) -> int:
        """A row's two copies."""
        return self.rows_at + row * 2 * ROW.size

    @property
    def shards_at(self) -> int:
        """The shards' counters."""
        return self.rows_at + _paged(self.rows * 2 * ROW.size)

    def shard_at(self, shard: int) -> int:
        """Where a shard's counters begin: two copies of `FLOW`."""
        return self.shards_at + shard * SHARD_BYTES

    def rest_at(self, shard: int) -> int:
        """Two copies of `REST`; the words behind them are the region's (`used_at`)."""
        return self.shard_at(shard) + 2 * FLOW_STRIDE

    def used_at(self, shard: int) -> int:
        """A lone word: how many of the shard's gauge records are or were in use."""
        return self.rest_at(shard) + 2 * REST_STRIDE

    def history_at(self, shard: int) -> int:
        """A lone word beside it: of how many points the shard knows figures are to be kept; 0: nothing was chosen."""
        return self.used_at(shard) + 8

    def histograms_at(self, shard: int) -> int:
        """The shard's histograms, in the order of `HISTOGRAMS`."""
        return self.used_at(shard) + 64

    def job_histograms_at(self, shard: int) -> int:
        """Those of its jobs, over all queues, in the order of `JOB_HISTOGRAMS`."""
        return self.histograms_at(shard) + len(HISTOGRAMS) * HISTOGRAM_WORDS * 8

    def timed_at(self, shard: int) -> int:
        """The shard's queues with histograms of their own; where those of the one before it end."""
        return self.shards_at + _paged(self.shards * SHARD_BYTES) + shard * _paged(self.timed * TIMED_BYTES)

    @property
    def fixed_bytes(self) -> int:
        """All but the gauges: reserved when the file is made."""
        return self.timed_at(self.shards)

    def gauges_at(self, shard: int) -> int:
        """Where a shard's gauge records begin; where the one before it ends."""
        return self.fixed_bytes + shard * _paged(self.records * RECORD_BYTES)

    @property
    def file_bytes(self) -> int:
        """The file's size, holes included."""
        return self.gauges_at(self.shards)


class Header(NamedTuple):
    """What is known of the cluster that made the file."""

    layout: Layout
    started_wall_ms: int
    started_mono_ms: int
    pid: int
    """The supervisor's."""
    durability: str
    boot: str


def pack_header(header: Header) -> bytes:
    """The header's bytes, its CRC at the end."""
    shards, records, rows, timed = header.layout
    durability, boot = header.durability.encode(), header.boot.encode()
    sizes = shards, records, rows, timed
    fields = header.started_wall_ms, header.started_mono_ms, header.pid, durability, boot
    body = HEADER.pack(MAGIC, VERSION, *sizes, *fields, 0)[:-4]
    return body + crc32(body).to_bytes(4, "little")


def unpack_header(data: bytes, path: str) -> Header:
    """Read it back. Raises ConfigError when it is none of ours, damaged, or of another version."""
    if len(data) < HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise ConfigError(f"{path} is no state file of flashq")
    version = int.from_bytes(data[8:12], "little")
    if version != VERSION:
        raise ConfigError(f"{path} has layout version {version}, this flashq reads {VERSION}: use the same flashq")
    fields = HEADER.unpack(data[: HEADER.size])
    if fields[-1] != crc32(data[: HEADER.size - 4]):
        raise ConfigError(f"{path} is damaged: its header fails the check")
    _, _, shards, records, rows, timed, wall_ms, mono_ms, pid, durability, boot, _ = fields
    text = durability.rstrip(b"\0").decode(), boot.rstrip(b"\0").decode()
    return Header(Layout(shards, records, rows, timed), wall_ms, mono_ms, pid, *text)
