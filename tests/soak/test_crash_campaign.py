"""The whole crash campaign: a hundred kills of each kind, under load, judged by the checker."""

import os
from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster
from loadtest.campaign import KINDS, SETTINGS, Campaign

KILLS = int(os.environ.get("KILLS", "100"))
ROUND = 20


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_hundred_kills_lose_and_double_nothing(kind: str, tmp_path: Path) -> None:
    """In rounds of twenty kills, each with a history of its own."""
    done = 0
    while done < KILLS:
        folder = tmp_path / f"round-{done}"
        folder.mkdir()
        n = min(ROUND, KILLS - done)
        with Cluster(shards=2, durability="fsync", settings=SETTINGS) as cluster:
            outcome = Campaign(cluster, folder, seed=done).run([kind] * n)
        print(kind, outcome.kills, outcome.verdict, "outages in ms:", sorted(outcome.outages_ms[kind]))
        assert not outcome.verdict.violations, "\n".join(outcome.verdict.examples)
        done += n
