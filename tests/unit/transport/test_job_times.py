"""Histograms of jobs in the shared state: what a shard wrote is what any process reads, and sums never fall."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flashq.engine.job_times import JobTimes
from flashq.transport.job_times import JOB_BOUNDS_S
from flashq.transport.shared_memory import SharedState


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    made = SharedState.create(
        tmp_path, shards=2, owners=[slot % 2 for slot in range(1024)], slots_version=1, durability="memory", timed=3
    )
    with closing(made) as one:
        yield one


def times(waited: list[int], ran: list[int]) -> JobTimes:
    found = JobTimes()
    for ms in waited:
        found.waited(ms)
    for ms in ran:
        found.ran(ms)
    return found


@pytest.mark.parametrize("ms", [0, 1, 2, 3, 4, 1_023, 1_024, 5_000_000, 10**10])
def test_duration_is_below_the_bound_of_its_bucket(state: SharedState, ms: int) -> None:
    writer = state.job_times_writer(1, 7)
    one = times([ms], [])
    writer.write("q", one.waits, one.runs)
    (found,) = [queue for queue in state.queue_times() if queue.name == "q"]
    (bucket,) = [k for k, count in enumerate(found.wait.counts) if count]
    assert bucket == len(JOB_BOUNDS_S) or ms / 1_000 < JOB_BOUNDS_S[bucket]
    assert bucket == 0 or ms / 1_000 >= JOB_BOUNDS_S[bucket - 1]
    assert found.wait.sum_s == ms / 1_000
    assert sum(found.run.counts) == 0


def test_record_of_a_forgotten_queue_goes_to_another_and_begins_with_nothing(state: SharedState) -> None:
    writer = state.job_times_writer(0, 7)
    one = times([1], [2])
    for queue in ("a", "b"):
        writer.write(queue, one.waits, one.runs)
    writer.close("a")
    writer.close("never seen")
    assert {queue.name for queue in state.queue_times()} == {"__other__", "b"}
    two = times([], [9, 9])
    writer.write("c", two.waits, two.runs)
    found = {queue.name: queue for queue in state.queue_times()}
    assert set(found) == {"__other__", "b", "c"}
    assert (sum(found["c"].wait.counts), sum(found["c"].run.counts)) == (0, 2)


def test_sums_of_a_shard_survive_its_queues_and_its_process(state: SharedState) -> None:
    for n in range(1, 3):
        writer = state.job_times_writer(0, n)
        assert [queue.name for queue in state.queue_times() if sum(queue.run.counts)] == []
        one = times([5, 5], [3])
        writer.write("a", one.waits, one.runs)
        one.waited(5)
        writer.write("a", one.waits, one.runs)
        writer.close("a")
        writer.write_sums()
        wait, run = state.job_times(0)
        assert (sum(wait.counts), sum(run.counts)) == (3 * n, n)
        assert (wait.sum_s, run.sum_s) == (0.015 * n, 0.003 * n)
    assert sum(state.job_times(1)[0].counts) == 0
