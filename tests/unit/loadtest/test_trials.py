"""Trials: sides in turn, medians, bounds; and how firings of crons are judged."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from loadtest import catalogue
from loadtest.ledger import Bag, WrongJobsError
from loadtest.results import new_results
from loadtest.schedules import Verdict, judged
from loadtest.trials import Bound, Side, Site, Trial, book, measure


def test_rounds_alternate_and_figures_are_medians(tmp_path: Path) -> None:
    order: list[str] = []

    def sides(site: Site) -> Sequence[Side]:
        def side(name: str) -> Side:
            def run() -> dict[str, float]:
                order.append(name)
                return {name: float(len(order))}

            return run

        return side("a"), side("b")

    trial = Trial("key", "title", sides, (Bound("a", 2, "b"), Bound("a", 4, at_most=True)))
    with Site(tmp_path, "memory", small=True) as site:
        line = measure(trial, site, 3, lambda _: None)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert line.figures == {"a": 4, "b": 3}
    results = new_results(3, "nobody")
    book(results, trial, line)
    assert [(check.target, check.measured, check.met) for check in results.checks] == [
        ("a ≥ 2 × b", "1.33 ×", False),
        ("a ≤ 4", "4.00", True),
    ]
    assert not results.all_met


def test_trial_fails_when_its_last_check_does(tmp_path: Path) -> None:
    def fail() -> None:
        raise WrongJobsError("lost")

    def sides(site: Site) -> Sequence[Side]:
        site.check_at_end(fail)
        return (lambda: {"a": 1.0},)

    with Site(tmp_path, "memory", small=True) as site, pytest.raises(WrongJobsError, match="lost"):
        measure(Trial("key", "title", sides), site, 1, lambda _: None)


def test_firings_are_judged_by_the_first_of_their_cron() -> None:
    good = {0: [100, 200, 300], 1: [150, 252, 349]}
    assert judged(good, 2, 100, 3) == Verdict(0, 0, [0, 0, 0, 0, 2, -1])
    assert judged({0: [100, 300]}, 1, 100, 3)[:2] == (1, 0)
    assert judged({0: [100, 200, 205]}, 1, 100, 3)[:2] == (1, 1)
    assert judged({0: [100, 200, 300, 400]}, 1, 100, 3)[:2] == (0, 1)
    assert judged({}, 2, 100, 3)[:2] == (6, 0)


def test_bag_wants_each_job_once_in_any_order() -> None:
    bag = Bag()
    bag.pushed([3, 1, 2], 3)
    bag.took([2, 3])
    with pytest.raises(WrongJobsError, match="not due"):
        bag.took([3])
    with pytest.raises(WrongJobsError, match="1 jobs did not come"):
        bag.empty()
    with pytest.raises(WrongJobsError, match="2 pushes brought 1"):
        bag.pushed([1, 4], 2)


def test_readme_explains_every_trial() -> None:
    readme = Path(catalogue.__file__).with_name("README.md").read_text()
    for trial in catalogue.TRIALS:
        assert f"**{trial.key}**" in readme
