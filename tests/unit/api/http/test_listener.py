"""A listener's buffer: bounded, and honest about what did not fit."""

import asyncio

from flashq.api.http.live.listener import BUFFER_BYTES, Listener


def make() -> Listener:
    return Listener(lambda missed: f"lagged {missed}".encode())


async def test_records_come_in_order_and_the_end_after_them() -> None:
    listener = make()
    listener.push(b"a")
    listener.push(b"b")
    assert await listener.take() == [b"a", b"b"]
    waiting = asyncio.create_task(listener.take())
    await asyncio.sleep(0)
    listener.push(b"c")
    listener.end()
    assert await waiting == [b"c"]
    assert await listener.take() == []
    listener.push(b"d")
    assert await listener.take() == []


async def test_full_buffer_loses_what_comes_until_it_is_read_and_tells_how_many() -> None:
    listener = make()
    big = b"x" * (BUFFER_BYTES // 2)
    for _ in range(5):
        listener.push(big)
    listener.push(b"small")  # there is room for it, but it would come before it is known that others are missing
    assert [await listener.take() for _ in range(2)] == [[big], [big]]
    assert await listener.take() == [b"lagged 4"]
    listener.push(b"next")
    assert await listener.take() == [b"next"]


async def test_what_is_being_sent_takes_room_until_it_is_sent() -> None:
    listener = make()
    listener.push(b"x" * BUFFER_BYTES)
    await listener.take()
    listener.push(b"y")
    assert not listener.idle
    assert await listener.take() == [b"lagged 1"]
    assert listener.idle


async def test_one_record_larger_than_the_buffer_is_sent() -> None:
    listener = make()
    huge = b"x" * (3 * BUFFER_BYTES)
    listener.push(huge)
    assert await listener.take() == [huge]


async def test_drained_waits_for_the_last_to_be_sent_or_for_the_end() -> None:
    listener = make()
    await listener.drained()
    listener.push(b"a")
    drained = asyncio.create_task(listener.drained())
    await listener.take()
    assert not drained.done()
    taking = asyncio.create_task(listener.take())
    await drained
    listener.push(b"b")
    assert await taking == [b"b"]
    again = asyncio.create_task(listener.drained())
    await asyncio.sleep(0)
    listener.leave()
    await again
    assert await listener.take() == []


async def test_gap_and_misses_of_others_are_told() -> None:
    listener = make()
    listener.gap()
    listener.miss(3)
    assert await listener.take() == [b"lagged None"]
    assert await listener.take() == [b"lagged 3"]
    listener.miss(0)
    assert listener.idle
