"""Results: medians of all rounds, and whether they keep the targets."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import msgspec

from loadtest.rows import DEPTH_RATIO_MAX, DURABILITIES, REFERENCE_RATIO_MIN, Measure, Row
from loadtest.runner import Samples
from loadtest.servers import flashq_name, reference_name
from loadtest.stats import Percentiles, medians
from loadtest.workloads import Sample


class Figure(msgspec.Struct, frozen=True):
    """One workload on one server: medians over the rounds."""

    value: float
    """In the row's measure."""
    rounds: list[float]
    latency_us: Percentiles
    client_share: float


class Line(msgspec.Struct, frozen=True):
    """One row of the table."""

    key: str
    title: str
    measure: str
    figures: dict[str, Figure]
    """By server."""
    deep: dict[str, Figure]
    """The same with a million jobs waiting."""


class Check(msgspec.Struct, frozen=True):
    """One target, and what was measured."""

    row: str
    target: str
    measured: str
    met: bool


class Extra(msgspec.Struct, frozen=True):
    """A figure without rounds: memory, idle, spikes."""

    key: str
    title: str
    measured: str


class TrialLine(msgspec.Struct, frozen=True):
    """One trial of the table."""

    key: str
    title: str
    figures: dict[str, float]
    """Medians by label, which ends with the unit."""
    rounds: dict[str, list[float]]


class Results(msgspec.Struct):
    """Everything that a run found."""

    rounds: int
    cores: int
    kernel: str
    client: str
    lines: list[Line] = []
    trials: list[TrialLine] = []
    extras: list[Extra] = []
    checks: list[Check] = []

    @property
    def all_met(self) -> bool:
        return all(check.met for check in self.checks)


def new_results(rounds: int, client: str) -> Results:
    return Results(rounds, len(os.sched_getaffinity(0)), platform.release(), client)


def line(row: Row, shallow: Samples, deep: Samples) -> Line:
    """Sum up one row."""
    figures = {name: _figure(row.measure, samples) for name, samples in shallow.items()}
    at_depth = {name: _figure(row.measure, samples) for name, samples in deep.items()}
    return Line(row.key, row.title, row.measure.value, figures, at_depth)


def _figure(measure: Measure, samples: Sequence[Sample]) -> Figure:
    values = [measure.of(sample) for sample in samples]
    share = median(sample.client_share for sample in samples)
    return Figure(median(values), values, medians([sample.latency for sample in samples]), share)


def checks(row: Row, summed: Line) -> Iterator[Check]:
    """Every target of a row that this run can tell about."""
    yield from _targets(row, summed.figures)
    yield from _beside_reference(row, summed.figures)
    yield from _at_depth(row, summed)


def _targets(row: Row, figures: Mapping[str, Figure]) -> Iterator[Check]:
    sign = "≤" if row.measure is Measure.LATENCY else "≥"
    for target in row.targets:
        mine, other = figures.get(flashq_name(target.durability)), figures.get(target.beside)
        if mine and other:
            text = f"{target.durability} {sign} {target.factor:g} × {target.beside}"
            met = row.met(target, mine.value, other.value)
            yield Check(row.title, text, f"{mine.value / other.value:.2f} ×", met)


def _beside_reference(row: Row, figures: Mapping[str, Figure]) -> Iterator[Check]:
    for durability in DURABILITIES:
        mine, other = figures.get(flashq_name(durability)), figures.get(reference_name(durability))
        if mine and other:
            ratio = row.measure.speed(mine.value) / row.measure.speed(other.value)
            text = f"{durability} ≥ {REFERENCE_RATIO_MIN:g} × as fast as the reference"
            yield Check(row.title, text, f"{ratio:.2f} ×", ratio >= REFERENCE_RATIO_MIN)


def _at_depth(row: Row, summed: Line) -> Iterator[Check]:
    for name, deep in summed.deep.items():
        ratio = row.measure.speed(summed.figures[name].value) / row.measure.speed(deep.value)
        text = f"{name}: ≤ {DEPTH_RATIO_MAX:g} × its time at depth 0"
        yield Check(f"{row.title}, a million waiting", text, f"{ratio:.2f} ×", ratio <= DEPTH_RATIO_MAX)
