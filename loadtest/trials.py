"""Trials: speeds of one command or feature beside what it is compared with, in turn on one cluster.

A trial has sides. Each round runs them all, every other round in the opposite order, so that what else the machine
does meets all alike; the table has the medians, and bounds compare medians of the same run. A side prepares, runs its
clock, and books every job that it moved: it leaves its queues empty, or has them checked when the site is left.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from flashq.testing.cluster import Cluster
from loadtest.results import Check, Results, TrialLine
from loadtest.servers import Server, Servers

Figures = dict[str, float]
"""By label, which ends with the unit."""
Side = Callable[[], Figures]


class Site(contextlib.ExitStack):
    """Where one trial runs: clusters of its own, ended when it is left."""

    def __init__(self, folder: Path, durability: str, *, small: bool) -> None:
        super().__init__()
        self._folder = folder
        self._durability = durability
        self._clusters = 0
        self._small = small
        self._checks: list[Callable[[], None]] = []

    def size(self, full: int, small: int) -> int:
        """A size as it is measured, or as a test has it."""
        return small if self._small else full

    def cluster(self, *, http: bool = False, grpc: bool = False) -> Cluster:
        """Start a cluster of two shards."""
        self._clusters += 1
        data = self._folder / f"{self._clusters}"
        return self.enter_context(Cluster(shards=2, durability=self._durability, data=data, http=http, grpc=grpc))

    def bare_http(self) -> Server:
        """Start a bare ASGI function beside it."""
        return self.enter_context(Servers(self._folder)).bare_http()

    def bare_rpc(self) -> Server:
        """Start a bare grpc.aio method beside it."""
        return self.enter_context(Servers(self._folder)).bare_rpc()

    def check_at_end(self, check: Callable[[], None]) -> None:
        """`check` raises unless all jobs came that were still to come after the last round."""
        self._checks.append(check)

    def check(self) -> None:
        """Raises WrongJobsError."""
        for check in self._checks:
            check()


def queue_on(cluster: Cluster, shard: int, prefix: str) -> str:
    """A queue of one shard."""
    [queue] = islice(cluster.queues_of(shard, f"{prefix}-"), 1)
    return queue


@dataclass(frozen=True)
class Bound:
    """What a figure has to be: at least (or at most) `factor`, of another figure's or as it is."""

    label: str
    factor: float
    beside: str = ""
    at_most: bool = False

    def check(self, title: str, figures: Mapping[str, float]) -> Check:
        """Whether it is kept."""
        value = figures[self.label] / (figures[self.beside] if self.beside else 1)
        times = f" × {self.beside}" if self.beside else ""
        text = f"{self.label} {'≤' if self.at_most else '≥'} {self.factor:g}{times}"
        met = value <= self.factor if self.at_most else value >= self.factor
        return Check(title, text, f"{value:.2f}{' ×' if self.beside else ''}", met)


@dataclass(frozen=True)
class Trial:
    """One row: what is measured, and what it has to keep."""

    key: str
    title: str
    sides: Callable[[Site], Sequence[Side]]
    bounds: tuple[Bound, ...] = ()
    once: bool = False
    """So long that one round is enough."""


def measure(trial: Trial, site: Site, rounds: int, note: Callable[[str], None]) -> TrialLine:
    """Run a trial's rounds. Raises WrongJobsError unless every job came exactly once."""
    found: dict[str, list[float]] = defaultdict(list)
    sides = trial.sides(site)
    for number in range(1 if trial.once else rounds):
        note(f"{trial.title}: round {number + 1}")
        for side in sides if number % 2 == 0 else reversed(sides):
            for label, value in side().items():
                found[label].append(value)
    site.check()
    return TrialLine(trial.key, trial.title, {label: median(values) for label, values in found.items()}, dict(found))


def book(results: Results, trial: Trial, line: TrialLine) -> None:
    """Put a trial into the results, with its targets."""
    results.trials.append(line)
    results.checks.extend(bound.check(trial.title, line.figures) for bound in trial.bounds)
