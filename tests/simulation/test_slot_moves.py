"""A slot that is packed, leaves and comes is what it was: in a live engine, in a replay, and in tables.

Random lives of an engine, whose slots leave and come back, or go to others, at random moments.
"""

from pathlib import Path
from typing import Any

import pytest

from flashq.engine import chosen, removal, webhooks
from flashq.engine.departure import depart, is_busy
from flashq.engine.engine import Engine
from flashq.engine.events import HookSet, SlotArrived, SlotLeft, SlotPart
from flashq.engine.settings import Chosen
from flashq.protocol.slots import SLOTS, slot_of_queue
from flashq.storage import checkpointer, parcels
from flashq.storage.inspection import inspect_tables
from flashq.storage.parcels import Parcel, unpack
from flashq.storage.sections import SECTIONS
from flashq.storage.slot_entries import KEYS, OF_MOMENTS, OF_SHARDS
from flashq.testing.engine_kit import EngineKit, check_counts
from tests.simulation.test_checkpoints import LIMITS, QUEUES, Life, facts_of, keys_in_order

USED = sorted({slot_of_queue(name) for name in (*QUEUES, *"abcdmnop")})


def test_every_kind_of_entry_is_known_to_move_or_not_to() -> None:
    """A kind of entries that is in none of these would be left behind when its slot moves."""
    assert set(SECTIONS) == set(KEYS) | OF_SHARDS | OF_MOMENTS


def there_and_back(life: Life, slot: int) -> None:
    """The slot leaves the engine and comes back, as it would to another one; some moves come to nothing first."""
    kit = life.kit
    engine = kit.begin()
    if is_busy(engine, slot):
        return
    before = facts_of(engine)
    parcel = Parcel(engine, slot)
    depart(engine, slot)
    check_counts(engine)
    assert not [name for name, queue in engine.queues.items() if queue.slot.no == slot]
    parts = list(parcel.parts())
    arrive(engine, slot, parts, parcel.mono_ms)
    if life.random.random() < 0.3:  # it is not wanted after all, and then it is
        engine.record(SlotLeft(slot))
        kit.commit()
        kit.begin()
        arrive(engine, slot, parts, parcel.mono_ms)
    unpack(engine, slot, parts, 0)
    engine.arriving.clear()
    after = facts_of(engine)
    for name, facts in before.items():
        assert after[name] == facts, name
    check_counts(engine)
    kit.commit()


def arrive(engine: Engine, slot: int, parts: list[bytes], mono_ms: int) -> None:
    for no, part in enumerate(parts):
        engine.record(SlotPart(slot, no, part))
    engine.record(SlotArrived(slot, mono_ms))


