"""All who listen at one HTTP process: let in, kept awake, and sent home when it stops."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from flashq.access.access import Access
from flashq.access.needs import READ_ALL
from flashq.access.scopes import Verb
from flashq.api.http.calls import Client
from flashq.api.http.failures import HttpFailure
from flashq.api.http.live.listener import Listener
from flashq.api.http.live.records import COMMENT, Form
from flashq.api.http.live.subscription import Subscription
from flashq.api.http.live.targets import Target
from flashq.api.ways import Command, Ways
from flashq.protocol.slots import slot_of_queue
from flashq.transport.following import ALL, Following, Key, Position

LISTENERS_MAX: Final = 10_000
COMMENT_S: Final = 15.0
"""So often a stream without events shows that it lives."""
STOP_S: Final = 2.0


class _Job(msgspec.Struct):
    queue: str


class _Shown(msgspec.Struct):
    ok: bool
    job: _Job | None = None
    error: str = ""
    code: str = ""


_shown: Final = msgspec.json.Decoder(_Shown).decode


class Hub:
    """Those of one process."""

    def __init__(self, ways: Ways, following: Following, shards: int, access: Access) -> None:
        self._ways = ways
        self._access = access
        self._following = following
        self._shards = shards
        self._listeners: set[Listener] = set()
        self._commented: set[Listener] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.stopping = False
        self._empty = asyncio.Event()
        """Set when we stop and the last has left."""

    def enter(self, client: Client, lagged: Callable[[int | None], bytes], *, comments: bool) -> Listener:
        """One more. `comments`: it is to see a comment now and then. Raises HttpFailure 503."""
        if self.stopping:
            raise HttpFailure(503, "Stopping", (b"retry-after", b"1"))
        if len(self._listeners) >= LISTENERS_MAX:
            raise HttpFailure(503, f"Too many listeners (max {LISTENERS_MAX})", (b"retry-after", b"1"))
        listener = Listener(lagged)
        self._listeners.add(listener)
        if comments:
            self._commented.add(listener)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(COMMENT_S, self._comment)
        client.listener = listener
        if client.lost:
            listener.leave()
        elif client.crowded:
            listener.end()  # another request of it waits behind this one, which would never end
        return listener

    def leave(self, client: Client, listener: Listener) -> None:
        """It listens no more."""
        client.listener = None
        self._listeners.discard(listener)
        self._commented.discard(listener)
        if self.stopping and not self._listeners:
            self._empty.set()

    def _comment(self) -> None:
        self._timer = None
        for listener in self._commented:
            if listener.idle:
                listener.push(COMMENT)
        if self._commented:
            self._timer = asyncio.get_running_loop().call_later(COMMENT_S, self._comment)

    async def subscribe(
        self, client: Client, principal: str, listener: Listener, form: Form, target: Target, *,
        kinds: frozenset[str] | None, saw: dict[int, Position] | None = None,
    ) -> Subscription:  # fmt: skip
        """It hears what happens from now on. Raises HttpFailure 404 for a job that is none, Unavailable, Forbidden."""
        keys = await self._keys(client, principal, target, came_back=saw is not None)
        found = Subscription(
            self._following, keys, listener, form, kinds=kinds, job_id=target.job_id or 0, saw=saw,
        )  # fmt: skip
        await found.start()
        return found

    async def _keys(self, client: Client, principal: str, target: Target, *, came_back: bool) -> list[Key]:
        if target.queue is not None:
            self._access.check(principal, Verb.READ, target.queue)
            return [(self._ways.owner_of(slot_of_queue(target.queue)), target.queue)]
        if target.job_id is None:
            self._access.check_need(principal, READ_ALL)
            return [(shard, ALL) for shard in range(self._shards)]
        slot = target.job_id & 1023
        owner = self._ways.owner_of(slot)
        shown = _shown(
            await self._ways.ask(client, principal, Command(b'{"cmd":"GETJOB","id":%d}' % target.job_id, slot))
            or _GONE
        )  # fmt: skip
        if shown.ok and shown.job is not None:
            return [(owner, shown.job.queue)]
        if shown.code in ("forbidden", "unauthenticated"):
            raise HttpFailure(403 if shown.code == "forbidden" else 401, shown.error)
        if not shown.ok and shown.code != "not_found":
            raise HttpFailure(503, shown.error, (b"retry-after", b"1"))
        if came_back:
            self._access.check_need(principal, READ_ALL)
            return [(owner, ALL)]  # it is no more, and with it the name of its queue; how it ended may yet be told
        raise HttpFailure(404, f"Job {target.job_id} not found")

    async def stop(self) -> None:
        """Let in nobody, send what there is to send, within reason."""
        self.stopping = True
        for listener in self._listeners:
            listener.end()
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(STOP_S if self._listeners else 0):
                await self._empty.wait()
        except TimeoutError:
            return  # those that do not read are cut off with their connections


_GONE: Final = b'{"ok":false,"error":"The client has gone","code":"unavailable"}'
