"""Batches of jobs with options: given out and acked together they end as they do one by one, also after a replay."""

from typing import Any

import msgspec
import pytest

from flashq.engine.ack_records import ack_records
from flashq.engine.settings import Limits
from flashq.testing.engine_kit import EngineKit, check_counts, engine_facts

KEPT = Limits(keep_completed_count=5)


def spec(number: int, **more: Any) -> dict[str, Any]:
    return {"data": number, "priority": number % 3, "tags": ["a"], "unique_key": f"k{number}", **more}


def filled(*specs: dict[str, Any], limits: Limits = KEPT) -> tuple[EngineKit, list[int]]:
    kit = EngineKit(limits=limits)
    kit.push("q", *specs)
    given = kit.pull("q", 100)
    assert given is not None
    check(kit)
    return kit, list(given.ids)


def check(kit: EngineKit) -> None:
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)
    check_counts(kit.engine)


def bulk(kit: EngineKit, ids: list[int]) -> bool:
    return kit.do(lambda engine: ack_records(engine, ids))


SPECS = {
    "options": [spec(n) for n in range(12)],
    "plain ones among them": [spec(n) if n % 2 else {"data": n} for n in range(12)],
    "some with a timeout, some with a ttl": [spec(n, timeout=50 * (n % 2), ttl=50 * (n % 3)) for n in range(12)],
    "some bound": [spec(n, group_id=f"g{n}") if n % 4 == 0 else spec(n, limit_key="t") for n in range(12)],
    "names": [spec(n, job_id=f"n{n}") for n in range(12)],
}


@pytest.mark.parametrize("name", SPECS)
def test_bulk_is_as_one_by_one(name: str) -> None:
    """More than are kept: the oldest are forgotten, in the order in which they were done."""
    kit, ids = filled(*SPECS[name])
    other, same = filled(*SPECS[name])
    assert ids == same
    assert len(ids) == 12
    assert bulk(kit, ids[:7])
    check(kit)
    assert kit.ack_batch(ids[7:]) == {}
    check(kit)
    for job_id in same:
        other.ack(job_id)
    assert engine_facts(kit.engine) == engine_facts(other.engine)
    assert len(kit.engine.queue("q").kept) == 5


def test_keys_are_free_again_and_leases_have_ended() -> None:
    kit, ids = filled(*SPECS["options"])
    assert bulk(kit, ids)
    assert kit.engine.queue("q").unique == {}
    kit.advance(kit.limits.lease_ms + 1)
    assert kit.engine.queue("q").waiting == 0
    assert kit.push("q", spec(0))


def test_bulk_evicts_what_asked_for_an_age_and_its_timer() -> None:
    kit, ids = filled(*(spec(n, keep_completed_age=60_000) if n < 6 else spec(n) for n in range(12)))
    aged = sorted(ids)[:6]
    assert kit.ack_batch(aged) == {}
    assert len(kit.engine.timers) > 0
    assert bulk(kit, [job_id for job_id in ids if job_id not in aged])
    assert len(kit.engine.timers) == 0
    check(kit)


@pytest.mark.parametrize(
    "specs",
    [
        [spec(0), spec(1, remove_on_complete=True)],
        [spec(0), spec(1, keep_completed_count=1)],
        [spec(0), spec(1, keep_completed_age=10)],
    ],
)
def test_jobs_with_their_own_end_are_left_to_the_way_of_one(specs: list[dict[str, Any]]) -> None:
    kit, ids = filled(*specs)
    before = engine_facts(kit.engine)
    assert not bulk(kit, ids)
    assert engine_facts(kit.engine) == before
    assert kit.ack_batch(ids) == {}
    check(kit)


@pytest.mark.parametrize("wrong", ["twice", "unknown", "waiting", "another queue's"])
def test_nothing_is_done_in_bulk_where_one_is_wrong(wrong: str) -> None:
    kit, ids = filled(*SPECS["options"])
    waiting = kit.push("q", spec(90))[0]
    other = kit.push("z", spec(91))[0]
    kit.pull("z")
    named = {"twice": ids[0], "unknown": ids[-1] + (1 << 20), "waiting": waiting, "another queue's": other}[wrong]
    before = engine_facts(kit.engine)
    assert not bulk(kit, [*ids, named])
    assert engine_facts(kit.engine) == before
    refused = kit.ack_batch([*ids, named])
    assert list(refused) == ([] if wrong == "another queue's" else [12])
    check(kit)


def test_pull_stops_at_what_the_reply_has_room_for() -> None:
    """Records at the head of a lane are taken in one go, but no more than fit; the rest keep their order."""
    kit = EngineKit(limits=Limits(reply_bytes_max=25))
    ids = kit.push("q", *({"data": "x" * 8, "tags": ["a"]} for _ in range(5)), {"data": "y" * 40, "tags": ["a"]})
    taken = []
    while (given := kit.pull("q", 10)) is not None:
        taken.append(given.ids)
        check(kit)
    assert taken == [ids[:2], ids[2:4], ids[4:5], ids[5:]]


def test_child_without_options_is_left_to_the_way_that_tells_its_parent() -> None:
    """Such children are plain jobs on a page that names their parent."""
    kit, ids = filled(*[{"data": n} for n in range(3)])
    page = kit.engine.slots[ids[0] & 1023].pages[0]
    page.defaults = msgspec.structs.replace(page.defaults, parent=4096)
    assert not bulk(kit, ids)
