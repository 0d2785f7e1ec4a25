"""Lives of single jobs: what a ttl ends, what a crash counts, and what a restart remembers of both."""

import pytest

from flashq.engine import queries, retry
from flashq.engine.settings import Limits
from flashq.errors import JobNotFound, LeaseLost
from flashq.testing.engine_kit import EngineKit, Spec, drained, engine_facts

LIMITS = Limits(crash_limit=2, reconnect_grace_ms=5_000)
GID = 7


@pytest.fixture
def kit() -> EngineKit:
    made = EngineKit(limits=LIMITS)
    made.start()
    return made


def test_ttl_drops_a_job_that_nobody_came_for(kit: EngineKit) -> None:
    """Its moment passed: it is neither delivered nor a dead letter."""
    (job_id,) = kit.push("mail", {"data": 1, "ttl": 100})
    kit.advance(100)
    assert kit.pull("mail") is None
    assert queries.state_of(kit.engine, job_id) == "unknown"


def test_ttl_ends_with_the_first_delivery_also_after_a_restart(kit: EngineKit) -> None:
    """A job that a worker had is tried again however old it is; a replay that armed its ttl anew would drop it."""
    (job_id,) = kit.push("mail", {"data": 1, "ttl": 100, "backoff": 10})
    got = kit.pull("mail")
    assert got is not None
    kit.advance(200)
    kit.fail(job_id, got.token)
    kit.advance(20)
    again = kit.replayed()
    assert engine_facts(again) == engine_facts(kit.engine)
    for action, argument in again.timers.due(kit.now_ms, 10):
        action(again, argument)
    assert drained(again, "mail") == [job_id]
    assert drained(kit.engine, "mail") == [job_id]


@pytest.mark.parametrize(("after_ms", "state"), [(4_999, "waiting"), (5_001, "failed")])
def test_crash_does_not_count_only_if_the_worker_shows_in_time(kit: EngineKit, after_ms: int, state: str) -> None:
    """A flapping network is no crash; a worker that shows up minutes later was lost all the same."""
    (job_id,) = kit.push("mail", {"data": 1})
    got = kit.pull("mail", gid=GID)
    assert got is not None
    kit.connection_gone(GID)
    kit.advance(after_ms)
    with pytest.raises(JobNotFound, match="not in processing"):
        kit.heartbeat(job_id, got.token)
    assert kit.pull("mail", gid=GID) is not None
    kit.connection_gone(GID)
    assert queries.state_of(kit.engine, job_id) == state
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


def test_restart_keeps_the_order_of_jobs_that_came_back_and_jobs_that_fell_due(kit: EngineKit) -> None:
    """Jobs leased out of line leave marks in a replayed lane; they must not let what falls due later overtake."""
    returned, waiting = kit.push("mail", {"data": 1, "backoff": 500}, {"data": 2, "backoff": 500})
    got = kit.pull("mail")
    assert got is not None
    kit.fail(returned, got.token)
    (late,) = kit.push("mail", {"data": 3, "delay": 400})
    kit.advance(2_000)
    again = kit.replayed()
    assert drained(again, "mail") == drained(kit.engine, "mail") == [waiting, late, returned]


def test_run_of_acks_keeps_no_more_than_is_asked_for_and_a_restart_the_same() -> None:
    """A whole batch that is acked at once is bounded like single acks, the oldest out first."""
    kit = EngineKit(limits=Limits(keep_completed_count=6))
    kit.start()
    ids = kit.push("mail", *({"data": k} for k in range(20)))
    assert kit.pull("mail", 4) is not None
    assert kit.pull("mail", 16) is not None
    assert not kit.ack_batch(ids)
    facts = engine_facts(kit.engine)
    assert facts["queues"]["mail"]["kept"] == ids[-6:]
    assert sorted(facts["jobs"]) == ids[-6:]
    assert engine_facts(kit.replayed()) == facts


@pytest.mark.parametrize("specs", [[{"data": n} for n in range(6)], [{"data": n, "ttl": 60_000} for n in range(6)]])
def test_some_jobs_of_a_lease_go_back_and_the_others_stay(kit: EngineKit, specs: list[Spec]) -> None:
    """A stream that ends halfway through a delivery must not take from its client what that has in hand."""
    ids = kit.push("mail", *specs)
    got = kit.pull("mail", 6)
    assert got is not None
    kit.ack(ids[5], got.token)
    kit.do(lambda engine: retry.release_some(engine, got.token + 1, ids))  # another's lease: nothing
    kit.do(lambda engine: retry.release_some(engine, got.token, [*ids[2:], 1, ids[2]]))
    assert [queries.state_of(kit.engine, job_id) for job_id in ids] == ["active"] * 2 + ["waiting"] * 3 + ["completed"]
    kit.commit()
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)
    kit.ack(ids[0], got.token)
    assert drained(kit.engine, "mail") == ids[2:5]
    with pytest.raises(LeaseLost):
        kit.fail(ids[2], got.token)
