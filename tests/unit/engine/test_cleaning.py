"""CLEAN removes what its words say: this state of this queue, older than the grace, oldest first, up to the limit."""

from collections.abc import Iterator
from random import Random

import pytest

from flashq.engine import control_jobs
from flashq.engine.cleaning import state_to_clean
from flashq.engine.jobs import Job, State
from flashq.engine.queries import state_of
from flashq.engine.queues import LOOKED_AT, Queue
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


def test_delayed_jobs_leave_without_a_slice_looking_at_all_of_them(
    kit: EngineKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clearing the heap of what has left goes along with what leaves; the order of those that stay is theirs."""
    looked = [0]
    real = Queue.is_delayed

    def is_delayed(self: Queue, entry: tuple[int, int, int]) -> Job | None:
        looked[-1] += 1
        return real(self, entry)

    many = push_many(kit, "mail", 12 * SLICE, delay=60_000)
    kit.advance(10)
    stay = [kit.push("mail", {"data": k, "delay": 50_000 - 7 * (k % 5)})[0] for k in range(20)]
    queue = kit.engine.queues["mail"]
    monkeypatch.setattr(Queue, "is_delayed", is_delayed)
    work = kit.clean("mail", "delayed", grace_ms=5)
    while work.count < len(many):
        looked.append(0)
        kit.advance(1)
    assert len(looked) >= 12
    assert max(looked) <= LOOKED_AT * SLICE
    assert len(queue.later) + len(queue.older) <= len(many) // 2
    kit.advance(60_000)
    expected = sorted(stay, key=lambda job_id: (-7 * (stay.index(job_id) % 5), job_id))
    assert drained(kit.replayed(), "mail") == pulled(kit) == expected


def test_delayed_jobs_that_go_and_come_while_the_heap_is_sorted_out(kit: EngineKit) -> None:
    """In any order, there and back to the same moment too: each is delivered once, at its time."""
    random = Random(4)
    ids = [kit.push("mail", {"data": k, "delay": 1_000 + random.randrange(500)})[0] for k in range(1_500)]
    queue = kit.engine.queues["mail"]
    sorted_out = 0
    for step in range(6_000):
        if step % 4 and len(ids) > 100:
            kit.carry_out(control_jobs.cancel, ids.pop(random.randrange(len(ids))))
        else:
            job_id = random.choice(ids)
            kit.carry_out(control_jobs.change_priority, job_id, 3)
            kit.carry_out(control_jobs.change_priority, job_id, 0)
        sorted_out += bool(queue.older)
        assert len(queue.later) + len(queue.older) == queue.delayed + queue.delayed_stale
        assert not queue.older or queue.later[0] <= queue.older[0]
    assert sorted_out > 300
    assert queue.delayed_stale <= queue.delayed + 200
    moments = {job_id: seen.run_at for job_id in ids if isinstance(seen := record_of(kit, job_id), Job)}
    kit.advance(2_000)
    assert drained(kit.replayed(), "mail") == pulled(kit) == sorted(ids, key=lambda job_id: (moments[job_id], job_id))


def record_of(kit: EngineKit, job_id: int) -> object:
    page, i = kit.engine.queues["mail"].slot.find(job_id >> 10)
    assert page is not None
    return page.jobs[i]


def pulled(kit: EngineKit) -> list[int]:
    """All that is ready, in order."""
    ids: list[int] = []
    while (got := kit.pull("mail", 1000)) is not None:
        ids += got.ids
    return ids
