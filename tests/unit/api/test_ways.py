"""The order of what a door sends: a request first, the news that its client has gone behind it."""

import asyncio
from typing import Any, cast

import pytest

from flashq.api.calls import Call, Caller
from flashq.api.ways import Command, Ways
from flashq.protocol.dispatch import Dispatcher
from flashq.transport.forwarding import Forwarder

JOBS = b'{"ok":true,"jobs":[{"id":3,"lease":9},{"id":1027,"lease":9},{"id":2,"lease":0}],"success":true}\n'


class Shards:
    """What is sent to them, in order."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.calls: list[Call] = []

    def submit(self, call: Call, frame: bytes) -> None:
        self.sent.append(frame)
        self.calls.append(call)

    def send(self, shard: int, call: Call, frame: bytes, req_id: bytes, wait_ms: int, flags: int) -> None:
        self.submit(call, frame)

    def gone(self, gid: int) -> None:
        self.sent.append(("gone", gid))

    def ended(self, gid: int) -> None:
        self.sent.append(("ended", gid))

    def give_back(self, job_ids: list[int], token: int) -> None:
        self.sent.append(("back", job_ids, token))


@pytest.fixture
def shards() -> Shards:
    return Shards()


@pytest.fixture
def ways(shards: Shards) -> Ways:
    return Ways(cast(Dispatcher, shards), cast(Forwarder, shards), lambda slot: slot % 2)


@pytest.mark.parametrize("slot", [None, 5])
async def test_request_of_a_client_that_has_left_is_followed_by_the_news_and_not_waited_for(
    ways: Ways, shards: Shards, slot: int | None
) -> None:
    """A client may send and leave before its request had its turn. Else its pull would wait at the shard for nobody."""
    caller = Caller(7, "::1")
    caller.leave()
    async with asyncio.timeout(20):
        assert await ways.ask(caller, "anonymous", Command(b"pull", slot, wait_ms=60_000)) == b""
    assert shards.sent == [b"pull", ("gone", 7)]
    assert not shards.calls[0].held.reply(JOBS)  # so that whoever brings the reply takes it back


async def test_jobs_of_a_reply_that_meets_the_end_of_its_client_go_back(ways: Ways, shards: Shards) -> None:
    caller = Caller(7, "::1")
    asking = asyncio.ensure_future(ways.ask(caller, "anonymous", Command(b"pull", wait_ms=60_000)))
    await asyncio.sleep(0)
    assert shards.calls[0].held.reply(JOBS)
    caller.leave()
    assert await asking == b""
    assert shards.sent[1:] == [("back", [3, 1027], 9)]


async def test_client_that_sends_nothing_more_does_not_wait(ways: Ways, shards: Shards) -> None:
    caller = Caller(7, "::1")
    caller.crowded = True
    asking = asyncio.ensure_future(ways.ask(caller, "anonymous", Command(b"pull", wait_ms=60_000)))
    await asyncio.sleep(0)
    assert shards.sent == [b"pull", ("ended", 7)]
    shards.calls[0].held.reply(b'{"ok":true,"job":null}')
    assert await asking == b'{"ok":true,"job":null}'
