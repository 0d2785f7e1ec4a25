"""A long queue keeps the payloads of its middle as blocks, and nobody can tell but by the memory."""

import tracemalloc
from random import Random

import pytest

from flashq.engine import control_jobs
from flashq.engine.packed import Packed
from flashq.engine.pages import PAGE
from flashq.engine.push import push_plain
from flashq.engine.settings import Limits
from flashq.storage.memory import MemoryJournal
from flashq.testing.engine_kit import EngineKit, drained, engine_facts


def long_queue(kit: EngineKit, payloads: list[bytes]) -> list[int]:
    """One by one, as PUSH does."""
    kit.start()
    engine = kit.begin()
    line = engine.queue("mail")
    ids = [push_plain(engine, line, 0, bytes(payload), b"") for payload in payloads]
    engine.taken()
    return ids


def packed_pages(kit: EngineKit) -> int:
    return sum(type(page.jobs) is Packed for page in kit.engine.queues["mail"].pages.values())


@pytest.mark.parametrize("sizes", [(1, 120), (92, 92)])
def test_packed_payloads_come_out_as_they_went_in(sizes: tuple[int, int]) -> None:
    """Of one size or of many, looked at one by one or pulled in stretches that end anywhere."""
    random = Random(1)
    payloads = [
        b'"' + random.randbytes(random.randint(*sizes) // 2).hex().encode() + b'"' for _ in range(8 * PAGE + 100)
    ]
    kit = EngineKit(journal=MemoryJournal())
    ids = long_queue(kit, payloads)
    assert packed_pages(kit) >= 5
    slot = kit.engine.queues["mail"].slot
    for k in random.sample(range(len(ids)), 500):
        page, i = slot.find(ids[k] >> 10)
        assert page is not None
        assert page.jobs[i] == payloads[k]
    assert packed_pages(kit) >= 5, "looking at single jobs opens nothing"
    pulled: list[tuple[int, bytes]] = []
    while (got := kit.pull("mail", random.randint(1, 1500))) is not None:
        pulled += [(job_id, payload_of(kit, job_id)) for job_id in got.ids]
    assert pulled == list(zip(ids, payloads, strict=True))
    assert not packed_pages(kit)


def payload_of(kit: EngineKit, job_id: int) -> bytes:
    page, i = kit.engine.queues["mail"].slot.find(job_id >> 10)
    assert page is not None
    payload: bytes = page.jobs[i]
    return payload


def test_job_taken_from_a_block_leaves_the_others_as_they_were() -> None:
    """Who holds the block from before a change sees the change."""
    kit = EngineKit(journal=MemoryJournal())
    payloads = [b"%d" % k for k in range(6 * PAGE)]
    ids = long_queue(kit, payloads)
    page = kit.engine.queues["mail"].pages[3]
    before = page.jobs
    assert type(before) is Packed
    page.clear_one(7)
    assert before[7] is page.jobs[7] is None
    assert list(before) == page.jobs
    assert before.count(None) == 1
    page.settle()
    again = page.jobs
    assert type(again) is Packed
    assert [again[6], again[7], again[8], again.count(None)] == [before[6], None, before[8], 1]
    assert list(again) == list(before)
    assert len(ids) == len(payloads)


def test_large_payloads_are_not_copied_together() -> None:
    """A block is small enough to be made and opened within a request."""
    kit = EngineKit(journal=MemoryJournal())
    long_queue(kit, [b"x" * 1000] * (6 * PAGE))
    assert not packed_pages(kit)


def test_waiting_job_costs_little_more_than_its_payload() -> None:
    """92 bytes of payload and 8 of line; as objects they were 125 and 16."""
    kit = EngineKit(limits=Limits(), journal=MemoryJournal())
    long_queue(kit, [b"x" * 92] * (4 * PAGE))
    payloads = [b"y" * 92] * (40 * PAGE)
    tracemalloc.start()
    engine = kit.begin()
    line = engine.queue("mail")
    for payload in payloads:
        push_plain(engine, line, 0, bytes(bytearray(payload)), b"")
        engine.events.clear()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown / len(payloads) < 112


def test_long_queue_is_as_small_after_a_restart() -> None:
    """Replay packs what the pushes had packed, and gives out the same."""
    kit = EngineKit()
    kit.start()
    ids = [job_id for _ in range(8) for job_id in kit.push("mail", *({"data": k} for k in range(PAGE)))]
    packed = packed_pages(kit)
    assert packed >= 5
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)
    kit.carry_out(control_jobs.cancel, ids.pop(5 * PAGE + 3))
    again = kit.restarted(10)
    assert packed_pages(again) == packed - 1
    assert drained(again.engine, "mail") == drained(kit.engine, "mail") == ids
