"""Every command, every field of it: what kind of value it takes, and what it must refuse.

From the tables of protocol.md §2 and the additions of decisions.md. Placeholders in the examples stand for things of a
test: QUEUE, FAR, WAITING, ACTIVE (job ids), KEY, NAME.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

QUEUE: Final = "<queue>"
FAR: Final = "<queue of another shard>"
WAITING: Final = "<id of a waiting job>"
ACTIVE: Final = "<id of an active job>"
KEY: Final = "<key>"
NAME: Final = "<name>"
TEN_YEARS_MS: Final = 10 * 366 * 86_400_000

NO_TEXT: Final = (1, 1.5, True, ["a"], {"a": 1})
NO_INTEGER: Final = ("1", 1.5, True, [1], {"a": 1})
NO_LIST: Final = ("a", 1, True, {"a": 1})
BEYOND_64_BITS: Final = 2**64
"""Left out where the codec cannot say it."""


class Kind(NamedTuple):
    """What a field takes: values that it must refuse, and whether null is one of them wherever it is required."""

    bad: tuple[Any, ...]
    nullable: bool = False


U64 = Kind((*NO_INTEGER, -1, BEYOND_64_BITS))
U32 = Kind((*NO_INTEGER, -1, 2**32))
U8 = Kind(("1", True, [1], {"a": 1}, -1, 256))
I32 = Kind((*NO_INTEGER, 2**31, -(2**31) - 1))
I64 = Kind((*NO_INTEGER, 2**63, BEYOND_64_BITS))
DURATION = Kind((*NO_INTEGER, -1, TEN_YEARS_MS, BEYOND_64_BITS))
TEXT = Kind(NO_TEXT)
NAME_512 = Kind((*NO_TEXT, "x" * 513))
QUEUE_NAME = Kind((*NO_TEXT, "", "a b", "x" * 257, "__a"))
KEY_1024 = Kind((*NO_TEXT, "", "k" * 1025))
BOOL = Kind((1, 0, "true", [True], {"a": 1}))
IDS = Kind((*NO_LIST, ["1"], [1.5], [-1], [None], [[1]], [1] * 1001))
TEXTS = Kind((*NO_LIST, [1], [None], [["a"]]))
TAGS = Kind((*TEXTS.bad, ["t"] * 65, ["t" * 513]))
LIST = Kind((*NO_LIST, [1], ["a"], [None], [[]]))
ANY = Kind((), nullable=True)
IDEMPOTENCY = Kind((*NO_TEXT, "x" * 513))

OPTIONS: Final[Mapping[str, Kind]] = {
    "priority": I32, "delay": DURATION, "ttl": DURATION, "timeout": DURATION, "max_attempts": U32, "backoff": DURATION,
    "unique_key": NAME_512, "depends_on": IDS, "tags": TAGS, "lifo": BOOL, "remove_on_complete": BOOL,
    "remove_on_fail": BOOL,
    "stall_timeout": DURATION, "debounce_id": NAME_512, "debounce_ttl": DURATION, "job_id": NAME_512, "jobId": NAME_512,
    "keep_completed_age": DURATION, "keepCompletedAge": DURATION, "keep_completed_count": U64,
    "keepCompletedCount": U64,
    "group_id": NAME_512, "limit_key": NAME_512, "on_dependency_failure": Kind((*NO_TEXT, "explode")),
}  # fmt: skip
CHILD: Final = {"queue": FAR, "data": 1}
LEASE: Final = {"lease": U64}


class Entry(NamedTuple):
    """One command: a request that would succeed, its required fields' kinds, its optional ones'."""

    example: Mapping[str, Any]
    required: Mapping[str, Kind]
    optional: Mapping[str, Kind] = {}

    def fields(self) -> dict[str, Kind]:
        return {**self.required, **self.optional}


def _of_queue(**optional: Kind) -> Entry:
    return Entry({"queue": QUEUE}, {"queue": QUEUE_NAME}, optional)


def _of_job(job: str = WAITING, **optional: Kind) -> Entry:
    return Entry({"id": job}, {"id": U64}, optional)


COMMANDS: Final[Mapping[str, Entry]] = {
    "PUSH": Entry({"queue": QUEUE, "data": 1}, {"queue": QUEUE_NAME, "data": ANY}, OPTIONS),
    "PUSHB": Entry({"queue": QUEUE, "jobs": [{"data": 1}]}, {"queue": QUEUE_NAME, "jobs": LIST}),
    "PULL": Entry({"queue": QUEUE, "timeout": 0}, {"queue": QUEUE_NAME},
                  {"timeout": U64, "lease_ms": DURATION, "release_on_disconnect": BOOL}),
    "PULLB": Entry({"queue": QUEUE, "count": 1, "timeout": 0}, {"queue": QUEUE_NAME, "count": U64},
                   {"timeout": U64, "lease_ms": DURATION, "release_on_disconnect": BOOL}),
    "ACK": Entry({"id": ACTIVE}, {"id": U64}, {"result": ANY, **LEASE}),
    "ACKB": Entry({"ids": [ACTIVE]}, {"ids": IDS},
                  {"results": Kind((*NO_LIST, [1, 2])), "leases": Kind((*NO_LIST, ["1"], [-1], [1, 2]))}),
    "FAIL": _of_job(ACTIVE, error=TEXT, lease=U64),
    "HEARTBEAT": _of_job(ACTIVE, lease=U64),
    "GETJOB": _of_job(), "GETSTATE": _of_job(), "GETRESULT": _of_job(), "GETPROGRESS": _of_job(ACTIVE),
    "CANCEL": _of_job(),
    "PROMOTE": _of_job(), "DISCARD": _of_job(), "GETLOGS": _of_job(), "HISTORY": _of_job(),
    "WAITJOB": _of_job(WAITING, timeout=U64),
    "GETJOBBYCUSTOMID": Entry({"job_id": NAME}, {"job_id": TEXT}),
    "GETJOBSBATCH": Entry({"ids": [WAITING]}, {"ids": IDS}),
    "GETJOBS": Entry({"queue": QUEUE}, {}, {"queue": QUEUE_NAME, "state": Kind((*NO_TEXT, "sleeping")), "limit": U64,
                                            "offset": U64}),
    "GETCHILDREN": Entry({"parent_id": WAITING}, {"parent_id": U64}),
    "PROGRESS": Entry({"id": ACTIVE, "progress": 5}, {"id": U64, "progress": U8}, {"message": TEXT, **LEASE}),
    "PARTIAL": Entry({"id": ACTIVE, "data": 1}, {"id": U64, "data": ANY}, {"index": U32, **LEASE}),
    "LOG": Entry({"id": WAITING, "message": "m"}, {"id": U64, "message": TEXT}, {"level": TEXT}),
    "CHANGEPRIORITY": Entry({"id": WAITING, "priority": 1}, {"id": U64, "priority": I32}),
    "MOVETODELAYED": Entry({"id": ACTIVE, "delay": 1}, {"id": U64, "delay": DURATION}, LEASE),
    "UPDATEJOB": Entry({"id": WAITING, "data": 2}, {"id": U64, "data": ANY}),
    "UPDATE": Entry({"id": WAITING, "data": 2}, {"id": U64, "data": ANY}),
    "DLQ": _of_queue(count=U64), "RETRYDLQ": _of_queue(id=U64),
    "PURGEDLQ": _of_queue(), "DRAIN": _of_queue(), "OBLITERATE": _of_queue(), "PAUSE": _of_queue(),
    "RESUME": _of_queue(),
    "RATELIMITCLEAR": _of_queue(per_key=BOOL), "CLEARCONCURRENCY": _of_queue(per_key=BOOL), "UNSUBSCRIBE": _of_queue(),
    "COUNT": _of_queue(), "GETJOBCOUNTS": _of_queue(), "ISPAUSED": _of_queue(),
    "RATELIMIT": Entry({"queue": QUEUE, "limit": 1}, {"queue": QUEUE_NAME, "limit": U32}, {"per_key": BOOL}),
    "SETCONCURRENCY": Entry({"queue": QUEUE, "limit": 1}, {"queue": QUEUE_NAME, "limit": U32}, {"per_key": BOOL}),
    "CLEAN": Entry({"queue": QUEUE, "grace": 0, "state": "waiting"}, {"queue": QUEUE_NAME, "grace": U64},
                   {"state": Kind((*NO_TEXT, "sleeping")), "limit": U64}),
    "SUBSCRIBE": Entry({"queue": QUEUE, "events": ["pushed"]}, {"queue": QUEUE_NAME},
                       {"events": Kind((*TEXTS.bad, ["exploded"]))}),
    "CRON": Entry({"name": NAME, "queue": QUEUE, "schedule": "0 0 1 1 *", "data": 1},
                  {"name": Kind((*NO_TEXT, "")), "queue": QUEUE_NAME},
                  {"schedule": Kind((*NO_TEXT, "x", "* * *", "0 " * 150)), "repeat_every": Kind((*U64.bad, 0)),
                  "limit": U64,
                   "timezone": Kind((*NO_TEXT, "Mars/Olympus")), "misfire": Kind((*NO_TEXT, "never")),
                   "priority": I32, "tags": TAGS, "max_attempts": U32, "timeout": DURATION, "lifo": BOOL}),
    "CRONDELETE": Entry({"name": NAME}, {"name": TEXT}),
    "FLOW": Entry({"queue": QUEUE, "data": 1, "children": [CHILD]}, {"queue": QUEUE_NAME,
    "children": Kind((*LIST.bad, []))},
                  {"priority": I32, "delay": DURATION, "tags": TAGS, "max_attempts": U32, "lifo": BOOL}),
    "KVSET": Entry({"key": KEY, "value": 1}, {"key": KEY_1024, "value": ANY}, {"ttl": U64}),
    "KVGET": Entry({"key": KEY}, {"key": TEXT}), "KVDEL": Entry({"key": KEY}, {"key": TEXT}),
    "KVEXISTS": Entry({"key": KEY}, {"key": TEXT}), "KVTTL": Entry({"key": KEY}, {"key": TEXT}),
    "KVEXPIRE": Entry({"key": KEY, "ttl": 1}, {"key": TEXT, "ttl": U64}),
    "KVMGET": Entry({"keys": [KEY]}, {"keys": Kind((*TEXTS.bad, ["k"] * 1001))}),
    "KVMSET": Entry({"entries": [{"key": KEY, "value": 1}]}, {"entries": LIST}),
    "KVKEYS": Entry({}, {}, {"pattern": TEXT}),
    "KVINCR": Entry({"key": KEY, "by": 1}, {"key": KEY_1024}, {"by": I64}),
    "AUTH": Entry({"token": "t"}, {"token": TEXT}),
    "STATS": Entry({}, {}), "METRICS": Entry({}, {}), "LISTQUEUES": Entry({}, {}), "CRONLIST": Entry({}, {}),
    "PING": Entry({}, {}),
}  # fmt: skip
KEYED: Final = ("PUSH", "PUSHB", "ACK", "FAIL", "PAUSE", "CANCEL", "KVSET")
"""Commands that are also asked with bad idempotency keys."""
ELSEWHERE: Final = {
    "reqId", "idempotency_key", "job_id", "customId", "custom_id", "options", "client", "seq", "seq_done",
    "ignore_failure",
    "children", "data", *OPTIONS,
}  # fmt: skip
"""Fields that other tests are about: aliases, nested options, what every command takes."""
