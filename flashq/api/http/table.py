"""The routes that stand for commands: one table, from which requests are served and OpenAPI is written.

A row says which command a method and path mean, which keys of body and query become which of its fields, and which part
of the reply is `data`. The types of fields are those of the command (flashq/protocol/commands.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flashq.api.http import examples, shows
from flashq.api.http.shows import Show
from flashq.protocol.command_base import JobOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One row."""

    method: str
    path: str
    """With `{queue}`, `{id}`, `{name}` … for what comes from it."""
    command: str
    group: str
    summary: str
    show: Show = shows.nothing
    need: tuple[str, ...] = ()
    """Keys that the body must have."""
    may: tuple[str, ...] = ()
    """Keys that it may have."""
    query: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Key in body, query or path -> field of the command, where they differ."""
    also: tuple[str, ...] = ()
    """Other paths that mean the same."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Code of an error -> the text it has on this route."""
    missing: str = ""
    """`data` where the command says not_found; empty: that is an error."""
    body: Any = None
    """An example."""
    data: Any = None
    """An example of what is answered."""
    long: bool = False
    """The answer may be a long listing: compressed for who accepts that."""


def _aliases_last() -> tuple[str, ...]:
    names = JobOptions.__struct_fields__
    return tuple(name for name in names if name.islower()) + tuple(name for name in names if not name.islower())


OPTIONS: Final = _aliases_last()
"""All options of a job."""
_Q: Final = "/queues/{queue}"
_J: Final = "/jobs/{id}"


def _r(method: str, path: str, command: str, group: str, summary: str, **more: Any) -> Route:
    return Route(method=method, path=path, command=command, group=group, summary=summary, **more)


def _limits(path: str, other: str, on: str, off: str, what: str) -> list[Route]:
    also = (other,) if other else ()
    return [
        _r("POST", path, on, "Queues", f"Set {what}", need=("limit",), may=("per_key",), also=also,
           body={"limit": 100}),
        _r("DELETE", path, off, "Queues", f"Remove {what}", query=("per_key",), also=also),
    ]  # fmt: skip


