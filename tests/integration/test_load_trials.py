"""The trials of the load test on real clusters, tiny: each runs, books its jobs, and has the figures of its bounds."""

from pathlib import Path

import pytest

from loadtest.catalogue import TRIALS
from loadtest.ledger import WrongJobsError
from loadtest.listening import TOLD
from loadtest.schedules import DOUBLED, MISSED
from loadtest.station import Station
from loadtest.trials import Site, Trial, measure

BY_KEY = {trial.key: trial for trial in TRIALS}


def small_run(trial: Trial, folder: Path, rounds: int = 1) -> dict[str, float]:
    with Site(folder, "commit", small=True) as site:
        return measure(trial, site, rounds, lambda _: None).figures


@pytest.mark.parametrize("key", [key for key in BY_KEY if key not in ("crons", "events")])
def test_trial_moves_every_job_once_and_has_what_it_is_judged_by(key: str, tmp_path: Path) -> None:
    trial = BY_KEY[key]
    figures = small_run(trial, tmp_path)
    assert figures
    assert min(figures.values()) > 0
    for bound in trial.bounds:
        assert bound.check(trial.title, figures).measured


def test_crons_are_neither_missed_nor_doubled(tmp_path: Path) -> None:
    figures = small_run(BY_KEY["crons"], tmp_path)
    assert (figures[MISSED], figures[DOUBLED]) == (0, 0)


def test_listener_hears_of_every_transition(tmp_path: Path) -> None:
    assert small_run(BY_KEY["events"], tmp_path)[TOLD] == 100


def test_station_sees_a_job_that_somebody_took(tmp_path: Path) -> None:
    with Site(tmp_path, "memory", small=True) as site:
        station = Station(site.cluster().port, "stolen")
        station.push(10)
        with station.line() as thief:
            thief.ask(b'{"cmd":"PULL","queue":"stolen","timeout":0}\n')
        with pytest.raises(WrongJobsError, match="1 jobs did not come"):
            station.drain()


def test_station_sees_a_job_that_it_never_pushed(tmp_path: Path) -> None:
    with Site(tmp_path, "memory", small=True) as site:
        station = Station(site.cluster().port, "foisted")
        with station.line() as other:
            other.ask(b'{"cmd":"PUSH","queue":"foisted","data":1}\n')
        with pytest.raises(WrongJobsError, match="not due"):
            station.drain()
