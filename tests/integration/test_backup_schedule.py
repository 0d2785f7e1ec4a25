"""A cluster that makes backups of itself."""

from pathlib import Path

import pytest

from flashq.cluster.backups.manifest import read_manifest
from flashq.cluster.backups.process import next_due_ms
from flashq.cluster.backups.shelf import backups
from flashq.config import Settings
from flashq.errors import ConfigError
from flashq.testing.cluster import Cluster
from tests.integration.wire import Wire


def test_backups_are_made_when_they_are_due_and_only_the_latest_are_kept(tmp_path: Path) -> None:
    """A kill of their process, and a stop in the middle, leave nothing half; the next start goes on with the plan."""
    folder = tmp_path / "backups"
    settings = {"FLASHQ_BACKUP_DIR": str(folder), "FLASHQ_BACKUP_EVERY_MS": "1s", "FLASHQ_BACKUP_KEEP": "2"}
    with Cluster(shards=2, settings=settings) as cluster:
        with Wire(cluster.connect()) as wire:
            wire.ok("PUSHB", queue="q", jobs=[{"data": n} for n in range(100)])
        seen: set[str] = set()

        def made(count: int) -> bool:
            seen.update(path.name for path in backups(folder))
            return len(seen) >= count

        cluster.wait_until(lambda: made(4), "four backups", 60.0)
        cluster.kill("backups")
        before = len(seen)
        cluster.wait_until(lambda: made(before + 2), "more backups after a kill", 60.0)
        assert cluster.stop() == 0
        whole = backups(folder)
        assert len(whole) == 2
        assert {path.name for path in whole} <= seen | {whole[-1].name}
        for path in whole:
            assert read_manifest(path).counts["waiting"] == 100
        assert next_due_ms(folder, 500) == read_manifest(whole[-1]).cut_ms + 500
        cluster.settings["FLASHQ_BACKUP_EVERY_MS"] = "1h"
        cluster.start()
        assert cluster.stop() == 0
        assert backups(folder) == whole


def test_a_backup_that_fails_is_logged_and_the_cluster_serves_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = {"FLASHQ_BACKUP_DIR": str(tmp_path / "file" / "backups")}
    with Cluster(shards=1, settings=settings) as cluster:
        cluster.wait_output("backup failed, older ones are kept")
        with Wire(cluster.connect()) as wire:
            wire.ok("PUSH", queue="q", data=1)
        assert cluster.stop() == 0


def test_a_latest_backup_that_cannot_be_read_is_followed_by_another_at_once(tmp_path: Path) -> None:
    assert next_due_ms(tmp_path, 1_000) == 0
    (tmp_path / "flashq-20260101T000000.000Z").mkdir()
    assert next_due_ms(tmp_path, 1_000) == 0


def test_backups_that_cannot_be_are_refused_at_the_start(tmp_path: Path) -> None:
    for settings, why in (
        ({"data": tmp_path, "backup_dir": tmp_path / "b"}, "it may not lie in data"),
        ({"backup_dir": tmp_path, "durability": "memory"}, "is nowhere"),
        ({"backup_dir": tmp_path, "database_url": "postgresql://u@h/d"}, "is in the database"),
    ):
        with pytest.raises(ConfigError, match=why):
            Settings(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="backup_every_ms = 5"):
        Settings(backup_every_ms=5)
