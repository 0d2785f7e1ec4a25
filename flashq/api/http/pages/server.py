"""Acts upon the whole server: stop it, empty it. Each touches what it names and nothing else."""

import asyncio
import os
import signal
from typing import Any, Final

from flashq.api.http.pages.page import Asked, Page, check_origin
from flashq.transport.shard_region import OTHER

_GROUP: Final = "Server"
LEAVE_S: Final = 0.1
"""From the answer to the order to stop, so that the answer leaves first."""


async def _shutdown(asked: Asked) -> Any:
    check_origin(asked)
    pid = asked.host.state.header.pid
    asyncio.get_running_loop().call_later(LEAVE_S, os.kill, pid, signal.SIGTERM)
    return "Stopping in order: nothing new is taken in, what is begun is finished"


async def _restart(asked: Asked) -> Any:
    check_origin(asked)
    asyncio.get_running_loop().call_later(LEAVE_S, asked.host.restart)
    lost = ", jobs in memory are lost" if asked.host.state.header.durability == "memory" else ""
    return f"Restarting in order: nothing new is taken in, what is begun is finished{lost}, then it starts anew"


async def _reset_metrics(asked: Asked) -> Any:
    check_origin(asked)
    shards = range(asked.host.settings.shards)
    await asyncio.gather(*(asked.ask_shard(shard, "reset_totals", None) for shard in shards))
    return "Totals count from now on"


async def _each_queue(asked: Asked, cmd: str, figure: str, **values: Any) -> int:
    """Send a command for every queue whose figure is not 0; how many jobs it concerned."""
    check_origin(asked)
    count = 0
    for queue in asked.host.state.queues():
        if queue.name != OTHER and (figure == "" or getattr(queue, figure) or (figure == "waiting" and queue.delayed)):
            count += (await asked.tell(cmd, queue=queue.name, **values))["count"]
    return count


async def _clear_queues(asked: Asked) -> Any:
    return await _each_queue(asked, "DRAIN", "waiting")


async def _clear_dlq(asked: Asked) -> Any:
    return await _each_queue(asked, "PURGEDLQ", "dead")


async def _clear_completed(asked: Asked) -> Any:
    return await _each_queue(asked, "CLEAN", "completed", grace=0, state="completed")


async def _reset(asked: Asked) -> Any:
    count = await _each_queue(asked, "OBLITERATE", "")
    for cron in (await asked.tell("CRONLIST"))["crons"]:
        await asked.tell("CRONDELETE", name=cron["name"])
    for key in (await asked.tell("KVKEYS"))["keys"]:
        await asked.tell("KVDEL", key=key)
    for hook in (await asked.tell("WEBHOOKLIST"))["webhooks"]:
        await asked.tell("WEBHOOKDELETE", webhook_id=hook["id"])
    return f"Removed all queues ({count} jobs), crons, keys and webhooks"


PAGES: Final = [
    Page(method="POST", path="/server/shutdown", group=_GROUP, summary="Stop in order", serve=_shutdown,
         data="Stopping in order: nothing new is taken in, what is begun is finished"),
    Page(method="POST", path="/server/restart", group=_GROUP, serve=_restart,
         summary="Stop in order and start anew, with the configuration and the code that are there then",
         data="Restarting in order: nothing new is taken in, what is begun is finished, then it starts anew"),
    Page(method="POST", path="/server/reset", group=_GROUP, serve=_reset,
         summary="Remove all queues, crons, keys and webhooks",
         data="Removed all queues (7 jobs), crons, keys and webhooks"),
    Page(method="POST", path="/server/clear-queues", group=_GROUP, serve=_clear_queues, data=7,
         summary="Remove what waits or is delayed, in all queues"),
    Page(method="POST", path="/server/clear-dlq", group=_GROUP, summary="Remove all dead letters", serve=_clear_dlq,
         data=3),
    Page(method="POST", path="/server/clear-completed", group=_GROUP, serve=_clear_completed, data=1000,
         summary="Forget all completed jobs"),
    Page(method="POST", path="/server/reset-metrics", group=_GROUP, serve=_reset_metrics,
         summary="Count what is pushed, completed, retried and failed from now on", data="Totals count from now on"),
]  # fmt: skip