@pytest.mark.parametrize("seed", range(8))
def test_slots_that_left_and_came_are_what_they_were(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs, leases, ids, names, keys, crons, messages and limits: live, after a replay, and from the tables."""
    monkeypatch.setattr(parcels, "PART_BYTES", (200, 5_000, 1 << 20)[seed % 3])
    if seed % 2:  # removal takes many slices, folds many transactions
        monkeypatch.setattr(removal, "SLICE", 10)
        monkeypatch.setattr(checkpointer, "LOOK_BYTES", 500)
        monkeypatch.setattr(checkpointer, "FLUSH_BYTES", 1_000)
    life = Life(seed, tmp_path)
    for _ in range(6):
        for _ in range(life.random.randrange(1, 40)):
            life.step()
            if life.random.random() < 0.15:
                there_and_back(life, life.random.choice(USED))
        if life.random.random() < 0.7:
            life.fold()
        whole, restarted = life.kit.replayed(), life.restarted()
        live, expected, found = facts_of(life.kit.engine), facts_of(whole), facts_of(restarted)
        for part, facts in expected.items():
            assert found[part] == facts, f"seed {seed}: {part} from tables"
            if part != "hooks":  # a delivery that is tried again is in no event, so that a replay has its moment still
                assert live[part] == facts, f"seed {seed}: {part} live"
        check_counts(restarted)
    life.checkpointer.close()
    if life.folded:
        assert [str(finding) for finding in inspect_tables(tmp_path, 0)] == []
    for name in QUEUES:
        for engine in (whole, restarted, life.kit.engine):
            queue = engine.queue(name)
            queue.paused, queue.rate, queue.concurrency, queue.gate = False, None, None, False
        expected_keys = keys_in_order(whole, name)
        assert keys_in_order(restarted, name) == expected_keys, f"seed {seed}: {name}"
        assert keys_in_order(life.kit.engine, name) == expected_keys, f"seed {seed}: {name}"


@pytest.mark.parametrize("seed", range(3))
def test_three_shards_hold_what_one_held(seed: int, tmp_path: Path) -> None:
    """Every slot goes to one of three engines, and back to a new one, that holds what the first did."""
    life = Life(seed, tmp_path)
    for _ in range(300):
        life.step()
    source = life.kit.begin()
    before = facts_of(source)
    others = [other(life.kit) for _ in range(3)]
    last = other(life.kit)
    for slot in range(SLOTS):
        if is_busy(source, slot):
            continue
        carry(source, others[slot % 3], slot)
    assert not source.slots
    assert not source.queues
    check_counts(source)
    assert not any((source.totals.waiting, source.totals.active, source.totals.dead, source.totals.completed_now))
    for number, engine in enumerate(others):
        assert all(slot % 3 == number for slot in engine.slots)
        check_counts(engine)
    for slot in range(SLOTS):
        carry(others[slot % 3], last, slot)
    after = facts_of(last)
    counted: Any = {name: after["totals"][name] for name in ("active", "dead", "completed_now", "queued")}
    assert {name: before["totals"][name] for name in counted} == counted
    for name in set(before) - {"totals", "hooks"}:
        assert after[name] == before[name], name
    assert last.hooks.lines.keys() == source.hooks.lines.keys(), "every shard knows the webhooks"
    check_counts(last)


def test_shard_that_missed_webhooks_and_settings_learns_them_with_a_slot(tmp_path: Path) -> None:
    """Slot 0 tells each shard by one of its slots: who has none hears of nothing until it is given one again."""
    life = Life(1, tmp_path)
    kit = life.kit
    old = kit.do(lambda engine: webhooks.make(engine, "https://example.com/", ["pushed"], None, "", ()))
    while life.folded < kit.journal.durable_seq:
        life.fold()
    home = other(kit)
    webhooks.set_(home, HookSet(old, "https://example.com/", ["pushed"], None, "", kit.now_ms))
    webhooks.remove(home, old, ())
    new = webhooks.make(home, "https://example.org/", ["failed"], None, "", ())
    chosen.choose(home, Chosen(max_attempts=7), ())
    slot = slot_of_queue("moved")
    home.queue("moved").paused = True
    parcel = Parcel(home, slot)
    depart(home, slot)
    parts = list(parcel.parts())
    engine = kit.begin()
    arrive(engine, slot, parts, parcel.mono_ms)
    unpack(engine, slot, parts, 0)
    engine.arriving.clear()
    kit.commit()
    while life.folded < kit.journal.durable_seq:
        life.fold()
    life.checkpointer.close()
    for shard in (kit.engine, kit.replayed(), life.restarted()):
        assert list(shard.hooks.lines) == [new]
        assert (shard.hooks.version, shard.chosen.max_attempts) == (home.hooks.version, 7)
    assert kit.engine.defaults.max_attempts == 7


def other(kit: EngineKit) -> Engine:
    engine = Engine(epoch=2, limits=LIMITS)
    engine.begin(kit.now_ms, kit.mono_ms)
    return engine


def carry(source: Engine, target: Engine, slot: int) -> None:
    parcel = Parcel(source, slot)
    depart(source, slot)
    unpack(target, slot, list(parcel.parts()), 0)
