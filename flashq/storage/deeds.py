"""What each event of the journal says, in words: who did what to which jobs.

Of payloads, results and replies only the size is said, of secrets nothing. Which queue a job is of stands where it was
pushed: a page of ids is one queue's (engine/pages.py), so that is remembered a page, not a job.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from flashq.engine import events as e
from flashq.engine.storing import decoded
from flashq.protocol.commands import FULL
from flashq.storage.contract import Record

STEP: Final = 1024
Runs = list[tuple[int, int]]
"""Jobs whose ids are neighbours in their slot: (first id, how many)."""


class Deed(NamedTuple):
    """One event."""

    at_ms: int
    shard: int
    record: int
    what: str
    queue: str
    """Empty: none, or it is not known."""
    jobs: Runs
    details: dict[str, Any]


class Queues:
    """Which queue each page of ids is of, as far as it was seen."""

    def __init__(self) -> None:
        self._pages: dict[int, str] = {}

    def learn(self, queue: str, runs: Runs) -> None:
        """Jobs of this queue were seen."""
        for first, count in runs:
            for page in range(first >> 20, (first + (count - 1) * STEP >> 20) + 1):
                self._pages[page << 10 | first & 1023] = queue

    def learn_page(self, queue: str, page: int) -> None:
        """A page, by its number and slot, as the tables have it."""
        self._pages[page] = queue

    def of(self, job_id: int) -> str:
        """The queue of a job; empty if it is not known."""
        return self._pages.get(job_id >> 20 << 10 | job_id & 1023, "")


def deeds(record: Record, shard: int, queues: Queues) -> Iterator[Deed]:
    """What a record says, event by event. Raises ValueError or msgspec.DecodeError where it cannot be read."""
    for event in e.parsed(record.events):
        what, queue, jobs, details = _SAID.get(type(event), _said)(event, queues)
        if not queue and jobs:
            queue = queues.of(jobs[0][0])
        yield Deed(record.at_ms, shard, record.seq, what, queue, jobs, details)


def runs_of(ids: Iterable[int]) -> Runs:
    """Ids as runs of neighbours."""
    runs: Runs = []
    for job_id in ids:
        if runs and job_id == runs[-1][0] + runs[-1][1] * STEP:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((job_id, 1))
    return runs


def has_job(runs: Runs, job_id: int) -> bool:
    """Whether a job is among these."""
    return any(first <= job_id < first + count * STEP and (job_id - first) % STEP == 0 for first, count in runs)


Said = tuple[str, str, Runs, dict[str, Any]]
"""(what, queue, jobs, details)"""


def _pushed(event: e.Run, queues: Queues) -> Said:
    command = FULL[event.codec](event.frame)  # type: ignore[index]
    queues.learn(command.queue, event.runs)
    return "pushed", command.queue, event.runs, {}


def _jobs_pushed(event: e.JobsPushed, queues: Queues) -> Said:
    command = FULL[event.codec](event.frame)  # type: ignore[index]
    entries = command.jobs if hasattr(command, "jobs") else [command]
    refused, existing = set(event.refused), set(event.existing)
    accepted = [k for k in range(len(entries)) if k not in refused]
    new = [job_id for k, job_id in zip(accepted, event.ids, strict=False) if k not in existing]
    jobs = runs_of(new)
    queues.learn(command.queue, jobs)
    details: dict[str, Any] = {name: len(some) for name, some in (("refused", refused), ("existing", existing)) if some}
    return "pushed", command.queue, jobs, details


def _stored(event: e.Stored, queues: Queues) -> Said:
    """Children of a push that is not accepted yet; they may be of several queues."""
    children = decoded(event.codec, event.frame)
    for (child, _), job_id in zip(children, event.ids, strict=False):
        queues.learn(child.queue, [(job_id, 1)])
    jobs = runs_of(event.ids)
    for queue, runs, _ in event.bundles:
        queues.learn(queue, list(runs))
        jobs += runs
    return "stored until its push is accepted", "", jobs, {"root": event.root}


def _leased(event: e.Leases, _: Queues) -> Said:
    details: dict[str, Any] = {"lease": event.token, "lease_ms": event.soft_ms}
    if event.gid:
        details["connection"] = event.gid
    return "pulled", "", _runs_of(event.ids), details


def _acked(event: e.Acks, _: Queues) -> Said:
    details: dict[str, Any] = {} if event.result is None else {"result_bytes": len(event.result)}
    first, count = event.evicted
    if count:
        details["no_longer_kept"] = [first, count]
    return "completed", "", _runs_of(event.ids), details


def _runs_of(ids: Sequence[int]) -> Runs:
    if isinstance(ids, range):
        return [(ids[0], len(ids))] if ids else []
    return runs_of(ids)


def _retried(event: e.Retried, _: Queues) -> Said:
    details = {"attempts": event.attempts, "cause": event.cause, "error": event.error, "run_at": event.run_at}
    return "failed, to be tried again", "", [(event.id, 1)], details


def _died(event: e.Died, _: Queues) -> Said:
    details = {"attempts": event.attempts, "cause": event.cause, "error": event.error}
    return "failed for good", "", [(event.id, 1)], details


def _released(event: e.Released, _: Queues) -> Said:
    what = "given back, as its worker was lost" if event.crash else "given back"
    return what, "", runs_of(event.ids), {"lease": event.token} if event.token else {}


def _queue_paused(event: e.QueuePaused, _: Queues) -> Said:
    return "queue paused" if event.paused else "queue resumed", event.queue, [], {}


def _names_bound(event: e.NamesBound, _: Queues) -> Said:
    return "custom ids bound", "", runs_of(event.ids), {"names": list(event.names)}


def _kv_stored(event: e.KvStored, _: Queues) -> Said:
    return "keys stored", "", [], {"keys": [entry[0] for entry in event.entries]}


def _cron_set(event: e.CronSet, _: Queues) -> Said:
    details = {"name": event.name, "schedule": event.schedule, "repeat_every": event.repeat_every}
    return "cron set", event.queue, [], {name: value for name, value in details.items() if value is not None}


def _answered(event: e.Answered, _: Queues) -> Said:
    """The scope of an idempotency key has the name of the token that was shown."""
    return "answered for an idempotency key", "", [], {"scope": event.scope, "key": event.key}


_SAID: Final[dict[type[Any], Callable[[Any, Queues], Said]]] = {
    e.Run: _pushed, e.JobsPushed: _jobs_pushed, e.Stored: _stored, e.Leases: _leased, e.Acks: _acked,
    e.Retried: _retried, e.Died: _died, e.Released: _released, e.QueuePaused: _queue_paused,
    e.NamesBound: _names_bound, e.KvStored: _kv_stored, e.CronSet: _cron_set, e.Answered: _answered,
}  # fmt: skip
_WORDS: Final[dict[type[Any], str]] = {
    e.Renewed: "lease renewed", e.Uncrashed: "its worker was there after all", e.Expired: "dropped after its ttl",
    e.Evicted: "no longer kept", e.Outlived: "no longer kept", e.Updated: "given another payload",
    e.MovedToDelayed: "put off", e.Promoted: "made ready at once", e.JobDiscarded: "discarded",
    e.Prioritised: "given another priority", e.Logged: "log line", e.Progressed: "progress", e.Cancelled: "cancelled",
    e.Removed: "removed", e.Revived: "dead letter to be tried again", e.Drained: "queue drained",
    e.Obliterated: "queue obliterated", e.DeadPurged: "dead letters purged", e.LimitSet: "limit set",
}  # fmt: skip
"""What happened, where the name of the event says it less well."""
_HIDDEN: Final = frozenset({"secret"})


def _said(event: Any, _: Queues) -> Said:
    """Any other event: its fields, but for jobs and queue, which have their place."""
    jobs: Runs = []
    queue = ""
    details: dict[str, Any] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name == "id" and not type(event).__name__.startswith("Hook"):
            jobs = [(value, 1)]
        elif name == "ids":
            jobs = runs_of(value)
        elif name == "runs" and isinstance(value, list):
            jobs = [(first, count) for first, count in value]
        elif name == "queue":
            queue = value or ""
        elif name in _HIDDEN:
            details[name] = "(hidden)" if value else ""
        elif isinstance(value, bytes):
            details[f"{name}_bytes"] = len(value)
        elif value is not None and value != []:
            details[name] = _shown(value)
    return _WORDS.get(type(event)) or _plain(type(event).__name__), queue, jobs, details


def _shown(value: Any) -> Any:
    """A value as JSON has it; "…" where there are bytes within it."""
    return "…" if _has_bytes(value) else msgspec.to_builtins(value, enc_hook=repr)


def _has_bytes(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_bytes, value))
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    if isinstance(value, msgspec.Struct):
        return any(map(_has_bytes, msgspec.structs.astuple(value)))
    return isinstance(value, bytes)


def _plain(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
