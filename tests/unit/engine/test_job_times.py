"""How long jobs wait and run is counted once for each that is given and each that is acked, however that happens."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashq.engine.job_times import SUM, JobTimes, TimesByQueue
from flashq.engine.settings import Limits
from flashq.testing.engine_kit import EngineKit

TIMED = Limits(timed_queues_max=1)
SPECS = ({"data": 1}, {"data": 1, "priority": 2}, {"data": 1, "delay": 70}, {"data": 1, "timeout": 90_000},
         {"data": 1, "group_id": "a"}, {"data": 1, "ttl": 90_000})  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("push"), st.lists(st.sampled_from(SPECS), min_size=1, max_size=5)),
    st.tuples(st.just("pull"), st.integers(1, 6)),
    st.tuples(st.just("ack"), st.integers(1, 6)),
    st.tuples(st.just("fail"), st.just(1)),
    st.tuples(st.just("advance"), st.integers(0, 300)),
)


def counted(durations: list[int]) -> Counter[int]:
    return Counter(duration.bit_length() for duration in durations)


def held_in(counts: list[int]) -> Counter[int]:
    return Counter({length: n for length, n in enumerate(counts[:SUM]) if n})


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_each_job_is_counted_as_long_as_it_waited_and_ran(steps: list[tuple[str, object]]) -> None:
    """Plain or not, alone or in a batch, in a line of a group or not, once or again: as a naive ledger has it."""
    kit = EngineKit(limits=TIMED)
    kit.start()
    ready: dict[int, int] = {}
    given_at: dict[int, int] = {}
    waits: list[int] = []
    runs: list[int] = []
    for what, how in steps:
        if what == "push":
            assert isinstance(how, list)
            for job_id, spec in zip(kit.push("q", *how), how, strict=True):
                ready[job_id] = kit.now_ms + spec.get("delay", 0)
        elif what == "pull":
            assert isinstance(how, int)
            for job_id in getattr(kit.pull("q", how), "ids", ()):
                waits.append(kit.now_ms - ready[job_id])
                given_at[job_id] = kit.now_ms
        elif what == "ack":
            assert isinstance(how, int)
            ids = list(given_at)[:how]
            assert not kit.ack_batch(ids)
            runs += [kit.now_ms - given_at.pop(job_id) for job_id in ids]
        elif what == "fail" and given_at:
            job_id = next(iter(given_at))
            del given_at[job_id]
            kit.fail(job_id)
            found = kit.engine.slots[job_id & 1023].find(job_id >> 10)
            assert found[0] is not None
            ready[job_id] = found[0].jobs[found[1]].run_at
        elif what == "advance":
            assert isinstance(how, int)
            kit.advance(how)
    times = kit.engine.times.own.get("q", JobTimes())
    assert (held_in(times.waits), times.waits[SUM]) == (counted(waits), sum(waits))
    assert (held_in(times.runs), times.runs[SUM]) == (counted(runs), sum(runs))


def test_what_is_replayed_is_not_counted_again() -> None:
    kit = EngineKit(limits=TIMED)
    kit.start()
    (job_id,) = kit.push("q", {"data": 1})
    kit.pull("q")
    kit.ack(job_id)
    again = kit.restarted(1_000)
    times = again.engine.times.own["q"]
    assert not any(times.waits + times.runs)
    assert not times.fresh


def test_queues_beyond_the_bound_are_counted_together_until_another_is_forgotten() -> None:
    times = TimesByQueue(1)
    own = times.of("a")
    assert times.of("a") is own
    assert times.of("b") is times.of("c") is times.other
    times.forget("a")
    assert times.of("d") is not times.other


@pytest.mark.parametrize("ms", [-5, 0])
def test_clock_that_was_set_back_counts_as_no_time(ms: int) -> None:
    times = JobTimes()
    times.waited(ms, 3)
    times.ran(ms)
    assert (times.waits[0], times.runs[0], times.waits[SUM], times.runs[SUM]) == (3, 1, 0, 0)
