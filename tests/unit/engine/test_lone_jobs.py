"""One job at a time, spelled out, does what the way of all jobs does: the same answers, events and state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from flashq.engine import ack as acks
from flashq.engine import control_jobs
from flashq.engine import pull as pulls
from flashq.engine.deliveries import Lone
from flashq.engine.lone_jobs import ack_lone, give_lone
from flashq.engine.settings import Limits
from flashq.errors import FlashqError
from flashq.testing.engine_kit import EngineKit, check_counts, engine_facts

Act = Callable[[EngineKit, list[tuple[int, int]]], Any]
"""What is done to a kit, of whose jobs that were given out (id, token) are known; what came of it."""


@contextmanager
def the_way_of_all() -> Iterator[None]:
    """Nothing is spelled out."""
    with patch.object(pulls, "give_lone", lambda *_: None), patch.object(acks, "ack_lone", lambda *_: False):
        yield


def push(*specs: dict[str, Any], codec: int = 0) -> Act:
    return lambda kit, held: kit.push("q", *specs, codec=codec)


def pull(lease_ms: int | None, gid: int) -> Act:
    def act(kit: EngineKit, held: list[tuple[int, int]]) -> Any:
        got = kit.pull("q", lease_ms=lease_ms, gid=gid)
        if got is not None:
            held += [(job_id, got.token) for job_id in got.ids]
        return got

    return act


def wait(gid: int, tied: bool) -> Act:
    def act(kit: EngineKit, held: list[tuple[int, int]]) -> None:
        kit.wait("q", 0, 30, gid=gid, tied=tied)

    return act


def end(how: str, which: int, off: int | None) -> Act:
    """One of the jobs that were given out ends; `off`: what its token is wrong by; None: no token is sent."""

    def act(kit: EngineKit, held: list[tuple[int, int]]) -> Any:
        job_id, token = held[which % len(held)] if held else (1024, 1)
        sent = None if off is None else token + off
        if how == "fail":
            return kit.fail(job_id, sent)
        return kit.ack(job_id, sent, b"7" if how == "result" else None)

    return act


def lives(*sizes: int) -> Act:
    """Jobs come, are given out and done, each before the next."""

    def act(kit: EngineKit, held: list[tuple[int, int]]) -> Any:
        done = []
        for size in sizes:
            kit.push("q", {"data": "x" * size})
            got = kit.pull("q")
            if got is not None:
                kit.ack(got.ids[0], got.token)
                done.append(got)
        return done

    return act


def together(n: int) -> Act:
    """Jobs come, are given out and done, all at once: one stretch of what is kept."""

    def act(kit: EngineKit, held: list[tuple[int, int]]) -> Any:
        kit.push("q", *({"data": k} for k in range(n)))
        got = kit.pull("q", n)
        return kit.ack_batch(list(got.ids)) if got is not None else None

    return act


def cancel(which: int) -> Act:
    """One of the jobs that wait leaves the line."""

    def act(kit: EngineKit, held: list[tuple[int, int]]) -> Any:
        queue = kit.engine.queue("q")
        line = sorted({*queue.lane.fifo[queue.lane.head :]} - {*queue.lane.dead})
        return kit.carry_out(control_jobs.cancel, line[which % len(line)] << 10 | queue.slot.no) if line else None

    return act


def later(ms: int) -> Act:
    return lambda kit, held: kit.advance(ms)


def clock_set_back(ms: int) -> Act:
    def act(kit: EngineKit, held: list[tuple[int, int]]) -> None:
        kit.now_ms -= ms

    return act


OPTIONS: list[dict[str, Any]] = [
    {"priority": 5}, {"priority": -1}, {"lifo": True}, {"delay": 20}, {"timeout": 15}, {"ttl": 40}, {"group_id": "g"},
    {"limit_key": "t"}, {"remove_on_complete": True}, {"keep_completed_count": 1}, {"keep_completed_age": 10},
]  # fmt: skip
ACTS = st.one_of(
    st.builds(lambda n, codec: push({"data": "x" * n}, codec=codec), st.integers(0, 12), st.sampled_from((0, 0, 1))),
    st.just(push({"data": 1}, {"data": 2}, {"data": 3})),
    st.builds(pull, st.sampled_from((None, None, 10)), st.sampled_from((0, 0, 9))),
    st.builds(end, st.sampled_from(("ack", "ack", "ack", "result", "fail")), st.integers(0, 30),
              st.sampled_from((None, 0, 0, 1))),
    st.builds(lives, st.integers(0, 12), st.integers(0, 12), st.integers(0, 12)),
    st.builds(together, st.integers(2, 4)),
    st.builds(cancel, st.integers(0, 9)),
    st.builds(wait, st.sampled_from((8, 9)), st.booleans()),
    st.builds(later, st.integers(0, 30)),
)  # fmt: skip
RARE = st.one_of(
    ACTS,
    ACTS,
    st.builds(lambda options: push({"data": 0, **options}), st.sampled_from(OPTIONS)),
    st.builds(clock_set_back, st.integers(1, 60)),
    st.just(lambda kit, held: kit.pause("q")),
    st.just(lambda kit, held: kit.resume("q")),
    st.just(lambda kit, held: kit.connection_gone(9)),
    st.just(lambda kit, held: kit.drain("q")),
)
LIMITS = st.builds(
    Limits,
    keep_completed_count=st.integers(0, 4),
    keep_completed_age_ms=st.sampled_from((0, 25, 86_400_000)),
    keep_completed_bytes=st.sampled_from((20, 1 << 20)),
    lease_ms=st.sampled_from((20, 60_000)),
)


def outcome(kit: EngineKit, act: Act, held: list[tuple[int, int]]) -> Any:
    try:
        came = act(kit, held)
    except FlashqError as e:
        kit.commit()
        came = type(e), str(e)
    woken = [given for _, given in kit.fetch_woken()]
    held += [(job_id, got.token) for got in woken if got is not None for job_id in got.ids]
    return came, woken


@settings(max_examples=250, deadline=None)
@given(acts=st.one_of(st.lists(ACTS, max_size=40), st.lists(RARE, max_size=40)), limits=LIMITS)
def test_both_ways_come_to_the_same(acts: list[Act], limits: Limits) -> None:
    kit, other = EngineKit(limits=limits), EngineKit(limits=limits)
    held: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []
    for act in acts:
        came = outcome(kit, act, held)
        with the_way_of_all():
            assert outcome(other, act, others) == came
        assert engine_facts(kit.engine) == engine_facts(other.engine)
        assert [r.events for r in kit.memory.kept] == [r.events for r in other.memory.kept]
    check_counts(kit.engine)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


def test_a_plain_job_goes_the_short_way() -> None:
    """So that the comparison above compares something."""
    kit = EngineKit(limits=Limits(keep_completed_count=2))
    ids = kit.push("q", *({"data": n} for n in range(6)))
    for job_id in ids:
        lone = kit.do(lambda engine: give_lone(engine, engine.queue("q"), 1_000, 0))
        assert isinstance(lone, Lone)
        assert lone.id == job_id
        assert kit.do(lambda engine, job_id=job_id: ack_lone(engine, job_id, None))  # type: ignore[misc]
    assert kit.engine.queue("q").completed == 2
    assert kit.do(lambda engine: give_lone(engine, engine.queue("q"), 1_000, 0)) is None
    check_counts(kit.engine)


def test_much_taken_one_by_one_leaves_no_line_behind() -> None:
    """A line that is never empty is cut now and then, as it is for batches."""
    kit = EngineKit()
    most = 0
    kit.push("q", *({"data": 0} for _ in range(1000)))
    for _ in range(140):
        kit.push("q", *({"data": 0} for _ in range(1000)))
        for _ in range(1000):
            assert kit.do(lambda engine: pulls.deliver(engine, engine.queue("q"), 1)) is not None
        most = max(most, len(kit.engine.queue("q").lane.fifo))
    assert most < 140_000
    assert kit.engine.queue("q").lane.head < 70_000


def test_a_pull_opens_a_packed_page() -> None:
    """As a pull of many does: the next thousand pulls find a list."""
    kit = EngineKit()
    kit.push("q", {"data": 0})
    for _ in range(6):
        kit.push("q", *({"data": k} for k in range(1000)))
    engine = kit.engine
    packed = [page for page in engine.queue("q").pages.values() if type(page.jobs) is not list]
    assert packed
    for _ in range(6 * 1000):
        lone = kit.do(lambda engine: give_lone(engine, engine.queue("q"), 60_000, 0))
        assert lone is not None
        assert type(engine.slots[lone.id & 1023].pages[lone.id >> 20].jobs) is list
    assert all(type(page.jobs) is list for page in packed)
