"""WAITJOB: whoever waits for a job's end hears of it in the tick in which it ends, however that is."""

from collections.abc import Callable

import pytest

from flashq.engine import control_jobs
from flashq.engine.engine import Engine
from flashq.engine.removal import drain, obliterate
from flashq.engine.settings import Limits
from flashq.engine.waits import Outcome, give_up_waits_of, wait_for
from flashq.testing.engine_kit import EngineKit, engine_facts

GID = 7


@pytest.fixture
def kit() -> EngineKit:
    made = EngineKit(limits=Limits(lease_ms=1_000, crash_limit=1))
    made.start()
    return made


def job(kit: EngineKit, **options: object) -> int:
    return kit.push("mail", {"data": 1, **options})[0]


def waited(kit: EngineKit, job_id: int, gid: int = GID, timeout_ms: int = 60_000) -> str:
    ticket = f"{job_id}/{gid}"
    kit.carry_out(wait_for, job_id, gid, ticket, timeout_ms)
    return ticket


def no_one_waits(kit: EngineKit) -> bool:
    """Nothing of a wait is left anywhere."""
    engine = kit.engine
    return not (engine.job_waits or any(q.watched for q in engine.queues.values()) or len(engine.mono_timers))


def ack(kit: EngineKit, job_id: int) -> None:
    kit.pull("mail", 9)
    kit.ack(job_id, result=b'"r"')


def fail(kit: EngineKit, job_id: int) -> None:
    kit.pull("mail")
    kit.fail(job_id, error="broke")


def time_out(kit: EngineKit, job_id: int) -> None:
    kit.pull("mail")
    kit.advance(500)


def stall(kit: EngineKit, job_id: int) -> None:
    kit.pull("mail")
    kit.advance(1_000)


def lose(kit: EngineKit, job_id: int) -> None:
    kit.pull("mail", gid=99)
    kit.connection_gone(99)


def cancel(kit: EngineKit, job_id: int) -> None:
    kit.carry_out(control_jobs.cancel, job_id)


def discard(kit: EngineKit, job_id: int) -> None:
    kit.carry_out(control_jobs.discard, job_id)


def expire(kit: EngineKit, job_id: int) -> None:
    kit.advance(100)


DONE, REMOVED = Outcome("completed", b'"r"', 0), Outcome("removed")


@pytest.mark.parametrize(
    ("options", "end", "outcome"),
    [
        ({}, ack, DONE),
        ({"remove_on_complete": True}, ack, DONE),
        ({"keep_completed_count": 0}, ack, DONE),
        ({"max_attempts": 1}, fail, Outcome("failed", error="broke")),
        ({"max_attempts": 1, "remove_on_fail": True}, fail, Outcome("failed", error="broke")),
        ({"max_attempts": 1, "timeout": 500}, time_out, Outcome("failed", error="Job timed out")),
        ({"max_attempts": 1}, stall, Outcome("failed", error="Job stalled")),
        ({}, lose, Outcome("failed", error="Worker lost")),
        ({}, cancel, Outcome("removed", error="it was cancelled")),
        ({}, discard, Outcome("failed", error="Discarded")),
        ({"ttl": 100}, expire, REMOVED),
    ],
)
def test_every_end_of_a_job_is_told_at_once_to_all_who_wait(
    kit: EngineKit, options: dict[str, object], end: Callable[[EngineKit, int], None], outcome: Outcome
) -> None:
    """Who sleeps through a discard or a stall waits for a job that will never end."""
    job_id, other = job(kit, **options), job(kit, priority=-1)
    tickets = [waited(kit, job_id, gid) for gid in (7, 8)]
    bystander = waited(kit, other)
    end(kit, job_id)
    assert kit.ended == [(ticket, outcome) for ticket in tickets]
    kit.ended.clear()
    kit.carry_out(give_up_waits_of, GID)
    assert kit.ended == [(bystander, Outcome("timeout"))]
    assert no_one_waits(kit)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


def test_retried_job_has_not_ended(kit: EngineKit) -> None:
    job_id = job(kit)
    waited(kit, job_id)
    fail(kit, job_id)
    assert kit.ended == []


@pytest.mark.parametrize("jobs", [3, 300])
def test_whole_run_of_acks_wakes_those_who_wait_for_one_of_them(kit: EngineKit, jobs: int) -> None:
    """Runs are acked without looking at each job."""
    ids = kit.push("mail", *({"data": k} for k in range(jobs)))
    kit.pull("mail", jobs)
    tickets = [waited(kit, ids[1]), waited(kit, ids[2])]
    assert kit.ack_batch(ids) == {}
    assert kit.ended == [(ticket, Outcome("completed")) for ticket in tickets]
    assert no_one_waits(kit)


def test_wait_ends_with_its_time(kit: EngineKit) -> None:
    job_id = job(kit)
    ticket = waited(kit, job_id, timeout_ms=300)
    kit.advance(299)
    assert kit.ended == []
    kit.advance(1)
    assert kit.ended == [(ticket, Outcome("timeout"))]
    assert no_one_waits(kit)


def test_client_that_left_is_told_nothing_and_nothing_of_it_is_kept(kit: EngineKit) -> None:
    job_id = job(kit)
    waited(kit, job_id)
    waited(kit, job_id)
    kit.connection_gone(GID)
    assert no_one_waits(kit)
    ack(kit, job_id)
    assert kit.ended == []


@pytest.mark.parametrize("remove", [drain, obliterate])
def test_who_waits_for_a_job_that_is_cleared_away_hears_of_it(
    kit: EngineKit, remove: Callable[[Engine, str], int]
) -> None:
    """Many jobs are removed at one stroke, and nobody must sleep on because nobody looked at each."""
    plain = kit.push("mail", *({"data": k} for k in range(5)))[3]
    tickets = {waited(kit, plain), waited(kit, job(kit, priority=2))}
    kit.carry_out(remove, "mail")
    assert {ticket for ticket, outcome in kit.ended if outcome == REMOVED} == tickets
    assert not kit.engine.job_waits
