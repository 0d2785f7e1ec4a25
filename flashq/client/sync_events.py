"""Listening to a queue from threads."""

from types import TracebackType
from typing import Self

from flashq.client.events import Events
from flashq.client.objects import Event
from flashq.client.sync_base import Waiting


class SyncEvents:
    """Made by `SyncClient.events`. As `Events`: a context manager, and iterating blocks until the next."""

    def __init__(self, waiting: Waiting, events: Events) -> None:
        self._wait = waiting._wait
        self._events = events

    def __enter__(self) -> Self:
        self._wait(self._events.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wait(self._events.__aexit__(kind, error, traceback))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return self._wait(self._events.__anext__())
