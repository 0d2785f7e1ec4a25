"""Workers that say by HTTP that they live. Listed while their last word is under 30 s old; shared by HTTP processes."""

from collections.abc import Callable
from typing import Final

import msgspec

AGE_MS_MAX: Final = 30_000
WORKERS_MAX: Final = 10_000
WORKER_BEAT: Final = 32
"""Notice between HTTP processes: a `Worker`, in MessagePack."""


class Worker(msgspec.Struct, frozen=True):
    """One of them."""

    id: str
    queues: list[str]
    concurrency: int
    last_heartbeat: int
    jobs_processed: int


encode_worker: Final = msgspec.msgpack.Encoder().encode
decode_worker: Final = msgspec.msgpack.Decoder(Worker).decode


class Workers:
    """Those that were heard of."""

    def __init__(self, tell_others: Callable[[bytes], None]) -> None:
        """`tell_others`: send a `Worker` to the other HTTP processes."""
        self._tell_others = tell_others
        self._known: dict[str, Worker] = {}
        """In the order of their last words."""

    def beat(self, worker: Worker) -> None:
        """One said here that it lives."""
        self.heard(worker)
        self._tell_others(encode_worker(worker))

    def heard(self, worker: Worker) -> None:
        """One said so, here or elsewhere."""
        self._known.pop(worker.id, None)
        self._known[worker.id] = worker
        while len(self._known) > WORKERS_MAX:
            del self._known[next(iter(self._known))]

    def alive(self, now_ms: int) -> list[Worker]:
        """Those whose last word is young enough."""
        for worker in list(self._known.values()):
            if now_ms - worker.last_heartbeat < AGE_MS_MAX:
                break
            del self._known[worker.id]
        return list(self._known.values())
