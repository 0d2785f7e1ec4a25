"""A job in each state that there is, for tables of command and state."""

from collections.abc import Callable
from typing import Final

from tests.conformance.peer import Peer
from tests.conformance.ways import Way

UNKNOWN_ID: Final = 2**40
"""No server has given it: ids have grown one by one since its first start."""


def waiting(c: Peer, way: Way) -> int:
    return c.push(way.queue(), {"a": 1})


def delayed(c: Peer, way: Way) -> int:
    return c.push(way.queue(), {"a": 1}, delay=600_000)


def active(c: Peer, way: Way) -> int:
    queue = way.queue()
    job_id = c.push(queue, {"a": 1}, max_attempts=1)
    assert c.pull(queue)["id"] == job_id
    return job_id


def completed(c: Peer, way: Way) -> int:
    job_id = active(c, way)
    c.ok("ACK", id=job_id, result={"r": 1})
    return job_id


def failed(c: Peer, way: Way) -> int:
    job_id = active(c, way)
    c.ok("FAIL", id=job_id, error="boom")
    return job_id


def held(c: Peer, way: Way) -> int:
    """Waits for a job of another queue, and of another shard where there is one."""
    return c.push(way.queue(), {"a": 1}, depends_on=[c.push(way.far())])


def parent(c: Peer, way: Way) -> int:
    """Waits for its child."""
    flow = c.ok("FLOW", queue=way.queue(), data={"a": 1}, children=[{"queue": way.far(), "data": 1}])
    return int(flow["parent_id"])


def cancelled(c: Peer, way: Way) -> int:
    job_id = waiting(c, way)
    c.ok("CANCEL", id=job_id)
    return job_id


def unknown(c: Peer, way: Way) -> int:
    return UNKNOWN_ID


MAKE: Final[dict[str, Callable[[Peer, Way], int]]] = {
    "waiting": waiting,
    "delayed": delayed,
    "active": active,
    "completed": completed,
    "failed": failed,
    "waiting-children": held,
    "waiting-parent": parent,
    "unknown": unknown,
}
STATES: Final = tuple(MAKE)
