"""kill -9 under load: nothing acknowledged is lost, nothing completed comes again, no two leases run at once."""

from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster
from loadtest.campaign import KINDS, SETTINGS, Campaign

EACH = 2


@pytest.mark.parametrize("durability", ["commit", "fsync"])
def test_kills_under_load_lose_and_double_nothing(durability: str, tmp_path: Path) -> None:
    """The short form of the campaign; the whole one is `make soak`. `commit` survives kill -9 as well as `fsync`."""
    with Cluster(shards=2, durability=durability, http=True, settings=SETTINGS) as cluster:
        outcome = Campaign(cluster, tmp_path, seed=1).run(KINDS * EACH)
    assert outcome.verdict.good, "\n".join(outcome.verdict.examples)
    assert outcome.kills == dict.fromkeys(KINDS, EACH)
    verdict = outcome.verdict
    assert verdict.completions_acknowledged > 1_000, "there was no load"
    assert min(verdict.cron_runs, verdict.increases, verdict.waits_answered, verdict.events_heard) > 0, verdict
