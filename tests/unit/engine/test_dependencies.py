"""depends_on: never early, never stuck, exactly once; in one slot, over slots and over shards."""

import pytest

from flashq.engine.links import GONE
from flashq.errors import JobNotFound
from flashq.protocol.slots import slot_of_queue
from flashq.testing.engine_kit import EngineKit, check_counts
from flashq.testing.shards import Shards
from tests.unit.engine.orchestration import cancel, finish, link, push_draft, record, revive, state


@pytest.fixture(params=["own", "far"])
def far(request: pytest.FixtureRequest) -> int:
    """The shard that has what is depended on."""
    return 0 if request.param == "own" else 1


@pytest.fixture
def shards() -> Shards:
    return Shards()


@pytest.fixture
def mine(shards: Shards) -> str:
    """The dependants' queue."""
    return next(shards.queues(0, "mine"))


@pytest.fixture
def other(shards: Shards, far: int) -> str:
    """The queue of what is depended on."""
    return next(shards.queues(far, "other"))


def depend(shards: Shards, queue: str, *others: int, **options: object) -> int:
    """Push a job that depends on others, to the end; its id."""
    draft = push_draft(shards.of_queue(queue), queue, {"data": 1, "depends_on": list(others), **options})
    shards.settle()
    assert draft.decided
    if draft.error is not None:
        raise draft.error
    shards.check_replay()
    return draft.root


def settle(shards: Shards) -> None:
    shards.settle()
    shards.check_replay()
    for kit in shards.kits:
        check_counts(kit.engine)


def push(shards: Shards, queue: str, **options: object) -> int:
    return shards.of_queue(queue).push(queue, {"data": 0, **options})[0]


def test_job_is_held_until_all_it_depends_on_completed(shards: Shards, mine: str, other: str) -> None:
    first, second = push(shards, other), push(shards, other)
    job_id = depend(shards, mine, first, second)
    kit = shards.of_queue(mine)
    assert state(shards, job_id) == "waiting-children"
    queue = kit.engine.queues[mine]
    assert (queue.waiting, queue.delayed, queue.held) == (0, 0, 1)
    finish(shards, other)
    settle(shards)
    assert kit.pull(mine) is None
    finish(shards, other)
    settle(shards)
    assert (state(shards, job_id), queue.held) == ("waiting", 0)
    assert finish(shards, mine) == job_id
    settle(shards)


def test_ack_of_a_batch_releases_as_ack_does(shards: Shards, mine: str, other: str) -> None:
    """F7: a run of plain jobs has a path of its own."""
    kit = shards.of_queue(other)
    ids = kit.push(other, *({"data": n} for n in range(50)))
    job_id = depend(shards, mine, ids[20])
    later = depend(shards, mine, ids[49], ids[3])
    kit.pull(other, 50)
    assert not kit.ack_batch(ids)
    settle(shards)
    got = shards.of_queue(mine).pull(mine, 9)
    assert got is not None
    assert sorted(got.ids) == sorted([job_id, later])


def test_what_completed_before_is_not_waited_for(shards: Shards, mine: str, other: str) -> None:
    kept, gone = push(shards, other), push(shards, other, remove_on_complete=True)
    finish(shards, other)
    finish(shards, other)
    job_id = depend(shards, mine, kept, gone)
    assert state(shards, job_id) == "waiting"


def test_completed_and_evicted_counts_as_completed(mine: str, shards: Shards, other: str) -> None:
    """Of the id nothing is left but that it was given and did not end badly."""
    first = push(shards, other, keep_completed_count=0)
    finish(shards, other)
    assert state(shards, depend(shards, mine, first)) == "waiting"


def test_unknown_dependency_is_refused_and_nothing_is_stored(shards: Shards, mine: str, other: str) -> None:
    known = push(shards, other)
    unknown = slot_of_queue(other) + 1024 * 99_999
    kit = shards.of_queue(mine)
    with pytest.raises(Exception, match=f"^Dependency {unknown} not found$") as error:
        depend(shards, mine, known, unknown, unique_key="k")
    assert getattr(error.value, "code", None) == "not_found"
    settle(shards)
    queue = kit.engine.queue(mine)
    assert (queue.pushed_total, queue.held, queue.unique) == (0, 0, {})
    assert sum(k.engine.totals.pushed for k in shards.kits) == 1
    assert not kit.engine.parts
    assert not kit.engine.drafts


def test_batch_with_an_unknown_dependency_is_refused_whole(shards: Shards, mine: str, other: str) -> None:
    unknown = slot_of_queue(other) + 1024 * 99_999
    kit = shards.of_queue(mine)
    if shards.of_queue(other) is kit:
        with pytest.raises(JobNotFound, match=rf"^jobs\[1\]: Dependency {unknown} not found$"):
            kit.push(mine, {"data": 1}, {"data": 2, "depends_on": [unknown]})
        assert not kit.engine.queues[mine].pushed_total
        return
    draft = push_draft(kit, mine, {"data": 1}, {"data": 2, "depends_on": [unknown]})
    settle(shards)
    assert str(draft.error) == f"jobs[1]: Dependency {unknown} not found"
    assert kit.pull(mine) is None
    assert not kit.engine.queues[mine].pushed_total


def test_no_job_of_a_batch_is_given_out_before_all_are_accepted(shards: Shards, mine: str) -> None:
    """The reply says which ids there are: a client that never gets it may send them all again."""
    other = next(shards.queues(1))
    first = push(shards, other)
    kit = shards.of_queue(mine)
    draft = push_draft(kit, mine, {"data": 1}, {"data": 2, "depends_on": [first]})
    assert kit.pull(mine) is None
    assert not draft.decided
    settle(shards)
    assert draft.decided
    assert [finish(shards, mine)] == draft.member_ids()[:1]


