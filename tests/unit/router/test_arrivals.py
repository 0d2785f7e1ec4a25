"""Connections between their accept and their place."""

import asyncio
import json
import os
import socket
import struct
import sys
from pathlib import Path

import msgspec
import pytest

from flashq.config import Settings
from flashq.protocol.head import Head
from flashq.router import arrivals
from tests.unit.router.door import Door, with_door

PUSH = b'{"cmd":"PUSH","queue":"mail","data":1}\n'
TOKENS = Settings(auth_tokens=("t" * 32,), preauth_timeout_ms=200)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_connection_is_placed_with_its_head_and_all_bytes_read() -> None:
    async def test(door: Door) -> None:
        door.client(PUSH * 3)
        await door.until(lambda: door.placed)
        assert door.placed[0].data == PUSH * 3
        assert door.placed[0].head == Head(cmd="PUSH", queue="mail")

    with_door(test)


def test_placed_connection_is_still_the_clients() -> None:
    async def test(door: Door) -> None:
        client = door.client(PUSH)
        await door.until(lambda: door.placed)
        door.placed[0].sock.send(b"hello")
        door.placed[0].sock.close()
        assert await door.answer(client) == b"hello"

    with_door(test)


def test_head_that_comes_in_pieces_is_waited_for() -> None:
    async def test(door: Door) -> None:
        frame = b'{"cmd":"PUSH","data":[1,{"queue":"no"}],"queue":"mail"}\n'
        client = door.client()
        for i in range(len(frame) - 3):
            client.send(frame[i : i + 1])
            await asyncio.sleep(0)
        assert not door.placed
        client.send(frame[-3:])
        await door.until(lambda: door.placed)
        assert door.placed[0].head == Head(cmd="PUSH", queue="mail")
        assert door.placed[0].data == frame

    with_door(test)


def test_many_connections_at_once_are_all_placed() -> None:
    async def test(door: Door) -> None:
        for _ in range(200):
            door.client(PUSH)
        await door.until(lambda: len(door.placed) == 200)

    with_door(test)


def test_queue_behind_more_than_is_read_is_placed_without_a_head() -> None:
    """The gateway goes on from there: it forwards what it has to."""

    async def test(door: Door) -> None:
        frame = b'{"cmd":"PUSH","data":"' + b"x" * 1_000_000 + b'","queue":"mail"}\n'
        loop = asyncio.get_running_loop()
        sending = loop.create_task(loop.sock_sendall(door.client(), frame))
        await door.until(lambda: door.placed)
        assert door.placed[0].head is None
        assert len(door.placed[0].data) == arrivals.HEAD_BYTES_MAX
        sending.cancel()

    with_door(test)


def test_silent_and_half_finished_connections_are_left_alone() -> None:
    """Without tokens nobody is closed for being slow; and nobody else waits for them."""

    async def test(door: Door) -> None:
        quiet = [door.client(b'{"cmd":"PU' * (n % 2)) for n in range(100)]
        door.client(PUSH)
        await door.until(lambda: door.placed)
        assert len(door.placed) == 1
        for client in quiet:
            with pytest.raises(BlockingIOError):
                client.recv(1)

    with_door(test)


def test_connection_that_ends_without_a_word_leaves_nothing() -> None:
    async def test(door: Door) -> None:
        before = descriptors()
        for _ in range(20):
            door.client().close()
        client = door.client(PUSH)
        await door.until(lambda: door.placed)
        door.placed.pop().sock.close()
        client.close()
        await door.until(lambda: descriptors() <= before)

    with_door(test)


def test_connection_reset_while_it_is_read_leaves_nothing() -> None:
    async def test(door: Door) -> None:
        client = door.client(b'{"cmd"')
        await door.until(lambda: door.arrivals._waiting)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await door.until(lambda: not door.arrivals._waiting)
        assert door.arrivals._head_bytes == 0
        assert not door.placed

    with_door(test)


@pytest.mark.parametrize("last", [b'{"cmd":"STATS"}', b'{"cmd":"PUSH","data":1,"queue":"mail"'])
def test_request_before_a_half_close_is_placed(last: bytes) -> None:
    """At the end of its words what a client has asked is carried out, a line without its end too."""

    async def test(door: Door) -> None:
        client = door.client(last)
        client.shutdown(socket.SHUT_WR)
        await door.until(lambda: door.placed)
        assert door.placed[0].data == last
        assert door.placed[0].head is not None

    with_door(test)


