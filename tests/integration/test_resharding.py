"""Another number of shards at a restart: everything is where its slot is."""

import json
from pathlib import Path

import pytest

from flashq.cluster.slot_map import find_map
from flashq.testing.cluster import Cluster, ClusterError
from tests.integration.test_checkpoints import kinds_of_jobs, picture
from tests.integration.wire import BINARY, TEXT, Reply, Wire


@pytest.mark.parametrize(("durability", "codec"), [("fsync", TEXT), ("commit", BINARY)])
def test_another_number_of_shards_at_a_restart_keeps_everything(durability: str, codec: str) -> None:
    """Jobs in every state, leases, names, keys, crons and dependencies across slots; after kills and orderly stops."""
    with Cluster(shards=2, durability=durability) as cluster:
        ids: list[int] = []
        held: list[Reply] = []
        queues = [f"moved-{n}" for n in range(5)]
        with Wire(cluster.connect(), codec) as wire:
            for queue in queues:
                mine, leased = kinds_of_jobs(wire, queue)
                ids += mine
                held += leased[:3]
            named = wire.ok("PUSH", queue="named", data=1, jobId="mine", unique_key="k")["id"]
            waits = [
                wire.ok("PUSH", queue=f"after-{n}", data=n, depends_on=[named, held[n]["id"]])["id"] for n in range(5)
            ]
            wire.ok("KVSET", key="colour", value={"é": 1})
            wire.ok("CRON", name="nightly", queue="night", schedule="0 0 3 1 1 *", data={})
            wire.ok("PAUSE", queue=queues[0])
            wire.ok("RATELIMIT", queue=queues[1], limit=7)
        ids += [named, *waits]
        before = picture(cluster, ids, queues)
        for shards, end in ((5, cluster.kill_all), (1, cluster.stop), (3, cluster.kill_all)):
            end()
            cluster.shards = shards
            cluster.start()
            found = find_map(cluster.data)
            assert found is not None
            assert found.shards == shards
            assert sorted(path.name for path in cluster.data.glob("shard-*")) == [
                f"shard-{n:02}" for n in range(shards)
            ]
            assert list(cluster.data.glob("resharding-*")) == []
            assert picture(cluster, ids, queues) == before
        with Wire(cluster.connect(), codec) as wire:
            assert wire.ok("PUSH", queue="named", data=2, jobId="mine")["id"] == named
            assert wire.ok("KVGET", key="colour")["value"] == {"é": 1}
            assert [cron["name"] for cron in wire.ok("CRONLIST")["crons"]] == ["nightly"]
            fresh = wire.ok("PUSHB", queue=queues[0], jobs=[{"data": n} for n in range(50)])["ids"]
            assert not {*fresh} & {*ids}
            for job in held:
                wire.ok("ACK", id=job["id"], lease=job["lease"])
            got = wire.ok("PULL", queue="named", timeout=0)["job"]
            wire.ok("ACK", id=got["id"], lease=got["lease"])
            for n in range(5):
                assert wire.ok("PULL", queue=f"after-{n}", timeout=5_000)["job"]["id"] == waits[n]


def test_slots_of_a_damaged_shard_are_not_moved() -> None:
    """The line says which shard and file; with the old number the whole shards serve as before."""
    with Cluster(shards=2) as cluster:
        with Wire(cluster.connect()) as wire:
            for n in range(20):
                wire.ok("PUSH", queue=f"q-{n}", data={"n": n, "text": "x" * 300})
        cluster.stop()
        damage(cluster.data / "shard-01" / "journal")
        cluster.shards = 3
        with pytest.raises(ClusterError, match=r"shards = 3: the 2 shards in \S+ stay as they are: shard 1: \S+\.seg"):
            cluster.start(10.0)
        assert json.loads((cluster.data / "slots.json").read_bytes())["shards"] == 2
        assert sorted(path.name for path in cluster.data.glob("shard-*")) == ["shard-00", "shard-01"]


def damage(journal: Path) -> None:
    """One bit of the first record of a journal whose end is sealed."""
    path = min(journal.glob("*.seg"))
    content = bytearray(path.read_bytes())
    content[4096 + 70] ^= 1
    path.write_bytes(content)
