"""A target that is missed has to show as missed."""

import pytest

from loadtest.report import markdown
from loadtest.results import Check, Figure, Line, checks, new_results
from loadtest.rows import Measure, Row, Target
from loadtest.stats import Percentiles, medians, percentiles


def figure(value: float) -> Figure:
    return Figure(value, [value], Percentiles(1, 2, 3, 4), 0.5)


def found(measure: Measure, mine: float, other: float, factor: float) -> list[Check]:
    row = Row(
        "push", "PUSH", measure, lambda bench: pytest.fail("not run"), targets=(Target("commit", factor, "echo"),)
    )
    figures = {"echo": figure(other), "flashq commit": figure(mine)}
    return list(checks(row, Line("push", "PUSH", measure.value, figures, {})))


@pytest.mark.parametrize(("mine", "met"), [(19.9, True), (20.1, False)])
def test_latency_has_to_be_below_its_bound(mine: float, met: bool) -> None:
    assert [check.met for check in found(Measure.LATENCY, mine, 10, 2.0)] == [met]


@pytest.mark.parametrize(("mine", "met"), [(69, False), (71, True)])
def test_rate_has_to_be_above_its_bound(mine: float, met: bool) -> None:
    assert [check.met for check in found(Measure.RATE, mine, 100, 0.7)] == [met]


@pytest.mark.parametrize(
    ("measure", "mine", "met"),
    [(Measure.RATE, 86, True), (Measure.RATE, 84, False), (Measure.LATENCY, 117, True), (Measure.LATENCY, 118, False)],
)
def test_reference_may_be_a_little_faster(measure: Measure, mine: float, met: bool) -> None:
    figures = {"flashq fsync": figure(mine), "reference fsync": figure(100)}
    row = Row("push", "PUSH", measure, lambda bench: pytest.fail("not run"))
    assert [check.met for check in checks(row, Line("push", "PUSH", "", figures, {}))] == [met]


@pytest.mark.parametrize(
    ("measure", "deep", "met"),
    [(Measure.LATENCY, 129, True), (Measure.LATENCY, 131, False), (Measure.RATE, 77, True), (Measure.RATE, 76, False)],
)
def test_depth_may_cost_a_third(measure: Measure, deep: float, met: bool) -> None:
    row = Row("push", "PUSH", measure, lambda bench: pytest.fail("not run"), deep=True)
    line = Line("push", "PUSH", "", {"flashq commit": figure(100)}, {"flashq commit": figure(deep)})
    assert [check.met for check in checks(row, line)] == [met]


def test_table_says_what_was_missed() -> None:
    results = new_results(5, "compiled")
    results.checks += found(Measure.RATE, 69, 100, 0.7)
    assert "| PUSH | commit ≥ 0.7 × echo | 0.69 × | **no** |" in markdown(results)
    assert not results.all_met


def test_percentiles_are_those_of_the_latencies() -> None:
    assert percentiles([number * 1_000 for number in range(1, 1_001)]) == (501, 991, 1_000, 1_000)
    assert percentiles([5_000]) == (5, 5, 5, 5)


def test_median_of_rounds_is_taken_of_each_percentile() -> None:
    rounds = [Percentiles(1, 9, 9, 9), Percentiles(2, 2, 2, 100), Percentiles(3, 3, 3, 3)]
    assert medians(rounds) == (2, 3, 3, 9)
