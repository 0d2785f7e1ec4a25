"""What a shard holds, as objects for JSON: jobs, dead letters, results, queues, keys and crons, one a line.

`exported` says it of a shard that is whole. Payloads are JSON, also those that came in MessagePack.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Raw

from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.jobs import Job, State
from flashq.engine.pages import Page
from flashq.engine.queries import WIRE, seen_at
from flashq.protocol.codec import transcoded
from flashq.storage.rows import COLUMNS, decode, rest_of

Line = dict[str, Any]


def exported(engine: Engine) -> Iterator[Line]:
    """All that this engine holds."""
    for name, queue in sorted(engine.queues.items()):
        yield {
            "kind": "queue", "queue": name, "paused": queue.paused, "rate_limit": queue.rate and queue.rate.limit,
            "concurrency_limit": queue.concurrency, "pushed_total": queue.pushed_total,
            "completed_total": queue.completed_total, "failed_total": queue.failed_total,
        }  # fmt: skip
    for slot in engine.slots.values():
        for page in slot.pages.values():
            for i, job in enumerate(page.jobs):
                if job is not None and not (page.queue.sweep is not None and is_removed(page, i)):
                    yield _job(engine, page, i)
    for key, entry in engine.kv.entries.items():
        if not 0 < entry.expires_at < engine.now_ms:
            yield key_line(key, entry.codec, entry.value, entry.expires_at)
    for cron in engine.crons.by_name.values():
        yield cron_line({name: getattr(cron, name) for name in CRON})
    for custom_id, job_id in engine.names.bound.items():
        yield {"kind": "custom_id", "custom_id": custom_id, "id": job_id}


def _job(engine: Engine, page: Page, i: int) -> Line:
    seen = seen_at(engine, page, i)
    job = page.jobs[i]
    job_id = page.slot.id_of(page.base + i)
    if isinstance(job, Job):
        line = job_line(job_id, page.queue.name, WIRE[seen.state], job.data, job.codec)
        line |= {name: getattr(job, name) for name in COLUMNS if name != "codec"}
        line["options"] = decode(rest_of(job))[0]
    else:
        line = job_line(job_id, page.queue.name, WIRE[seen.state], job, page.codec)
        line["created_at"] = page.created_at(i)
    if seen.state is State.COMPLETED and seen.done is not None:
        line |= {"kind": "result", "completed_at": seen.done.completed_at}
        line["result"] = json_of(seen.done.result, seen.done.codec) if seen.done.result is not None else None
    return line


def job_line(job_id: int, queue: str, state: str, payload: bytes, codec: int) -> Line:
    """A job. `state` "unknown": what became of it is not readable any more."""
    kind = "dead_letter" if state == WIRE[State.FAILED] else "job"
    return {"kind": kind, "id": job_id, "queue": queue, "state": state, "data": json_of(payload, codec)}


def key_line(key: str, codec: int, value: bytes, expires_at: int) -> Line:
    """A key and its value."""
    return {"kind": "kv", "key": key, "value": json_of(value, codec), "expires_at": expires_at}


CRON = ("name", "queue", "schedule", "repeat_every", "timezone", "misfire", "limit", "next_run", "codec", "frame")


def cron_line(fields: Line) -> Line:
    """A cron, by the names of its fields; `push` is what each of its runs is."""
    shown = {name: fields[name] for name in CRON if name not in ("codec", "frame")}
    return {"kind": "cron", **shown, "push": json_of(fields["frame"], fields["codec"])}


def json_of(payload: bytes, codec: int) -> Raw:
    """A payload as JSON. Raises msgspec.DecodeError where it is none of its codec."""
    return Raw(transcoded(payload, codec, 0))
