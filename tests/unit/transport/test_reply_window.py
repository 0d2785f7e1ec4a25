"""Requests for other shards are held back where their replies would not fit, in order, and none is forgotten."""

from collections.abc import Callable
from typing import Any

import pytest

from flashq.protocol.dispatch import Codec
from flashq.transport.envelope import UNAVAILABLE, Failure
from flashq.transport.forwarding import INPUT_ENDED, Forwarder
from flashq.transport.reply_window import GUESS_BYTES, WINDOW_BYTES

FIRST = WINDOW_BYTES // GUESS_BYTES


class Exchange:
    """Notes what is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Callable[[bytes], Any], Callable[[Failure], None]]] = []
        self.open = 0
        self.most = 0
        self.notices: list[int] = []

    def request(self, peer: str, frame: bytes, *, on_reply: Any, on_fail: Any, **how: Any) -> None:
        self.asked.append((frame, on_reply, on_fail))
        self.open += 1
        self.most = max(self.most, self.open)

    def notify(self, peer: str, kind: int, payload: bytes) -> None:
        self.notices.append(kind)

    def answer(self, body: bytes) -> None:
        self.open -= 1
        self.asked[len(self.asked) - self.open - 1][1](body)


class Held:
    def __init__(self, said: list[bytes]) -> None:
        self._said = said

    def takes_jobs(self) -> bool:
        return True

    def reply(self, body: bytes) -> bool:
        self._said.append(body)
        return True


class Client:
    """A link whose output may be backed up."""

    gid = 7
    codec = Codec.TEXT
    principal = "anyone"
    wrong_tokens = 0
    address = "here"
    local = False
    takes_events = False
    backed_up = False

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def reply(self, body: bytes) -> None:
        self.said.append(body)

    def hold(self, *, ordered: bool) -> Held:
        return Held(self.said)

    def forwarded_to(self, shard: int) -> None:
        """It stays."""

    def fatal(self, text: str, code: str) -> None:
        raise AssertionError(text)

    def push_event(self, body: bytes) -> None:
        raise AssertionError("no events here")

    def takes_jobs(self) -> bool:
        return True


class House:
    def __init__(self) -> None:
        self.exchange = Exchange()
        self.client = Client()
        self.forwarder = Forwarder(self.exchange, lambda slot: 0, deadline_ms=1_000, mono_ms=lambda: 0)  # type: ignore[arg-type]

    def send(self, n: int, *, wait_ms: int = 0) -> None:
        for _ in range(n):
            frame = b"%d" % (len(self.exchange.asked) + self.held())
            self.forwarder.send(0, self.client, frame, b"", wait_ms)

    def held(self) -> int:
        window = self.forwarder._windows.get(self.client.gid)
        return len(window.waiting) if window is not None else 0


@pytest.fixture
def house() -> House:
    return House()


def test_large_replies_are_asked_for_a_few_at_a_time_in_order(house: House) -> None:
    house.send(1_000)
    assert house.exchange.open == FIRST
    for _ in range(1_000):
        house.exchange.answer(b"x" * GUESS_BYTES)
    assert house.exchange.most == FIRST
    assert [int(frame) for frame, _, _ in house.exchange.asked] == list(range(1_000))
    assert len(house.client.said) == 1_000


def test_small_replies_open_the_window(house: House) -> None:
    """A client that pipelines what is small is not held back for what it might have asked."""
    house.send(60)
    while house.exchange.open:
        house.exchange.answer(b"ok")
    house.send(5_000)
    assert house.exchange.open == 5_000


def test_client_that_does_not_read_is_asked_nothing_more_for_until_it_does(house: House) -> None:
    house.send(100)
    house.client.backed_up = True
    while house.exchange.open:
        house.exchange.answer(b"ok")
    assert (len(house.exchange.asked), house.held()) == (FIRST, 100 - FIRST)
    house.client.backed_up = False
    house.forwarder.goes_on(house.client.gid)
    while house.exchange.open:
        house.exchange.answer(b"ok")
    assert (len(house.exchange.asked), house.held()) == (100, 0)


def test_pull_that_waits_holds_nobody_back_and_overtakes_nobody(house: House) -> None:
    house.send(100, wait_ms=60_000)
    assert house.exchange.open == 100
    house.send(FIRST + 1)
    house.send(1, wait_ms=60_000)
    assert (house.exchange.open, house.held()) == (100 + FIRST, 2)
    house.exchange.open = FIRST
    house.exchange.answer(b"ok")
    assert house.held() == 0
    assert [int(frame) for frame, _, _ in house.exchange.asked] == list(range(100 + FIRST + 2))


def test_what_a_client_had_asked_is_sent_though_it_has_gone_and_its_end_is_told_behind_it(house: House) -> None:
    """Pushes that were received are carried out; a pull behind them must not wait for a client that has ended."""
    house.send(20)
    house.forwarder.ended(house.client.gid)
    assert INPUT_ENDED not in house.exchange.notices
    house.forwarder.gone(house.client.gid)
    assert house.exchange.notices == []
    while house.exchange.open:
        house.exchange.answer(b"x" * GUESS_BYTES)
    assert len(house.exchange.asked) == 20
    assert len(house.exchange.notices) == 2
    assert house.exchange.notices[0] == INPUT_ENDED
    assert house.forwarder._windows == {}


def test_thousands_that_fail_at_once_are_all_answered(house: House) -> None:
    """Each failure makes room for the next, which fails too: not one inside of the other."""
    house.send(20_000)

    def fail(peer: str, frame: bytes, *, on_reply: Any, on_fail: Callable[[Failure], None], **how: Any) -> None:
        on_fail(UNAVAILABLE)

    house.exchange.request = fail  # type: ignore[method-assign]
    for _, _, on_fail in house.exchange.asked[:FIRST]:
        on_fail(UNAVAILABLE)
    assert len(house.client.said) == 20_000
