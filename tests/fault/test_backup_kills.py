"""A backup and a restore are killed at every one of their points: what was there before is there, nothing half is."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flashq.cluster.backups.making import back_up
from flashq.cluster.backups.restoring import restore
from flashq.cluster.backups.shelf import backups, find_backup
from flashq.cluster.slot_map import SlotMap, broken_off, find_map, write_map
from flashq.config import Settings
from flashq.errors import ConfigError
from flashq.protocol.slots import slot_of_queue
from flashq.testing.cluster import Cluster
from tests.fault.test_resharding_kills import DIED, jobs_by_owner
from tests.integration.test_checkpoints import kinds_of_jobs
from tests.integration.wire import Wire


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of two shards, killed."""
    data = tmp_path_factory.mktemp("filled") / "data"
    with Cluster(shards=2, durability="commit", data=data) as cluster:
        with Wire(cluster.connect()) as wire:
            kinds_of_jobs(wire, "q-0")
            for n in range(20):
                wire.ok("PUSH", queue=f"small-{n}", data=n)
        cluster.kill_all()
    return data


def died_at(nth: int, work: Callable[[Callable[[str], object]], object]) -> bool:
    """Do it in a process that dies at the nth point; False if there are not so many."""
    pid = os.fork()
    if pid == 0:
        points = iter(range(nth))

        def at(_: str) -> None:
            if next(points, None) is None:
                os._exit(DIED)

        code = 1
        try:
            work(at)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED)
    return code == DIED


def test_a_backup_killed_at_any_point_leaves_the_older_ones_and_no_half_one(filled: Path, tmp_path: Path) -> None:
    settings, folder = Settings(data=filled, shards=2, run=tmp_path / "r"), tmp_path / "backups"
    nth, died, seen = 0, True, set()
    counts = back_up(settings, folder).manifest.counts
    back_up(settings, folder)
    while died:
        before = backups(folder)
        died = died_at(nth, lambda at: back_up(settings, folder, keep=2, at=at))
        whole = backups(folder)
        assert len({*whole} - {*before}) <= 1
        assert whole[-1] >= before[-1]
        assert len(whole) >= 2
        seen.add((len(whole), whole[-1] == before[-1]))
        data = tmp_path / f"data-{nth}"
        assert restore(whole[-1], data).manifest.counts == counts, f"after point {nth}"
        shutil.rmtree(data)
        nth += 1
    assert nth > 10
    assert {(2, True), (3, False), (2, False)} <= seen, "killed before it had its name, after it, and at the end"
    back_up(settings, folder, keep=2)
    assert {path.name for path in folder.iterdir()} == {".lock", *(path.name for path in backups(folder))}


@pytest.mark.parametrize("shards", [2, 3])
def test_a_restore_killed_at_any_point_is_whole_or_refused_and_can_be_done_again(
    filled: Path, tmp_path: Path, shards: int
) -> None:
    folder = tmp_path / "backups"
    back_up(Settings(data=filled, shards=2, run=tmp_path / "r"), folder)
    whole = tmp_path / "whole"
    shutil.copytree(filled, whole)
    _, expected = jobs_by_owner(whole)
    data = tmp_path / "data"
    nth, died, refused = 0, True, 0
    while died:
        died = died_at(nth, lambda at: restore(folder, data, shards=shards, at=at))
        if broken_off(data):
            with pytest.raises(ConfigError, match="a restore into this folder was broken off"):
                find_map(data)
            refused += 1
            restore(find_backup(folder), data, shards=shards)
        else:
            with pytest.raises(ConfigError, match="is not empty"):
                restore(folder, data, shards=shards)
        slots, jobs = jobs_by_owner(data)
        assert (slots.shards, jobs.keys()) == (shards, expected.keys()), f"after point {nth}"
        assert {slots.owners[job_id & 1023] for job_id in jobs} == {*range(shards)}
        shutil.rmtree(data)
        nth += 1
    assert refused > 5


def test_a_slot_that_is_in_two_shards_is_restored_from_its_owner(filled: Path, tmp_path: Path) -> None:
    """As in the middle of a move: what another shard has of it is not what counts."""
    data, folder = tmp_path / "data", tmp_path / "backups"
    shutil.copytree(filled, data)
    slots = find_map(data)
    assert slots is not None
    slot = slot_of_queue("q-0")
    owners = [*slots.owners]
    owners[slot] = 1 - owners[slot]
    write_map(data, SlotMap(slots.version + 1, slots.shards, tuple(owners)))
    made = back_up(Settings(data=data, shards=2, run=tmp_path / "r"), folder)
    assert made.manifest.counts["waiting"] > 20
    done = restore(folder, tmp_path / "new")
    assert (done.counts["waiting"], done.counts["dead"], done.counts["queues"]) == (20, 0, 20)
