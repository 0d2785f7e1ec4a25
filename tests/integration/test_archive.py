"""A real cluster archives its journal before it uses a segment again, whatever dies, and keeps what it was told."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from flashq.storage.archive import read_manifest
from flashq.storage.archive_manifest import Entry
from flashq.storage.archive_reader import archived_records, inspect_archive
from flashq.testing.cluster import Cluster
from tests.integration.test_checkpoints import SEGMENT, fill, wait_recycled
from tests.integration.wire import Wire

KEY = "a key of this test's"


def archiving(tmp_path: Path, *, durability: str = "commit", **settings: str) -> Cluster:
    return Cluster(
        shards=2, durability=durability,
        settings={
            "FLASHQ_SEGMENT_BYTES": str(SEGMENT), "FLASHQ_CHECKPOINT_BYTES": str(SEGMENT),
            "FLASHQ_ARCHIVE_DIR": str(tmp_path / "archive"), "FLASHQ_ARCHIVE_KEY": KEY,
            "FLASHQ_KEEP_COMPLETED_COUNT": "50", **settings,
        },
    )  # fmt: skip


def entries(tmp_path: Path, shard: int) -> list[Entry]:
    return read_manifest(tmp_path / "archive" / f"shard-{shard:02}", shard, KEY.encode()).entries


def position(cluster: Cluster, shard: int) -> int:
    """How far a shard's tables are."""
    path = cluster.data / f"shard-{shard:02}" / "tables.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as tables:
        return int(tables.execute("SELECT value FROM meta WHERE key = 'position'").fetchone()[0])


def assert_whole(cluster: Cluster, tmp_path: Path, shard: int) -> None:
    folder = tmp_path / "archive" / f"shard-{shard:02}"
    assert list(inspect_archive(folder, shard, KEY, tables_position=position(cluster, shard))) == []


def assert_every_record(tmp_path: Path, shard: int) -> int:
    """From the first one on, without a gap; the last."""
    seq = 0
    for entry in entries(tmp_path, shard):
        assert entry.starts == ""
        for record in archived_records(tmp_path / "archive" / f"shard-{shard:02}", shard, entry):
            seq += 1
            assert record.seq == seq
    return seq


@pytest.mark.parametrize("durability", ["commit", "fsync"])
def test_every_record_is_archived_over_kills_and_restarts(durability: str, tmp_path: Path) -> None:
    """Checkpointer, shard and everything die in the middle of it; the chain has each record once."""
    with archiving(tmp_path, durability=durability) as cluster:
        queue = next(cluster.queues_of(0, "busy-"))
        for n in range(5):
            with Wire(cluster.connect()) as wire:
                fill(wire, queue, 12)
            cluster.wait_serving("checkpointer")
            cluster.kill("checkpointer")
            if n == 2:
                cluster.kill_all()
                cluster.start()
            if n == 3:
                cluster.restart()
            with Wire(cluster.connect()) as wire:
                fill(wire, queue, 6)
        wait_recycled(cluster, 0, 20)
        cluster.stop()
        assert_whole(cluster, tmp_path, 0)
        assert assert_every_record(tmp_path, 0) >= position(cluster, 0) > 100


def stored_in(folder: Path) -> int:
    """Bytes of what is archived of shard 0; what is taken away meanwhile counts as gone."""
    size = 0
    for path in (folder / "archive" / "shard-00").iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def test_archive_and_store_stay_as_large_as_they_may_be(tmp_path: Path) -> None:
    """Under constant load what is kept is bounded, and what is trimmed is said."""
    bound = 256 << 10
    with archiving(tmp_path, FLASHQ_ARCHIVE_KEEP_BYTES=str(bound)) as cluster:
        queue = next(cluster.queues_of(0, "busy-"))
        journal = cluster.data / "shard-00" / "journal"
        sizes = []
        for n in range(6):
            with Wire(cluster.connect()) as wire:
                fill(wire, queue, 80)
            wait_recycled(cluster, 0, 30 * (n + 1))
            cluster.wait_until(lambda: len(list(journal.glob("*.seg"))) <= 6, "the checkpointer to be there", 60.0)
            cluster.wait_until(lambda: stored_in(tmp_path) <= bound + (64 << 10), "the archive to be trimmed", 60.0)
            stored = stored_in(tmp_path)
            data = sum(path.stat().st_size for path in (cluster.data / "shard-00").rglob("*") if path.is_file())
            sizes.append(stored + data)
        cluster.wait_output("archive trimmed")
        assert max(sizes[2:]) <= min(sizes[2:]) * 1.6, sizes
        cluster.stop()
        assert_whole(cluster, tmp_path, 0)
        assert entries(tmp_path, 0)[0].no > 1


def test_moved_slots_leave_an_archive_with_all_that_was_before(tmp_path: Path) -> None:
    """What was not yet folded is archived with the rest; then each journal counts anew, in another life."""
    with archiving(tmp_path) as cluster:
        queue = next(cluster.queues_of(0, "busy-"))
        with Wire(cluster.connect()) as wire:
            fill(wire, queue, 20)
            wire.ok("PUSH", queue=queue, data="the last before")
        cluster.stop()
        cluster.shards = 3
        cluster.start()
        with Wire(cluster.connect()) as wire:
            assert wire.ok("PULL", queue=queue, timeout=0)["job"]["data"] == "the last before"
            fill(wire, next(cluster.queues_of(0, "more-")), 30)
        cluster.wait_until(lambda: "life" in {entry.starts for entry in entries(tmp_path, 0)}, "another life")
        cluster.stop()
        assert_whole(cluster, tmp_path, 0)
        kept = entries(tmp_path, 0)
        new = next(n for n, entry in enumerate(kept) if entry.starts == "life")
        assert (kept[0].first, kept[new].first) == (1, 1)
        folder = tmp_path / "archive" / "shard-00"
        last = [record.events for record in archived_records(folder, 0, kept[new - 1])]
        assert any(b"the last before" in events for events in last)


def test_archive_that_was_tampered_with_takes_nothing_more_and_nothing_is_lost(tmp_path: Path) -> None:
    """The journal is kept instead, which is said, until somebody looks."""
    with archiving(tmp_path) as cluster:
        queue = next(cluster.queues_of(0, "busy-"))
        with Wire(cluster.connect()) as wire:
            fill(wire, queue, 20)
        wait_recycled(cluster, 0, 2)
        cluster.stop()
        manifest = tmp_path / "archive" / "shard-00" / "manifest"
        good = manifest.read_bytes()
        lines = good.split(b"\n")
        manifest.write_bytes(b"\n".join([lines[0], *lines[2:]]))
        cluster.start()
        with Wire(cluster.connect()) as wire:
            fill(wire, queue, 20)
        cluster.wait_output("fold failed: the journal is kept, and grows")
        assert "line 2: it is entry 2 instead of 1" in cluster.output()
        manifest.write_bytes(good)
        with Wire(cluster.connect()) as wire:
            fill(wire, queue, 2)
        cluster.wait_output("folding goes on", 40.0)
        cluster.stop()
        assert_whole(cluster, tmp_path, 0)
        assert_every_record(tmp_path, 0)
