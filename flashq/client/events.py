"""Listening to a queue: what happens there, in order, as it happens.

A connection of its own, so that events never stand in the way of replies. What is not read is not buffered here without
bound: reading stops, the server buffers a little and then says how many events it left out (kind "lagged").
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from flashq.client import requests
from flashq.client.connection import Connection, ConnectionLost
from flashq.client.errors import Unreachable
from flashq.client.objects import Event
from flashq.client.session import Session

UNREAD_MAX: Final = 1_000
"""Events that are held here before reading stops."""


class Events:
    """Made by `Client.events`. Everything that happens after entering it is told; iterating waits for the next.

    When the connection breaks, iterating raises Unreachable: what happened meanwhile is not known. Listen again, and
    look at what matters.
    """

    def __init__(self, session: Session, queue: str, kinds: Sequence[str]) -> None:
        self._session = session
        self._queue = queue
        self._kinds = list(kinds)
        self._connection: Connection | None = None
        self._unread: deque[bytes] = deque()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        connection = await self._session.open_another(on_event=self._take)
        request = requests.given("SUBSCRIBE", queue=self._queue, events=self._kinds or None)
        try:
            await connection.request(request, timeout_s=self._session.request_timeout_s)
        except ConnectionLost as lost:
            raise Unreachable(str(lost)) from lost
        except BaseException:
            connection.abort()
            raise
        self._connection = connection
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.abort()
            await self._connection.closed.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        connection = self._connection
        assert connection is not None, "enter it first: async with client.events(...) as events"
        while not self._unread:
            if connection.closed.is_set():
                raise Unreachable("the connection broke: events may have been missed")
            self._news.clear()
            await self._either(connection)
        body = self._unread.popleft()
        if len(self._unread) == UNREAD_MAX - 1:
            connection.read_on(True)
        return connection.wire.decode(body, Event)

    async def _either(self, connection: Connection) -> None:
        """Wait for an event, or the end."""
        waits = [asyncio.ensure_future(each.wait()) for each in (self._news, connection.closed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _take(self, body: bytes) -> None:
        self._unread.append(body)
        self._news.set()
        # The first events may come before `__aenter__` has its reply, and then there are not so many yet.
        if len(self._unread) >= UNREAD_MAX and self._connection is not None:
            self._connection.read_on(False)
