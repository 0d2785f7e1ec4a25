"""Settings that are chosen at run time count for what comes, everywhere, and over restarts."""

from typing import Any

from flashq.engine import chosen
from flashq.engine.housekeeping import CleanUp
from flashq.engine.jobs import Job
from flashq.engine.settings import Chosen, Limits
from flashq.engine.slices import carry_on
from flashq.testing.engine_kit import EngineKit, check_counts, engine_facts
from flashq.testing.shards import Shards


def attempts_of(kit: EngineKit, job_id: int) -> int:
    page, i = kit.engine.slots[job_id & 1023].find(job_id >> 10)
    assert page is not None
    job: Any = page.jobs[i]
    return int(job.max_attempts if type(job) is Job else page.defaults.max_attempts)


def clean_up(kit: EngineKit) -> int:
    counts: list[int] = []
    kit.do(lambda engine: carry_on(engine, CleanUp(engine, counts.append)))
    while not counts:
        kit.advance(1)
    return counts[0]


def test_defaults_are_those_of_the_moment_of_the_push() -> None:
    kit = EngineKit()
    kit.start()
    (before,) = kit.push("q", {"data": 1})
    kit.do(lambda engine: chosen.choose(engine, Chosen(max_attempts=7), ()))
    plain, optioned = (*kit.push("q", {"data": 2}), *kit.push("q", {"data": 3, "priority": 1}))
    kit.do(lambda engine: chosen.choose(engine, Chosen(), ()))
    (after,) = kit.push("q", {"data": 4})
    for one in (kit, kit.restarted(5)):
        found = [attempts_of(one, job_id) for job_id in (before, plain, optioned, after)]
        assert found == [3, 7, 7, 3]


def test_choice_survives_a_restart_and_what_is_not_chosen_is_as_configured() -> None:
    kit = EngineKit(limits=Limits(keep_completed_count=50))
    kit.start()
    kit.do(lambda engine: chosen.choose(engine, Chosen(backoff_ms=9, results_max=4, completed_max=8), ()))
    again = kit.restarted(5)
    assert (again.engine.defaults.backoff_ms, again.engine.defaults.max_attempts) == (9, 3)
    assert again.engine.limits.keep_completed_count == 4
    again.do(lambda engine: chosen.choose(engine, Chosen(), ()))
    assert again.engine.limits.keep_completed_count == 50


def test_every_shard_learns_of_a_choice_also_one_that_was_down() -> None:
    shards = Shards(2)
    version = shards.kits[0].do(lambda engine: chosen.choose(engine, Chosen(max_attempts=5), (1,)))
    shards.crash(1)
    shards.settle()
    assert [kit.engine.defaults.max_attempts for kit in shards.kits] == [5, 5]
    assert [kit.engine.hooks.version for kit in shards.kits] == [version, version]
    shards.check_replay()


def test_clean_up_forgets_the_oldest_that_are_too_many_in_slices() -> None:
    kit = EngineKit(limits=Limits(keep_completed_count=5_000))
    kit.start()
    for _ in range(3):
        kit.push("q", *({"data": n} for n in range(1_000)))
        got = kit.pull("q", 1_000)
        assert got is not None
        kit.ack_batch(got.ids)
    ids = kit.push("q", {"data": 1, "keep_completed_age": 90_000})
    kit.pull("q")
    kit.ack(ids[0])
    assert clean_up(kit) == 0
    kit.do(lambda engine: chosen.choose(engine, Chosen(completed_max=10), ()))
    assert clean_up(kit) == 2_991
    queue = kit.engine.queues["q"]
    assert (queue.completed, sum(kept.stop - kept.start for kept in queue.kept)) == (10, 10)
    check_counts(kit.engine)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


def test_totals_begin_anew_and_replay_knows() -> None:
    kit = EngineKit()
    kit.start()
    (job_id,) = kit.push("q", {"data": 1})
    kit.pull("q")
    kit.ack(job_id)
    kit.do(chosen.reset_totals)
    kit.push("q", {"data": 2})
    totals = kit.engine.totals
    assert (totals.pushed, totals.completed, totals.latency_count) == (1, 0, 0)
    assert (totals.waiting, totals.completed_now) == (1, 1)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)
