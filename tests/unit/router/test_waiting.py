"""Connections whose shard does not take them just now."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from flashq.router.waiting import Waiting, WaitingRoom


class Stage:
    """A waiting room, and shards that take what they are told to."""

    def __init__(self, patience_ms: int = 10_000, waiting_max: int = 100) -> None:
        self.takes: dict[int, int] = {}
        self.sent: list[tuple[int, int]] = []
        self.given_up: list[int] = []
        self.room = WaitingRoom(
            asyncio.get_running_loop(),
            patience_ms=patience_ms,
            send=self._send,
            give_up=lambda waiting: self.given_up.append(waiting.gid),
            waiting_max=waiting_max,
        )
        self._sock = socket.socket()

    def _send(self, shard: int, waiting: Waiting) -> bool:
        if not self.takes.get(shard, 0):
            return False
        self.takes[shard] -= 1
        self.sent.append((shard, waiting.gid))
        return True

    def add(self, shard: int, *gids: int, serves: bool = False) -> None:
        for gid in gids:
            self.room.add(shard, Waiting(self._sock, b"", gid), shard_serves=serves)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    def close(self) -> None:
        self.room.close()
        self._sock.close()


def on_stage(test: Callable[[Stage], Coroutine[Any, Any, None]], **values: int) -> None:
    async def run() -> None:
        stage = Stage(**values)
        try:
            await test(stage)
        finally:
            stage.close()

    asyncio.run(run())


def test_shard_that_comes_back_gets_all_who_waited_in_order() -> None:
    async def test(stage: Stage) -> None:
        stage.add(0, 1, 2, 3)
        stage.add(1, 4)
        stage.takes[0] = 10
        stage.room.retry(0)
        assert stage.sent == [(0, 1), (0, 2), (0, 3)]
        assert (stage.room.line(0), stage.room.line(1), stage.room.waiting) == (0, 1, 1)

    on_stage(test)


def test_shard_with_a_full_line_is_tried_again_soon() -> None:
    async def test(stage: Stage) -> None:
        stage.add(0, 1, 2, serves=True)
        stage.takes[0] = 1
        await stage.until(lambda: stage.sent == [(0, 1)])
        stage.takes[0] = 1
        await stage.until(lambda: stage.sent == [(0, 1), (0, 2)])
        assert stage.room.waiting == 0

    on_stage(test)


def test_shard_that_is_down_is_not_tried() -> None:
    async def test(stage: Stage) -> None:
        stage.takes[0] = 1
        stage.add(0, 1)
        await stage.until(lambda: stage.given_up)
        assert (stage.sent, stage.given_up, stage.room.waiting) == ([], [1], 0)

    on_stage(test, patience_ms=50)


def test_who_waits_too_long_is_given_up_and_the_next_is_not() -> None:
    async def test(stage: Stage) -> None:
        stage.add(0, 1)
        await asyncio.sleep(0.05)
        stage.add(0, 2)
        await stage.until(lambda: stage.given_up)
        assert (stage.given_up, stage.room.line(0)) == ([1], 1)
        await stage.until(lambda: stage.room.waiting == 0)
        assert stage.given_up == [1, 2]

    on_stage(test, patience_ms=150)


def test_who_finds_the_room_full_is_given_up_at_once() -> None:
    async def test(stage: Stage) -> None:
        stage.add(0, 1, 2, 3)
        assert (stage.given_up, stage.room.waiting) == ([3], 2)

    on_stage(test, waiting_max=2)


def test_room_that_closes_gives_everybody_up() -> None:
    async def test(stage: Stage) -> None:
        stage.add(0, 1)
        stage.add(1, 2)
        stage.room.close()
        assert sorted(stage.given_up) == [1, 2]
        assert stage.room.waiting == 0

    on_stage(test)
