"""The one table of what is needed for what: command or page -> the verb, and the queues or keys it is needed on.

Every door asks here. Routes that stand for a command, and RPCs, need what the command needs. A command or a page
without a row is found by a test, and refused until it has one.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from flashq.access.scopes import Verb
from flashq.protocol import commands as c


class On(Enum):
    """What a verb is needed on."""

    NOTHING = auto()
    """Anybody who knows a token may, whatever its scopes."""
    SERVER = auto()
    """The server as a whole."""
    EVERY = auto()
    """All queues (or keys): what is shown or done concerns any of them."""
    SOME = auto()
    """Any queue at all."""
    QUEUE = auto()
    """The queue in `queue`; of a command that may be without one, all."""
    FLOW = auto()
    """The queue in `queue`, and those of all children, and of theirs."""
    JOB = auto()
    """The queue of the job in `id` (or `job_id`, `parent_id`): its shard knows it."""
    JOBS = auto()
    """The queues of the jobs in `ids`."""
    NAMED_JOB = auto()
    """The queue of the job that has the name."""
    CRON = auto()
    """The queue in `queue`, and that of the cron which has the name already."""
    KEY = auto()
    """The key in `key`."""
    KEYS = auto()
    """Those in `keys`."""
    ENTRIES = auto()
    """Those in `entries`."""


class Need(NamedTuple):
    """One row's right-hand side."""

    verb: Verb
    on: On

    def __str__(self) -> str:
        return (
            "-"
            if self.on is On.NOTHING
            else str(self.verb)
            if self.on is On.SERVER
            else f"{self.verb}:{_SHOWN[self.on]}"
        )


_SHOWN: Final = {
    On.EVERY: "*", On.SOME: "any", On.QUEUE: "queue", On.FLOW: "queues", On.JOB: "queue", On.JOBS: "queues",
    On.NAMED_JOB: "queue", On.CRON: "queue", On.KEY: "key", On.KEYS: "keys", On.ENTRIES: "keys",
}  # fmt: skip
_R, _P, _W, _M = Verb.READ, Verb.PUSH, Verb.WORK, Verb.MANAGE
OPEN: Final = Need(_R, On.NOTHING)
ADMIN: Final = Need(Verb.ADMIN, On.SERVER)
READ_ALL: Final = Need(_R, On.EVERY)

COMMANDS: Final[Mapping[str, Need]] = {
    **dict.fromkeys(("PING", "AUTH", "UNSUBSCRIBE"), OPEN),
    **dict.fromkeys(("PUSH", "PUSHB"), Need(_P, On.QUEUE)),
    "FLOW": Need(_P, On.FLOW),
    **dict.fromkeys(("PULL", "PULLB"), Need(_W, On.QUEUE)),
    **dict.fromkeys(("ACK", "FAIL", "HEARTBEAT", "PROGRESS", "PARTIAL", "LOG", "MOVETODELAYED"), Need(_W, On.JOB)),
    "ACKB": Need(_W, On.JOBS),
    **dict.fromkeys(("GETJOB", "GETSTATE", "GETRESULT", "GETPROGRESS", "GETLOGS", "HISTORY", "WAITJOB", "GETCHILDREN"),
                    Need(_R, On.JOB)),
    "GETJOBBYCUSTOMID": Need(_R, On.NAMED_JOB),
    **dict.fromkeys(("COUNT", "DLQ", "ISPAUSED", "GETJOBCOUNTS", "GETJOBS", "SUBSCRIBE"), Need(_R, On.QUEUE)),
    **dict.fromkeys(("STATS", "METRICS", "LISTQUEUES", "CRONLIST", "GETJOBSBATCH"), READ_ALL),
    **dict.fromkeys(("CANCEL", "CHANGEPRIORITY", "DISCARD", "PROMOTE", "UPDATE", "UPDATEJOB"), Need(_M, On.JOB)),
    **dict.fromkeys(("PAUSE", "RESUME", "RETRYDLQ", "PURGEDLQ", "DRAIN", "OBLITERATE", "CLEAN", "RATELIMIT",
                     "RATELIMITCLEAR", "SETCONCURRENCY", "CLEARCONCURRENCY"), Need(_M, On.QUEUE)),
    **dict.fromkeys(("CRON", "CRONDELETE"), Need(_M, On.CRON)),
    **dict.fromkeys(("KVGET", "KVEXISTS", "KVTTL"), Need(Verb.KV_READ, On.KEY)),
    "KVMGET": Need(Verb.KV_READ, On.KEYS),
    "KVKEYS": Need(Verb.KV_READ, On.EVERY),
    **dict.fromkeys(("KVSET", "KVDEL", "KVEXPIRE", "KVINCR"), Need(Verb.KV_WRITE, On.KEY)),
    **dict.fromkeys(("WEBHOOK", "INCOMING", "INCOMINGDELETE"), Need(_M, On.QUEUE)),
    "INCOMINGLIST": READ_ALL,
    **dict.fromkeys(("WEBHOOKDELETE", "WEBHOOKLIST", "WEBHOOKDELIVERIES", "WEBHOOKRESEND"), Need(_M, On.EVERY)),
    "KVMSET": Need(Verb.KV_WRITE, On.ENTRIES),
}  # fmt: skip
"""Every command of the protocol."""

