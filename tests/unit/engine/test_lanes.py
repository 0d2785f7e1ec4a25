"""The order within a lane, also where entries of jobs that left are still in it."""

from flashq.engine.lanes import Lane


def popped(lane: Lane, ready: dict[int, int]) -> list[int]:
    out = []
    while (seq := lane.pop(lambda s: ready[s])) is not None:
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
