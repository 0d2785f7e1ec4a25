"""kill -9 under load: nothing acknowledged is lost, nothing completed comes again, no two leases run at once."""

from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster
from loadtest.campaign import KINDS, SETTINGS, Campaign


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("durability", ["commit", "fsync"])
def test_kills_under_load_lose_and_double_nothing(kind: str, durability: str, tmp_path: Path) -> None:
    """The short form of the campaign; the whole one is `make soak`."""
    with Cluster(shards=2, durability=durability, settings=SETTINGS) as cluster:
        outcome = Campaign(cluster, tmp_path, seed=1).run([kind] * 3)
    assert not outcome.verdict.violations, "\n".join(outcome.verdict.examples)
    assert outcome.kills == {kind: 3}
