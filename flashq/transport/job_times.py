"""Histograms of how long jobs wait and run, by queue, in the shared state.

A record a queue that has counts of its own, in the order in which they came; the first is that of all the others,
`__other__`. A record is a name as gauges have it, then single words that its shard alone writes, once a heartbeat and
only where something was counted since; behind the shard's other histograms are the sums over all of its queues, which
go on where its predecessor left off, as totals do, while those of queues begin anew.

A bucket is a power of two of a millisecond, found by the length of a number in bits.
"""

from collections.abc import Iterator, Sequence
from mmap import mmap
from struct import Struct
from typing import Final, NamedTuple

from flashq.transport.histograms import Histogram
from flashq.transport.layout import BUCKETS, HISTOGRAM_WORDS, NAME, TIMED_BYTES, Layout
from flashq.transport.shard_region import OTHER

JOB_BOUNDS_S: Final = tuple((1 << k) / 1_000 for k in range(BUCKETS - 1))
"""Upper bounds of all buckets but the last, in seconds: 1 ms to 2 h 20 min."""
_LAST: Final = BUCKETS - 1
_WORDS: Final = Struct(f"<{2 * HISTOGRAM_WORDS}Q")


class QueueTimes(NamedTuple):
    """One queue's, or those of all without their own: then `name` is `__other__`."""

    name: str
    wait: Histogram
    run: Histogram


class JobTimesWriter:
    """One shard's. Its owner is the only writer; a new one begins with no queues."""

    def __init__(self, memory: mmap, words: memoryview, layout: Layout, shard: int, epoch: int) -> None:
        self._memory = memory
        self._at = layout.timed_at(shard)
        self._generation = epoch << 24
        self._free = list(range(layout.timed - 1, 0, -1))
        self._index: dict[str, int] = {}
        self._shown: dict[str, list[int]] = {}
        self._sums_at = layout.job_histograms_at(shard)
        first = self._sums_at // 8
        self._sums = list(words[first : first + 2 * HISTOGRAM_WORDS])
        for index in range(layout.timed):
            NAME.pack_into(memory, self._at + index * TIMED_BYTES, 0, 0, b"", 0)
        self._name(OTHER, 0)

    def _name(self, queue: str, index: int) -> None:
        at = self._at + index * TIMED_BYTES
        name = queue.encode("utf-8", "surrogatepass")
        self._generation += 1
        self._index[queue] = index
        self._shown[queue] = [0] * (2 * HISTOGRAM_WORDS)
        _WORDS.pack_into(self._memory, at + NAME.size, *self._shown[queue])
        NAME.pack_into(self._memory, at, self._generation, len(name), name, self._generation)

    def write(self, queue: str, waits: Sequence[int], runs: Sequence[int]) -> None:
        """What was counted for a queue: by length in bits, the sum in milliseconds behind it.

        There must be room for it: no more queues than the layout has, less one.
        """
        index = self._index.get(queue)
        if index is None:
            index = self._free.pop()
            self._name(queue, index)
        now = [*_shown(waits), *_shown(runs)]
        _WORDS.pack_into(self._memory, self._at + index * TIMED_BYTES + NAME.size, *now)
        before, self._shown[queue] = self._shown[queue], now
        self._sums = [total + new - old for total, new, old in zip(self._sums, now, before, strict=True)]

    def write_sums(self) -> None:
        """Those over all queues of the shard."""
        _WORDS.pack_into(self._memory, self._sums_at, *self._sums)

    def close(self, queue: str) -> None:
        """The queue is forgotten: its record is free for another."""
        index = self._index.pop(queue, None)
        if index is not None:
            del self._shown[queue]
            NAME.pack_into(self._memory, self._at + index * TIMED_BYTES, 0, 0, b"", 0)
            self._free.append(index)


def _shown(counts: Sequence[int]) -> tuple[int, ...]:
    """As many buckets as are shown: what is behind the last is added to it."""
    return (*counts[:_LAST], sum(counts[_LAST:-1]), counts[-1])


def read_queue_times(memory: mmap, layout: Layout, shard: int) -> Iterator[QueueTimes]:
    """Those of a shard's queues. One whose record is given to another meanwhile is left out."""
    for index in range(layout.timed):
        at = layout.timed_at(shard) + index * TIMED_BYTES
        generation, length, name, behind = NAME.unpack_from(memory, at)
        words = _WORDS.unpack_from(memory, at + NAME.size)
        if generation and generation == behind and NAME.unpack_from(memory, at)[0] == generation:
            yield QueueTimes(name[:length].decode("utf-8", "surrogatepass"), *_histograms(words))


def read_job_times(memory: mmap, layout: Layout, shard: int) -> tuple[Histogram, Histogram]:
    """Over all queues of a shard: how long jobs waited, and how long they ran."""
    return _histograms(_WORDS.unpack_from(memory, layout.job_histograms_at(shard)))


def _histograms(words: Sequence[int]) -> tuple[Histogram, Histogram]:
    wait, run = words[:HISTOGRAM_WORDS], words[HISTOGRAM_WORDS:]
    return Histogram(list(wait[:-1]), wait[-1] / 1_000), Histogram(list(run[:-1]), run[-1] / 1_000)