CALLS: Final[Mapping[str, str]] = {
    "Push": "PUSH", "PushBatch": "PUSHB", "Pull": "PULL", "PullBatch": "PULLB", "Ack": "ACK", "AckBatch": "ACKB",
    "Fail": "FAIL", "GetState": "GETSTATE", "Stats": "STATS", "StreamJobs": "PULLB", "ProcessJobs": "PULLB",
}  # fmt: skip
"""Calls of gRPC's QueueService -> the command that each stands for."""

PAGES: Final[Mapping[str, Need]] = {
    **dict.fromkeys(("GET /health", "GET /ready", "GET /metrics/prometheus"), OPEN),
    **dict.fromkeys(("GET /metrics", "GET /metrics/history", "GET /workers", "GET /system/metrics",
                     "GET /debug/memory", "GET /settings", "GET /sqlite/settings", "GET /sqlite/stats",
                     "GET /s3/settings", "GET /cluster/nodes", "GET /cluster/nodes/metrics", "GET /cluster/metrics",
                     "GET /cluster/best-node", "GET /cluster/sticky-node/{key}",
                     "GET /cluster/load-balance-strategy"), READ_ALL),
    "POST /workers/{id}/heartbeat": Need(_W, On.SOME),
}  # fmt: skip
"""Pages about the server that need no more than this; what is not here needs `admin`."""

STREAMS: Final[Mapping[str, Need]] = {
    "GET /events": READ_ALL,
    "GET /events/{queue}": Need(_R, On.QUEUE),
    "GET /queues/{queue}/events": Need(_R, On.QUEUE),
    "GET /events/job/{id}": Need(_R, On.JOB),
    "WS /ws": READ_ALL,
    "WS /ws/{queue}": Need(_R, On.QUEUE),
    "WS /ws/dashboard": READ_ALL,
}
"""Streams of events over HTTP."""


def need_of_page(method: str, path: str) -> Need:
    """What a page of the server itself needs: `admin`, where the table says nothing milder."""
    return PAGES.get(f"{method} {path}", ADMIN)


def tag_of(kind: type[Any]) -> str:
    """The name of a command, from its struct."""
    return str(kind.__struct_config__.tag)


_BY_KIND: Final[dict[type[Any], Need]] = {
    kind: COMMANDS[tag_of(kind)] for kind in (*c.ALL, *c.FAST) if tag_of(kind) in COMMANDS
}


def need_of(kind: type[Any]) -> Need:
    """What a command needs, from its struct. One that has no row needs `admin`: what was forgotten is not open."""
    return _BY_KIND.get(kind) or COMMANDS.get(tag_of(kind), ADMIN)