QUEUES: Final = [
    _r("GET", "/queues", "LISTQUEUES", "Queues", "All queues with any job or setting", show=shows.key("queues"),
       data=[examples.QUEUE], long=True),
    _r("POST", f"{_Q}/jobs", "PUSH", "Jobs", "Push a job", may=("data", *OPTIONS), show=shows.pushed,
       body={"data": {"to": "a"}, "priority": 5}, data=examples.JOB),
    _r("POST", f"{_Q}/jobs/batch", "PUSHB", "Jobs", "Push up to 1000 jobs at once", need=("jobs",),
       show=shows.key("ids"), body={"jobs": [{"data": {"to": "a"}}, {"data": {"to": "b"}, "delay": 1000}]},
       data=[1024, 2048]),
    _r("GET", f"{_Q}/jobs", "PULLB", "Jobs", "Pull jobs, waiting until there are some", show=shows.jobs,
       query=("count", "timeout", "lease_ms"), data=[examples.PULLED], long=True),
    _r("POST", f"{_Q}/pause", "PAUSE", "Queues", "Give out no more jobs"),
    _r("POST", f"{_Q}/resume", "RESUME", "Queues", "Give out jobs again"),
    _r("GET", f"{_Q}/paused", "ISPAUSED", "Queues", "Whether the queue is paused", show=shows.key("paused"),
       data=False),
    _r("GET", f"{_Q}/count", "COUNT", "Queues", "Jobs that wait or are delayed", show=shows.key("count"), data=12),
    _r("GET", f"{_Q}/counts", "GETJOBCOUNTS", "Queues", "Jobs by state", data=examples.COUNTS,
       show=shows.keys("waiting", "active", "delayed", "completed", "failed")),
    _r("GET", f"{_Q}/dlq", "DLQ", "Dead letters", "Dead letters, the oldest first", query=("count",),
       show=shows.key("jobs"), data=[examples.JOB], long=True),
    _r("POST", f"{_Q}/dlq/retry", "RETRYDLQ", "Dead letters", "Have dead letters wait again, all or one",
       may=("job_id",), renamed={"job_id": "id"}, show=shows.first_count, body={"job_id": 1024}, data=1),
    _r("POST", f"{_Q}/dlq/{{id}}/retry", "RETRYDLQ", "Dead letters", "Have one dead letter wait again",
       show=shows.first_count, data=1),
    _r("DELETE", f"{_Q}/dlq", "PURGEDLQ", "Dead letters", "Remove all dead letters", show=shows.key("count"), data=3),
    *_limits(f"{_Q}/rate-limit", f"{_Q}/ratelimit", "RATELIMIT", "RATELIMITCLEAR", "the limit of jobs a second"),
    *_limits(f"{_Q}/concurrency", "", "SETCONCURRENCY", "CLEARCONCURRENCY", "the limit of jobs at once"),
    _r("POST", f"{_Q}/drain", "DRAIN", "Queues", "Remove what waits or is delayed", show=shows.key("count"), data=7),
    _r("DELETE", f"{_Q}/obliterate", "OBLITERATE", "Queues", "Remove the queue with all it has",
       show=shows.key("count"), data=7),
    _r("POST", f"{_Q}/clean", "CLEAN", "Queues", "Remove old jobs of one state", need=("grace",),
       may=("state", "limit"), show=shows.key("count"), body={"grace": 60000, "state": "completed"}, data=7),
    _r("POST", f"{_Q}/flow", "FLOW", "Flows", "Push a job that waits for its children", need=("children",),
       may=("data", *OPTIONS), show=shows.keys("parent_id", "children_ids"), body=examples.FLOW,
       data=examples.FLOW_IDS),
    _r("POST", "/flows", "FLOW", "Flows", "Push a job that waits for its children, its queue in the body",
       need=("queue", "children"), may=("parent_data", *OPTIONS), renamed={"parent_data": "data"},
       show=shows.keys("parent_id", "children_ids"),
       body={"queue": "reports", "parent_data": {"month": 7}, "children": examples.FLOW["children"]},
       data=examples.FLOW_IDS),
]  # fmt: skip

