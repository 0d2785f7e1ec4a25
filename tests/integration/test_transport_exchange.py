"""Exchanges in one loop: every request ends once, and says what is known of it."""

import asyncio
import os
import random
import stat
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop
import zmq

from flashq.errors import ConfigError, LimitExceeded, Unavailable
from flashq.transport import asking, envelope, outbox
from flashq.transport.envelope import FAULTY, PEER_GONE, TIMED_OUT, TIMED_OUT_UNSENT, UNAVAILABLE, Notice, Reader
from flashq.transport.exchange import Exchange
from flashq.transport.incoming import Incoming
from tests.integration.exchange_kit import Stations, mono_ms, stations, until

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in each kind of loop."""

    def run_in_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)

    return run_in_loop


def test_request_arrives_as_it_was_sent(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b")
            deadline_ms = mono_ms() + 60_000
            fields = {"codec": 1, "gid": 2**63 + 5, "principal": "jö", "flags": 7}
            asked = a.ask("b", b"\x81\xa3cmd", within_ms=60_000, **fields)
            await until(asked.ended, "a reply")
            assert asked.replies == [b"\x81\xa3cmd"]
            (seen,) = b.requests
            assert (seen.peer, seen.frame) == ("a", b"\x81\xa3cmd")
            assert {name: getattr(seen, name) for name in fields} == fields
            assert deadline_ms <= seen.deadline_ms <= deadline_ms + 1_000

    run(main())


def test_two_that_ask_each_other_are_both_answered(run: Run, run_folder: Path) -> None:
    """With one byte of credit: replies do not wait for it."""

    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a", credit_bytes=1), kit.start("b", credit_bytes=1)
            asked = [a.ask("b", b"%d" % n) for n in range(200)] + [b.ask("a", b"%d" % n) for n in range(200)]
            await until(lambda: all(one.replies for one in asked), "all replies")
            assert [one.replies[0] for one in asked] == [b"%d" % n for n in range(200)] * 2

    run(main())


def test_requests_of_one_tick_leave_as_one_message(run: Run, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b")
            await a.talk("b")
            sent: list[int] = []
            real = asking.send
            monkeypatch.setattr(asking, "send", lambda socket, parts: sent.append(len(parts)) or real(socket, parts))
            asked = [a.ask("b", b"%d" % n) for n in range(1000)]
            await until(lambda: all(one.replies for one in asked), "all replies")
            assert sent == [1]
            assert [seen.frame for seen in b.requests[1:]] == [b"%d" % n for n in range(1000)]

    run(main())


SIZES = [0, 1, envelope.APART_BYTES_MIN - 1, envelope.APART_BYTES_MIN, 5 << 20, 0, 10 << 20, 3]


def test_frames_of_any_size_pass_both_ways_in_order(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b")
            frames = [random.Random(size).randbytes(size) for size in SIZES]
            asked = [a.ask("b", frame) for frame in frames]
            await until(lambda: all(one.ended() for one in asked), "all replies")
            assert [one.replies for one in asked] == [[frame] for frame in frames]
            assert [seen.frame for seen in b.requests] == frames

    run(main())


def test_replies_find_their_requests_in_any_order(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b", holds=True)
            asked = [a.ask("b", b"%d" % n) for n in range(100)]
            await until(lambda: len(b.requests) == 100, "all requests")
            for incoming in random.Random(4).sample(b.requests, 100):
                assert incoming.reply(b"re " + incoming.frame)
                await asyncio.sleep(0)
            await until(lambda: all(one.ended() for one in asked), "all replies")
            assert [one.replies for one in asked] == [[b"re %d" % n] for n in range(100)]

    run(main())


def test_request_is_answered_only_once(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b")
            await a.talk("b")
            with pytest.raises(AssertionError, match="answered once"):
                b.requests[0].reply(b"again")
            with pytest.raises(AssertionError, match="answered once"):
                b.requests[0].refuse(UNAVAILABLE)

    run(main())


def test_bodies_too_large_to_carry_are_refused_to_their_sender(run: Run, run_folder: Path) -> None:
    """Past ZeroMQ's limit the connection would break, and take everybody's requests with it."""

    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a", body_bytes_max=100_000)
            b = kit.start("b", body_bytes_max=100_000, holds=True)
            with pytest.raises(LimitExceeded, match="100001 bytes, the exchange carries 100000"):
                a.ask("b", bytes(100_001))
            asked = a.ask("b", bytes(100_000))
            await until(lambda: b.requests, "the request")
            with pytest.raises(LimitExceeded, match="100001 bytes"):
                b.requests[0].reply(bytes(100_001))
            assert b.requests[0].reply(b"too large")
            await until(asked.ended, "the reply")
            assert asked.replies == [b"too large"]

    run(main())


# Who is not there


def test_request_waits_for_a_peer_that_starts_later(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a")
            asked = a.ask("b", within_ms=60_000)
            a.exchange.notify("b", 20, b"note")
            await asyncio.sleep(0.02)
            assert asked.ended() == 0
            b = kit.start("b")
            await until(asked.ended, "the reply")
            assert asked.replies == [b"hello"]
            assert b.notices == [("a", 20, b"note")]

    run(main())


def test_request_to_nobody_ends_at_its_deadline_and_never_happened(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a")
            before = mono_ms()
            late, soon = a.ask("b", within_ms=120), a.ask("b", within_ms=40)
            await until(lambda: late.ended() and soon.ended(), "both ends")
            assert mono_ms() - before >= 120
            assert late.failures == soon.failures == [TIMED_OUT_UNSENT] == ["timeout"]
            assert not late.failures[0].may_have_happened
            b = kit.start("b")
            assert await a.talk("b", b"then") == b"then"
            assert [seen.frame for seen in b.requests] == [b"then"]

    run(main())


def test_deadline_of_a_request_under_way_leaves_its_fate_open(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b", holds=True)
            asked = a.ask("b", within_ms=50)
            await until(asked.ended, "its end")
            assert asked.failures == [TIMED_OUT]
            assert asked.failures[0].may_have_happened
            assert b.requests[0].reply(b"jobs")
            await until(lambda: b.undelivered, "the reply to come back")
            assert b.undelivered == [("a", b"jobs")]
            assert asked.ended() == 1

    run(main())


def test_cancelled_request_ends_without_a_word_and_its_reply_comes_back(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b", holds=True)
            asked = a.ask("b", within_ms=60_000)
            await until(lambda: b.requests, "the request")
            assert a.exchange.cancel(asked.correlation)
            assert not a.exchange.cancel(asked.correlation)
            assert b.requests[0].reply(b"jobs")
            await until(lambda: b.undelivered, "the reply to come back")
            assert b.undelivered == [("a", b"jobs")]
            assert asked.ended() == 0

    run(main())


def test_request_cancelled_before_it_left_never_leaves(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a")
            asked = [a.ask("b", b"%d" % n) for n in range(10)]
            in_flight = a.exchange.in_flight_bytes("b")
            for n in (0, 3, 4, 5, 6, 7, 9):
                assert a.exchange.cancel(asked[n].correlation)
            b = kit.start("b")
            await until(lambda: sum(one.ended() for one in asked) == 3, "three replies")
            assert [seen.frame for seen in b.requests] == [b"1", b"2", b"8"]
            assert a.exchange.in_flight_bytes("b") < in_flight

    run(main())


# Who goes


def test_connection_that_ends_fails_what_is_under_way(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b", holds=True)
            asked = [a.ask("b", within_ms=60_000) for _ in range(10)]
            await until(lambda: len(b.requests) == 10, "the requests")
            await b.exchange.stop()
            await until(lambda: all(one.ended() for one in asked), "their ends")
            assert [one.failures for one in asked] == [[PEER_GONE]] * 10
            assert asked[0].failures == ["unavailable"]
            assert asked[0].failures[0].may_have_happened

    run(main())


def test_successor_is_found_on_the_same_path(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, first = kit.start("a"), kit.start("b", epoch=1)
            await a.talk("b", b"first")
            await first.exchange.stop()
            await a.hears_the_end_of("b")
            waiting = a.ask("b", b"between", within_ms=60_000)
            second = kit.start("b", epoch=2)
            await until(waiting.ended, "the reply")
            assert waiting.replies == [b"between"]
            assert await a.talk("b", b"second") == b"second"
            assert a.gone == [("b", 1)]
            assert b"first" not in [seen.frame for seen in second.requests]

    run(main())


def test_closing_predecessor_takes_nothing_from_its_successor(run: Run, run_folder: Path) -> None:
    """As in a planned restart: the new one has the path before the old one ends."""

    async def main() -> None:
        async with stations(run_folder) as kit:
            a, old = kit.start("a"), kit.start("b", epoch=1)
            await a.talk("b")
            new = kit.start("b", epoch=2)
            await old.exchange.stop()
            await until(lambda: a.exchange.writable("b"), "credit")
            assert await ask_until_answered(kit, "b") == b"again"
            assert new.requests[-1].frame == b"again"

    async def ask_until_answered(kit: Stations, peer: str) -> bytes:
        c = kit.start("c")
        return await c.talk(peer, b"again")

    run(main())


def test_word_of_a_death_fails_everything_pending_at_once(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b", epoch=5, holds=True)
            sent = a.ask("b", within_ms=60_000)
            await until(lambda: b.requests, "the request")
            waiting = a.ask("b", within_ms=60_000)
            a.exchange.peer_gone("b", 5)
            assert sent.failures == [PEER_GONE]
            assert waiting.failures == [UNAVAILABLE]
            assert not waiting.failures[0].may_have_happened
            a.exchange.peer_gone("b", 5)
            a.exchange.peer_gone("b")
            assert a.gone == [("b", 5)]

    run(main())


def test_late_word_of_a_death_leaves_the_successor_alone(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, first = kit.start("a"), kit.start("b", epoch=1)
            await a.talk("b")
            await first.exchange.stop()
            await a.hears_the_end_of("b")
            second = kit.start("b", epoch=2, holds=True)
            asked = a.ask("b", within_ms=60_000)
            await until(lambda: second.requests, "the request")
            a.exchange.peer_gone("b", 1)
            assert asked.ended() == 0
            second.requests[0].reply(b"alive")
            await until(asked.ended, "the reply")
            assert asked.replies == [b"alive"]
            assert a.gone == [("b", 1)]

    run(main())


def test_what_a_dead_process_asked_is_forgotten(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a", epoch=3), kit.start("b", holds=True)
            a.ask("b")
            a.ask("b")
            await until(lambda: len(b.requests) == 2, "the requests")
            first, second = b.requests
            assert first.reply(b"on its way")
            b.exchange.peer_gone("a", 3)
            assert b.gone == [("a", 3)]
            assert b.undelivered == [("a", b"on its way")]
            assert not second.reply(b"too late")
            assert second.caller.gone

    run(main())


def test_reply_to_a_process_that_vanished_comes_back(run: Run, run_folder: Path) -> None:
    """Nobody has told of its death yet."""

    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b", holds=True)
            for _ in range(2_000):
                a.ask("b")
            await until(lambda: len(b.requests) == 2_000, "the requests")
            await a.exchange.stop()
            last = b.requests.pop()
            # Until the end of the connection is noticed, replies are lost with it: whoever was to read them died.
            await until(lambda: b.undelivered or not b.requests.pop().reply(b"jobs"), "a reply to come back")
            assert set(b.undelivered) == {("a", b"jobs")}
            assert not last.reply(b"more")

    run(main())


def test_process_that_returns_under_its_name_was_gone_before(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            b, first = kit.start("b", holds=True), kit.start("a", epoch=1)
            first.ask("b")
            await until(lambda: b.requests, "the request")
            await first.exchange.stop()
            second = kit.start("a", epoch=2)
            second.ask("b")
            await until(lambda: len(b.requests) == 2, "the second request")
            assert b.gone == [("a", 1)]
            assert not b.requests[0].reply(b"to the first")
            assert b.requests[1].reply(b"to the second")

    run(main())


# Credit


def test_credit_runs_out_and_returns(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, _ = kit.start("a", credit_bytes=10_000), kit.start("b", holds=True)
            assert a.exchange.writable("b")
            sent = 0
            while a.exchange.writable("b"):
                a.ask("b", bytes(100))
                sent += 1
            assert a.exchange.in_flight_bytes("b") >= 10_000
            assert 60 <= sent <= 100
            assert a.writable == []
            await until(lambda: a.writable, "credit")  # though none is answered: they were taken
            assert a.writable == ["b"]
            assert a.exchange.writable("b")

    run(main())


def test_request_far_past_the_credit_is_refused(run: Run, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "OVERDRAFT_BYTES_MAX", 5_000)

    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a", credit_bytes=1_000)
            while a.exchange.in_flight_bytes("b") <= 6_000:
                a.ask("b", bytes(100))
            with pytest.raises(Unavailable, match=r"b does not keep up: 6\d\d\d bytes wait for it"):
                a.ask("b", bytes(100))

    run(main())


def test_notices_do_not_pile_up_without_bound(run: Run, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "NOTICES_MAX", 10)

    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a")
            for _ in range(10):
                a.exchange.notify("b", Notice.CONNECTION_GONE, bytes(8))
            with pytest.raises(Unavailable, match="10 messages wait"):
                a.exchange.notify("b", Notice.CONNECTION_GONE, bytes(8))

    run(main())


# Faults


def test_request_whose_handler_fails_is_answered_internal(run: Run, run_folder: Path) -> None:
    def fails(incoming: Incoming) -> None:
        raise ValueError("no such thing")

    async def main() -> None:
        async with stations(run_folder, faults=True) as kit:
            a, _ = kit.start("a"), kit.start("b", on_request=fails)
            asked = [a.ask("b"), a.ask("b")]
            await until(lambda: all(one.ended() for one in asked), "their ends")
            assert [one.failures for one in asked] == [[FAULTY]] * 2 == [["internal"]] * 2
            assert kit.faults == ["b: A request of a failed: no such thing"] * 2

    run(main())


def test_callback_that_fails_takes_no_other_with_it(run: Run, run_folder: Path) -> None:
    def fails(body: bytes) -> None:
        raise ValueError("not mine")

    async def main() -> None:
        async with stations(run_folder, faults=True) as kit:
            a, _ = kit.start("a"), kit.start("b")
            fields: dict[str, Any] = {"codec": 0, "gid": 1, "principal": "", "flags": 0, "deadline_ms": 0}
            a.exchange.request("b", b"", on_reply=fails, on_fail=fails, **fields)
            assert await a.talk("b") == b"hello"
            assert kit.faults == ["a: Taking a reply of b failed: not mine"]

    run(main())


def test_notice_that_nobody_takes_is_reported(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder, faults=True) as kit:
            a, _ = kit.start("a"), kit.start("b", on_notice=None)
            a.exchange.notify("b", Notice.CONNECTION_GONE, bytes(8))
            await until(lambda: kit.faults, "a report")
            assert "Nobody takes notices here: CONNECTION_GONE of a, 8 bytes" in kit.faults[0]

    run(main())


def test_notices_keep_their_place_among_requests(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            order: list[bytes] = []
            a = kit.start("a")
            kit.start("b", on_request=lambda q: order.append(q.frame), on_notice=lambda _, kind, p: order.append(p))
            for n in range(20):
                a.ask("b", b"%d" % n)
                a.exchange.notify("b", 16 + n, b"note %d" % n)
            await until(lambda: len(order) == 40, "all of them")
            assert order == [text for n in range(20) for text in (b"%d" % n, b"note %d" % n)]

    run(main())


# By hand: what only a peer of another time or version would send


class Stranger:
    """A plain DEALER that speaks the envelope as it likes."""

    def __init__(self, run: Path, peer: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, os.urandom(8))
        self.socket.connect(f"ipc://{run}/{peer}.zmq")

    def say(self, *items: outbox.Item, epoch: int = 1, to: int) -> None:
        box = outbox.Outbox()
        box.items = list(items)
        box.seal(epoch, to, 0)
        self.socket.send_multipart(box.messages[0][0])

    async def hear(self) -> bytes:
        await until(lambda: self.socket.poll(0), "an answer")
        return self.socket.recv_multipart()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.context.destroy(linger=0)


def hello() -> outbox.Item:
    return 0, envelope.HELLO_ITEM.pack(envelope.HELLO, 1, 1 << 20), b"s"


def request(correlation: int, *, deadline_ms: int = 0) -> outbox.Item:
    head = envelope.REQUEST_ITEM.pack(envelope.REQUEST, 0, 0, 0, correlation, 1, deadline_ms, 2)
    return correlation, head, b"hi"


def refusals(data: bytes) -> list[tuple[int, str]]:
    """Correlation and cause of each, of a message that has nothing else."""
    reader = Reader(data, [])
    at, size = envelope.HEAD.size, envelope.REFUSAL_ITEM.size
    items = [envelope.REFUSAL_ITEM.unpack_from(data, place) for place in range(at, len(data), size)]
    reader.ends(at + size * len(items))
    return [(item[4], envelope.CAUSES[item[1]]) for item in items]


def test_request_for_a_dead_epoch_is_refused_by_the_successor(run: Run, run_folder: Path) -> None:
    """ZeroMQ delivers to whoever has the path now what was queued for the process before (its client was told
    that it failed).
    """

    async def main() -> None:
        async with stations(run_folder) as kit:
            b = kit.start("b", epoch=2)
            with Stranger(run_folder, "b") as stranger:
                stranger.say(hello(), to=0)
                assert (await stranger.hear())[envelope.HEAD.size] == envelope.WELCOME
                stranger.say(request(5), request(6), to=1)
                assert refusals(await stranger.hear()) == [(5, "unavailable"), (6, "unavailable")]
                stranger.say(request(7), to=2)
                await until(lambda: b.requests, "the request for this epoch")
                assert [seen.correlation for seen in b.requests] == [7]

    run(main())


def test_request_past_its_deadline_is_not_carried_out(run: Run, run_folder: Path) -> None:
    """Its client has been told so already."""

    async def main() -> None:
        async with stations(run_folder) as kit:
            b = kit.start("b")
            with Stranger(run_folder, "b") as stranger:
                stranger.say(hello(), to=0)
                await stranger.hear()
                stranger.say(request(5, deadline_ms=mono_ms() - 50), request(6, deadline_ms=mono_ms() + 60_000), to=1)
                await until(lambda: b.requests, "the other request")
                assert [seen.correlation for seen in b.requests] == [6]
                data = (await stranger.hear())[: envelope.HEAD.size + envelope.REFUSAL_ITEM.size]
                assert refusals(data) == [(5, "timeout")]

    run(main())


def test_process_that_did_not_introduce_itself_is_refused(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            b = kit.start("b")
            with Stranger(run_folder, "b") as stranger:
                stranger.say(request(5), to=1)
                assert refusals(await stranger.hear()) == [(5, "unavailable")]
                assert b.requests == []

    run(main())


def test_messages_that_cannot_be_read_are_reported_and_change_nothing(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder, faults=True) as kit:
            a, b = kit.start("a"), kit.start("b")
            await a.talk("b")
            with Stranger(run_folder, "b") as stranger:
                dice = random.Random(17)
                box = outbox.Outbox()
                box.items = [hello(), request(1), (0, envelope.NOTICE_ITEM.pack(envelope.NOTICE, 30, 0, 3), b"abc")]
                box.seal(1, 1, 0)
                whole = box.messages[0][0][0]
                for cut in range(len(whole)):
                    stranger.socket.send(whole[:cut])
                for _ in range(300):
                    raw = bytearray(whole)
                    raw[dice.randrange(len(raw))] = dice.randrange(256)
                    stranger.socket.send_multipart([bytes(raw)] + [b"x"] * dice.choice([0, 0, 1, 2]))
                stranger.say(hello(), to=0)
                stranger.say(request(999), to=1)
                await until(lambda: any(seen.correlation == 999 for seen in b.requests), "the last request")
                assert len(kit.faults) > len(whole) // 2
                assert [f for f in kit.faults if "cannot be read" not in f and "failed" not in f] == []
                assert await a.talk("b") == b"hello"

    run(main())


def test_other_version_of_the_envelope_is_named(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder, faults=True) as kit:
            kit.start("b")
            with Stranger(run_folder, "b") as stranger:
                stranger.socket.send(envelope.HEAD.pack(envelope.MAGIC, 2, 0, 1, 1, 0))
                await until(lambda: kit.faults, "a report")
                assert "Envelope of version 2, this process speaks 1" in kit.faults[0]

    run(main())


# Starting and stopping


def test_socket_is_for_its_owner_only(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            kit.start("a")
            assert stat.S_IMODE((run_folder / "a.zmq").stat().st_mode) == 0o600

    run(main())


def test_run_folder_too_deep_for_a_socket_is_refused(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder / ("d" * 90)) as kit:
            with pytest.raises(ConfigError, match=r"has \d+ bytes, at most 107: use a shorter run folder"):
                kit.start("shard-00")

    run(main())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_stop_fails_what_is_pending_and_leaves_nothing_open(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # Stopping waits in the loop's executor: with one thread, which is there already, no race adds another.
        loop.set_default_executor(ThreadPoolExecutor(1))
        await loop.run_in_executor(None, os.getpid)
        descriptors, threads = open_descriptors(), threading.active_count()
        async with stations(run_folder) as kit:
            a, _ = kit.start("a"), kit.start("b", holds=True)
            asked = a.ask("b")
            absent = a.ask("c")
            await until(lambda: a.exchange.in_flight_bytes("b"), "it to leave")
            await a.exchange.stop()
            await a.exchange.stop()
            assert asked.failures in ([PEER_GONE], [UNAVAILABLE])
            assert absent.failures == [UNAVAILABLE]
        await until(lambda: open_descriptors() <= descriptors, "all descriptors closed")
        assert threading.active_count() <= threads

    run(main())


def test_replies_given_before_stop_still_arrive(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        async with stations(run_folder) as kit:
            a, b = kit.start("a"), kit.start("b", holds=True)
            asked = [a.ask("b") for _ in range(50)]
            await until(lambda: len(b.requests) == 50, "the requests")
            for incoming in b.requests:
                incoming.reply(bytes(100_000))
            await b.exchange.stop()
            await until(lambda: all(one.ended() for one in asked), "their ends")
            assert [len(one.replies) for one in asked] == [1] * 50

    run(main())


def test_exchange_without_traffic_wakes_nobody(run: Run, run_folder: Path) -> None:
    """Idle costs nothing: no timer stays armed."""

    async def main() -> None:
        async with stations(run_folder) as kit:
            a, _ = kit.start("a"), kit.start("b")
            asked = a.ask("b", within_ms=30)
            await until(asked.ended, "the reply")
            await until(lambda: a.exchange._asking._deadlines._timer is None, "the timer's end")

    run(main())


def test_unused_exchange_stops(run: Run, run_folder: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        exchange = Exchange(
            "a", run_folder, epoch=1, loop=loop, on_request=lambda q: q.refuse(UNAVAILABLE), on_peer_gone=print
        )
        await exchange.stop()

    run(main())
