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
    lane.due.append((50, 3))
    lane.due.append((90, 1))
    assert popped(lane, {1: 90, 2: 10}) == [2, 3, 1]


def test_rebuilding_keeps_the_entry_that_a_returned_job_stands_at() -> None:
    """A job that left the line and came back through its delay keeps its new place, not the old one."""
    lane = Lane(0)
    for seq in range(200):
        lane.append(seq)
    lane.due.append((500, 0))
    for seq in range(150):
        lane.remove(seq)
    assert lane.dead_count < 100, "it was rebuilt"
    assert popped(lane, dict.fromkeys(range(200), 10)) == [*range(150, 200), 0]


def test_job_put_in_front_again_after_leaving_keeps_its_turn() -> None:
    """Entries in front surface before all others, so the dead one of a job is the first that surfaces."""
    lane = Lane(0)
    lane.front += [7, 8]
    lane.remove(7)
    lane.append(7)
    assert popped(lane, {7: 0, 8: 0}) == [8, 7]
