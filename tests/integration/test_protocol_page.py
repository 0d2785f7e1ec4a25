"""The keys that docs/protocol.md promises in replies are those that come."""

from collections.abc import Iterator
from typing import Any

import pytest

from flashq.cli.protocol_words import COMMANDS
from flashq.testing.cluster import Cluster
from tests.integration.wire import Wire

JOB = "<an active job>"
REQUESTS: dict[str, dict[str, Any]] = {
    "PUSH": {"queue": "q", "data": 1},
    "PUSHB": {"queue": "q", "jobs": [{"unique_key": "u"}, {"unique_key": "u"}]},
    "PULL": {"queue": "q", "timeout": 0}, "PULLB": {"queue": "q", "count": 2, "timeout": 0},
    "ACK": {"id": JOB}, "ACKB": {"ids": [1]}, "FAIL": {"id": JOB}, "HEARTBEAT": {"id": JOB},
    "PROGRESS": {"id": JOB, "progress": 5}, "GETPROGRESS": {"id": JOB}, "PARTIAL": {"id": JOB, "data": 1},
    "LOG": {"id": JOB, "message": "m"}, "GETLOGS": {"id": JOB}, "MOVETODELAYED": {"id": JOB, "delay": 5},
    "CANCEL": {"id": JOB}, "DISCARD": {"id": JOB}, "CHANGEPRIORITY": {"id": JOB, "priority": 1},
    "UPDATEJOB": {"id": JOB, "data": 1}, "UPDATE": {"id": JOB, "data": 1}, "GETJOB": {"id": JOB},
    "GETSTATE": {"id": JOB}, "GETRESULT": {"id": JOB}, "GETJOBBYCUSTOMID": {"job_id": "n"},
    "GETJOBSBATCH": {"ids": [1]}, "GETJOBS": {}, "HISTORY": {"id": JOB}, "PAUSE": {"queue": "p"},
    "RESUME": {"queue": "p"}, "ISPAUSED": {"queue": "q"}, "COUNT": {"queue": "q"}, "GETJOBCOUNTS": {"queue": "q"},
    "LISTQUEUES": {}, "RATELIMIT": {"queue": "l", "limit": 1}, "RATELIMITCLEAR": {"queue": "l"},
    "SETCONCURRENCY": {"queue": "l", "limit": 1}, "CLEARCONCURRENCY": {"queue": "l"}, "SUBSCRIBE": {"queue": "l"},
    "UNSUBSCRIBE": {"queue": "l"}, "DLQ": {"queue": "d"}, "RETRYDLQ": {"queue": "d"}, "PURGEDLQ": {"queue": "d"},
    "DRAIN": {"queue": "d"}, "CLEAN": {"queue": "d", "grace": 0}, "OBLITERATE": {"queue": "d"},
    "FLOW": {"queue": "f", "children": [{"queue": "f"}]}, "CRON": {"name": "n", "queue": "c", "schedule": "@yearly"},
    "CRONDELETE": {"name": "n"}, "CRONLIST": {}, "KVSET": {"key": "k", "value": 1}, "KVGET": {"key": "k"},
    "KVEXISTS": {"key": "k"}, "KVEXPIRE": {"key": "k", "ttl": 60_000}, "KVTTL": {"key": "k"}, "KVINCR": {"key": "k"},
    "KVMGET": {"keys": ["k"]}, "KVMSET": {"entries": [{"key": "k", "value": 1}]}, "KVKEYS": {}, "KVDEL": {"key": "k"},
    "WEBHOOK": {"url": "https://example.com/", "events": ["*"], "queue": "w"}, "WEBHOOKLIST": {},
    "WEBHOOKDELIVERIES": {"webhook_id": "wh_1"}, "WEBHOOKRESEND": {"webhook_id": "wh_1"},
    "INCOMING": {"queue": "in", "secret": "0123456789abcdef"}, "INCOMINGDELETE": {"queue": "in"}, "INCOMINGLIST": {},
    "WEBHOOKDELETE": {"webhook_id": "wh_1"},
    "PING": {}, "AUTH": {"token": "t"}, "STATS": {}, "METRICS": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Cluster(shards=2, durability="commit") as cluster, Wire(cluster.connect()) as one:
        yield one


def _active(wire: Wire) -> int:
    wire.ok("PUSH", queue="jobs", data=1)
    job_id: int = wire.ok("PULL", queue="jobs", timeout=5_000)["job"]["id"]
    return job_id


def _holds(reply: dict[str, Any], promised: str) -> None:
    keys = [key.strip() for key in promised.split(",") if key.strip()]
    sure = {key for key in keys if not key.endswith("?")}
    found = reply.keys() - {"ok", "success"}
    assert sure <= found <= {key.rstrip("?") for key in keys}, reply


def test_replies_have_the_keys_that_the_page_promises(wire: Wire) -> None:
    for cmd, request in REQUESTS.items():
        fields = {name: _active(wire) if value == JOB else value for name, value in request.items()}
        _holds(wire.ok(cmd, **fields), COMMANDS[cmd][1])
    late = wire.ok("PUSH", queue="late", data=1, delay=60_000)["id"]
    _holds(wire.ok("PROMOTE", id=late), COMMANDS["PROMOTE"][1])
    parent = wire.ok("FLOW", queue="f", children=[{"queue": "f"}])["parent_id"]
    _holds(wire.ok("GETCHILDREN", parent_id=parent), COMMANDS["GETCHILDREN"][1])
    done = _active(wire)
    wire.ok("ACK", id=done, result=[1])
    _holds(wire.ok("WAITJOB", id=done), COMMANDS["WAITJOB"][1])
    assert COMMANDS.keys() - REQUESTS.keys() == {"PROMOTE", "GETCHILDREN", "WAITJOB"}
