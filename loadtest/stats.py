"""Percentiles and medians."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Percentiles(NamedTuple):
    """Of latencies, in microseconds."""

    p50: float
    p99: float
    p999: float
    worst: float


def percentiles(latencies_ns: Sequence[int]) -> Percentiles:
    """Nearest rank. Raises ValueError without any latency."""
    if not latencies_ns:
        raise ValueError("no latencies")
    ordered = sorted(latencies_ns)
    last = len(ordered) - 1

    def at(share: float) -> float:
        return ordered[min(last, int(share * len(ordered)))] / 1e3

    return Percentiles(at(0.5), at(0.99), at(0.999), ordered[last] / 1e3)


def medians(all_of_them: Sequence[Percentiles]) -> Percentiles:
    """Each percentile's median over several rounds."""
    return Percentiles(*(median(values) for values in zip(*all_of_them, strict=True)))
