"""Workers that register by HTTP."""

from typing import Any, Final

import msgspec

from flashq.api.http.pages.figures import now_ms
from flashq.api.http.pages.page import Asked, Page
from flashq.api.http.workers import Worker
from flashq.errors import LimitExceeded
from flashq.protocol.command_base import U32, U64

ID_BYTES_MAX: Final = 512
QUEUES_MAX: Final = 1_000


class Beat(msgspec.Struct):
    """What a worker says of itself."""

    queues: list[str]
    concurrency: U32 = 0
    jobs_processed: U64 = 0


async def _workers(asked: Asked) -> Any:
    return asked.host.workers.alive(now_ms())


async def _beat(asked: Asked) -> Any:
    name, said = asked.path["id"], asked.body
    if len(name.encode()) > ID_BYTES_MAX:
        raise LimitExceeded(f"Worker id too long ({len(name.encode())} bytes, max {ID_BYTES_MAX} bytes)")
    if len(said.queues) > QUEUES_MAX:
        raise LimitExceeded(f"Too many queues ({len(said.queues)}, max {QUEUES_MAX})")
    asked.host.workers.beat(Worker(name, said.queues, said.concurrency, now_ms(), said.jobs_processed))


_EXAMPLE: Final[dict[str, Any]] = {"queues": ["mail"], "concurrency": 8, "jobs_processed": 1000}
PAGES: Final = [
    Page(method="GET", path="/workers", group="Workers", summary="Workers that said lately that they live",
         serve=_workers, data=[{"id": "w1", **_EXAMPLE, "last_heartbeat": 1700000000000}]),
    Page(method="POST", path="/workers/{id}/heartbeat", group="Workers", summary="Say that a worker lives",
         serve=_beat, kind=Beat, body=_EXAMPLE),
]  # fmt: skip
