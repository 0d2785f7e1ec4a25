"""Debouncing: an accepted push closes the door behind it for a while; a refused one does not touch it."""

import pytest

from flashq.errors import Debounced, Duplicate
from flashq.testing.engine_kit import EngineKit, engine_facts

QUEUE = "mail"


def push(kit: EngineKit, *, queue: str = QUEUE, **options: object) -> int:
    return kit.push(queue, {"data": 1, "debounce_id": "d", **options})[0]


def same_after_replay(kit: EngineKit) -> None:
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


@pytest.mark.parametrize(("options", "ms"), [({}, 5_000), ({"debounce_ttl": 70}, 70)])
def test_window_is_as_long_as_was_asked_and_five_seconds_else(options: dict[str, int], ms: int) -> None:
    kit = EngineKit()
    push(kit, **options)
    same_after_replay(kit)
    kit.advance(ms - 1)
    with pytest.raises(Debounced, match=r"^Debounced: job with id 'd' was pushed recently$"):
        push(kit, **options)
    same_after_replay(kit)
    kit.advance(1)
    push(kit, **options)
    with pytest.raises(Debounced):
        push(kit, **options)
    same_after_replay(kit)


def test_refused_pushes_do_not_make_a_window_longer() -> None:
    kit = EngineKit()
    push(kit, debounce_ttl=100)
    kit.advance(99)
    with pytest.raises(Debounced):
        push(kit, debounce_ttl=100_000)
    kit.advance(1)
    push(kit)


def test_push_that_is_refused_for_its_unique_key_opens_no_window() -> None:
    kit = EngineKit()
    kit.push(QUEUE, {"data": 1, "unique_key": "k"})
    with pytest.raises(Duplicate):
        push(kit, unique_key="k")
    push(kit)
    same_after_replay(kit)


def test_window_ends_while_the_server_is_down() -> None:
    kit = EngineKit()
    push(kit, debounce_ttl=100)
    kit.now_ms += 100
    kit.engine = kit.replayed()
    push(kit)


def test_windows_are_of_one_queue_and_of_no_length_if_that_is_asked() -> None:
    kit = EngineKit()
    push(kit)
    push(kit, queue="film", debounce_ttl=0)
    push(kit, queue="film")
    with pytest.raises(Debounced):
        push(kit)
    same_after_replay(kit)


def test_window_that_has_passed_is_forgotten() -> None:
    """Else an id a push would stay in memory for ever."""
    kit = EngineKit()
    for n in range(10):
        kit.push(QUEUE, {"data": 1, "debounce_id": f"d{n}", "debounce_ttl": 50 + n})
    assert len(kit.engine.queue(QUEUE).debounced) == 10
    kit.advance(60)
    assert not kit.engine.queue(QUEUE).debounced


def test_batch_names_the_debounced_and_stores_the_rest() -> None:
    kit = EngineKit()
    pushed = kit.push_each(QUEUE, *({"data": n, "debounce_id": d} for n, d in enumerate(["d", "e", "d"])))
    assert len(pushed.ids) == 2
    assert [(k, e.code) for k, e in pushed.refused] == [(2, "debounced")]
    same_after_replay(kit)
