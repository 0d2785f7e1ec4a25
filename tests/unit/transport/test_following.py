"""What a process without a shard follows: asked for while somebody does, and asked again after a restart."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from flashq.errors import FlashqError
from flashq.protocol.happenings import Happening
from flashq.transport import following
from flashq.transport.envelope import Failure
from flashq.transport.event_desk import encode_batch
from flashq.transport.following import Batch, Following


class Shards:
    """Takes down what is asked, and answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Any]] = []
        self._answers: list[tuple[Callable[[bytes], Any], Callable[[Failure], None]]] = []

    def ask(
        self, shard: int, frame: bytes, on_reply: Callable[[bytes], Any], on_fail: Callable[[Failure], None]
    ) -> None:
        self.asked.append((shard, msgspec.msgpack.decode(frame)))
        self._answers.append((on_reply, on_fail))

    def answer(self, value: Any, which: int = -1) -> None:
        self._answers[which][0](msgspec.msgpack.encode((True, value, "")))

    def fail(self) -> None:
        self._answers[-1][1](Failure("unavailable", may_have_happened=False))


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[int, str]] = []
        self.gaps = 0
        self.done: list[FlashqError | None] = []

    def hear(self, batch: Batch) -> None:
        self.heard += [(n, h.queue) for n, h in zip(batch.numbers, batch.happenings, strict=True)]

    def gap(self) -> None:
        self.gaps += 1


def notice(epoch: int, *events: tuple[int, str]) -> bytes:
    happenings = [Happening("pushed", queue, 1, 0, None, 0, None, None, None) for _, queue in events]
    return encode_batch((epoch, [n for n, _ in events], happenings))


async def test_one_question_serves_all_who_follow_a_queue() -> None:
    shards = Shards()
    feed = Following("http-0", shards.ask, asyncio.get_running_loop())
    one, two, three = Ear(), Ear(), Ear()
    feed.follow((1, "a"), one, one.done.append)
    feed.follow((1, "a"), two, two.done.append)
    assert shards.asked == [(1, ["listen", ["http-0", "a", True]])]
    assert one.done == two.done == []
    shards.answer((5, 10))
    assert one.done == two.done == [None]
    feed.follow((1, "*"), three, three.done.append)
    shards.answer((5, 10))
    feed.came(1, notice(5, (11, "a"), (12, "b")))
    feed.came(0, notice(5, (3, "a")))
    assert one.heard == two.heard == [(11, "a")]
    assert three.heard == [(11, "a"), (12, "b")]
    assert feed.positions[1] == (5, 12)
    feed.stop()


async def test_shard_is_told_to_stop_only_when_nobody_came_back(monkeypatch: Any) -> None:
    monkeypatch.setattr(following, "LINGER_S", 0.01)
    shards = Shards()
    feed = Following("http-0", shards.ask, asyncio.get_running_loop())
    ear = Ear()
    feed.follow((0, "a"), ear, ear.done.append)
    shards.answer((5, 1))
    feed.leave((0, "a"), ear)
    feed.follow((0, "a"), ear, ear.done.append)
    assert len(shards.asked) == 1
    assert ear.done == [None, None]
    feed.leave((0, "a"), ear)
    feed.leave((0, "a"), ear)
    async with asyncio.timeout(5):
        while len(shards.asked) == 1:
            await asyncio.sleep(0)
    assert shards.asked[1] == (0, ["listen", ["http-0", "a", False]])


async def test_restarted_shard_is_asked_again_until_it_answers_and_followers_hear_of_the_gap(monkeypatch: Any) -> None:
    monkeypatch.setattr(following, "RETRY_S", 0.01)
    shards = Shards()
    feed = Following("http-0", shards.ask, asyncio.get_running_loop())
    ear = Ear()
    feed.follow((0, "a"), ear, ear.done.append)
    shards.answer((5, 1))
    feed.shard_serves(1)
    assert len(shards.asked) == 1
    feed.shard_serves(0)
    shards.fail()
    async with asyncio.timeout(5):
        while len(shards.asked) == 2:
            await asyncio.sleep(0)
    shards.answer((6, 1))
    assert (ear.gaps, ear.done, feed.positions[0]) == (1, [None], (6, 1))
    feed.shard_serves(0)
    shards.answer((6, 4))
    assert ear.gaps == 1
    feed.stop()


async def test_who_cannot_follow_is_told_why() -> None:
    shards = Shards()
    feed = Following("http-0", shards.ask, asyncio.get_running_loop())
    ear = Ear()
    feed.follow((0, "a"), ear, ear.done.append)
    shards.fail()
    (error,) = ear.done
    assert str(error) == "Shard 0 is unavailable"
    feed.follow((0, "a"), ear, ear.done.append)
    shards.answer((5, 1))
    assert ear.done[1] is None
    feed.stop()


async def test_batch_is_made_into_text_and_parted_by_job_once() -> None:
    happenings = [Happening("pushed", "a", n, 0, b'{"a":\r1}', 0, None, None, None) for n in (1, 2, 1)]
    batch = Batch(0, 5, [1, 2, 3], happenings)
    assert (list(batch.of_job(1)), list(batch.of_job(9))) == ([0, 2], [])
    assert batch.text(0) is batch.text(0)
    assert b"\r" not in batch.text(0)
