"""Slots that moved between shards, there and back, hold what they held: random lives of an engine, cut into pieces."""

from pathlib import Path
from typing import Any

import pytest

from flashq.engine.engine import Engine
from flashq.engine.replay import Replayer
from flashq.protocol.slots import SLOTS
from flashq.storage.inspection import inspect_tables
from flashq.storage.recovery import Tables
from flashq.storage.relocation import Moment, Origin, build_shard, carried_from
from flashq.storage.sites import FileSite
from flashq.testing.engine_kit import check_counts
from tests.simulation.test_checkpoints import LIMITS, QUEUES, Life, facts_of, keys_in_order


def built(folder: Path, shard: int, origins: list[Origin], now: Moment) -> Path:
    carried = carried_from([(origin.folder, origin.shard) for origin in origins] if shard == 0 else [])
    build_shard(folder, shard, origins, now, carried, epoch=2, durability="commit", segment_bytes=1 << 20)
    assert [str(finding) for finding in inspect_tables(folder, shard)] == []
    return folder


def restored(folder: Path, shard: int, now: Moment, *, clean: bool = True) -> Engine:
    tables = Tables.find(FileSite(folder, shard))
    assert tables is not None
    engine = Engine(epoch=1, limits=LIMITS)
    replayer = Replayer(engine)
    tables.restore(replayer)
    tables.close()
    replayer.finish(now.boot, now.mono_ms, clean=clean)
    engine.begin(now.at_ms, now.mono_ms)
    return engine


@pytest.mark.parametrize("seed", range(8))
def test_slots_hold_what_they_held_after_moving_there_and_back(seed: int, tmp_path: Path) -> None:
    """Ids, leases, outbox, names, crons, keys, limits, dead letters and history move with their slot."""
    life = Life(seed, tmp_path / "one")
    (tmp_path / "one").mkdir()
    for _ in range(300):
        life.step()
    kit = life.kit
    life.checkpointer.fold_records(kit.memory.kept)
    life.checkpointer.close()
    assert [str(finding) for finding in inspect_tables(tmp_path / "one", 0)] == []
    # Half of the lives are moved after a reboot: leases have as long as they had.
    now = Moment(kit.now_ms, kit.mono_ms + 77_000 * (seed % 2), f"boot-{seed % 2}" if seed % 2 else kit.boot)
    whole = restored(tmp_path / "one", 0, now)
    thirds = [[slot for slot in range(SLOTS) if slot % 3 == n] for n in range(3)]
    one = tmp_path / "one"
    parts = [
        built(tmp_path / f"part-{n}", n, [Origin(one, 0, thirds[n], clean=True)], now) for n in range(3)
    ]  # fmt: skip
    for n, part in enumerate(parts):
        engine = restored(part, n, now)
        assert {name for name, queue in engine.queues.items() if queue.slot.no not in thirds[n]} == set()
        assert all(queue.slot.no % 3 == n for queue in engine.queues.values())
        check_counts(engine)
    back = built(
        tmp_path / "back", 0, [Origin(part, n, thirds[n], clean=True) for n, part in enumerate(parts)], now
    )  # fmt: skip
    again = restored(back, 0, now)
    expected, found = facts_of(whole), facts_of(again)
    for name, facts in expected.items():
        assert found[name] == facts, f"seed {seed}: {name}"
    check_counts(again)
    for name in QUEUES:
        for engine in (whole, again):
            queue = engine.queue(name)
            queue.paused, queue.rate, queue.concurrency, queue.gate = False, None, None, False
        assert keys_in_order(again, name) == keys_in_order(whole, name), f"seed {seed}: {name}"


def next_pages(engine: Engine) -> dict[int, Any]:
    return {no: (slot.next_page, slot.reserved_page) for no, slot in engine.slots.items()}


def test_ids_reserved_ahead_are_not_given_again_after_an_unclean_stop(tmp_path: Path) -> None:
    """They may have been told to somebody whose push a power cut took."""
    folder = tmp_path / "one"
    folder.mkdir()
    life = Life(3, folder)
    for _ in range(60):
        life.step()
    life.checkpointer.fold_records(life.kit.memory.kept)
    life.checkpointer.close()
    now = Moment(life.kit.now_ms, life.kit.mono_ms, life.kit.boot)
    for clean in (True, False):
        moved = built(tmp_path / f"moved-{clean}", 0, [Origin(folder, 0, range(SLOTS), clean=clean)], now)
        expected = next_pages(restored(folder, 0, now, clean=clean))
        assert next_pages(restored(moved, 0, now)) == expected
        assert (not clean) == any(at == reserved for at, reserved in expected.values())
