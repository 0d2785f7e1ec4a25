"""The cluster that tests of the wire share, new for each file, and every way that a request can take through it."""

from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import CODECS, PLACES, Place, Wire


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit") as one:
        yield one


@pytest.fixture(params=[(where, codec) for where in PLACES for codec in CODECS], ids="-".join)
def place(request: pytest.FixtureRequest, cluster: Cluster) -> Place:
    return Place(cluster, *request.param)


@pytest.fixture
def wire(place: Place) -> Iterator[Wire]:
    with place.connect() as one:
        yield one
