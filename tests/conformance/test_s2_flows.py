"""§2.10 and §4.7: FLOW."""

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way


def flow(c: Peer, way: Way, queue: str, n: int = 2, **fields: object) -> tuple[int, list[int], list[str]]:
    """A parent in `queue` and n children, by turns on this and another shard; ids and the children's queues."""
    queues = [way.far() if k % 2 else way.queue() for k in range(n)]
    children = [{"queue": name, "data": k} for k, name in enumerate(queues)]
    reply = c.ok("FLOW", queue=queue, data="parent", children=children, **fields)
    return reply["parent_id"], reply["children_ids"], queues


def test_reply_has_parent_and_children_in_input_order(c: Peer, way: Way, q: str) -> None:
    parent, ids, queues = flow(c, way, q, 4)
    assert len({parent, *ids}) == 5
    assert [c.pull(queue, 15_000)["id"] for queue in queues] == ids
    assert c.state(parent) == "waiting-parent"
    job = c.job(parent)
    assert (job["children_ids"], job["children_completed"], job["data"]) == (ids, 0, "parent")
    c.nothing(q)


def test_children_are_ordinary_jobs_that_know_their_parent(c: Peer, q: str, way: Way) -> None:
    queue = way.far()
    children = [{"queue": queue, "data": {"n": 1}, "priority": 2}, {"queue": queue, "data": 2, "delay": 600_000}]
    reply = c.ok("FLOW", queue=q, data=1, children=children, priority=6)
    first, second = reply["children_ids"]
    job = c.pull(queue, 15_000)
    assert (job["id"], job["data"], job["priority"], job["parent_id"]) == (first, {"n": 1}, 2, reply["parent_id"])
    assert c.state(second) == "delayed"
    assert c.job(reply["parent_id"])["priority"] == 6


def test_parent_joins_its_queue_when_all_children_completed(c: Peer, d: Peer, way: Way, q: str) -> None:
    parent, ids, queues = flow(c, way, q, 3)
    d.send("PULL", queue=q, timeout=15_000)
    for queue in queues[:2]:
        c.ok("ACK", id=c.pull(queue, 15_000)["id"])
    c.ok("ACKB", ids=[c.pull(queues[2], 15_000)["id"]])
    job = d.read()["job"]
    assert (job["id"], job["children_ids"], job["children_completed"]) == (parent, ids, 3)


def test_children_count_one_by_one(c: Peer, way: Way, q: str) -> None:
    parent, _, queues = flow(c, way, q, 2)
    c.ok("ACK", id=c.pull(queues[0], 15_000)["id"])
    reply = c.ok("GETCHILDREN", parent_id=parent)
    assert (reply["completed"], reply["total"]) == (1, 2)
    assert c.state(parent) == "waiting-parent"


def test_dead_child_kills_its_parent(c: Peer, d: Peer, way: Way, q: str) -> None:
    """F24, decisions.md: parent dead-lettered with `Child <id> failed`."""
    queue = way.far()
    reply = c.ok("FLOW", queue=q, data=1, children=[{"queue": queue, "data": 1, "max_attempts": 1}])
    parent, child = reply["parent_id"], reply["children_ids"][0]
    d.send("WAITJOB", id=parent, timeout=15_000)
    c.ok("FAIL", id=c.pull(queue, 15_000)["id"])
    assert "Job failed" in d.read()["error"]
    assert c.state(parent) == "failed"
    assert c.job(parent)["error"] == f"Child {child} failed"


def test_child_that_may_fail_counts(c: Peer, d: Peer, way: Way, q: str) -> None:
    queue = way.far()
    children = [{"queue": queue, "data": 1, "max_attempts": 1, "ignore_failure": True}]
    parent = c.ok("FLOW", queue=q, data=1, children=children)["parent_id"]
    c.ok("FAIL", id=c.pull(queue, 15_000)["id"])
    assert d.pull(q, 15_000)["id"] == parent


def test_cancelled_child_kills_its_parent(c: Peer, d: Peer, way: Way, q: str) -> None:
    parent, ids, _ = flow(c, way, q, 2)
    d.send("WAITJOB", id=parent, timeout=15_000)
    c.ok("CANCEL", id=ids[1])
    assert d.read()["ok"] is False
    assert c.state(parent) == "failed"


def test_flow_without_children_is_refused(c: Peer, q: str) -> None:
    assert c.no("FLOW", queue=q, data=1, children=[]) == "Flow must have at least one child"
    assert c.ok("GETJOBS", queue=q)["total"] == 0


@pytest.mark.parametrize(
    "child", [{"queue": "a b", "data": 1}, {"queue": "", "data": 1}, {"data": 1}, {"queue": 1, "data": 1}, 1,
              {"queue": "Q", "data": 1, "priority": "x"}, {"queue": "Q", "data": 1, "delay": -1}], ids=str,
)  # fmt: skip
def test_one_bad_child_refuses_all(c: Peer, way: Way, q: str, child: object) -> None:
    """F13, and all or nothing: no child of a refused flow is ever delivered."""
    good = way.far()
    if isinstance(child, dict) and child.get("queue") == "Q":
        child = {**child, "queue": good}
    reply = c.refusal("FLOW", queue=q, data=1, children=[{"queue": good, "data": 1}, child])
    assert reply["code"] == "invalid"
    assert "children[1]" in reply["error"] or "Queue name" in reply["error"], reply["error"]
    assert c.ok("COUNT", queue=good)["count"] == 0
    assert c.ok("GETJOBS", queue=q)["total"] == 0
    c.nothing(good)


def test_data_too_large_is_refused(c: Peer, way: Way, q: str) -> None:
    queue = way.queue()
    big = "x" * (10 << 20)
    assert "too large" in c.no("FLOW", queue=q, data=big, children=[{"queue": queue, "data": 1}])
    assert "too large" in c.no("FLOW", queue=q, data=1, children=[{"queue": queue, "data": big}])
    assert c.ok("COUNT", queue=queue)["count"] == 0


def test_options_reach_parent_and_children(c: Peer, way: Way, q: str) -> None:
    queue = way.far()
    children = [{"queue": queue, "data": 1, "tags": ["c"], "max_attempts": 7}]
    reply = c.ok("FLOW", queue=q, data=1, children=children, tags=["p"], timeout=50_000)
    assert (c.job(reply["parent_id"])["tags"], c.job(reply["parent_id"])["timeout"]) == (["p"], 50_000)
    job = c.pull(queue, 15_000)
    assert (job["tags"], job["max_attempts"]) == (["c"], 7)


def test_children_may_be_flows(c: Peer, d: Peer, way: Way, q: str) -> None:
    leaf, middle = way.far(), way.queue()
    children = [{"queue": middle, "data": "m", "children": [{"queue": leaf, "data": "l"}]}]
    parent = c.ok("FLOW", queue=q, data="p", children=children)["parent_id"]
    c.nothing(middle)
    c.ok("ACK", id=c.pull(leaf, 15_000)["id"])
    c.ok("ACK", id=d.pull(middle, 15_000)["id"])
    assert d.pull(q, 15_000)["id"] == parent
