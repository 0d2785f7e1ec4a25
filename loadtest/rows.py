"""The rows of the table: which workload runs on which servers, and how fast flashq has to be beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

from loadtest import workloads
from loadtest.bench import Bench
from loadtest.servers import BEANSTALKD, DATABASES, ECHO, SYNCED_ECHO, flashq_name, reference_name
from loadtest.workloads import Sample

DURABILITIES: Final = ("memory", "commit", "fsync")
DEPTH: Final = 1_000_000
DEPTH_RATIO_MAX: Final = 1.3
REFERENCE_RATIO_MIN: Final = 0.85


class Measure(Enum):
    """Which figure of a sample a row is about."""

    LATENCY = "p50, us"
    RATE = "k/s"

    def of(self, sample: Sample) -> float:
        return sample.latency.p50 if self is Measure.LATENCY else sample.rate / 1e3

    def speed(self, value: float) -> float:
        """The same so that more is faster."""
        return 1 / value if self is Measure.LATENCY else value


@dataclass(frozen=True)
class Target:
    """A bound on flashq's figure as a multiple of another server's in the same run."""

    durability: str
    factor: float
    beside: str


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    title: str
    measure: Measure
    run: Callable[[Bench], Sample]
    one_core: bool = False
    beside: tuple[str, ...] = (BEANSTALKD,)
    targets: tuple[Target, ...] = ()
    deep: bool = False
    """Measured with a million jobs waiting, too."""
    referenced: bool = True
    """The reference can do it."""

    def servers(self) -> list[str]:
        """Names of all servers that it may be run on."""
        references = [reference_name(durability) for durability in DURABILITIES if self.referenced]
        return [*self.beside, *map(flashq_name, (*DURABILITIES, *DATABASES)), *references]

    def met(self, target: Target, value: float, beside: float) -> bool:
        """Whether a figure of flashq's keeps a target."""
        bound = target.factor * beside
        return value <= bound if self.measure is Measure.LATENCY else value >= bound


FORWARDED: Final = "forwarded"
"""The row whose queue needs a `home` on another shard."""


def _window(connections: int, depth: int, count: int) -> Callable[[Bench], Sample]:
    return partial(workloads.push_window, connections=connections, depth=depth, count=count)


def _beside_beanstalkd(commit: float, fsync: float) -> tuple[Target, ...]:
    return Target("commit", commit, BEANSTALKD), Target("fsync", fsync, BEANSTALKD)


ROWS: Final = (
    Row(
        "push",
        "PUSH, one at a time",
        Measure.LATENCY,
        workloads.push,
        one_core=True,
        beside=(ECHO, SYNCED_ECHO, BEANSTALKD),
        targets=(Target("commit", 2.0, ECHO), Target("fsync", 1.1, SYNCED_ECHO)),
        deep=True,
    ),
    Row("push-10", "PUSH, 10 connections", Measure.RATE, _window(10, 1, 50_000), beside=(ECHO, BEANSTALKD)),
    Row(
        "push-50",
        "PUSH, 50 connections",
        Measure.RATE,
        _window(50, 1, 60_000),
        beside=(ECHO, BEANSTALKD),
        targets=_beside_beanstalkd(0.7, 0.42),
        deep=True,
    ),
    Row(
        "push-deep",
        "PUSH, 64 in flight on one connection",
        Measure.RATE,
        _window(1, 64, 120_000),
        beside=(ECHO, BEANSTALKD),
        targets=_beside_beanstalkd(1.4, 0.7),
        deep=True,
    ),
    Row(
        "pushb",
        "PUSHB of 1000, jobs",
        Measure.RATE,
        workloads.push_batches,
        targets=_beside_beanstalkd(5.0, 3.8),
        deep=True,
    ),
    Row(
        "pullb-ackb",
        "PULLB of 1000 + ACKB, jobs",
        Measure.RATE,
        workloads.pull_batches,
        targets=_beside_beanstalkd(5.0, 4.5),
        deep=True,
    ),
    Row(
        "pull-ack",
        "PULL then ACK, one at a time",
        Measure.RATE,
        workloads.pull_ack,
        one_core=True,
        targets=(Target("commit", 0.6, BEANSTALKD),),
        deep=True,
    ),
    Row(
        "e2e",
        "push to a waiting worker",
        Measure.LATENCY,
        workloads.end_to_end,
        one_core=True,
        targets=(Target("commit", 2.2, BEANSTALKD),),
    ),
    Row(
        FORWARDED,
        "PUSH forwarded to another shard",
        Measure.LATENCY,
        workloads.forwarded,
        one_core=True,
        beside=(ECHO,),
        targets=(Target("commit", 8.0, ECHO),),
        referenced=False,
    ),
)
