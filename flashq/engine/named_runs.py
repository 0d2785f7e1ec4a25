"""Runs of crons whose jobs have a custom id: one job at a time has the name, wherever cron, name and queue lie.

Rules kept here
- A run goes to the slot of its job's name first. It makes no job while one holds the name, or another run reserves it.
- Else the name is reserved, in the journal; the queue's slot pushes, under the rules of any push, and the name's slot
  binds the name to that job, or frees it where the push was refused.
- All of it are messages of the outbox: each step is taken once, whatever dies, and a reserved name is always decided.
- Whoever claims the name meanwhile (flashq/shard/naming.py) waits for that. A run waits for nobody.

Messages: `run` [name, queue, codec, frame] from the cron's slot to the name's; where a job has the name, `run-held`
[job, *run] to its slot and, if it holds it no more, `run-free` with the same back; `run-push` with the run to the
queue's slot; `run-ended` [name, job] back, with 0 for no job.
"""

import contextlib
from typing import TYPE_CHECKING, Any

from flashq.engine import events, names
from flashq.engine.names import RESERVED
from flashq.engine.outbox import HANDLERS, post
from flashq.engine.push import check_entries, store
from flashq.errors import FlashqError
from flashq.protocol import commands as c
from flashq.protocol.codec import payload_of
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue

if TYPE_CHECKING:
    from flashq.engine.engine import Engine


def _run(engine: "Engine", source: int, target: int, body: Any) -> None:
    holder = engine.names.bound.get(body[0])
    if holder is None:
        _reserve(engine, target, body)
    elif holder != RESERVED:
        post(engine, target, holder & 1023, "run-held", [holder, *body])


def _held(engine: "Engine", source: int, target: int, body: Any) -> None:
    # One whose push is under way will hold it, or is of a client who wants the name more than a schedule does.
    if names.holds_name(engine, body[0]) is False:
        post(engine, target, source, "run-free", body)


def _free(engine: "Engine", source: int, target: int, body: Any) -> None:
    holder, *run = body
    if engine.names.bound.get(run[0]) in (holder, None):
        _reserve(engine, target, run)


def _reserve(engine: "Engine", slot: int, run: Any) -> None:
    name, queue, *_ = run
    names.bind(engine, [name], [RESERVED])
    post(engine, slot, slot_of_queue(queue), "run-push", run)


def _push(engine: "Engine", source: int, target: int, body: Any) -> None:
    name, queue, codec, frame = body
    job_id = 0
    with contextlib.suppress(FlashqError):  # refused, with nothing changed: that is what its options ask for
        job_id = _pushed(engine, name, queue, codec, frame)
    post(engine, target, source, "run-ended", [name, job_id])


def _pushed(engine: "Engine", name: str, queue_name: str, codec: int, frame: bytes) -> int:
    """The id of the new job; 0 where its keys are refused."""
    command = c.FULL[Codec(codec)](frame)
    entries = [(command, payload_of(command.data, codec))]
    command.data = c.NULL
    check_entries(engine, entries)
    queue = engine.queue(queue_name)
    claims = names.Claims(names.put_aside(engine, queue, codec, 1))
    claims.mine[name] = claims.candidates[0]
    pushed = store(engine, queue, codec, entries, frame, claims)
    names.finish(engine, queue, claims)
    return pushed.ids[0] if pushed.ids else 0


def _ended(engine: "Engine", source: int, target: int, body: Any) -> None:
    name, job_id = body
    if engine.names.bound.get(name) == RESERVED:
        if job_id:
            names.bind(engine, [name], [job_id])
        else:
            del engine.names.bound[name]
            engine.record(events.NamesFreed([name]), promise=False)
    for call in engine.names.awaited.pop(name, ()):
        call()


HANDLERS.update(
    {"run": _run, "run-held": _held, "run-free": _free, "run-push": _push, "run-ended": _ended},
)
