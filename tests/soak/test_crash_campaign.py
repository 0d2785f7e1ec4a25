"""The whole crash campaign: a hundred kills of each kind, under load, judged by the checker."""

import os

import pytest

from loadtest import crash
from loadtest.campaign import KINDS

KILLS = int(os.environ.get("KILLS", "100"))


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("durability", ["commit", "fsync"])
def test_kills_lose_and_double_nothing(durability: str) -> None:
    report = crash.run(KILLS, durability, 2, print)
    print(crash.markdown(report))
    assert report.good, crash.markdown(report)
    assert [tally.verdict.kills for tally in report.tallies] == [KILLS] * len(KINDS)
