"""Histograms of durations in the shared state: how long a shard's ticks take, and its commits.

A bucket is a power of two of 1024 ns, found by the length of a number in bits: no search, and no table that one
would have to agree on. A shard adds to them once a tick, in words that it alone writes; a reader sees each word whole,
and perhaps one of two numbers that belong together a tick later than the other.
"""

from typing import Final, NamedTuple

from flashq.transport.layout import BUCKETS, HISTOGRAM_WORDS, HISTOGRAMS

BOUNDS_S: Final = tuple((1024 << k) / 1_000_000_000 for k in range(BUCKETS - 1))
"""Upper bounds of all buckets but the last, in seconds: 1.024 us to 8.6 s."""
_LAST: Final = BUCKETS - 1
_LENGTHS: Final = 64 - BUCKETS


class Histogram(NamedTuple):
    """What one held when it was read."""

    counts: list[int]
    """By bucket."""
    sum_s: float


class TickTimes:
    """The writer of one shard's histograms, which go on where its predecessor left off."""

    __slots__ = ("_at", "_commits", "_sums", "_ticks", "_words")

    def __init__(self, words: memoryview, at: int) -> None:
        """`at`: byte where the first begins."""
        self._words = words
        self._at = at // 8
        before = [list(words[k : k + HISTOGRAM_WORDS]) for k in (self._at, self._at + HISTOGRAM_WORDS)]
        # Room for every length of a number: what is behind the last bucket is added to it when it is shown.
        self._ticks, self._commits = ([*one[:BUCKETS], *[0] * _LENGTHS] for one in before)
        self._sums = [one[BUCKETS] for one in before]

    def add(self, tick_ns: int, commit_ns: int) -> None:
        """A tick took so long, and its commit."""
        # In lists: as words of shared memory it took more than twice as long. What is there is a second old.
        self._ticks[(tick_ns >> 10).bit_length()] += 1
        self._commits[(commit_ns >> 10).bit_length()] += 1
        sums = self._sums
        sums[0] += tick_ns
        sums[1] += commit_ns

    def write(self) -> None:
        """Show it to everybody. Once a heartbeat."""
        words, at = self._words, self._at
        for counts, total in zip((self._ticks, self._commits), self._sums, strict=True):
            shown = (*counts[:_LAST], sum(counts[_LAST:]), total)
            for k, word in enumerate(shown, at):
                words[k] = word
            at += HISTOGRAM_WORDS


def read_histograms(words: memoryview, at: int) -> dict[str, Histogram]:
    """A shard's, by name. `at`: byte where the first begins."""
    found = {}
    for k, name in enumerate(HISTOGRAMS):
        start = at // 8 + k * HISTOGRAM_WORDS
        found[name] = Histogram(list(words[start : start + BUCKETS]), words[start + BUCKETS] / 1_000_000_000)
    return found
