"""CLEAN removes what its words say: this state of this queue, older than the grace, oldest first, up to the limit."""

from collections.abc import Iterator

import pytest

from flashq.engine.cleaning import state_to_clean
from flashq.engine.jobs import State
from flashq.engine.queries import state_of
from flashq.engine.slices import SLICE
from flashq.errors import InvalidArgument
from flashq.testing.engine_kit import EngineKit, drained
from tests.unit.engine.test_removal import check, kill, push_many


@pytest.fixture
def kit() -> Iterator[EngineKit]:
    one = EngineKit()
    one.start()
    yield one
    check(one)


def _three(kit: EngineKit, state: str) -> list[int]:
    """Jobs in that state that are 20, 10 and 0 ms old."""
    ids = []
    for n in range(3):
        if n:
            kit.advance(10)
        if state == "failed":
            ids += kill(kit, "mail")
            continue
        ids += kit.push("mail", {"data": n, "delay": 60_000} if state == "delayed" else {"data": n})
        if state == "completed":
            kit.pull("mail")
            kit.ack(ids[-1])
    return ids


STATES = ("waiting", "delayed", "completed", "failed")


@pytest.mark.parametrize("state", STATES)
def test_state_grace_and_limit_choose_the_oldest(kit: EngineKit, state: str) -> None:
    gone = "completed" if state == "completed" else "unknown"
    ids = _three(kit, state)
    assert [state_of(kit.engine, i) for i in ids] == [state] * 3
    for other in STATES:
        assert other == state or kit.clean("mail", other).count == 0
    assert kit.clean("film", state).count == 0
    assert kit.clean("mail", state, grace_ms=21).count == 0
    assert kit.clean("mail", state, grace_ms=0, limit=1).count == 1
    check(kit)
    assert state_of(kit.engine, ids[0]) == gone
    assert kit.clean("mail", state, grace_ms=10).count == 1
    assert (state_of(kit.engine, ids[1]), state_of(kit.engine, ids[2])) == (gone, state)
    assert kit.clean("mail", state).count == 1
    assert kit.clean("mail", state).count == 0
    queue = kit.engine.queues["mail"]
    assert (queue.waiting, queue.delayed, queue.completed, queue.dead_count) == (0, 0, 0, 0)


def test_completed_jobs_count_their_age_from_the_end(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 1})
    kit.pull("mail")
    kit.advance(1_000)
    kit.ack(job_id)
    assert kit.clean("mail", "completed", grace_ms=500).count == 0
    assert kit.clean("mail", "completed", grace_ms=0).count == 1


def test_many_waiting_go_in_slices_and_what_comes_meanwhile_stays(kit: EngineKit) -> None:
    ids = push_many(kit, "mail", 12 * SLICE)
    work = kit.clean("mail", "waiting")
    counted: list[int] = []
    work.on_done = counted.append
    assert 0 < work.count < len(ids)
    check(kit)
    new = kit.push("mail", {"data": "new"}, {"data": "same ms", "priority": 2})
    while not counted:
        kit.advance(1)
    assert counted == [len(ids)]
    assert drained(kit.replayed(), "mail") == new[::-1]
    assert drained(kit.replayed(), "mail") == new[::-1]


def test_records_and_plain_jobs_between_active_ones(kit: EngineKit) -> None:
    specs = [{"data": n, **({"priority": n % 3} if n % 2 else {})} for n in range(40)]
    ids = kit.push("mail", *specs)
    got = kit.pull("mail", 7)
    assert got is not None
    assert kit.clean("mail", "waiting", limit=20).count == 20
    left = [i for i in ids if i not in got.ids]
    assert [state_of(kit.engine, i) for i in left] == ["unknown"] * 20 + ["waiting"] * 13
    check(kit)
    assert kit.ack_batch(got.ids) == {}
    assert sorted(drained(kit.replayed(), "mail")) == left[20:]


def test_during_a_drain_nothing_is_cleaned_twice(kit: EngineKit) -> None:
    push_many(kit, "mail", 12 * SLICE)
    kit.drain("mail")
    assert kit.clean("mail", "waiting").count == 0
    (new,) = kit.push("mail", {"data": 1})
    assert kit.clean("mail", "waiting").count == 1
    assert state_of(kit.engine, new) == "unknown"


def test_state_names_and_the_words_for_a_wrong_one() -> None:
    assert state_to_clean(None) is State.COMPLETED
    assert state_to_clean("DeLayed") is State.DELAYED
    for wrong in ("active", "", "wait-ing"):
        if wrong:
            with pytest.raises(InvalidArgument) as refused:
                state_to_clean(wrong)
            assert str(refused.value) == "Invalid state. Use: waiting, delayed, completed, failed"
