"""Unique keys: one job a key and queue, from its push until it completes or is no more."""

from collections.abc import Callable

import pytest

from flashq.engine.settings import Limits
from flashq.errors import Duplicate
from flashq.testing.engine_kit import EngineKit, Spec, check_counts, engine_facts

QUEUE = "mail"


def push(kit: EngineKit, **options: object) -> int:
    return kit.push(QUEUE, {"data": 1, "unique_key": "k", **options})[0]


def same_after_replay(kit: EngineKit) -> None:
    check_counts(kit.engine)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


def is_taken(kit: EngineKit) -> bool:
    """Live and after a restart."""
    same_after_replay(kit)
    return "k" in kit.engine.queue(QUEUE).unique


def test_second_job_with_a_key_is_refused_and_stores_nothing() -> None:
    kit = EngineKit()
    push(kit)
    before = engine_facts(kit.engine)
    with pytest.raises(Duplicate, match=r"^Duplicate job with key: k$"):
        push(kit)
    assert engine_facts(kit.engine) == before
    same_after_replay(kit)


def test_keys_of_two_queues_are_two_keys() -> None:
    kit = EngineKit()
    push(kit)
    assert kit.push("film", {"data": 1, "unique_key": "k"})
    same_after_replay(kit)


def completed(kit: EngineKit, options: Spec) -> None:
    job_id = push(kit, **options)
    kit.pull(QUEUE)
    kit.ack(job_id)


def completed_in_a_batch(kit: EngineKit, options: Spec) -> None:
    job_id = push(kit, **options)
    kit.pull(QUEUE)
    assert kit.ack_batch([job_id]) == {}


def completed_late(kit: EngineKit, options: Spec) -> None:
    job_id = push(kit, backoff=60_000, **options)
    kit.pull(QUEUE)
    kit.fail(job_id)
    kit.ack(job_id)


def expired(kit: EngineKit, options: Spec) -> None:
    push(kit, ttl=10, **options)
    kit.advance(10)


def dead_and_forgotten(kit: EngineKit, options: Spec) -> None:
    job_id = push(kit, **{"max_attempts": 1, "remove_on_fail": True} | options)
    kit.pull(QUEUE)
    kit.fail(job_id)


@pytest.mark.parametrize("end", [completed, completed_in_a_batch, completed_late, expired, dead_and_forgotten])
@pytest.mark.parametrize("options", [{}, {"remove_on_complete": True}, {"priority": 3}], ids=str)
def test_key_is_free_the_moment_its_job_is_no_more(end: Callable[[EngineKit, Spec], None], options: Spec) -> None:
    """A key that stays taken stops its queue for ever, which is what older servers do."""
    kit = EngineKit()
    end(kit, options)
    assert not is_taken(kit)
    push(kit)
    assert is_taken(kit)


def test_key_stays_taken_through_retries_and_as_a_dead_letter() -> None:
    kit = EngineKit()
    job_id = push(kit, max_attempts=2, backoff=50)
    for _ in range(2):
        assert is_taken(kit)
        got = kit.pull(QUEUE)
        assert got is not None
        assert is_taken(kit)
        kit.fail(job_id)
        kit.advance(100)
    assert kit.engine.queue(QUEUE).dead_count == 1
    assert is_taken(kit)


def test_key_of_an_evicted_completed_job_that_another_holds_stays_taken() -> None:
    """The older job let it go when it completed: nothing of it may free the younger one's."""
    kit = EngineKit(limits=Limits(keep_completed_count=1))
    completed(kit, {})
    push(kit, delay=60_000)
    kit.push(QUEUE, {"data": 2})
    got = kit.pull(QUEUE)
    assert got is not None
    kit.ack(got.ids[0])
    assert is_taken(kit)


def test_batch_stores_what_is_new_and_names_what_is_not() -> None:
    kit = EngineKit()
    push(kit)
    pushed = kit.push_each(QUEUE, *({"data": n, "unique_key": key} for n, key in enumerate("kaba")))
    assert len(pushed.ids) == 2
    assert [(k, str(e), e.code) for k, e in pushed.refused] == [
        (0, "Duplicate job with key: k", "duplicate"),
        (3, "Duplicate job with key: a", "duplicate"),
    ]
    same_after_replay(kit)
    got = kit.pull(QUEUE, 10)
    assert got is not None
    assert got.payloads == [1, 1, 2]


def test_batch_of_which_nothing_is_new_leaves_no_event() -> None:
    kit = EngineKit()
    push(kit)
    records = len(kit.memory.kept)
    pushed = kit.push_each(QUEUE, {"data": 1, "unique_key": "k"}, {"data": 2, "unique_key": "k"})
    assert (pushed.ids, len(pushed.refused)) == ([], 2)
    assert len(kit.memory.kept) == records
