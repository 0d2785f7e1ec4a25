"""What tests of dependencies and flows share: pushes as the doors make them, on shards whose post is in our hand."""

from typing import Any

import msgspec

from flashq.engine import queries
from flashq.engine.drafts import Draft, begin
from flashq.engine.engine import Engine
from flashq.engine.flows import BUNDLED_FROM, plan_of, push_depending
from flashq.engine.jobs import Job, Link
from flashq.engine.push import check_entries
from flashq.errors import RequestError
from flashq.protocol.codec import payload_of
from flashq.protocol.commands import FULL, Flow
from flashq.protocol.dispatch import Codec
from flashq.testing.engine_kit import EngineKit
from flashq.testing.shards import Shards

ENCODE = (msgspec.json.encode, msgspec.msgpack.encode)


def push_draft(kit: EngineKit, queue: str, *specs: dict[str, Any], codec: int = 0) -> Draft:
    """PUSH or PUSHB with dependencies elsewhere, not yet decided."""
    frame = ENCODE[codec]({"cmd": "PUSHB", "queue": queue, "jobs": list(specs)})
    entries = [(job, payload_of(job.data, codec)) for job in FULL[Codec(codec)](frame).jobs]

    def act(engine: Engine) -> tuple[Draft | None, list[tuple[int, RequestError]]]:
        check_entries(engine, entries)
        return push_depending(engine, engine.queue(queue), codec, entries)

    draft, refused = kit.do(act)
    assert not refused
    assert draft is not None
    return draft


def push_flow(
    kit: EngineKit, queue: str, children: list[dict[str, Any]], *, codec: int = 0, bundled_from: int = BUNDLED_FROM,
    **fields: Any,
) -> Draft:  # fmt: skip
    """FLOW, not yet decided unless all of its slots are the kit's."""
    frame = ENCODE[codec]({"cmd": "FLOW", "queue": queue, "children": children, "data": "parent", **fields})
    flow = FULL[Codec(codec)](frame)
    assert isinstance(flow, Flow)
    plan = plan_of(kit.limits, flow, codec, bundled_from=bundled_from)
    return kit.do(lambda engine: begin(engine, codec, plan))


def state(shards: Shards, job_id: int) -> str:
    """As GETSTATE."""
    return queries.state_of(shards.of_id(job_id).engine, job_id)


def record(shards: Shards, job_id: int) -> Job:
    seen = queries.find(shards.of_id(job_id).engine, job_id)
    assert seen is not None
    job = seen.page.jobs[seen.place]
    assert isinstance(job, Job)
    return job


def link(shards: Shards, job_id: int) -> Link:
    found = record(shards, job_id).link
    assert found is not None
    return found


def finish(shards: Shards, queue: str, *, fail: bool = False) -> int:
    """Pull the next job of a queue, and ack or fail it; its id."""
    kit = shards.of_queue(queue)
    got = kit.pull(queue)
    assert got is not None, f"nothing ready in {queue}"
    (job_id,) = got.ids
    if fail:
        kit.fail(job_id)
    else:
        kit.ack(job_id)
    return job_id


def cancel(shards: Shards, job_id: int) -> None:
    """The job ceases to exist, not by completion, as by its ttl."""
    from flashq.engine import events
    from flashq.engine.endings import forget, leave

    def act(engine: Any) -> None:
        seen = queries.find(engine, job_id)
        assert seen is not None
        engine.record(events.Expired([job_id]))
        leave(engine, seen.page, seen.place)
        forget(engine, seen.page, seen.place, bad=True)

    shards.of_id(job_id).do(act)


def revive(shards: Shards, job_id: int) -> None:
    """RETRYDLQ of one job: the state alone, without its event."""
    from flashq.engine.endings import leave
    from flashq.engine.retry import requeue

    def act(engine: Any) -> None:
        seen = queries.find(engine, job_id)
        assert seen is not None
        job = record(shards, job_id)
        leave(engine, seen.page, seen.place)
        job.attempts, job.error, job.run_at = 0, None, engine.now_ms
        requeue(engine, job)

    shards.of_id(job_id).do(act)
