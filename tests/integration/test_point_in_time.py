"""From a backup on to a later moment, by what was archived and shipped since."""

import json
import time
from pathlib import Path

import pytest

from flashq.cluster.backups.shelf import shown
from flashq.storage.shipping import find_mark, open_folder
from flashq.testing.cluster import Cluster
from tests.integration.test_backups import backed_up, drained, load, ran, run
from tests.integration.test_checkpoints import SEGMENT, fill, first_segment, kinds_of_jobs, picture
from tests.integration.wire import Wire


def archiving(archive: Path, durability: str, shards: int = 2) -> Cluster:
    settings = {
        "FLASHQ_SEGMENT_BYTES": str(SEGMENT), "FLASHQ_CHECKPOINT_BYTES": str(SEGMENT),
        "FLASHQ_KEEP_COMPLETED_COUNT": "1000000", "FLASHQ_ARCHIVE_DIR": str(archive), "FLASHQ_ARCHIVE_KEY": "k" * 32,
    }  # fmt: skip
    return Cluster(shards=shards, durability=durability, settings=settings)


def wait_shipped(cluster: Cluster, archive: Path) -> int:
    """Until all that was done by now is shipped; the moment."""
    now_ms = time.time_ns() // 1_000_000 + 1

    def shipped() -> bool:
        mark = find_mark(archive)
        return mark is not None and mark.at_ms >= now_ms

    cluster.wait_until(shipped, "the journals to be shipped", 40.0)
    return now_ms


@pytest.mark.timeout(400)
@pytest.mark.parametrize("durability", ["fsync", "commit"])
def test_any_moment_since_a_backup_can_be_restored(durability: str, tmp_path: Path) -> None:
    """The segments of that time are used again, archived, or still open; all processes are killed, the data is gone."""
    archive, folder, data = tmp_path / "archive", tmp_path / "backups", tmp_path / "data"
    with archiving(archive, durability) as cluster:
        with Wire(cluster.connect()) as wire:
            early, _ = kinds_of_jobs(wire, "early")
            backed_up(cluster, folder)
            fill(wire, "early", 3)
            before = [first_segment(cluster, shard) for shard in range(2)]
            middle, _ = kinds_of_jobs(wire, "middle")
            at_middle = picture(cluster, [*early, *middle], ["early", "middle"])
            moment_ms = wait_shipped(cluster, archive)
            late, held = kinds_of_jobs(wire, "late")
            fill(wire, "early", 25)
            fill(wire, "late", 25)
            cluster.wait_until(
                lambda: any(first_segment(cluster, n) > before[n] for n in range(2)), "a segment to be recycled", 40.0
            )
            last = wire.ok("PUSH", queue="last", data=1)["id"]
        at_end = picture(cluster, [*early, *middle, *late, last], ["early", "middle", "late", "last"])
        wait_shipped(cluster, archive)
        cluster.kill_all()
    line = ("restore", folder, "--archive", archive, "--data", data)
    done = json.loads(ran_with_key(*line, "--at", shown(moment_ms), "--json"))
    assert done["at_ms"] == moment_ms
    with Cluster(shards=2, durability=durability, data=data) as cluster:
        assert picture(cluster, [*early, *middle], ["early", "middle"]) == at_middle
        with Wire(cluster.connect()) as wire:
            assert wire.ok("PULL", queue="late", timeout=0)["job"] is None
            assert wire.ok("PULL", queue="last", timeout=0)["job"] is None
    ran_with_key("restore", folder, "--archive", archive, "--data", tmp_path / "end", "--latest", "--shards", "3")
    with Cluster(shards=3, durability=durability, data=tmp_path / "end") as cluster:
        assert picture(cluster, [*early, *middle, *late, last], ["early", "middle", "late", "last"]) == at_end
        with Wire(cluster.connect()) as wire:
            for job in held:
                wire.ok("ACK", id=job["id"], lease=job["lease"])


def ran_with_key(*line: str | Path) -> str:
    return ran(*line, environ={"FLASHQ_ARCHIVE_KEY": "k" * 32})


@pytest.mark.timeout(400)
def test_a_moment_under_load_has_all_of_a_family_or_nothing_of_it(tmp_path: Path) -> None:
    """The same cut through all shards, wherever their archives end."""
    archive, folder = tmp_path / "archive", tmp_path / "backups"
    with archiving(archive, "commit") as cluster:
        with load(cluster):
            backed_up(cluster, folder)
            first_ms = wait_shipped(cluster, archive)
            wait_shipped(cluster, archive)
        wait_shipped(cluster, archive)
        cluster.kill_all()
    found = []
    for number, more in enumerate((["--at", shown(first_ms)], ["--latest"])):
        data = tmp_path / f"data-{number}"
        ran_with_key("restore", folder, "--archive", archive, "--data", data, *more)
        settings = {"FLASHQ_KEEP_COMPLETED_COUNT": "1000000"}
        with Cluster(shards=2, data=data, settings=settings) as cluster:
            parents, children = drained(cluster)
        assert children == 4 * parents, (number, parents)
        found.append(parents)
    assert 0 < found[0] < found[1]


def test_moments_that_cannot_be_are_refused_in_a_line(tmp_path: Path) -> None:
    archive, folder, data = tmp_path / "archive", tmp_path / "backups", tmp_path / "data"
    with archiving(archive, "commit", shards=1) as cluster:
        with Wire(cluster.connect()) as wire:
            fill(wire, "q", 5)
            early_ms = wait_shipped(cluster, archive)
            backed_up(cluster, folder)
            fill(wire, "q", 5)
        wait_shipped(cluster, archive)
        assert cluster.stop() == 0
    mark = find_mark(archive)
    assert mark is not None

    def refused(*more: str) -> str:
        code, said = run(
            "restore", folder, "--archive", archive, "--data", data, *more, environ={"FLASHQ_ARCHIVE_KEY": "k" * 32}
        )  # fmt: skip
        assert code != 0, said
        return said

    assert "there is no backup here from before" in refused("--at", shown(early_ms))
    assert f"to {shown(mark.at_ms)}, up to which the archive was shipped" in refused("--at", "2999-01-01T00:00:00Z")
    assert "--at 'noon': allowed is a moment such as" in refused("--at", "noon")
    assert "allowed is one of them" in refused("--at", "2999-01-01", "--latest")
    assert "need an archive" in run("restore", folder, "--data", data, "--latest")[1]
    assert "nothing was shipped here" in run("restore", folder, "--archive", tmp_path, "--data", data, "--latest")[1]
    open_folder(archive, 0).rename(tmp_path / "taken")
    assert "is neither in" in refused("--latest")
    (tmp_path / "taken").rename(open_folder(archive, 0))
    ran_with_key("restore", folder, "--archive", archive, "--data", data, "--latest")
