"""What happens, for those who listen: one entry a transition, made only while somebody listens to the queue.

`queue.heard` says whether anybody does, and is what hot paths look at; everybody else just calls `tell`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flashq.protocol.happenings import Happening

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


class Audience:
    """Who is listened to: some queues, or all."""

    __slots__ = ("everything", "queues")

    def __init__(self) -> None:
        self.everything = True
        self.queues: frozenset[str] = frozenset()

    def hears(self, queue: str) -> bool:
        return self.everything or queue in self.queues


def listen(engine: "Engine", queues: Iterable[str], *, everything: bool) -> None:
    """From now on these are listened to, and no others."""
    audience = engine.audience
    audience.queues, audience.everything = frozenset(queues), everything
    engine.heard = everything or bool(audience.queues)
    for name, queue in engine.queues.items():
        queue.heard = audience.hears(name)


def tell(
    engine: "Engine", kind: str, queue: str, job_id: int, *, data: bytes | None = None, codec: int = 0,
    error: str | None = None, progress: int | None = None, index: int | None = None,
) -> None:  # fmt: skip
    """It happened, in this tick, to a job or to a queue (`job_id` 0)."""
    if engine.heard and not engine.replaying and engine.audience.hears(queue):
        engine.happenings.append(
            Happening(kind, queue, job_id, engine.now_ms, data, codec, error, progress, index)
        )  # fmt: skip
