"""An answer that waits until other shards have on disk what they are told."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from flashq.engine.engine import Engine
from flashq.engine.outbox import HANDLERS, post
from flashq.shard import internal
from flashq.shard.postman import TOLD_WITHIN_S, Postman


class Station:
    """A postman, the messages that are under way, and its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = Engine(epoch=1)
        self.engine.owns[7] = self.engine.owns[8] = 0
        self.under_way: list[tuple[Any, Callable[[int], None], Callable[[Exception], None]]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.wakes = 0
        here: Any = SimpleNamespace(
            engine=self.engine, owner_of=lambda slot: slot, wake=self._wake, when_told=None
        )  # fmt: skip
        self.postman = Postman(here, Mock(call_later=self._call_later))
        self.when_told = here.when_told
        monkeypatch.setattr(internal, "ask", self._ask)
        monkeypatch.setitem(HANDLERS, "hello", lambda *_: None)

    def _wake(self) -> None:
        self.wakes += 1

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> Mock:
        self.timers.append((delay_s, call))
        return Mock()

    def _ask(self, here: Any, shard: int, word: str, value: Any, on_answer: Any, on_fail: Any) -> None:
        self.under_way.append((value, on_answer, on_fail))

    def tell(self, target: int) -> None:
        post(self.engine, 0, target, "hello", None)
        self.postman.send()

    def arrive(self) -> None:
        messages, on_answer, _ = self.under_way.pop(0)
        on_answer(messages[-1].no)
        self.postman.send()


@pytest.fixture
def station(monkeypatch: pytest.MonkeyPatch) -> Station:
    return Station(monkeypatch)


def test_answer_waits_until_all_have_what_was_waiting(station: Station) -> None:
    station.tell(7)
    station.tell(8)
    done = Mock()
    station.when_told(0, (7, 8, 9), done)
    station.tell(7)  # later than the answer: it does not wait for this one
    station.arrive()
    done.assert_not_called()
    station.arrive()
    done.assert_called_once_with()
    station.arrive()
    done.assert_called_once_with()


def test_answer_with_nothing_to_wait_for_comes_at_once(station: Station) -> None:
    done = Mock()
    station.when_told(0, (7,), done)
    done.assert_called_once_with()
    assert not station.timers


def test_what_is_refused_is_waited_for_until_it_has_arrived(station: Station) -> None:
    station.tell(7)
    done = Mock()
    station.when_told(0, (7,), done)
    _, _, on_fail = station.under_way.pop()
    on_fail(RuntimeError("it is down"))
    done.assert_not_called()
    station.postman.again()
    station.arrive()
    done.assert_called_once_with()


def test_shard_that_stays_away_is_waited_for_so_long_and_the_answer_comes_once(station: Station) -> None:
    station.tell(7)
    done = Mock()
    station.when_told(0, (7,), done)
    [(delay_s, call)] = station.timers
    assert delay_s == TOLD_WITHIN_S
    call()
    done.assert_called_once_with()
    assert station.wakes == 1, "in a tick, at whose end the answer leaves"
    station.arrive()
    done.assert_called_once_with()
