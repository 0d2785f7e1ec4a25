"""What the blocking client's commands stand on: a client in an event loop of its own thread."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from flashq.client.client import Client

T = TypeVar("T")


class Waiting:
    """Made by `SyncClient`, which starts and ends the thread."""

    _client: Client
    _loop: asyncio.AbstractEventLoop
    _thread: threading.Thread

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C while waiting: withdraw the request too
            future.cancel()
            raise
