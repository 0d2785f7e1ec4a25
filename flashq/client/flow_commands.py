"""A client's commands that make jobs come by themselves: flows and crons."""

from collections.abc import Sequence
from typing import Literal, Unpack

import msgspec

from flashq.client import requests
from flashq.client.asking import Asking, Done
from flashq.client.objects import Cron, FlowChild, FlowIds, PushOptions
from flashq.errors import Unavailable


class FlowCommands(Asking):
    """All options of jobs may be given."""

    async def push_flow(
        self, queue: str, data: object, children: Sequence[FlowChild], **options: Unpack[PushOptions]
    ) -> FlowIds:
        """Add a job that runs when all its children, of any queue, have completed. All of them are added, or none."""
        return await self._session.change(requests.flow(queue, data, children, options), FlowIds)

    async def set_cron(
        self,
        name: str,
        queue: str,
        data: object = None,
        *,
        schedule: str | None = None,
        repeat_every_ms: int | None = None,
        limit: int | None = None,
        timezone: str | None = None,
        misfire: Literal["once", "skip", "all"] | None = None,
        **options: Unpack[PushOptions],
    ) -> None:
        """Push a job by a schedule; one of that name is replaced.

        `schedule`: five fields (minute first) or six (second first), or a nickname (`@hourly`), in `timezone` (IANA,
        else UTC); or `repeat_every_ms`. `limit`: so many runs. `misfire`: what becomes of runs that fell into a time
        when the server was down.
        """
        own: requests.Request = {
            "schedule": schedule,
            "repeat_every": repeat_every_ms,
            "limit": limit,
            "timezone": timezone,
            "misfire": misfire,
        }
        await self._session.change(requests.cron(name, queue, data, own, options), Done)

    async def delete_cron(self, name: str) -> None:
        """No more of these jobs. Raises JobNotFound."""
        await self._session.change(requests.given("CRONDELETE", name=name), Done)

    async def list_crons(self) -> list[Cron]:
        """All crons, in no order. Raises Unavailable if a shard does not answer."""
        listed = await self._session.ask(requests.given("CRONLIST"), _Crons)
        if listed.partial:
            raise Unavailable("a shard does not answer, so this would not be all crons")
        return listed.crons


class _Crons(msgspec.Struct):
    crons: list[Cron]
    partial: bool = False
