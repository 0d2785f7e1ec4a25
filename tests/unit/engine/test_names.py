"""Custom ids within one shard: what names are bound to, when they are free, and the ids that are put aside."""

from collections.abc import Callable

import pytest

from flashq.engine import events, names
from flashq.engine.push import store
from flashq.engine.queries import state_of
from flashq.engine.settings import Limits
from flashq.errors import Duplicate, InvalidArgument
from flashq.protocol.slots import slot_of_queue
from flashq.testing.engine_kit import EngineKit, check_counts, decoded, drained, engine_facts

QUEUE = "mail"


def push(kit: EngineKit, *, queue: str = QUEUE, **options: object) -> int:
    return kit.push(queue, {"data": 1, "job_id": "n", **options})[0]


def bound(kit: EngineKit) -> dict[str, int]:
    """What names are bound to, live and after a restart."""
    kit.commit()
    check_counts(kit.engine)
    assert not kit.engine.names.pending
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)
    return kit.engine.names.bound


def test_known_name_gives_its_job_and_stores_nothing() -> None:
    kit = EngineKit()
    job_id = push(kit)
    records = len(kit.memory.kept)
    assert push(kit, queue="film", priority=9) == job_id
    assert len(kit.memory.kept) == records
    assert bound(kit) == {"n": job_id}


def completed(kit: EngineKit, job_id: int) -> None:
    kit.pull(QUEUE)
    kit.ack(job_id)


def died(kit: EngineKit, job_id: int) -> None:
    kit.pull(QUEUE)
    kit.fail(job_id)


def expired(kit: EngineKit, job_id: int) -> None:
    kit.advance(1_000)


@pytest.mark.parametrize(
    ("end", "options"),
    [(completed, {"remove_on_complete": True}), (died, {"max_attempts": 1, "remove_on_fail": True}),
     (expired, {"ttl": 1_000}), (completed, {"keep_completed_count": 0})],
)  # fmt: skip
def test_name_is_forgotten_with_its_job(end: Callable[[EngineKit, int], None], options: dict[str, object]) -> None:
    kit = EngineKit()
    end(kit, push(kit, **options))
    assert bound(kit) == {}
    push(kit)
    assert len(bound(kit)) == 1


def test_completed_job_keeps_its_name_until_another_takes_it() -> None:
    kit = EngineKit(limits=Limits(keep_completed_count=1))
    first = push(kit)
    completed(kit, first)
    assert bound(kit) == {"n": first}
    second = push(kit)
    assert second != first
    assert bound(kit) == {"n": second}
    other = kit.push(QUEUE, {"data": 2, "priority": 1})[0]
    completed(kit, other)  # and the first is evicted, which may not free what is the second's now
    assert bound(kit) == {"n": second}


def test_dead_letter_holds_its_name() -> None:
    kit = EngineKit()
    job_id = push(kit, max_attempts=1)
    died(kit, job_id)
    assert push(kit) == job_id
    assert bound(kit) == {"n": job_id}


def test_name_of_a_refused_job_is_free_and_its_id_never_a_job() -> None:
    kit = EngineKit()
    kit.push(QUEUE, {"data": 1, "unique_key": "k"})
    with pytest.raises(Duplicate):
        push(kit, unique_key="k")
    assert bound(kit) == {}
    queue = kit.engine.queue(QUEUE)
    page = queue.open_pages[0]
    assert page is not None
    assert state_of(kit.engine, queue.slot.id_of(page.base + len(page.jobs) - 1)) == "unknown"


def test_name_repeated_in_a_batch_is_one_job_and_passes_over_a_refused_entry() -> None:
    kit = EngineKit()
    kit.push(QUEUE, {"data": 0, "unique_key": "k"})
    specs = [{"data": 1, "job_id": "n", "unique_key": "k"}, {"data": 2, "job_id": "n"}, {"data": 3, "job_id": "n"}]
    pushed = kit.push_each(QUEUE, *specs)
    assert [k for k, _ in pushed.refused] == [0]
    assert pushed.ids[0] == pushed.ids[1]
    assert bound(kit) == {"n": pushed.ids[0]}
    got = kit.pull(QUEUE, 9)
    assert got is not None
    assert got.payloads == [0, 2]


