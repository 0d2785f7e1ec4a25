"""The checkpointer process: one for all shards, and it always gives way to them.

Shards tell which of their segments are closed; they are archived, where that is wanted, and folded by one thread, shard
after shard, and each shard is told how far it is safe. What cannot be archived or folded now is tried again when its
shard tells again: nothing is lost by waiting but room on the disk.
"""

import asyncio
import gc
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

import structlog
import uvloop

from flashq.errors import StorageError
from flashq.shard.archiving import Archiving
from flashq.shard.checkpoints import CLOSED, FOLDED, Segment, decode_segments
from flashq.shard.process import limits_of
from flashq.storage.checkpointer import Checkpointer, segment_records
from flashq.storage.contract import Record
from flashq.storage.sites import FileSite, Site
from flashq.transport.child import EXIT_STOPPED, ChildContext, Order, PeerGone, PeerReady
from flashq.transport.envelope import UNAVAILABLE
from flashq.transport.exchange import Exchange
from flashq.transport.incoming import Incoming

NICE: Final = 10
TRIM_S: Final = 600.0
"""How often archives are looked at to which nothing is added."""
_GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Pages of many jobs live long: they are not to be looked at again and again."""

log = structlog.get_logger()


def run(ctx: ChildContext) -> int:
    """The whole life of the checkpointer; its exit code."""
    os.nice(NICE)
    gc.set_threshold(*_GC_THRESHOLDS)
    return uvloop.run(_live(ctx))


async def _live(ctx: ChildContext) -> int:
    folding = Folding(ctx)
    ctx.control.ready()
    await folding.run()
    return EXIT_STOPPED


class Sources(Protocol):
    """Where there is something to fold, and where it goes."""

    def site(self, shard: int) -> Site: ...

    def records(self, shard: int, segments: list[Segment], position: int) -> Iterable[Record]:
        """The records of what a shard has told, but for those that are in the tables already."""


class FileSources:
    """Segment files."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def site(self, shard: int) -> Site:
        return FileSite(self._data / f"shard-{shard:02}", shard)

    def records(self, shard: int, segments: list[Segment], position: int) -> Iterable[Record]:
        return segment_records(segments, position)


def sources_of(ctx: ChildContext) -> Sources:
    """What the settings ask for. The driver is only imported where there is a database."""
    if not ctx.settings.database_url:
        return FileSources(ctx.settings.data)
    from flashq.storage.postgres.folding import DatabaseSources

    return DatabaseSources(ctx.settings.database_url, ctx.database_run)


class Folding:
    """All shards' checkpointers, and what there is to do for them."""

    def __init__(self, ctx: ChildContext) -> None:
        self._settings = ctx.settings
        self._limits = limits_of(ctx.settings)
        self._sources = sources_of(ctx)
        self._loop = asyncio.get_running_loop()
        self._exchange = Exchange(
            ctx.name, ctx.run, epoch=ctx.incarnation, loop=self._loop, on_request=_nothing_to_ask,
            on_peer_gone=_noted, on_notice=self._on_notice,
        )  # fmt: skip
        self._archiving = Archiving(ctx.settings)
        self._trim_due = self._archiving.wanted
        self._checkpointers: dict[int, Checkpointer] = {}
        self._closed: dict[int, list[Segment]] = {}
        """What shards have told last, and is not done."""
        self._faults: dict[int, str] = {}
        """Why the last fold of a shard failed, so that it is said once."""
        self._stopping = False
        self._wake = asyncio.Event()
        ctx.control.attach(self._loop, self._on_order)

    async def run(self) -> None:
        """Fold until the order to stop."""
        if self._trim_due:
            self._wake.set()
        with ThreadPoolExecutor(1, "folding") as thread:
            while not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                if self._trim_due:
                    self._trim_due = False
                    await self._loop.run_in_executor(thread, self._trim)
                    self._loop.call_later(TRIM_S, self._trim_soon)
                while self._closed and not self._stopping:
                    shard = next(iter(self._closed))
                    segments = self._closed.pop(shard)
                    await self._fold_all(thread, shard, segments)
            for checkpointer in self._checkpointers.values():
                await self._loop.run_in_executor(thread, checkpointer.close)
            await self._loop.run_in_executor(thread, self._archiving.close)
        await self._exchange.stop()

    async def _fold_all(self, thread: ThreadPoolExecutor, shard: int, segments: list[Segment]) -> None:
        """Segment by segment, so that each gives its space back before the next takes some in the tables."""
        for segment in segments:
            if self._stopping:
                return
            position = await self._loop.run_in_executor(thread, self._fold, shard, segment)
            if position:
                self._exchange.notify(f"shard-{shard:02}", FOLDED, position.to_bytes(8, "little"))
            if position < segment[1]:
                return  # it failed: what is behind it has to wait for it

    def _fold(self, shard: int, segment: Segment) -> int:
        """In the thread. How far the shard's tables are now; 0 if it is not known."""
        checkpointer = self._checkpointers.get(shard)
        if checkpointer is None:
            checkpointer = self._checkpointers[shard] = Checkpointer(self._sources.site(shard), self._limits)
        try:
            self._archiving.keep(shard, [segment])
            records = self._sources.records(shard, [segment], checkpointer.position)
            checkpointer.fold_records(records, stopped=lambda: self._stopping)
        except StorageError as fault:
            if self._faults.get(shard) != str(fault):
                self._faults[shard] = str(fault)
                log.error("fold failed: the journal is kept, and grows", shard=shard, reason=str(fault))
            return checkpointer.position
        if self._faults.pop(shard, None):
            log.info("folding goes on", shard=shard)
        return checkpointer.position

    def _trim_soon(self) -> None:
        self._trim_due = True
        self._wake.set()

    def _trim(self) -> None:
        """In the thread."""
        try:
            self._archiving.trim()
        except StorageError as fault:
            log.error("archive cannot be trimmed", reason=str(fault))

    def _on_notice(self, peer: str, kind: int, payload: bytes) -> None:
        if kind != CLOSED:
            raise LookupError(f"The checkpointer takes no notices of kind {kind}, as {peer} sent")
        self._closed[int(peer.removeprefix("shard-"))] = decode_segments(payload)
        self._wake.set()

    def _on_order(self, order: Order) -> None:
        if isinstance(order, PeerGone):
            self._exchange.peer_gone(order.name, order.incarnation)
        elif not isinstance(order, PeerReady):
            self._stopping = True
            self._wake.set()


def _nothing_to_ask(incoming: Incoming) -> None:
    incoming.refuse(UNAVAILABLE)


def _noted(name: str, epoch: int) -> None:
    """Nothing is pending to a shard."""
