"""Exchanges under test: what they are told is kept, what they are asked is echoed or held."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from flashq.transport.envelope import Failure
from flashq.transport.exchange import Exchange
from flashq.transport.incoming import Incoming
from flashq.transport.peer import Stage

PATIENCE_S: Final = 10.0


def mono_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def until(condition: Callable[[], object], what: str) -> None:
    """Let the loop turn until something is so; an AssertionError that names it if it never is."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        await asyncio.sleep(0.001)


class Asked:
    """One request, and all that came of it."""

    def __init__(self) -> None:
        self.correlation = 0
        self.replies: list[bytes] = []
        self.failures: list[Failure] = []

    def ended(self) -> int:
        """How often it ended, which is to be once."""
        return len(self.replies) + len(self.failures)


class Station:
    """One exchange and what it heard."""

    def __init__(self, name: str, run: Path, *, epoch: int = 1, holds: bool = False, **options: Any) -> None:
        self.holds = holds
        self.requests: list[Incoming] = []
        self.gone: list[tuple[str, int]] = []
        self.notices: list[tuple[str, int, bytes]] = []
        self.undelivered: list[tuple[str, bytes]] = []
        self.writable: list[str] = []
        handlers: dict[str, Any] = {
            "on_request": self._requested,
            "on_peer_gone": lambda name, epoch: self.gone.append((name, epoch)),
            "on_notice": lambda *notice: self.notices.append(notice),
            "on_undelivered": lambda *reply: self.undelivered.append(reply),
            "on_writable": self.writable.append,
        }
        loop = asyncio.get_running_loop()
        self.exchange = Exchange(name, run, epoch=epoch, loop=loop, **{**handlers, **options})

    def _requested(self, incoming: Incoming) -> None:
        self.requests.append(incoming)
        if not self.holds:
            incoming.reply(incoming.frame)

    def ask(self, peer: str, frame: bytes = b"hello", *, within_ms: int = 0, **fields: Any) -> Asked:
        """Send a request; `within_ms` 0: no deadline."""
        asked = Asked()
        given: dict[str, Any] = {"codec": 0, "gid": 1, "principal": "", "flags": 0, **fields}
        asked.correlation = self.exchange.request(
            peer,
            frame,
            deadline_ms=mono_ms() + within_ms if within_ms else 0,
            on_reply=asked.replies.append,
            on_fail=asked.failures.append,
            **given,
        )
        return asked

    async def hears_the_end_of(self, peer: str) -> None:
        """Wait until the end of the connection to a peer has been noticed: what is asked from then on waits."""
        asking = self.exchange._asking
        await until(lambda: asking._peers[peer].stage is not Stage.GREETED, f"the end of {peer}")

    async def talk(self, peer: str, frame: bytes = b"hello") -> bytes:
        """Ask and wait for the reply."""
        asked = self.ask(peer, frame)
        await until(asked.ended, f"an end of a request to {peer}")
        assert asked.failures == []
        return asked.replies[0]


class Stations:
    """All exchanges of one test, and the faults that their loop was told of."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.faults: list[str] = []
        self._started: list[Station] = []

    def start(self, name: str, **options: Any) -> Station:
        station = Station(name, self.run, **options)
        self._started.append(station)
        return station

    async def stop(self) -> None:
        for station in self._started:
            await station.exchange.stop()


@asynccontextmanager
async def stations(run: Path, *, faults: bool = False) -> AsyncIterator[Stations]:
    """`faults`: the test expects some, and looks at them; else there must be none."""
    loop = asyncio.get_running_loop()
    kit = Stations(run)
    loop.set_exception_handler(
        lambda _, context: kit.faults.append(f"{context['message']}: {context.get('exception')}")
    )
    try:
        yield kit
    finally:
        await kit.stop()
        loop.set_exception_handler(None)
    assert faults or kit.faults == []
