"""A shard whose journal is damaged stays down and says why; the others serve."""

from flashq.storage.journal_format import HEADER_BYTES
from flashq.testing.cluster import Cluster
from tests.integration.wire import Wire

SETTINGS = {"FLASHQ_REQUEST_DEADLINE_MS": "1500"}


def test_damaged_shard_stays_down_with_its_reason_while_the_other_serves() -> None:
    with Cluster(shards=2, durability="fsync", settings=SETTINGS) as cluster:
        sound, damaged = (next(cluster.queues_of(shard, f"of-{shard}-")) for shard in (0, 1))
        with Wire(cluster.connect()) as wire:
            for queue in (sound, damaged):
                for n in range(5):
                    wire.ok("PUSH", queue=queue, data=n)
        cluster.kill_all()
        segment = min((cluster.data / "shard-01" / "journal").glob("*.seg"))
        with segment.open("r+b") as file:  # of the first record, with others behind it
            file.seek(HEADER_BYTES + 20)
            file.write(b"\xff\xff")
        cluster.launch()
        cluster.wait_output("without shard-01")
        status = cluster.statuses()["shard-01"]
        assert status.state == "refused"
        assert f"{segment} is damaged at offset {HEADER_BYTES}" in status.reason
        with Wire(cluster.connect()) as wire:
            assert wire.ok("PULL", queue=sound)["job"]["data"] == 0
            wire.ok("PUSH", queue=sound, data="goes on")
            assert wire.refused("PUSH", queue=damaged, data=1)["code"] == "unavailable"
            assert wire.refused("COUNT", queue=damaged)["code"] == "unavailable"
        assert cluster.statuses()["shard-01"].state == "refused", "nobody starts it again"