@pytest.mark.parametrize("how", ["dies", "cancelled"])
def test_failed_dependency_makes_a_dead_letter(shards: Shards, mine: str, other: str, how: str) -> None:
    first = push(shards, other, max_attempts=1)
    job_id = depend(shards, mine, first)
    if how == "dies":
        finish(shards, other, fail=True)
    else:
        cancel(shards, first)
    settle(shards)
    assert state(shards, job_id) == "failed"
    assert record(shards, job_id).error == f"Dependency {first} failed"


@pytest.mark.parametrize("how", ["dies", "cancelled"])
def test_dependency_that_failed_before_counts_as_one_that_fails(
    shards: Shards, mine: str, other: str, how: str
) -> None:  # fmt: skip
    first = push(shards, other, max_attempts=1)
    if how == "dies":
        finish(shards, other, fail=True)
    else:
        cancel(shards, first)
    assert state(shards, depend(shards, mine, first)) == "failed"
    assert state(shards, depend(shards, mine, first, on_dependency_failure="run")) == "waiting"


def test_failure_may_release_instead(shards: Shards, mine: str, other: str) -> None:
    first, second = push(shards, other, max_attempts=1), push(shards, other)
    job_id = depend(shards, mine, first, second, on_dependency_failure="run")
    finish(shards, other, fail=True)
    settle(shards)
    assert state(shards, job_id) == "waiting-children"
    finish(shards, other)
    settle(shards)
    assert state(shards, job_id) == "waiting"


def test_dead_dependant_that_is_retried_waits_again(shards: Shards, mine: str, other: str) -> None:
    first = push(shards, other, max_attempts=1)
    job_id = depend(shards, mine, first)
    finish(shards, other, fail=True)
    shards.settle()
    revive(shards, job_id)
    assert state(shards, job_id) == "waiting-children"
    revive(shards, first)
    finish(shards, other)
    shards.settle()
    assert state(shards, job_id) == "waiting"


def test_retried_for_what_is_gone_for_good_dies_again(shards: Shards, mine: str, other: str) -> None:
    """Else it would wait for ever."""
    first = push(shards, other)
    job_id = depend(shards, mine, first)
    cancel(shards, first)
    shards.settle()
    revive(shards, job_id)
    assert state(shards, job_id) == "failed"
    assert link(shards, job_id).unmet == {first: GONE}


def test_long_chain_falls_at_once_however_long(shards: Shards, mine: str, other: str) -> None:
    """By a loop, not by recursion."""
    ids = [push(shards, other)]
    for _ in range(400):
        kit = shards.of_queue(mine)
        ids += kit.push(mine, {"data": 1, "depends_on": [ids[-1]]})
    shards.settle()
    cancel(shards, ids[0])
    settle(shards)
    assert {state(shards, job_id) for job_id in ids[1:]} == {"failed"}
    assert shards.of_queue(mine).engine.queues[mine].held == 0


def test_delay_applies_after_release(shards: Shards, mine: str, other: str) -> None:
    job_id = depend(shards, mine, push(shards, other), delay=5_000)
    finish(shards, other)
    settle(shards)
    assert state(shards, job_id) == "delayed"
    shards.of_queue(mine).advance(5_000)
    assert finish(shards, mine) == job_id


def test_delay_that_has_passed_while_it_was_held_is_not_waited_for_again(
    shards: Shards, mine: str, other: str
) -> None:  # fmt: skip
    job_id = depend(shards, mine, push(shards, other), delay=5_000)
    for kit in shards.kits:
        kit.advance(6_000)
    finish(shards, other)
    settle(shards)
    assert state(shards, job_id) == "waiting"


def test_ttl_ends_a_held_job(shards: Shards, mine: str, other: str) -> None:
    job_id = depend(shards, mine, push(shards, other), ttl=1_000)
    shards.of_queue(mine).advance(1_000)
    assert state(shards, job_id) == "unknown"
    finish(shards, other)
    settle(shards)
    assert shards.of_queue(mine).pull(mine) is None


def test_waiting_pull_gets_a_released_job_in_the_tick_of_the_ack(mine: str, shards: Shards) -> None:
    other = next(shards.queues(0, "other"))
    first = push(shards, other)
    job_id = depend(shards, mine, first)
    kit = shards.of_queue(mine)
    ticket = kit.wait(mine, 1, 60_000, gid=7, tied=False)
    finish(shards, other)
    woken = kit.fetch_woken()
    assert [(t, got and got.ids) for t, got in woken] == [(ticket, [job_id])]
    settle(shards)


def test_one_message_tells_of_a_whole_batch(shards: Shards, mine: str) -> None:
    other = next(shards.queues(1))
    kit = shards.of_queue(other)
    ids = kit.push(other, *({"data": n} for n in range(100)))
    depend(shards, mine, *ids)
    kit.pull(other, 100)
    kit.ack_batch(ids)
    ((_, line),) = kit.engine.outbox.waiting.items()
    assert len(line) == 1
    settle(shards)
    assert finish(shards, mine)


def test_plain_jobs_have_no_links(shards: Shards, mine: str) -> None:
    kit = EngineKit()
    ids = kit.push("q", {"data": 1}, {"data": 2})
    kit.pull("q", 2)
    kit.ack_batch(ids)
    assert not kit.engine.endings
