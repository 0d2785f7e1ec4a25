"""GETJOBS finds what a full scan would, newest first, whichever structure it reads."""

from collections.abc import Iterator
from random import Random

import pytest

from flashq.engine import listing
from flashq.engine.jobs import State
from flashq.engine.listing import STATES, newest, newest_of_all, state_filter, total
from flashq.engine.queries import find
from flashq.engine.slices import SLICE
from flashq.errors import InvalidArgument
from flashq.testing.engine_kit import EngineKit, Spec
from tests.unit.engine.test_removal import check, push_many, sweep


@pytest.fixture(params=["few", "many"])
def kit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineKit]:
    """`many`: pages are walked, also for states that have few jobs."""
    if request.param == "many":
        monkeypatch.setattr(listing, "FEW", -1)
    one = EngineKit()
    one.start()
    yield one
    check(one)


def scanned(kit: EngineKit, name: str, state: listing.Filter) -> list[int]:
    """By looking at every job that there is."""
    ids = []
    for slot in kit.engine.slots.values():
        for page in slot.pages.values():
            for i in range(len(page.jobs)):
                job_id = slot.id_of(page.base + i)
                seen = find(kit.engine, job_id)
                if seen is not None and page.queue.name == name and (state is None or seen.state is state):
                    ids.append(job_id)
    return sorted(ids, reverse=True)


def compare(kit: EngineKit, *names: str) -> None:
    for name in names:
        queue = kit.engine.queues[name]
        for state in (None, *STATES.values()):
            expected = scanned(kit, name, state)
            assert total(queue, state) == len(expected), (name, state)
            for skip in (0, 1, len(expected) // 2, len(expected)):
                assert list(newest(queue, state, skip)) == expected[skip:], (name, state, skip)
    for state in (None, *STATES.values()):
        every = sorted((i for name in names for i in scanned(kit, name, state)), reverse=True)
        assert newest_of_all(kit.engine, state, 7) == (len(every), every[:7])


@pytest.mark.parametrize("seed", range(4))
def test_every_state_after_many_random_commands(kit: EngineKit, seed: int) -> None:
    random = Random(seed)
    options: list[Spec] = [{}, {}, {"priority": 3}, {"delay": 50_000}, {"group_id": "g"}, {"max_attempts": 1}]
    for _ in range(300):
        name = random.choice(("mail", "film"))
        roll = random.random()
        if roll < 0.4:
            kit.push(name, *[{"data": n, **random.choice(options)} for n in range(random.choice((1, 5, 400)))])
        elif roll < 0.7:
            got = kit.pull(name, random.choice((1, 30)))
            for job_id in got.ids if got is not None else []:
                if random.random() < 0.3:
                    kit.fail(job_id)
                elif random.random() < 0.6:
                    kit.ack(job_id)
        elif roll < 0.72:
            kit.drain(name)
        elif roll < 0.73:
            kit.obliterate(name)
        elif roll < 0.75:
            kit.clean(name, random.choice(("waiting", "delayed", "completed", "failed")), limit=3)
        elif roll < 0.8:
            kit.retry_dead(name)
    kit.push("mail", {"data": 1})
    kit.push("film", {"data": 1})
    compare(kit, "mail", "film")


def test_while_removed_jobs_are_cleared_away_they_are_not_listed(kit: EngineKit) -> None:
    push_many(kit, "mail", 14 * SLICE)
    push_many(kit, "mail", 3 * SLICE, priority=1)
    kit.pull("mail", 100)
    kit.drain("mail")
    kit.push("mail", {"data": 1}, {"data": 2, "delay": 90})
    assert kit.engine.queues["mail"].sweep is not None
    compare(kit, "mail")
    kit.obliterate("mail")
    (new,) = kit.push("mail", {"data": 1})
    assert kit.engine.queues["mail"].sweep is not None
    assert list(newest(kit.engine.queues["mail"], None, 0)) == [new]
    compare(kit, "mail")
    sweep(kit, "mail")
    compare(kit, "mail")


def test_deep_offset_passes_by_whole_pages(kit: EngineKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page in the middle of a million jobs costs no look at those before it."""
    ids = push_many(kit, "mail", 12_000)
    looked: list[int] = []
    fits = listing.fits

    def counted(page: object, i: int, state: listing.Filter) -> bool:
        looked.append(i)
        return fits(page, i, state)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "fits", counted)
    monkeypatch.setattr(listing, "FEW", -1)
    for state in (None, State.WAITING):
        looked.clear()
        listed = newest(kit.engine.queues["mail"], state, 11_000)
        assert [next(listed) for _ in range(10)] == ids[::-1][11_000:11_010]
        assert len(looked) <= 1024 + 10
    looked.clear()
    assert list(newest(kit.engine.queues["mail"], State.FAILED, 0)) == []
    assert not looked


@pytest.mark.parametrize("name", ["waiting-children", "waitingchildren", "WAITING_CHILDREN", "WaitingChildren"])
def test_spellings_of_a_state(name: str) -> None:
    assert state_filter(name) is State.HELD
    assert state_filter(None) is None


def test_unknown_state_is_refused_by_naming_the_known_ones() -> None:
    with pytest.raises(InvalidArgument) as refused:
        state_filter("done")
    assert str(refused.value) == (
        "invalid value: `state` is 'done', allowed are waiting, delayed, active, completed, failed, stalled, "
        "waiting-children, waiting-parent"
    )
