"""Durations fall into the bucket whose bound is the next power of two of 1024 ns."""

import pytest

from flashq.transport.histograms import BOUNDS_S, TickTimes, read_histograms
from flashq.transport.layout import BUCKETS, HISTOGRAM_WORDS, HISTOGRAMS


@pytest.mark.parametrize("tick_ns", [0, 1_023, 1_024, 2_047, 2_048, 1_000_000, 8_388_608_000, 10**12])
def test_duration_is_below_the_bound_of_its_bucket(tick_ns: int) -> None:
    words = memoryview(bytearray(8 * (1 + len(HISTOGRAMS) * HISTOGRAM_WORDS))).cast("B").cast("Q")
    times = TickTimes(words, 8)
    times.add(tick_ns, 500)
    times.write()
    found = read_histograms(words, 8)
    (bucket,) = [k for k, count in enumerate(found["tick"].counts) if count]
    assert bucket == BUCKETS - 1 or tick_ns < round(BOUNDS_S[bucket] * 1_000_000_000)
    assert bucket == 0 or tick_ns >= round(BOUNDS_S[bucket - 1] * 1_000_000_000)
    assert found["tick"].sum_s == tick_ns / 1_000_000_000
    assert found["commit"].counts[0] == 1
    assert words[0] == 0


def test_successor_goes_on_where_a_shard_left_off() -> None:
    words = memoryview(bytearray(8 * len(HISTOGRAMS) * HISTOGRAM_WORDS)).cast("B").cast("Q")
    for n in range(1, 3):
        times = TickTimes(words, 0)
        times.add(2_000_000, 1_000)
        times.write()
        assert sum(read_histograms(words, 0)["tick"].counts) == n