JOBS: Final = [
    _r("GET", "/jobs", "GETJOBS", "Jobs", "Jobs, the newest first", query=("queue", "state", "limit", "offset"),
       show=shows.key("jobs"), data=[examples.JOB_ITEM], long=True),
    _r("GET", _J, "GETJOB", "Jobs", "A job with its state and result", show=shows.job_in_full, data=examples.JOB_ITEM),
    _r("GET", "/jobs/custom/{job_id}", "GETJOBBYCUSTOMID", "Jobs", "A job by the id its producer gave it",
       show=shows.job_in_full, data=examples.JOB_ITEM),
    _r("POST", f"{_J}/ack", "ACK", "Jobs", "The job is done", may=("result", "lease"), body={"result": {"sent": True}}),
    _r("POST", f"{_J}/fail", "FAIL", "Jobs", "The job failed: it is tried again, or becomes a dead letter",
       may=("error", "lease"), body={"error": "connection refused"}),
    _r("POST", "/jobs/ack-batch", "ACKB", "Jobs", "These jobs are done", need=("ids",), may=("results", "leases"),
       show=shows.first_count, also=("/jobs/ack/batch",), body={"ids": [1024, 2048]}, data=2),
    _r("POST", f"{_J}/progress", "PROGRESS", "Jobs", "How far a running job is", need=("progress",),
       may=("message", "lease"), body={"progress": 40, "message": "page 4 of 10"}),
    _r("GET", f"{_J}/progress", "GETPROGRESS", "Jobs", "How far a running job is, and its message",
       show=shows.progress_pair, data=[40, "page 4 of 10"]),
    _r("POST", f"{_J}/heartbeat", "HEARTBEAT", "Jobs", "The worker lives: its lease is renewed", may=("lease",),
       body={"lease": 4294967297}),
    _r("POST", f"{_J}/cancel", "CANCEL", "Jobs", "Remove a job that is not finished"),
    _r("GET", f"{_J}/result", "GETRESULT", "Jobs", "What a completed job gave", show=shows.key("result"),
       data={"sent": True}),
    _r("GET", f"{_J}/state", "GETSTATE", "Jobs", "A job's state", show=shows.key("state"), data="waiting"),
    _r("GET", f"{_J}/logs", "GETLOGS", "Jobs", "The lines a job's worker wrote", show=shows.key("logs"),
       data=[{"timestamp": 1700000000000, "message": "started", "level": "info"}]),
    _r("POST", f"{_J}/logs", "LOG", "Jobs", "Add a line to a job's log", need=("message",), may=("level",),
       body={"message": "started", "level": "info"}),
    _r("POST", f"{_J}/partial", "PARTIAL", "Jobs", "A part of a running job's result", need=("data",),
       may=("index", "lease"), body={"data": "Once upon", "index": 0}),
    _r("POST", f"{_J}/priority", "CHANGEPRIORITY", "Jobs", "Change a job's priority", need=("priority",),
       body={"priority": 10}),
    _r("POST", f"{_J}/move-to-delayed", "MOVETODELAYED", "Jobs", "Give a running job back, for later",
       need=("delay",), may=("lease",), also=(f"{_J}/delay",), body={"delay": 5000}),
    _r("POST", f"{_J}/update", "UPDATEJOB", "Jobs", "Replace a job's data", need=("data",), body={"data": {"to": "b"}}),
    _r("PATCH", _J, "UPDATEJOB", "Jobs", "Replace a job's data", need=("data",), body={"data": {"to": "b"}}),
    _r("POST", f"{_J}/promote", "PROMOTE", "Jobs", "Have a delayed job wait now"),
    _r("POST", f"{_J}/discard", "DISCARD", "Jobs", "Make a job a dead letter"),
    _r("GET", f"{_J}/wait", "WAITJOB", "Jobs", "Wait until a job has ended; its result", query=("timeout",),
       show=shows.key("result"), data={"sent": True}),
    _r("GET", f"{_J}/history", "HISTORY", "Jobs", "What happened to a job", show=shows.key("history"), data=[]),
    _r("GET", "/jobs/{parent_id}/children", "GETCHILDREN", "Flows", "The children of a flow's parent",
       show=shows.children, words={"not_found": "Parent job not found or has no children"},
       data={"children": [3072, 4096], "completed": 1, "total": 2}),
]  # fmt: skip

CRONS: Final = [
    _r("GET", "/crons", "CRONLIST", "Crons", "All crons", show=shows.key("crons"), data=[examples.CRON], long=True),
    *(
        _r(method, "/crons/{name}", "CRON", "Crons", "Set a cron: jobs on a schedule", need=("queue",),
           may=("data", "schedule", "repeat_every", "limit", "timezone", "misfire", "options", *OPTIONS),
           body={"queue": "mail", "data": {"to": "a"}, "schedule": "0 7 * * *"})
        for method in ("POST", "PUT")
    ),
    _r("DELETE", "/crons/{name}", "CRONDELETE", "Crons", "Remove a cron; whether it was there", show=shows.yes,
       missing="false", data=True),
]  # fmt: skip

