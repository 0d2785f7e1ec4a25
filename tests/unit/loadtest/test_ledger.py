"""The ledger is what says that every job came exactly once: it has to see each way in which one does not."""

import pytest

from loadtest.ledger import Ledger, WrongJobsError


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.pushed([3, 1, 2], 3)
    return ledger


def test_jobs_that_come_once_and_in_turn_empty_it(ledger: Ledger) -> None:
    assert ledger.next_ids(2) == [1, 2]
    ledger.took([1, 2])
    ledger.took([3])
    ledger.empty()


@pytest.mark.parametrize("ids", [[2], [1, 1], [1, 3], [1, 2, 3, 4], [9]])
def test_job_out_of_turn_twice_or_never_pushed_is_refused(ledger: Ledger, ids: list[int]) -> None:
    with pytest.raises(WrongJobsError):
        ledger.took(ids)


def test_job_that_did_not_come_is_missed(ledger: Ledger) -> None:
    ledger.took([1, 2])
    with pytest.raises(WrongJobsError, match="1 jobs did not come, the first is 3"):
        ledger.empty()


@pytest.mark.parametrize(("ids", "count"), [([4, 4], 2), ([4], 2), ([4, 5], 1), ([3], 1)])
def test_ids_that_are_missing_doubled_or_old_are_refused(ledger: Ledger, ids: list[int], count: int) -> None:
    with pytest.raises(WrongJobsError):
        ledger.pushed(ids, count)
