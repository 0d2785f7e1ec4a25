"""What happens, for those who listen: one entry a transition, made only while somebody listens.

Words kept here: `pushed delayed active progress partial completed retrying failed timeout stalled cancelled discarded
promoted drained paused resumed removed`.
"""

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


class Happening(Struct, frozen=True, gc=False):
    """One transition of a job, or of a queue (`job_id` 0)."""

    kind: str
    queue: str
    job_id: int
    at_ms: int
    data: bytes | None
    """A payload in `codec`: the job's, its result, a partial's chunk."""
    codec: int
    error: str | None
    progress: int | None
    index: int | None


def tell(
    engine: "Engine", kind: str, queue: str, job_id: int, *, data: bytes | None = None, codec: int = 0,
    error: str | None = None, progress: int | None = None, index: int | None = None,
) -> None:  # fmt: skip
    """It happened, in this tick. Callers on hot paths look at `engine.heard` first."""
    if engine.heard and not engine.replaying:
        engine.happenings.append(
            Happening(kind, queue, job_id, engine.now_ms, data, codec, error, progress, index)
        )  # fmt: skip
