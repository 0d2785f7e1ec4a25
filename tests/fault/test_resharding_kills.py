"""Moving slots is killed at every one of its points; the next start makes of it the old or the new layout, whole."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flashq.clock import boot_id
from flashq.cluster.layout import move_slots, settled_map
from flashq.cluster.slot_map import SlotMap
from flashq.config import Settings
from flashq.engine.engine import Engine
from flashq.engine.replay import Replayer
from flashq.shard.process import open_storage
from flashq.storage.inspection import inspect_tables
from flashq.storage.journal_epoch import next_epoch
from flashq.testing.cluster import Cluster
from flashq.testing.engine_kit import engine_facts
from tests.integration.test_checkpoints import kinds_of_jobs
from tests.integration.wire import Wire

DIED = 9


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of two shards, killed."""
    data = tmp_path_factory.mktemp("filled") / "data"
    with Cluster(shards=2, durability="commit", data=data) as cluster:
        with Wire(cluster.connect()) as wire:
            for n in range(2):
                kinds_of_jobs(wire, f"moved-{n}")
            for n in range(20):
                wire.ok("PUSH", queue=f"small-{n}", data=n)
            wire.ok("KVSET", key="colour", value=1)
        cluster.kill_all()
    return data


def settings_of(data: Path, shards: int) -> Settings:
    return Settings(data=data, shards=shards, durability="commit", run=data.parent / "r")


def jobs_by_owner(data: Path) -> tuple[SlotMap, dict[int, Any]]:
    """The map, and all jobs, each of which is with the owner of its slot and nowhere else."""
    slots = settled_map(data, 1)
    jobs: dict[int, Any] = {}
    for shard in range(slots.shards):
        assert list(inspect_tables(data / f"shard-{shard:02}", shard)) == []
        journal, tables = open_storage(settings_of(data, slots.shards), shard, next_epoch(data))
        replayer = Replayer(Engine(epoch=1))
        if tables is not None:
            tables.restore(replayer)
            tables.close()
        for record in journal.replay():
            replayer.apply(record.at_ms, record.mono_ms, record.boot, record.events)
        journal.close(seal=False)
        replayer.finish(boot_id(), 0, clean=True)
        mine = engine_facts(replayer.engine)["jobs"]
        assert {slots.owners[job_id & 1023] for job_id in mine} <= {shard}
        assert not jobs.keys() & mine.keys()
        jobs.update(mine)
    return slots, jobs


def killed_at(data: Path, shards: int, nth: int) -> bool:
    """Move slots in a process that dies at the nth point; False if there are not so many."""
    pid = os.fork()
    if pid == 0:
        points = iter(range(nth))

        def at(_: str) -> None:
            if next(points, None) is None:
                os._exit(DIED)

        code = 1
        try:
            move_slots(settings_of(data, shards), settled_map(data, shards), at=at)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED)
    return code == DIED


def copies(filled: Path, folder: Path) -> Iterator[tuple[int, Path]]:
    for nth in range(1_000):
        data = folder / f"data-{nth}"
        shutil.copytree(filled, data)
        yield nth, data
        shutil.rmtree(data)


@pytest.mark.parametrize("shards", [3, 1])
def test_killed_at_any_point_every_slot_has_exactly_one_owner(filled: Path, tmp_path: Path, shards: int) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(filled, whole)
    _, expected = jobs_by_owner(whole)
    assert len(expected) > 150
    layouts = set()
    for nth, data in copies(filled, tmp_path):
        died = killed_at(data, shards, nth)
        slots, jobs = jobs_by_owner(data)
        layouts.add(slots.shards)
        assert jobs == expected, f"after point {nth}"
        if not died:
            assert nth > 2 + shards + 3, "there are points in every stage"
            assert slots.shards == shards
            assert {slots.owners[job_id & 1023] for job_id in jobs} == {*range(shards)}
            break
        if slots.shards != shards:  # it is carried on with, and ends
            assert not killed_at(data, shards, 1_000)
            slots, jobs = jobs_by_owner(data)
            assert (slots.shards, jobs) == (shards, expected), f"after point {nth}, and again"
    assert layouts == {2, shards}
