"""Dead letters keep all they had, and wait again when they are asked to."""

from collections.abc import Iterator

import pytest

from flashq.engine import dead_letters
from flashq.engine.jobs import Job
from flashq.engine.queries import state_of
from flashq.engine.slices import SLICE
from flashq.testing.engine_kit import EngineKit, check_counts, drained, engine_facts
from tests.unit.engine.test_removal import check, kill


@pytest.fixture
def kit() -> Iterator[EngineKit]:
    one = EngineKit()
    one.start()
    yield one
    check(one)


def test_dead_letter_keeps_data_options_and_every_failure_over_a_restart(kit: EngineKit) -> None:
    """Whoever looks into it a day later needs to know what it was and why it died."""
    (job_id,) = kit.push("mail", {"data": {"to": "a"}, "priority": 4, "tags": ["x"], "max_attempts": 2, "backoff": 10})
    for error in ("first", "second"):
        assert kit.pull("mail") is not None
        kit.fail(job_id, error=error)
        kit.advance(1_000)
    for engine in (kit.engine, kit.replayed()):
        (place,) = dead_letters.oldest(engine.queues["mail"])
        job = place[0].jobs[place[1]]
        assert isinstance(job, Job)
        assert (job.id, job.data, job.priority, job.options.tags) == (job_id, b'{"to":"a"}', 4, ["x"])
        assert (job.error, job.attempts, job.max_attempts) == ("second", 2, 2)
        assert job.failures == [(1_000_000, "first"), (1_001_000, "second")]
        assert (job.died_at, job.created_at) == (1_001_000, 1_000_000)


def test_retried_dead_letter_waits_with_all_its_attempts_before_it(kit: EngineKit) -> None:
    ids = kill(kit, "mail", 3)
    ready = kit.push("mail", {"data": "before"})
    kit.advance(5)
    assert kit.retry_dead("mail", ids[1]) == 1
    assert kit.retry_dead("mail", ids[1]) == 0
    assert kit.retry_dead("film", ids[0]) == kit.retry_dead("mail", 77) == 0
    check(kit)
    assert kit.retry_dead("mail") == 2
    assert [state_of(kit.engine, i) for i in ids] == ["waiting"] * 3
    got = kit.pull("mail", 9)
    assert got is not None
    assert got.ids == [*ready, ids[1], ids[0], ids[2]]
    kit.fail(ids[1], error="again")
    assert state_of(kit.engine, ids[1]) == "failed"
    (place,) = dead_letters.oldest(kit.engine.queues["mail"])
    assert [text for _, text in place[0].jobs[place[1]].failures] == [f"no {ids[1]}", "again"]
    kit.ack(ids[0])


def test_retry_wakes_a_pull_that_waits(kit: EngineKit) -> None:
    (job_id,) = kill(kit, "mail")
    ticket = kit.wait("mail", 0, 1_000, gid=5, tied=False)
    kit.retry_dead("mail")
    ((woken, given),) = kit.fetch_woken()
    assert woken is ticket
    assert given is not None
    assert given.ids == [job_id]


def test_retry_of_many_goes_in_slices_and_counts_each_once(kit: EngineKit) -> None:
    """A job that is retried and dies again in the meantime was asked for once."""
    ids = kill(kit, "mail", SLICE + 10)
    kit._begin()
    work = dead_letters.Retrying(kit.engine.queues["mail"])
    assert work.step(kit.engine) is False
    kit.commit()
    got = kit.pull("mail")
    assert got is not None
    kit.fail(ids[0])
    check(kit)
    counted: list[int] = []
    work.on_done = counted.append
    kit._begin()
    assert work.step(kit.engine) is True
    kit.commit()
    assert counted == [len(ids)]
    assert list(kit.engine.queues["mail"].dead) == [ids[0] >> 10]
    assert drained(kit.replayed(), "mail") == ids[1:]


def test_crashes_before_count_no_more_after_a_retry(kit: EngineKit) -> None:
    """A job that lost three workers would die at the first loss after it was retried."""
    (job_id,) = kit.push("mail", {"data": 1})
    for _ in range(3):
        kit.pull("mail", gid=3)
        kit.connection_gone(3)
    assert state_of(kit.engine, job_id) == "failed"
    kit.retry_dead("mail")
    kit.pull("mail", gid=3)
    kit.connection_gone(3)
    assert state_of(kit.engine, job_id) == "waiting"
    check_counts(kit.engine)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)
