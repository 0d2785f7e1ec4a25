"""The order within a lane, also where entries of jobs that left are still in it."""

from random import Random

import pytest

from flashq.engine.lanes import STRETCH, Lane


def popped(lane: Lane, ready: dict[int, int]) -> list[int]:
    out = []
    while (seq := lane.pop(ready.__getitem__)) is not None:
        out.append(seq)
    return out


def test_dead_entry_at_the_head_does_not_let_a_later_job_overtake() -> None:
    """Job 1 left and is ready again at 90; its old entry says nothing of job 2, which is ready since 10."""
    lane = Lane(0)
    for seq in (1, 2):
        lane.append(seq)
    lane.remove(1)
    lane.put_at(50, 3)
    lane.put_at(90, 1)
    assert popped(lane, {1: 90, 2: 10}) == [2, 3, 1]


def test_rebuilding_keeps_the_entry_that_a_returned_job_stands_at() -> None:
    """A job that left the line and came back through its delay keeps its new place, not the old one."""
    lane = Lane(0)
    for seq in range(200):
        lane.append(seq)
    lane.put_at(500, 0)
    for seq in range(150):
        lane.remove(seq)
    assert lane.dead_count < 100, "it was rebuilt"
    assert popped(lane, dict.fromkeys(range(200), 10)) == [*range(150, 200), 0]


def test_job_that_left_the_front_stands_where_it_is_put_next() -> None:
    """Also in front again: an old entry must not be taken for the new one."""
    lane = Lane(0)
    for seq in (7, 8, 9):
        lane.put_in_front(seq)
    for seq in (7, 8):
        lane.remove(seq)
    lane.append(7)
    lane.put_in_front(8)
    assert popped(lane, {7: 0}) == [8, 9, 7]


def test_jobs_join_those_of_their_time_in_any_order() -> None:
    """A changed priority brings jobs that are older than those which came before them."""
    lane = Lane(0)
    for seq in (20, 30):
        lane.append(seq)
    for moment, seq in ((25, 3), (15, 1), (20, 21), (20, 19)):
        lane.put_at(moment, seq)
    assert popped(lane, {20: 20, 30: 30}) == [1, 19, 20, 21, 3, 30]


def test_lane_is_rebuilt_a_stretch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200,000 jobs most are cancelled, in any order: no cancel looks at more than a stretch of them."""
    looked: list[int] = []
    real = Lane._lives

    def lives(self: Lane, seq: int) -> bool:
        looked[-1] += 1
        return real(self, seq)

    monkeypatch.setattr(Lane, "_lives", lives)
    random = Random(2)
    lane = Lane(0)
    count = 200_000
    lane.extend(range(count))
    gone = random.sample(range(count), count * 9 // 10)
    for seq in gone:
        looked.append(0)
        lane.remove(seq)
    assert max(looked) <= STRETCH
    assert sum(looked) < 5 * count
    assert len(lane) == count - len(gone)
    assert len(lane.dead) <= len(lane) + STRETCH, "it was rebuilt"
    assert popped(lane, {}) == sorted({*range(count)} - {*gone})


def test_lane_that_changes_while_it_is_rebuilt_keeps_its_order() -> None:
    """Jobs leave, come back to the end, and are pulled, in any order, against a list."""
    random = Random(3)
    lane, model = Lane(0), list(range(60_000))
    lane.extend(range(60_000))
    rebuilt = 0
    for step in range(48_000):
        at = random.randrange(len(model))
        if step % 50 == 49:
            assert lane.pop(lambda seq: 0) == model.pop(0)
            continue
        seq = model.pop(at)
        lane.remove(seq)
        rebuilt += bool(lane.unchecked)
        if not random.randrange(8):
            lane.append(seq)
            model.append(seq)
        assert len(lane) == len(model)
    assert rebuilt > 100
    assert popped(lane, {}) == model
