"""A connection that keeps talking to another shard moves there, and its client notices nothing."""

import pytest

from flashq.testing.cluster import Cluster
from flashq.transport.shared_memory import SharedState
from tests.integration.wire import CODECS, Place, Wire


def _forwarded_in(cluster: Cluster, shard: int) -> int:
    state = SharedState.attach(cluster.run)
    try:
        view = state.shard(shard)
        assert view is not None
        return view.counters.forwarded_in
    finally:
        state.close()


def _settled(cluster: Cluster, wire: Wire, shard: int) -> int:
    """What was forwarded to the shard, once its figures are of now (STATS writes those of the shard it is asked at)."""
    wire.ok("STATS")
    return _forwarded_in(cluster, shard)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("where", ["other", "router"])
def test_after_so_many_commands_for_one_shard_nothing_is_forwarded_any_more(
    cluster: Cluster, where: str, codec: str
) -> None:
    place = Place(cluster, where, codec)
    queue = place.queue()
    shard = cluster.owner(queue)
    with place.connect() as wire, Place(cluster, "own", "text").connect() as watch:
        watch.ok("COUNT", queue=queue)
        ids = [wire.ok("PUSH", queue=queue, data=n)["id"] for n in range(100)]
        before = _settled(cluster, watch, shard)
        ids += [wire.ok("PUSH", queue=queue, data=n)["id"] for n in range(100, 300)]
        assert _settled(cluster, watch, shard) == before
        got = wire.ok("PULLB", queue=queue, count=1000, timeout=0)["jobs"]
        assert [(job["id"], job["data"]) for job in got] == list(zip(ids, range(300), strict=True))


@pytest.mark.parametrize("codec", CODECS)
def test_jobs_tied_to_a_connection_that_moved_come_back_when_it_closes(cluster: Cluster, codec: str) -> None:
    """What the first shard holds for the connection ends with it, wherever it ends."""
    place = Place(cluster, "other", codec)
    there, here = place.queue(), place.foreign()
    with place.connect() as wire:
        wire.ok("PUSH", queue=here, data="tied")
        assert wire.ok("PULL", queue=here, timeout=0, release_on_disconnect=True)["job"]["data"] == "tied"
        for n in range(200):
            wire.ok("PUSH", queue=there, data=n)
        assert wire.ok("PULL", queue=here, timeout=0)["job"] is None
    with Place(cluster, "own", "text").connect() as wire:
        job = wire.ok("PULL", queue=here, timeout=8_000)["job"]
        assert job is not None
        assert job["data"] == "tied"


def test_a_pipelined_client_gets_every_reply_in_order_over_the_move(cluster: Cluster) -> None:
    place = Place(cluster, "other", "text")
    queue = place.queue()
    with place.connect() as wire:
        for n in range(2_000):
            wire.send("PUSH", queue=queue, data=n)
        ids = [wire.read()["id"] for _ in range(2_000)]
        assert ids == sorted(ids)
        assert len(set(ids)) == 2_000