WEBHOOKS: Final = [
    _r("GET", "/webhooks", "WEBHOOKLIST", "Webhooks", "All webhooks, their secrets masked", show=shows.key("webhooks"),
       data=[examples.WEBHOOK], long=True),
    _r("POST", "/webhooks", "WEBHOOK", "Webhooks", "Have a URL told of events; the webhook's id",
       need=("url", "events"), may=("queue", "secret"), show=shows.key("id"), data="wh_1",
       body={"url": "https://example.com/hook", "events": ["completed", "failed"], "queue": "mail"}),
    _r("DELETE", "/webhooks/{id}", "WEBHOOKDELETE", "Webhooks", "Remove a webhook; whether it was there",
       renamed={"id": "webhook_id"}, show=shows.yes, missing="false", data=True),
    _r("GET", "/webhooks/incoming", "INCOMINGLIST", "Webhooks", "Queues that take jobs from other services",
       show=shows.key("incoming"), data=[examples.INCOMING], long=True),
    _r("PUT", f"{_Q}/incoming", "INCOMING", "Webhooks", "Take jobs from another service, which signs them",
       need=("secret",), may=("scheme",), body={"scheme": "github", "secret": "a-long-random-text"}),
    _r("DELETE", f"{_Q}/incoming", "INCOMINGDELETE", "Webhooks", "Take no such jobs any more; whether it did",
       show=shows.yes, missing="false", data=True),
    _r("GET", "/webhooks/{id}/deliveries", "WEBHOOKDELIVERIES", "Webhooks",
       "What failed for good, or with `state=waiting` is still to be delivered", renamed={"id": "webhook_id"},
       query=("state", "limit"), show=shows.key("deliveries"), data=[examples.DELIVERY], long=True),
    _r("POST", "/webhooks/{id}/resend", "WEBHOOKRESEND", "Webhooks", "Deliver what had failed, all or one; how many",
       renamed={"id": "webhook_id"}, may=("delivery_id",), show=shows.key("count"), data=1,
       body={"delivery_id": "wh_1-8589934593"}),
]  # fmt: skip

FIGURES: Final = [
    _r("GET", "/stats", "STATS", "Figures", "Jobs of the whole server, by state", data=examples.STATS,
       show=shows.keys("queued", "processing", "delayed", "dlq", "completed")),
]  # fmt: skip

KV: Final = [
    _r("PUT", "/kv/{key}", "KVSET", "Key-value", "Set a value", need=("value",), may=("ttl",),
       body={"value": {"a": 1}, "ttl": 60000}),
    _r("GET", "/kv/{key}", "KVGET", "Key-value", "A value; null if there is none", show=shows.key("value"),
       data={"a": 1}),
    _r("DELETE", "/kv/{key}", "KVDEL", "Key-value", "Remove a value; whether it was there", show=shows.key("exists"),
       data=True),
    _r("GET", "/kv/{key}/exists", "KVEXISTS", "Key-value", "Whether there is a value", show=shows.key("exists"),
       data=True),
    _r("GET", "/kv/{key}/ttl", "KVTTL", "Key-value", "Milliseconds a value has left; -1 for ever, -2 none",
       show=shows.key("ttl"), data=-1),
    _r("POST", "/kv/{key}/expire", "KVEXPIRE", "Key-value", "Have a value end; whether it was there", need=("ttl",),
       show=shows.key("exists"), body={"ttl": 60000}, data=True),
    _r("POST", "/kv/{key}/incr", "KVINCR", "Key-value", "Add to a number; its new value", may=("by",),
       show=shows.key("value"), body={"by": 1}, data=7),
    _r("GET", "/kv", "KVKEYS", "Key-value", "Keys that match a pattern", query=("pattern",), show=shows.key("keys"),
       data=["a"], long=True),
    _r("POST", "/kv-batch/get", "KVMGET", "Key-value", "Several values at once", need=("keys",),
       show=shows.key("values"), body={"keys": ["a", "b"]}, data=[{"a": 1}, None]),
    _r("POST", "/kv-batch/set", "KVMSET", "Key-value", "Set several values at once", need=("entries",),
       show=shows.key("count"), body={"entries": [{"key": "a", "value": 1}]}, data=1),
]  # fmt: skip

MORE: Final = [
    _r("POST", "/jobs/batch", "GETJOBSBATCH", "Jobs", "Several jobs at once, in the order asked", need=("ids",),
       show=shows.key("jobs"), body={"ids": [1024, 2048]}, data=[examples.JOB_ITEM], long=True),
]  # fmt: skip

ROUTES: Final[tuple[Route, ...]] = (*QUEUES, *JOBS, *MORE, *CRONS, *WEBHOOKS, *FIGURES, *KV)
"""All of them."""
