"""Messages between slots arrive exactly once in effect, in order, whatever is sent again."""

from typing import Any

import pytest

from flashq.engine import outbox
from flashq.engine.engine import Engine
from flashq.engine.outbox import Message, post, take, told
from flashq.testing.engine_kit import EngineKit

HERE, THERE = 5, 700


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, Any]]:
    got: list[tuple[int, int, Any]] = []

    def handler(engine: Engine, source: int, target: int, body: Any) -> None:
        got.append((source, target, body))

    monkeypatch.setitem(outbox.HANDLERS, "word", handler)
    return got


def _kit(owns: bool) -> EngineKit:
    kit = EngineKit()
    kit.engine.owns[THERE] = owns
    return kit


def test_message_to_an_own_slot_is_carried_out_in_the_same_record(heard: list[Any]) -> None:
    kit = _kit(owns=True)
    post(kit.engine, HERE, THERE, "word", [1])
    assert heard == [(HERE, THERE, [1])]
    assert not kit.engine.outbox.waiting


def test_message_to_another_shard_waits_until_it_is_told_and_survives_a_restart(heard: list[Any]) -> None:
    kit = _kit(owns=False)
    kit._begin()
    post(kit.engine, HERE, THERE, "word", ["a"])
    post(kit.engine, HERE, THERE, "word", ["b"])
    kit.commit()
    assert not heard
    waiting = kit.replayed().outbox.waiting[HERE, THERE]
    assert [(m.no, m.body) for m in waiting] == [(1, ["a"]), (2, ["b"])]
    kit._begin()
    told(kit.engine, HERE, THERE, 1)
    kit.commit()
    after = kit.replayed().outbox
    assert [m.no for m in after.waiting[HERE, THERE]] == [2]
    assert after.last_sent[HERE, THERE] == 2


def test_what_is_sent_again_does_nothing_and_a_gap_is_not_jumped(heard: list[Any]) -> None:
    kit = _kit(owns=True)
    one, two, three = (Message(9, THERE, no, "word", no) for no in (1, 2, 3))
    kit._begin()
    assert take(kit.engine, [one]) == 1
    assert take(kit.engine, [one, two]) == 2
    assert take(kit.engine, [Message(9, THERE, 4, "word", 4)]) == 2
    kit.commit()
    assert [body for _, _, body in heard] == [1, 2]
    again = kit.replayed()
    assert take(again, [two]) == 2
    assert take(again, [three]) == 3
    assert [body for _, _, body in heard] == [1, 2, 3]