def test_all_unfinished_heads_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ALL_HEADS_BYTES_MAX", 100_000)

    async def test(door: Door) -> None:
        part = b'{"cmd":"PUSH","data":"' + b"x" * 20_000
        clients = [door.client(part) for _ in range(5)]
        await door.until(lambda: door.arrivals.refused)
        reply = json.loads(await door.answer(clients[4]))
        assert (reply["ok"], reply["code"]) == (False, "unavailable")
        assert door.arrivals._head_bytes <= 100_000
        door.client(PUSH)
        await door.until(lambda: door.placed)

    with_door(test)


def test_stranger_who_does_not_finish_is_sent_away_when_tokens_are_configured() -> None:
    async def test(door: Door) -> None:
        silent, slow = door.client(), door.client(b'{"cmd":"AU')
        binary = door.client(b"\x00\x00\x00\x20\x81")
        for client in (silent, slow):
            assert json.loads(await door.answer(client))["code"] == "unavailable"
        reply = await door.answer(binary)
        assert msgspec.msgpack.decode(reply[4:])["ok"] is False
        assert not door.arrivals._waiting

    with_door(test, TOKENS)


def test_stranger_who_is_placed_in_time_is_not_sent_away_later() -> None:
    async def test(door: Door) -> None:
        client = door.client(b'{"cmd":"AUTH",')
        await door.until(lambda: door.arrivals._waiting)
        client.send(b'"token":"t"}\n')
        await door.until(lambda: door.placed)
        door.client()
        await door.until(lambda: door.arrivals.refused == 1)
        with pytest.raises(BlockingIOError):
            client.recv(1)

    with_door(test, TOKENS)


def test_frame_of_a_stranger_that_announces_too_much_is_not_waited_for() -> None:
    async def test(door: Door) -> None:
        door.client((100_000).to_bytes(4, "big"))
        await door.until(lambda: door.placed)
        assert door.placed[0].head == Head()

    with_door(test, TOKENS)


def test_near_the_limit_of_descriptors_a_connection_is_refused_with_words() -> None:
    async def test(door: Door) -> None:
        client = door.client(PUSH)
        assert json.loads(await door.answer(client)) == {
            "ok": False,
            "error": "Too many connections",
            "code": "unavailable",
        }
        binary = door.client(b"\x00\x00\x00\x01\x80")
        assert msgspec.msgpack.decode((await door.answer(binary))[4:])["error"] == "Too many connections"
        assert door.arrivals.refused == 2

    with_door(test, descriptors_max=arrivals.SPARE_DESCRIPTORS)


def test_out_of_descriptors_the_door_answers_and_old_connections_live(tmp_path: Path) -> None:
    """In a process of its own, whose limit is used up by files."""
    script = tmp_path / "exhaust.py"
    script.write_text(EXHAUST.format(folder=str(Path(__file__).parents[3])))
    pid = os.posix_spawn(sys.executable, [sys.executable, str(script)], dict(os.environ))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


EXHAUST = """
import asyncio, json, os, resource, sys
sys.path.insert(0, {folder!r})
from tests.unit.router.door import with_door

async def test(door):
    old = door.client(b"{{")
    await door.until(lambda: door.arrivals._waiting)
    late = door.client()  # connected, not accepted yet
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    files = []
    try:
        while True:
            files.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        assert error.errno == 24, error
    assert json.loads(await door.answer(late))["error"] == "Too many connections"
    os.close(files.pop())
    old.send(b'"cmd":"STATS"}}\\n')
    await door.until(lambda: door.placed)

with_door(test)
"""


def test_closed_doors_let_nobody_in_and_leave_no_descriptor() -> None:
    before = descriptors()

    async def test(door: Door) -> None:
        door.client(b"{")
        await door.until(lambda: door.arrivals._waiting)
        door.arrivals.close()
        door.arrivals.close()
        with pytest.raises(ConnectionError):
            socket.create_connection(door.address, 1)

    with_door(test)
    assert descriptors() == before
