"""What a shard's dispatcher needs of the rest of its process."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from msgspec import Raw

from flashq.access.access import Access
from flashq.clock import Clock
from flashq.config import Settings
from flashq.protocol.dispatch import Codec, Dispatcher, Link
from flashq.transport.envelope import Failure
from flashq.transport.handover import HandoverSender


class Elsewhere(Protocol):
    """The other shards."""

    def forward(self, shard: int, link: Link, frame: bytes, command: Any) -> None:
        """The request belongs to another shard: send it there; its reply comes back in order."""

    def ask_part(
        self, shard: int, link: Link, frame: bytes, on_reply: Callable[[bytes], Any],
        on_fail: Callable[[Failure], None],
    ) -> None:  # fmt: skip
        """Ask a shard for its part of a command that concerns several. The reply is in the link's codec."""

    def ask_shard(
        self, shard: int, frame: bytes, on_reply: Callable[[bytes], Any], on_fail: Callable[[Failure], None]
    ) -> None:
        """Ask a shard on this shard's own account."""

    def split_acks(self, link: Link, command: Any, codec: int) -> None:
        """An ACKB whose ids belong to several shards."""

    def ended(self, gid: int) -> None:
        """A client sends nothing more: tell who holds waits of it."""

    def gone(self, gid: int) -> None:
        """A client left: tell who holds something of it."""

    def goes_on(self, gid: int) -> None:
        """A client that did not read its replies reads them again: what was held back for that may be sent."""

    def give_back(self, job_ids: Iterable[int], token: int) -> None:
        """Jobs of one delivery of theirs were not handed on: they go back to their queue, no attempt counted."""

    def req_id_of(self, frame: bytes, codec: int) -> bytes | Raw:
        """The `reqId` of a request that cannot be parsed, if it can be found."""

    def knock(self, frame: bytes, codec: int) -> tuple[str, str]:
        """(cmd, token) of a request from somebody who has not shown a token."""


class Totals(Protocol):
    """Counts over the whole cluster."""

    def stats(self) -> dict[str, Any]: ...

    def queues(self) -> list[dict[str, Any]]: ...

    def metrics(self) -> dict[str, Any]: ...


class Rhythm(Protocol):
    """The ticks of a gateway."""

    is_open: bool
    dirty: list[Any]
    """What has replies to write when the tick has been committed."""

    def begin(self) -> None: ...

    def wake(self) -> None: ...

    def end(self) -> None: ...

    def arrived(self, size: int) -> None: ...


class Gateway(Protocol):
    """The connections of this process."""

    @property
    def ticks(self) -> Rhythm: ...

    def __len__(self) -> int: ...

    def adopt(self, sock: socket.socket, gid: int, head: bytes, principal: str, codec: Codec | None = None) -> None: ...

    def let_wander(
        self, sender: HandoverSender, leaving: Callable[[int, int], list[int] | None], left: Callable[[int], None]
    ) -> None: ...

    def hold_input(self, on: bool) -> None: ...

    async def stop(self) -> None: ...


class MakeGateway(Protocol):
    """Builds the gateway around a dispatcher."""

    def __call__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, settings: Settings, dispatcher: Dispatcher,
        access: Access, *,
        on_begin: Callable[[int, int], None], on_end: Callable[[], list[Any] | None], inline: bool,
    ) -> Gateway: ...  # fmt: skip
