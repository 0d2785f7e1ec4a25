"""What a path and a query ask to listen to."""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from flashq.api.http import fields
from flashq.api.http.failures import HttpFailure
from flashq.protocol.happenings import kinds_of
from flashq.protocol.queue_names import check_queue_name
from flashq.transport.following import Position

_EVENTS: Final = re.compile(rb"/events(?:/job/(?P<job>[^/]+)|/(?P<queue>[^/]+))?|/queues/(?P<other>[^/]+)/events")
_SOCKET: Final = re.compile(rb"/ws(?:/(?P<queue>[^/]+))?")
_ID: Final = re.compile(r"\d{1,4}-\d{1,19}-\d{1,19}(,\d{1,4}-\d{1,19}-\d{1,19})*", re.ASCII)


class Target(NamedTuple):
    """A queue, a job, or everything that happens."""

    queue: str | None = None
    job_id: int | None = None
    dashboard: bool = False


def is_stream(path: bytes) -> bool:
    """Whether it asks for server-sent events."""
    # The two cheap looks first: every request comes by here.
    return (path.startswith(b"/events") or path.endswith(b"/events")) and _EVENTS.fullmatch(path) is not None


def of_stream(path: bytes) -> Target:
    """What such a path asks to listen to. Raises HttpFailure, InvalidArgument."""
    found = _EVENTS.fullmatch(path)
    assert found is not None, path
    if found["job"] is not None:
        return Target(job_id=fields.from_text("id", fields.from_segment(found["job"]), int))
    return _of_queue(found["queue"] or found["other"])


def of_socket(path: bytes) -> Target | None:
    """As `of_stream`, by WebSocket; None for a path that is none of a WebSocket."""
    found = _SOCKET.fullmatch(path)
    if found is None:
        return None
    return Target(dashboard=True) if found["queue"] == b"dashboard" else _of_queue(found["queue"])


def _of_queue(segment: bytes | None) -> Target:
    if segment is None:
        return Target()
    queue = fields.from_segment(segment)
    check_queue_name(queue)
    return Target(queue=queue)


def query_of(query: bytes) -> dict[str, str]:
    """Its keys; the first of several counts. Raises HttpFailure 400."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError:
        raise HttpFailure(400, "Invalid: the query string is not valid") from None
    return dict(reversed(pairs))


def wanted_kinds(query: dict[str, str]) -> frozenset[str] | None:
    """Those of `?events=a,b`; None: all. Raises InvalidArgument."""
    return kinds_of([name.strip() for name in query.get("events", "").split(",") if name.strip()])


def positions_of(last_event_id: str) -> dict[int, Position]:
    """What an id says was seen last, by shard; nothing where it is none of ours."""
    if not _ID.fullmatch(last_event_id):
        return {}
    parts = (one.split("-") for one in last_event_id.split(","))
    return {int(shard): (int(epoch), int(number)) for shard, epoch, number in parts}
