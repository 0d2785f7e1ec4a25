"""Commands about single jobs by id: control, progress, logs, history, and waiting for a job's end."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.engine import control_jobs, logs, waits
from flashq.engine.engine import Engine
from flashq.engine.history import history_of
from flashq.engine.queries import WIRE, find
from flashq.engine.validation import check_data_size, check_duration
from flashq.errors import DeadlineExceeded, FlashqError, JobFailed, JobNotFound, OutOfMemory
from flashq.protocol import commands as c
from flashq.protocol.codec import payload_of, raw
from flashq.protocol.dispatch import Link
from flashq.shard.verbs import Fields, Later, Request, Verb, by_id

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

WAIT_MS: Final = 30_000
_DONE: Final[Fields] = {}


def _admit(here: "ShardDispatcher") -> None:
    """What makes a job larger is refused where pushes are."""
    if here.refusal:
        raise OutOfMemory(here.refusal)


def _payload(engine: Engine, data: msgspec.Raw, codec: int, what: str) -> bytes:
    """Checked like a job's data when it is pushed: its size before it is looked into."""
    check_data_size(engine.limits, bytes(data), what)
    return payload_of(data, codec)


def _cancel(here: "ShardDispatcher", request: Request) -> Fields:
    control_jobs.cancel(here.engine, request.command.id)
    return _DONE


def _discard(here: "ShardDispatcher", request: Request) -> Fields:
    control_jobs.discard(here.engine, request.command.id)
    return _DONE


def _promote(here: "ShardDispatcher", request: Request) -> Fields:
    control_jobs.promote(here.engine, request.command.id)
    return _DONE


def _change_priority(here: "ShardDispatcher", request: Request) -> Fields:
    control_jobs.change_priority(here.engine, request.command.id, request.command.priority)
    return _DONE


def _move_to_delayed(here: "ShardDispatcher", request: Request) -> Fields:
    command = request.command
    control_jobs.move_to_delayed(here.engine, command.id, command.delay, command.lease)
    return _DONE


def _update(here: "ShardDispatcher", request: Request) -> Fields:
    _admit(here)
    payload = _payload(here.engine, request.command.data, request.codec, "Job data")
    control_jobs.update(here.engine, request.command.id, payload, request.codec)
    return _DONE


def _progress(here: "ShardDispatcher", request: Request) -> Fields:
    command = request.command
    control_jobs.set_progress(
        here.engine, command.id, command.progress, command.message, command.lease, request.link.gid
    )
    return _DONE


def _get_progress(here: "ShardDispatcher", request: Request) -> Fields:
    job_id = request.command.id
    percent, message = control_jobs.progress_of(here.engine, job_id)
    return {"progress": {"id": job_id, "progress": percent, "message": message}, "message": message}


def _partial(here: "ShardDispatcher", request: Request) -> Fields:
    command, codec = request.command, request.codec
    chunk = _payload(here.engine, command.data, codec, "Partial data")
    control_jobs.partial(here.engine, command.id, chunk, codec, command.index, command.lease)
    return _DONE


# -- what is known


def _id(command: Any) -> int:
    """`id`, or `job_id` as some clients call it; routing has seen to it that one is there."""
    return int(command.id if command.id is not None else command.job_id)


def _log(here: "ShardDispatcher", request: Request) -> Fields:
    _admit(here)
    logs.log(here.engine, _id(request.command), request.command.message, request.command.level)
    return _DONE


def _get_logs(here: "ShardDispatcher", request: Request) -> Fields:
    job_id = _id(request.command)
    return {"id": job_id, "logs": logs.lines_of(here.engine, job_id)}


def _history(here: "ShardDispatcher", request: Request) -> Fields:
    job_id = request.command.id
    seen = find(here.engine, job_id)
    if seen is None:
        raise JobNotFound(f"Job {job_id} not found")
    name = seen.page.queue.name
    return {"id": job_id, "queue": name, "state": WIRE[seen.state], "history": history_of(seen)}


# -- waiting for a job's end


class WaitTicket:
    """Where the answer to a wait goes."""

    __slots__ = ("codec", "later", "link")

    def __init__(self, later: Later, link: Link, codec: int) -> None:
        self.link = link
        self.later = later
        self.codec = codec


def _wait_job(here: "ShardDispatcher", request: Request) -> Fields | None:
    engine, command, codec = here.engine, request.command, request.codec
    check_duration(engine.limits, "timeout", command.timeout)
    timeout = WAIT_MS if command.timeout is None else command.timeout
    outcome = waits.outcome_of(engine, command.id)
    if outcome is None and (timeout == 0 or request.over):
        outcome = waits.Outcome(waits.TIMEOUT)
    if outcome is not None:
        return _said(outcome, command.id, timeout, codec)
    waits.wait_for(engine, command.id, request.link.gid, WaitTicket(request.hold(), request.link, codec), timeout)
    return None


def answer_wait(wait: waits.JobWait, outcome: waits.Outcome) -> None:
    """A wait has ended; if its client has gone meanwhile, nothing is lost."""
    ticket: WaitTicket = wait.ticket
    try:
        fields = _said(outcome, wait.job_id, wait.timeout_ms, ticket.codec)
    except FlashqError as e:
        ticket.later.refuse(e)
        return
    ticket.later.reply(fields)


def _said(outcome: waits.Outcome, job_id: int, timeout_ms: int, codec: int) -> Fields:
    """The reply's fields. Raises what it says where the job did not complete in time."""
    if outcome.kind == waits.FAILED:
        raise JobFailed(reason=outcome.error)
    if outcome.kind == waits.REMOVED:
        raise JobNotFound(f"Job not found: {outcome.error}" if outcome.error else "Job not found")
    if outcome.kind == waits.TIMEOUT:
        raise DeadlineExceeded(f"Timeout waiting for job {job_id} after {timeout_ms}ms")
    return {} if outcome.result is None else {"result": raw(outcome.result, outcome.codec, codec)}


VERBS: Final[dict[type[Any], Verb]] = {
    c.Cancel: Verb(_cancel, by_id, keyed=True),
    c.Discard: Verb(_discard, by_id, keyed=True),
    c.Promote: Verb(_promote, by_id, keyed=True),
    c.ChangePriority: Verb(_change_priority, by_id, keyed=True),
    c.MoveToDelayed: Verb(_move_to_delayed, by_id, keyed=True),
    c.UpdateJob: Verb(_update, by_id, keyed=True),
    c.Update: Verb(_update, by_id, keyed=True),
    c.Progress: Verb(_progress, by_id, keyed=True),
    c.Partial: Verb(_partial, by_id, keyed=True),
    c.Log: Verb(_log, by_id, keyed=True),
    c.GetProgress: Verb(_get_progress, by_id),
    c.GetLogs: Verb(_get_logs, by_id),
    c.History: Verb(_history, by_id),
    c.WaitJob: Verb(_wait_job, by_id),
}
