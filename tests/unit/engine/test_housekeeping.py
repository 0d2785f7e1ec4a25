"""What time alone does: completed jobs grow too old to be kept, idle queues are forgotten; and a replay agrees."""

from collections.abc import Iterator

import pytest

from flashq.engine import housekeeping
from flashq.engine.engine import Engine
from flashq.engine.housekeeping import start_housekeeping
from flashq.engine.limits import KEY_RATE, set_limit
from flashq.engine.queries import find, state_of
from flashq.engine.queues import Queue
from flashq.engine.settings import Limits
from flashq.engine.slices import SLICE
from flashq.testing.engine_kit import EngineKit, Spec
from tests.unit.engine.test_removal import check, push_many

LIMITS = Limits(keep_completed_age_ms=8_000, keep_completed_count=50_000, queue_forget_ms=80_000)
PASS_MS = 1_000
"""An eighth of the shorter of both bounds."""


@pytest.fixture
def kit() -> Iterator[EngineKit]:
    one = EngineKit(limits=LIMITS)
    one.start()
    start_housekeeping(one.engine)
    yield one
    check(one)


def complete(kit: EngineKit, *specs: Spec, queue: str = "mail") -> list[int]:
    ids = kit.push(queue, *specs)
    got = kit.pull(queue, len(ids))
    assert got is not None
    for job_id in got.ids:
        kit.ack(job_id, result=b'"r"')
    return ids


def kept(kit: EngineKit, ids: list[int]) -> list[int]:
    return [job_id for job_id in ids if find(kit.engine, job_id) is not None]


def passes(kit: EngineKit, ms: int) -> None:
    """Let time go by, a pass at a time."""
    for _ in range(ms // PASS_MS):
        kit.advance(PASS_MS)
    kit.advance(ms % PASS_MS)


def test_completed_jobs_are_forgotten_by_age_though_nothing_is_acked(kit: EngineKit) -> None:
    first = complete(kit, {"data": 1}, {"data": 2, "priority": 1})
    passes(kit, 5_000)
    second = complete(kit, {"data": 3})
    passes(kit, 3_000)
    assert kept(kit, first + second) == first + second
    passes(kit, PASS_MS)
    assert kept(kit, first + second) == second
    assert [state_of(kit.engine, i) for i in first] == ["completed"] * 2
    check(kit)
    passes(kit, 5_000)
    assert kept(kit, second) == []
    assert kit.engine.totals.completed_now == 0


def test_job_with_an_age_of_its_own_goes_then_and_no_other_with_it(kit: EngineKit) -> None:
    """Shorter or longer than the configured one, and whoever stands before or behind it."""
    long, plain, short, last = complete(
        kit, {"data": 1, "keep_completed_age": 20_000}, {"data": 2}, {"data": 3, "keep_completed_age": 300}, {"data": 4}
    )
    kit.advance(299)
    assert kept(kit, [long, plain, short, last]) == [long, plain, short, last]
    kit.advance(1)
    assert kept(kit, [long, plain, short, last]) == [long, plain, last]
    check(kit)
    passes(kit, 9_000)
    assert kept(kit, [long, plain, last]) == [long]
    check(kit)
    passes(kit, 11_000)
    assert kept(kit, [long]) == []
    assert len(kit.engine.timers) == 0


def test_count_evicts_the_oldest_whatever_age_they_asked_for(kit: EngineKit) -> None:
    ids = complete(kit, *[{"data": n, "keep_completed_age": 60_000, "keep_completed_count": 2} for n in range(5)])
    assert kept(kit, ids) == ids[3:]
    assert len(kit.engine.timers) == 2


def test_age_of_its_own_survives_a_restart(kit: EngineKit) -> None:
    (job_id,) = complete(kit, {"data": 3, "keep_completed_age": 300})
    after = EngineKit(limits=LIMITS, now_ms=kit.now_ms + 200, mono_ms=kit.mono_ms, epoch=2)
    after.memory.kept.extend(kit.memory.kept)
    after.start()
    start_housekeeping(after.engine)
    assert kept(after, [job_id]) == [job_id]
    after.advance(100)
    assert kept(after, [job_id]) == []


def test_many_of_one_age_go_in_slices(kit: EngineKit) -> None:
    ids = push_many(kit, "mail", 3 * SLICE)
    for _ in range(4):
        got = kit.pull("mail", 1000)
        if got is not None:
            kit.ack_batch(got.ids)
    passes(kit, 8_000)
    assert len(kept(kit, ids)) == len(ids)
    kit.advance(PASS_MS)
    assert 0 < len(kept(kit, ids)) < len(ids)
    check(kit)
    for _ in range(4):
        kit.advance(1)
    assert kept(kit, ids) == []


def test_idle_queue_is_forgotten_and_a_new_one_may_have_its_name(kit: EngineKit) -> None:
    complete(kit, {"data": 1, "remove_on_complete": True})
    kit.pull("asked")
    used = kit.push("used", {"data": 1})
    passes(kit, 80_000 - PASS_MS)
    assert set(kit.engine.queues) == {"mail", "asked", "used"}
    kit.engine.queues["mail"].touched = False
    passes(kit, 90_000)
    assert set(kit.engine.queues) == {"used"}
    assert kit.engine.forgotten == ["asked", "mail"]
    check(kit)
    assert set(kit.replayed().queues) == {"used"}
    assert kit.push("mail", {"data": 2})
    assert state_of(kit.engine, used[0]) == "waiting"


@pytest.mark.parametrize("setting", ["paused", "limit", "key limit", "waiter", "hook", "used now and then"])
def test_queue_with_a_setting_or_a_user_is_remembered(
    kit: EngineKit, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting == "paused":
        kit.pause("mail")
    elif setting in ("limit", "key limit"):
        set_limit(kit._begin(), "mail", KEY_RATE if setting == "key limit" else 0, 5)
        kit.commit()
    elif setting == "waiter":
        kit.wait("mail", 0, 10_000_000, gid=4, tied=False)
    elif setting == "hook":

        def used(engine: Engine, queue: Queue) -> bool:
            return queue.name == "mail"

        kit.pull("mail")
        monkeypatch.setattr(housekeeping, "IN_USE", [used])
    for _ in range(4):
        if setting == "used now and then":
            complete(kit, {"data": 1, "remove_on_complete": True})
        for queue in kit.engine.queues.values():
            queue.touched = False
        passes(kit, 50_000)
    assert "mail" in kit.engine.queues
