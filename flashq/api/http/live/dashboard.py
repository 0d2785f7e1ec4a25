"""What a dashboard shows: one snapshot each few seconds, made once for all who watch, and only while somebody does."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from flashq.access.access import SERVER
from flashq.api.http.calls import Client
from flashq.api.http.live.listener import Listener
from flashq.api.http.pages.figures import metrics, now_ms
from flashq.api.http.pages.page import Host
from flashq.api.http.pages.system import system_metrics
from flashq.api.ways import Command

log = structlog.get_logger()
_encode: Final = msgspec.json.Encoder().encode
_STATS: Final = ("queued", "processing", "delayed", "dlq", "completed")


class Dashboard:
    """That of one process."""

    def __init__(self, host: Host, gid: int, interval_s: float) -> None:
        """`gid`: the id under which it asks shards."""
        self._host = host
        self._client = Client(gid, "dashboard")
        self._interval_s = interval_s
        self._watchers: set[Listener] = set()
        self._new: set[Listener] = set()
        """They have not seen any yet."""
        self._crons: Any = []
        self._task: asyncio.Task[None] | None = None
        self._call = asyncio.Event()

    def watch(self, listener: Listener) -> Callable[[], None]:
        """Send it snapshots, the first at once, until what is returned is called."""
        self._watchers.add(listener)
        self._new.add(listener)
        self._call.set()
        if self._task is None:
            self._task = asyncio.create_task(self._show())

        def end() -> None:
            self._watchers.discard(listener)
            self._new.discard(listener)
            if not self._watchers and self._task is not None:
                self._task.cancel()
                self._task = None

        return end

    async def _show(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._call.clear()
            everybody = loop.time() >= due
            if everybody:
                due = loop.time() + self._interval_s
            try:
                snapshot = await self._snapshot()
            except Exception:  # a bug of ours must not end in silence, nor leave the dashboard dark for good
                log.exception("a snapshot failed")
            else:
                for listener in self._watchers if everybody else self._new:
                    if listener.idle:  # who does not read gets the next one it has room for
                        listener.push(snapshot)
                self._new.clear()
            await self._next(due)

    async def _next(self, due: float) -> None:
        """Returns when the next snapshot is due, or somebody new is there."""
        try:
            async with asyncio.timeout_at(due):
                await self._call.wait()
        except TimeoutError:
            return

    async def _snapshot(self) -> bytes:
        host = self._host
        stats = await self._ask(b'{"cmd":"STATS"}')
        queues = await self._ask(b'{"cmd":"LISTQUEUES"}')
        crons = await self._ask(b'{"cmd":"CRONLIST"}')
        if crons["ok"]:
            self._crons = crons["crons"]
        else:
            log.warning("crons are not known just now", reason=crons["error"])
        now = now_ms()
        return _encode({
            "stats": {name: stats[name] for name in _STATS}, "metrics": metrics(host), "queues": queues["queues"],
            "workers": host.workers.alive(now), "crons": self._crons, "metrics_history": list(host.history.points),
            "system_metrics": system_metrics(host), "sqlite_stats": None, "timestamp": now,
        })  # fmt: skip

    async def _ask(self, frame: bytes) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(await self._host.ways.ask(self._client, SERVER, Command(frame)))
        return found
