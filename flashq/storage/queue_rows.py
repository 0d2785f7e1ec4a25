"""What a queue, what it keeps of completed jobs, and runs of ids are as rows."""

from array import array
from collections.abc import Iterable
from typing import Any

from flashq.engine.leases import Done
from flashq.engine.queues import Kept, Queue
from flashq.storage.queue_rest import queue_rest
from flashq.storage.rows import encode, text_or_bytes

Row = dict[str, Any]


def queue_row(queue: Queue) -> Row:
    """A row of `queues`."""
    open_pages = [page.base >> 10 if page is not None else None for page in queue.open_pages]
    return {
        "name": queue.name, "slot": queue.slot.no, "paused": int(queue.paused), "waiting": queue.waiting,
        "delayed": queue.delayed, "active": queue.active, "completed": queue.completed, "dead": queue.dead_count,
        "pushed_total": queue.pushed_total, "completed_total": queue.completed_total,
        "failed_total": queue.failed_total, "used_at": queue.used_at, "completed_bytes": queue.completed_bytes,
        "open_json": open_pages[0], "open_msgpack": open_pages[1], "rest": encode(queue_rest(queue)),
    }  # fmt: skip


def kept_row(queue: Queue, kept: Kept, number: int) -> Row:
    """A row of `completed`."""
    done: Done = kept.done
    result = done.result
    return {
        "queue": queue.name, "no": number, "slot": queue.slot.no,
        "first_id": (kept.page.base + kept.start) << 10 | queue.slot.no, "jobs": kept.stop - kept.start,
        "bytes": kept.bytes, "completed_at": done.completed_at, "started_at": done.started_at, "token": done.token,
        "codec": done.codec, "result": text_or_bytes(result, done.codec) if result is not None else None,
    }  # fmt: skip


def runs_blob(runs: Iterable[tuple[int, int]]) -> bytes:
    """As the columns of `slots` have them."""
    return array("q", [n for run in runs for n in run]).tobytes()
