"""A queue by name: a client's commands without naming it each time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from flashq.client.objects import BatchPush, Job, PushOptions

if TYPE_CHECKING:
    from flashq.client.client import Client


class Queue:
    """Made by `Client.queue`. Every method is the client's of that name, with its options."""

    def __init__(self, client: "Client", name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"

    async def push(self, data: object, **options: Unpack[PushOptions]) -> int:
        """Add a job; its id."""
        return await self.client.push(self.name, data, **options)

    async def push_batch(
        self, data: Sequence[object], *, each: Sequence[PushOptions] = (), **options: Unpack[PushOptions]
    ) -> BatchPush:
        """Add many jobs in one commit."""
        return await self.client.push_batch(self.name, data, each=each, **options)

    async def pull(self, *, timeout_ms: int | None = None, lease_ms: int | None = None) -> Job | None:
        """Take a job, waiting up to `timeout_ms` (if None, a minute) for one."""
        return await self.client.pull(self.name, timeout_ms=timeout_ms, lease_ms=lease_ms)

    async def count(self) -> int:
        """Jobs that wait, the delayed ones among them."""
        return await self.client.count(self.name)

    async def pause(self) -> None:
        """Deliver nothing until `resume`."""
        await self.client.pause(self.name)

    async def resume(self) -> None:
        """Deliver again."""
        await self.client.resume(self.name)
