"""Exchanges between processes, of which one is killed or stopped at the worst of times."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from flashq.transport.envelope import PEER_GONE, UNAVAILABLE
from tests.integration.exchange_kit import Asked, stations, until

ROOT = Path(__file__).parents[2]
Start = Callable[[str, int], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(run_folder: Path) -> Iterator[Start]:
    """Starts a peer of a name and an epoch; it serves when this returns."""
    running: list[subprocess.Popen[bytes]] = []

    def start_peer(name: str, epoch: int) -> "subprocess.Popen[bytes]":
        script = str(Path(__file__).with_name("exchange_peer.py"))
        command = [sys.executable, script, str(run_folder), name, str(epoch)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
        running.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    yield start_peer
    for child in running:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(main)


def test_killed_peer_fails_what_it_held_and_its_successor_gets_none_of_it(run_folder: Path, start: Start) -> None:
    """Also without the supervisor's word: the end of the connection is enough."""
    first = start("b", 1)

    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a")
            await a.talk("b", b"echo")
            held = [a.ask("b", b"hold %d" % n, within_ms=60_000) for n in range(500)]
            assert await a.talk("b", b"count") == b"501"
            killed = time.monotonic()
            first.kill()
            await until(lambda: all(one.ended() for one in held), "their ends")
            assert time.monotonic() - killed < 1.0
            assert all(one.failures == [PEER_GONE] for one in held)
            start("b", 2)
            assert await a.talk("b", b"echo again") == b"echo again"
            assert await a.talk("b", b"count") == b"1"
            assert a.gone == [("b", 1)]

    run(main())


@pytest.mark.parametrize("round_", range(5))
def test_requests_under_way_at_a_kill_end_once_each(run_folder: Path, start: Start, round_: int) -> None:
    """The peer is killed in the middle of a stream of requests and replies, and replaced."""
    first = start("b", 1)

    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a")
            asked: list[Asked] = []
            for n in range(400):
                asked += [a.ask("b", b"echo %d" % n, within_ms=20_000) for _ in range(20)]
                if n == 100 + 40 * round_:
                    first.kill()
                    first.wait()
                    start("b", 2)
                await asyncio.sleep(0)
            await until(lambda: all(one.ended() for one in asked), "their ends")
            assert all(one.ended() == 1 for one in asked)
            failed = [one for one in asked if one.failures]
            # Most were with the dead one; what reached the successor in its name was refused unseen.
            assert all(one.failures in ([PEER_GONE], [UNAVAILABLE]) for one in failed)
            answered = sum(bool(one.replies) for one in asked)
            seen = int(await a.talk("b", b"count"))
            assert 0 < seen <= answered  # what the successor saw was answered; nothing it saw was failed
            assert a.gone == [("b", 1)]

    run(main())


def test_stopped_peer_costs_no_more_than_its_credit_and_loses_nothing(run_folder: Path, start: Start) -> None:
    """SIGSTOP: the peer is there and takes nothing. Who looks at `writable` is held up, and others are not."""
    stopped = start("b", 1)
    start("c", 1)

    async def main() -> None:
        async with stations(run_folder) as kit:
            a = kit.start("a", credit_bytes=1 << 20)
            await a.talk("b", b"echo")
            os.kill(stopped.pid, signal.SIGSTOP)
            asked: list[Asked] = []
            for _ in range(2_000):  # turns of the loop, in each of which everybody sends as much as they may
                while a.exchange.writable("b"):
                    asked.append(a.ask("b", b"echo" + bytes(10_000), within_ms=60_000))
                await asyncio.sleep(0)
            assert 100 <= len(asked) <= 106
            assert a.exchange.in_flight_bytes("b") < (1 << 20) + 11_000
            assert await a.talk("c", b"echo") == b"echo"
            assert not any(one.ended() for one in asked)
            os.kill(stopped.pid, signal.SIGCONT)
            await until(lambda: a.writable == ["b"], "credit")
            await until(lambda: all(one.ended() for one in asked), "their ends")
            assert all(one.replies for one in asked)

    run(main())


def test_caller_that_reads_nothing_delays_no_other_and_gets_all_its_replies(run_folder: Path, start: Start) -> None:
    """Replies pile up past ZeroMQ's high-water mark, and leave once there is room."""

    async def main() -> None:
        async with stations(run_folder) as kit:
            b = kit.start("b", holds=True)
            child = start("a", 1)
            deaf = await slow_caller(run_folder)
            await until(lambda: len(b.requests) == 3_000, "the requests")
            os.kill(deaf.pid, signal.SIGSTOP)
            for incoming in b.requests:
                assert incoming.reply(bytes(2_000))
                b.exchange.flush()  # a message each
            assert await b.talk("a", b"echo") == b"echo"
            assert b.exchange._answering._blocked
            os.kill(deaf.pid, signal.SIGCONT)
            await until(lambda: deaf.returncode is not None, "it to have all replies")
            assert deaf.returncode == 0
            assert b.undelivered == []
            assert child.poll() is None

    run(main())


async def slow_caller(run_folder: Path) -> asyncio.subprocess.Process:
    script = str(Path(__file__).with_name("exchange_caller.py"))
    return await asyncio.create_subprocess_exec(
        sys.executable, script, str(run_folder), env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