def test_existing_entries_do_not_shift_the_ids_of_others_in_replay() -> None:
    kit = EngineKit()
    job_id = push(kit)
    kit.push(QUEUE, {"data": 0, "unique_key": "k"})
    specs = [{"data": 1, "unique_key": "k"}, {"data": 2, "job_id": "n"}, {"data": 3}, {"data": 4, "job_id": "m"}]
    ids = kit.push_each(QUEUE, *specs).ids
    assert ids[0] == job_id
    assert bound(kit) == {"n": job_id, "m": ids[2]}
    got = kit.pull(QUEUE, 9)
    assert got is not None
    assert dict(zip(got.ids, got.payloads, strict=True)) | {ids[1]: 3, ids[2]: 4} == dict(
        zip(got.ids, got.payloads, strict=True)
    )


def test_job_is_stored_in_its_place_when_others_have_come_before_it() -> None:
    """Its id was put aside; the order in the queue is that of storing, live and after a restart."""
    kit = EngineKit()
    engine = kit._begin()
    frame, entries, payloads = decoded(QUEUE, [{"data": "named", "job_id": "n"}], 0)
    queue = engine.queue(QUEUE)
    claims = names.Claims(names.put_aside(engine, queue, 0, 1))
    plain = kit.push(QUEUE, *({"data": n} for n in range(1_500)))
    kit.pull(QUEUE, 1_000)
    kit.ack_batch(plain[:1_000])
    engine = kit._begin()
    names.bind(engine, ["n"], claims.candidates)
    claims.mine = {"n": claims.candidates[0]}
    pushed = store(engine, queue, 0, list(zip(entries, payloads, strict=True)), frame, claims)
    names.finish(engine, queue, claims)
    kit.commit()
    assert pushed.ids == claims.candidates
    assert pushed.ids[0] < plain[0]
    assert bound(kit) == {"n": pushed.ids[0]}
    assert drained(kit.replayed(), QUEUE) == [*plain[1_000:], *pushed.ids]


def test_ids_that_were_put_aside_are_given_to_nobody_after_a_restart() -> None:
    """Another shard may have been told of them: a name bound to such an id must never come to mean another job."""
    kit = EngineKit()
    engine = kit._begin()
    aside = names.put_aside(engine, engine.queue(QUEUE), 0, 1_500)
    kit.commit()
    kit.engine = kit.replayed()
    assert not set(aside) & set(kit.push(QUEUE, *({"data": n} for n in range(2_000))))


def test_whoever_waits_for_a_candidate_hears_what_came_of_it() -> None:
    kit = EngineKit()
    engine = kit._begin()
    queue = engine.queue(QUEUE)
    frame, entries, payloads = decoded(QUEUE, [{"data": 1, "job_id": "n"}], 0)
    claims = names.Claims(names.put_aside(engine, queue, 0, 2))
    used, unused = claims.candidates
    heard: list[tuple[int, bool]] = []
    for job_id in claims.candidates:
        assert names.holds_name(engine, job_id) is None
        engine.names.pending[job_id].append(lambda there, job_id=job_id: heard.append((job_id, there)))  # type: ignore[misc]
    claims.mine = {"n": used}
    store(engine, queue, 0, list(zip(entries, payloads, strict=True)), frame, claims)
    names.finish(engine, queue, claims)
    kit.commit()
    assert heard == [(used, True), (unused, False)]


def test_names_of_other_shards_cannot_be_decided_alone() -> None:
    kit = EngineKit()
    kit.engine.owns[slot_of_queue("n")] = 0
    before = engine_facts(kit.engine)
    with pytest.raises(InvalidArgument, match="`job_id` 'n' cannot be decided by this shard alone"):
        push(kit)
    assert engine_facts(kit.engine)["names"] == before["names"]
    assert kit.engine.queue(QUEUE).waiting == 0


def test_names_of_jobs_that_go_together_are_freed_by_one_event() -> None:
    """One a name was most of what a batch of named jobs cost when it was evicted."""
    kit = EngineKit(limits=Limits(keep_completed_count=0))
    specs = [{"data": k, "job_id": f"n{k}"} for k in range(40)]
    ids = kit.push(QUEUE, *specs)
    assert kit.engine.names.bound == {f"n{k}": job_id for k, job_id in enumerate(ids)}
    got = kit.pull(QUEUE, 40)
    assert got is not None
    before = len(kit.memory.kept)
    assert not kit.ack_batch(got.ids)
    happened = [event for record in kit.memory.kept[before:] for event in events.parsed(record.events)]
    (freed,) = [event for event in happened if isinstance(event, events.NamesFreed)]
    assert sorted(freed.names) == sorted(f"n{k}" for k in range(40))
    assert bound(kit) == {}
