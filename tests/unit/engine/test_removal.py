"""DRAIN, OBLITERATE and PURGEDLQ remove at one stroke, clear away in slices, and replay to the same place."""

from collections.abc import Iterator

import pytest

from flashq.engine.eras import is_removed
from flashq.engine.limits import KEY_CONCURRENCY, has_limits, set_limit
from flashq.engine.queries import find, state_of
from flashq.engine.removal import SWEPT
from flashq.engine.slices import SLICE
from flashq.engine.telling import Happening
from flashq.errors import Duplicate, JobNotFound
from flashq.testing.engine_kit import EngineKit, Spec, check_counts, drained, engine_facts

MANY = 12 * SLICE
"""Plain jobs: more than a slice clears away."""


@pytest.fixture
def kit() -> Iterator[EngineKit]:
    one = EngineKit()
    one.start()
    yield one
    check(one)


def check(kit: EngineKit) -> None:
    """Counts are right, and a replay says the same."""
    check_counts(kit.engine)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


def push_many(kit: EngineKit, queue: str, n: int, **options: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < n:
        specs: list[Spec] = [{"data": k, **options} for k in range(min(1000, n - len(ids)))]
        ids += kit.push(queue, *specs)
    return ids


def sweep(kit: EngineKit, queue: str) -> int:
    """Let the clearing away come to its end; how many slices it took."""
    slices = 0
    while kit.engine.queues[queue].sweep is not None:
        kit.advance(1)
        slices += 1
        assert slices < 1000
    return slices


def kill(kit: EngineKit, queue: str, n: int = 1) -> list[int]:
    """Dead letters."""
    ids = push_many(kit, queue, n, max_attempts=1)
    left = set(ids)
    while left:
        got = kit.pull(queue, min(1000, len(left)))
        assert got is not None
        for job_id in got.ids:
            kit.fail(job_id, error=f"no {job_id}")
            left.remove(job_id)
    return ids


def test_drain_removes_what_waits_in_that_queue_only(kit: EngineKit) -> None:
    (active,) = kit.push("mail", {"data": 0})
    kit.pull("mail")
    (done,) = kit.push("mail", {"data": 0})
    assert kit.pull("mail") is not None
    kit.ack(done)
    dead = kill(kit, "mail")
    plain = kit.push("mail", *[{"data": n} for n in range(5)])
    later = kit.push("mail", {"data": 1, "delay": 1000}, {"data": 2, "priority": 9})
    other = kit.push("film", {"data": 1}, {"data": 2, "delay": 5})
    assert kit.drain("mail") == 7
    assert [state_of(kit.engine, i) for i in plain + later] == ["unknown"] * 7
    states = [state_of(kit.engine, i) for i in (active, done, *dead, *other)]
    assert states == ["active", "completed", "failed", "waiting", "delayed"]
    assert kit.pull("mail") is None
    kit.advance(2_000)
    assert kit.pull("mail") is None
    assert kit.drain("mail") == kit.drain("nobody") == 0
    assert "nobody" not in kit.engine.queues
    kit.ack(active)


def test_large_drain_is_complete_at_once_and_cleared_away_in_slices(kit: EngineKit) -> None:
    """A million jobs must not stop the shard for longer than a slice, nor be seen by anybody meanwhile."""
    ids = push_many(kit, "mail", MANY) + push_many(kit, "mail", SLICE, delay=60_000) + push_many(kit, "mail", 9)
    assert kit.drain("mail") == len(ids)
    queue = kit.engine.queues["mail"]
    assert queue.sweep is not None
    assert (queue.waiting, queue.delayed, kit.engine.totals.waiting, kit.engine.totals.delayed) == (0, 0, 0, 0)
    still_there = sum(page.live for page in queue.pages.values())
    assert 0 < still_there < len(ids)
    assert {state_of(kit.engine, i) for i in ids} == {"unknown"}
    assert all(find(kit.engine, i) is None for i in ids[::97])
    assert kit.pull("mail", 10) is None
    check(kit)
    (new,) = kit.push("mail", {"data": "new"})
    (fresh,) = kit.push("mail", {"data": "options", "priority": 3})
    got = kit.pull("mail", 10)
    assert got is not None
    assert got.ids == [fresh, new]
    kit.advance(1)
    check(kit)
    assert sweep(kit, "mail") > 0
    assert {state_of(kit.engine, i) for i in ids} == {"unknown"}
    assert sum(page.live for page in queue.pages.values()) == 2


def test_restart_in_the_middle_goes_on_where_it_was(kit: EngineKit) -> None:
    """What a drain removed stays removed, though only a part of it was cleared away before the end."""
    ids = push_many(kit, "mail", MANY)
    keep = kit.push("film", {"data": 1})
    kit.drain("mail")
    kit.advance(1)
    after = EngineKit(journal=None, now_ms=kit.now_ms, mono_ms=kit.mono_ms, epoch=2)
    after.memory.kept.extend(kit.memory.kept)
    after.start()
    assert after.engine.queues["mail"].sweep is not None
    assert {state_of(after.engine, i) for i in ids} == {"unknown"}
    assert drained(after.engine, "mail") == []
    sweep(after, "mail")
    assert not after.engine.queues["mail"].pages
    assert state_of(after.engine, keep[0]) == "waiting"


def test_job_that_comes_back_after_a_drain_is_not_swept(kit: EngineKit) -> None:
    """It was active, so the drain was not about it, though its page is."""
    ids = kit.push("mail", *[{"data": n, "backoff": 0} for n in range(3)])
    plain = push_many(kit, "mail", MANY)
    got = kit.pull("mail", 5)
    assert got is not None
    kit.drain("mail")
    kit.fail(ids[0])
    kit.fail(plain[0])
    kit.connection_gone(0)
    check(kit)
    sweep(kit, "mail")
    kit.advance(10_000)
    check(kit)
    assert [state_of(kit.engine, i) for i in (ids[0], ids[1], plain[0], plain[1], plain[2])] == [
        "waiting", "active", "waiting", "active", "unknown"]  # fmt: skip
    assert drained(kit.replayed(), "mail") == [ids[0], plain[0]]


def test_drain_during_a_drain_removes_what_came_between(kit: EngineKit) -> None:
    first = push_many(kit, "mail", MANY)
    assert kit.drain("mail") == len(first)
    second = push_many(kit, "mail", 3000) + kit.push("mail", {"data": 1, "delay": 5})
    assert kit.drain("mail") == len(second)
    third = kit.push("mail", {"data": 1})
    check(kit)
    sweep(kit, "mail")
    assert drained(kit.replayed(), "mail") == third


def test_ttl_of_a_removed_job_does_nothing(kit: EngineKit) -> None:
    push_many(kit, "mail", 3 * SLICE, ttl=2)
    kit.drain("mail")
    assert kit.engine.queues["mail"].sweep is not None
    kit.advance(3)
    check(kit)
    sweep(kit, "mail")
    assert len(kit.engine.timers) == 0


def test_obliterate_leaves_the_completed_ones_only(kit: EngineKit) -> None:
    done = kit.push("mail", *[{"data": n} for n in range(3)])
    kit.pull("mail", 3)
    kit.ack_batch(done)
    dead = kill(kit, "mail", 2)
    active = kit.push("mail", {"data": 1}, {"data": 2}, {"data": 3, "timeout": 50})
    token = (kit.pull("mail", 2), kit.pull("mail", 1))[0]
    waiting = kit.push("mail", {"data": 1}, {"data": 1, "delay": 99})
    kit.pause("mail")
    assert kit.obliterate("mail") == 7
    queue = kit.engine.queues["mail"]
    assert not queue.paused
    assert {state_of(kit.engine, i) for i in dead + active + waiting} == {"unknown"}
    assert [state_of(kit.engine, i) for i in done] == ["completed"] * 3
    assert token is not None
    for job_id in active:
        with pytest.raises(JobNotFound, match=f"Job {job_id} not found"):
            kit.ack(job_id, token.token)
        with pytest.raises(JobNotFound):
            kit.heartbeat(job_id)
    kit.advance(10_000_000)
    assert kit.pull("mail") is None
    assert (queue.active, queue.dead_count, kit.engine.totals.active, kit.engine.totals.dead) == (0, 0, 0, 0)
    (again,) = kit.push("mail", {"data": 1})
    assert drained(kit.replayed(), "mail") == [again]


def test_large_obliterate_voids_leases_at_once(kit: EngineKit) -> None:
    """A worker that holds a job of it gets `not found`, whether or not its job was cleared away already."""
    ids = push_many(kit, "mail", 6 * SLICE)
    tokens: dict[int, int] = {}
    for _ in range(6):
        got = kit.pull("mail", 1000, gid=7)
        assert got is not None
        tokens.update(dict.fromkeys(got.ids, got.token))
    assert kit.obliterate("mail") == len(ids)
    assert kit.engine.queues["mail"].sweep is not None
    check(kit)
    assert len(kit.ack_batch(list(tokens)[3000:4000])) == 1000
    last = list(tokens)[-1]
    with pytest.raises(JobNotFound):
        kit.fail(last, tokens[last])
    kit.connection_gone(7)
    check(kit)
    kit.advance(kit.limits.lease_ms + 1)
    check(kit)
    sweep(kit, "mail")
    assert not kit.engine.queues["mail"].pages
    assert list(kit.engine.lease_lines.live_items()) == []
    assert kit.engine.tied == {}


def test_purge_of_many_dead_letters_is_complete_at_once(kit: EngineKit) -> None:
    dead = kill(kit, "mail", 2 * SLICE)
    waiting = kit.push("mail", {"data": 1, "max_attempts": 1})
    assert kit.purge_dead("mail") == len(dead)
    queue = kit.engine.queues["mail"]
    assert queue.sweep is not None
    assert (queue.dead_count, kit.engine.totals.dead) == (0, 0)
    assert {state_of(kit.engine, i) for i in dead} == {"unknown"}
    assert kit.retry_dead("mail") == 0
    check(kit)
    got = kit.pull("mail")
    assert got is not None
    kit.fail(waiting[0])
    check(kit)
    sweep(kit, "mail")
    assert list(queue.dead) == [waiting[0] >> 10]
    assert kit.purge_dead("mail") == 1
    assert kit.purge_dead("mail") == kit.purge_dead("nobody") == 0


def test_what_is_removed_is_told(kit: EngineKit) -> None:
    ids = kit.push("mail", {"data": 1}, {"data": 2, "priority": 1})
    kit.engine.heard = True
    kit.drain("mail")
    told: list[Happening] = kit.engine.happenings
    assert sorted((h.kind, h.job_id) for h in told) == [("drained", 0), *(("removed", i) for i in sorted(ids))]


def test_removed_is_not_what_has_completed(kit: EngineKit) -> None:
    ids = push_many(kit, "mail", MANY)
    kit.pull("mail", 10)
    kit.ack_batch(ids[:5])
    kit.obliterate("mail")
    page = kit.engine.queues["mail"].kept[0].page
    assert [is_removed(page, (i >> 10) - page.base) for i in ids[:5]] == [False] * 5
    assert kit.ack_batch(ids[5:10]).keys() == set(range(5))
    sweep(kit, "mail")
    assert [state_of(kit.engine, i) for i in ids[4:6]] == ["completed", "unknown"]


def test_unique_key_is_free_the_moment_its_job_is_removed(kit: EngineKit) -> None:
    """Not only when the job is cleared away, which may be long after; and then the new holder keeps it."""
    push_many(kit, "mail", 4 * SLICE, priority=1)
    kit.push("mail", {"data": 1, "unique_key": "k"})
    kit.push("film", {"data": 1, "unique_key": "k"})
    with pytest.raises(Duplicate):
        kit.push("mail", {"data": 2, "unique_key": "k"})
    kit.drain("mail")
    assert kit.engine.queues["mail"].sweep is not None
    (new,) = kit.push("mail", {"data": 2, "unique_key": "k"})
    check(kit)
    sweep(kit, "mail")
    with pytest.raises(Duplicate):
        kit.push("mail", {"data": 3, "unique_key": "k"})
    assert drained(kit.replayed(), "mail") == [new]


@pytest.mark.parametrize("bound", [{"group_id": "g"}, {"limit_key": "g"}, {"group_id": "g", "limit_key": "k"}])
def test_jobs_of_groups_and_keys_are_removed_with_the_others(kit: EngineKit, bound: Spec) -> None:
    """What is active goes on and still counts: its group is busy until it is done."""
    set_limit(kit._begin(), "mail", KEY_CONCURRENCY, 1)
    kit.commit()
    (active,) = kit.push("mail", {"data": 0, **bound})
    kit.pull("mail")
    old = kit.push("mail", *[{"data": n, **bound} for n in range(3)])
    assert kit.drain("mail") == 3
    (new,) = kit.push("mail", {"data": 9, **bound})
    assert kit.pull("mail") is None
    check(kit)
    kit.ack(active)
    got = kit.pull("mail", 9)
    assert got is not None
    assert got.ids == [new]
    assert {state_of(kit.engine, i) for i in old} == {"unknown"}
    check(kit)
    assert kit.obliterate("mail") == 1
    (last,) = kit.push("mail", {"data": 9, **bound})
    assert drained(kit.replayed(), "mail") == [last]
    assert not has_limits(kit.engine.queues["mail"])


@pytest.mark.parametrize("remove", ["drain", "obliterate"])
def test_no_slice_clears_away_more_records_than_it_may(kit: EngineKit, remove: str) -> None:
    """A record costs ten times what a plain job does; a page of them is more than one slice."""
    push_many(kit, "mail", 3 * SLICE, delay=60_000)
    before = live(kit)
    getattr(kit, remove)("mail")
    while kit.engine.queues["mail"].sweep is not None:
        left = live(kit)
        assert before - left <= SWEPT
        before = left
        kit.advance(1)
    assert not live(kit)


def live(kit: EngineKit) -> int:
    return sum(page.live for page in kit.engine.queues["mail"].pages.values())
