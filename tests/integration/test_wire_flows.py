"""depends_on, FLOW and GETCHILDREN on a real cluster: in both codecs, over shards, and over a shard's death."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.wire import JOB_KEYS, Place, Wire

LONG_MS = 20_000


@pytest.fixture
def waiting(place: Place) -> Iterator[Wire]:
    """A second connection, for pulls that wait."""
    with place.connect() as one:
        yield one


def done(wire: Wire, queue: str) -> int:
    """Pull a job and ack it."""
    job_id: int = wire.ok("PULL", queue=queue, timeout=LONG_MS)["job"]["id"]
    wire.ok("ACK", id=job_id)
    return job_id


def test_custom_ids_of_a_flow_are_found_and_a_taken_one_refuses_it_whole(place: Place, wire: Wire) -> None:
    top, near, far = place.queue(), place.queue(), place.foreign()
    names = [place.queue(), place.foreign(), place.foreign()]
    children = [{"queue": near, "job_id": names[0]}, {"queue": far, "job_id": names[1]}]
    made = wire.ok("FLOW", queue=top, data=1, job_id=names[2], children=children)
    for name, job_id in zip(names, [*made["children_ids"], made["parent_id"]], strict=True):
        found = wire.ok("GETJOBBYCUSTOMID", job_id=name)["job"]
        assert (found["id"], found["custom_id"]) == (job_id, name)
    new = place.queue()
    taken = [{"queue": far, "job_id": new}, {"queue": near, "job_id": names[1]}]
    reply = wire.refused("FLOW", queue=top, data=2, children=taken)
    assert (reply["error"], reply["code"]) == (f"children[1]: Job with id '{names[1]}' already exists", "duplicate")
    assert wire.ok("PUSH", queue=near, data=3, job_id=names[1])["id"] == made["children_ids"][1]
    done(wire, near)
    done(wire, far)
    assert done(wire, top) == made["parent_id"]
    again = wire.ok("FLOW", queue=top, data=2, children=taken)
    assert wire.ok("GETJOBBYCUSTOMID", job_id=names[1])["job"]["id"] == again["children_ids"][1]


def state(wire: Wire, job_id: int) -> str:
    found: str = wire.ok("GETSTATE", id=job_id)["state"]
    return found


def job_of(wire: Wire, job_id: int) -> dict[str, Any]:
    found: dict[str, Any] = wire.ok("GETJOB", id=job_id)["job"]
    return found


@pytest.mark.parametrize("where", ["same shard", "other shard"])
def test_dependant_waits_for_what_it_depends_on(place: Place, wire: Wire, waiting: Wire, where: str) -> None:
    queue = place.queue()
    other = place.queue() if where == "same shard" else place.foreign()
    first = wire.ok("PUSH", queue=other, data=1)["id"]
    second = wire.ok("PUSH", queue=other, data=2)["id"]
    job_id = wire.ok("PUSH", queue=queue, data=3, depends_on=[first, second], reqId="r")["id"]
    assert state(wire, job_id) == "waiting-children"
    assert job_of(wire, job_id)["depends_on"] == [first, second]
    assert wire.ok("COUNT", queue=queue)["count"] == 0
    waiting.send("PULL", queue=queue, timeout=LONG_MS)
    done(wire, other)
    assert state(wire, job_id) == "waiting-children"
    assert wire.ok("ACKB", ids=[wire.ok("PULL", queue=other, timeout=0)["job"]["id"]])["count"] == 1
    assert waiting.read()["job"]["id"] == job_id
    assert state(wire, wire.ok("PUSH", queue=queue, data=4, depends_on=[first, second])["id"]) == "waiting"


@pytest.mark.parametrize("where", ["same shard", "other shard"])
def test_unknown_dependency_is_refused(place: Place, wire: Wire, where: str) -> None:
    """F22."""
    queue = place.queue()
    other = place.queue() if where == "same shard" else place.foreign()
    slot = wire.ok("PUSH", queue=other, data=1)["id"] % 1024
    unknown = slot + 1024 * 88_888_888
    reply = wire.refused("PUSH", queue=queue, data=1, depends_on=[unknown])
    assert (reply["error"], reply["code"]) == (f"Dependency {unknown} not found", "not_found")
    jobs = [{"data": 1}, {"data": 2, "depends_on": [unknown]}]
    reply = wire.refused("PUSHB", queue=queue, jobs=jobs)
    assert reply["error"] == f"jobs[1]: Dependency {unknown} not found"
    assert wire.ok("PULL", queue=queue, timeout=0)["job"] is None


def test_failed_dependency_makes_a_dead_letter_or_releases(place: Place, wire: Wire, waiting: Wire) -> None:
    queue, other = place.queue(), place.foreign()
    first = wire.ok("PUSH", queue=other, data=1, max_attempts=1)["id"]
    fails = wire.ok("PUSH", queue=queue, data="fails", depends_on=[first])["id"]
    runs = wire.ok("PUSH", queue=queue, data="runs", depends_on=[first], on_dependency_failure="run")["id"]
    waiting.send("PULL", queue=queue, timeout=LONG_MS)
    wire.ok("PULL", queue=other, timeout=0)
    wire.ok("FAIL", id=first, error="no")
    assert waiting.read()["job"]["id"] == runs
    assert state(wire, fails) == "failed"
    assert job_of(wire, fails)["error"] == f"Dependency {first} failed"


def test_batch_with_dependencies_elsewhere_answers_in_order(place: Place, wire: Wire, waiting: Wire) -> None:
    queue, other = place.queue(), place.foreign()
    first = wire.ok("PUSH", queue=other, data=1)["id"]
    wire.ok("PUSH", queue=queue, data=0, unique_key="k", priority=-1)
    jobs = [{"data": "a"}, {"data": "b", "unique_key": "k"}, {"data": "c", "depends_on": [first]}, {"data": "d"}]
    reply = wire.ok("PUSHB", queue=queue, jobs=jobs)
    assert [(e["index"], e["code"]) for e in reply["errors"]] == [(1, "duplicate")]
    given = [done(wire, queue) for _ in range(3)]
    assert given[:2] == [reply["ids"][0], reply["ids"][2]]
    waiting.send("PULL", queue=queue, timeout=LONG_MS)
    done(wire, other)
    assert waiting.read()["job"]["id"] == reply["ids"][1]


def test_flow_over_shards(place: Place, wire: Wire, waiting: Wire) -> None:
    top, near, far = place.queue(), place.queue(), place.foreign()
    children = [
        {"queue": near, "data": {"n": 0}, "priority": 2, "tags": ["c"]},
        {"queue": far, "data": 1, "children": [{"queue": near, "data": "leaf"}]},
    ]
    reply = wire.ok("FLOW", queue=top, data="parent", children=children, priority=6, reqId="f")
    assert list(reply) == ["reqId", "ok", "parent_id", "children_ids", "success"]
    root, ids = reply["parent_id"], reply["children_ids"]
    job = wire.ok("PULL", queue=near, timeout=LONG_MS)["job"]
    assert list(job)[:31] == JOB_KEYS
    assert (job["id"], job["data"], job["priority"], job["tags"], job["parent_id"]) == (
        ids[0],
        {"n": 0},
        2,
        ["c"],
        root,
    )
    parent = job_of(wire, root)
    assert (parent["children_ids"], parent["children_completed"], parent["priority"]) == (ids, 0, 6)
    assert (state(wire, root), state(wire, ids[1])) == ("waiting-parent", "waiting-parent")
    waiting.send("PULL", queue=top, timeout=LONG_MS)
    wire.ok("ACK", id=job["id"])
    done(wire, near)
    assert done(wire, far) == ids[1]
    job = waiting.read()["job"]
    assert (job["id"], job["data"], job["children_ids"], job["children_completed"]) == (root, "parent", ids, 2)


def test_get_children_shows_them_wherever_they_are_and_when_they_are_done(
    place: Place, wire: Wire, waiting: Wire
) -> None:  # fmt: skip
    """F10."""
    top, near, far = place.queue(), place.queue(), place.foreign()
    children = [{"queue": near, "data": 0}, {"queue": far, "data": 1}, {"queue": far, "data": 2}]
    reply = wire.ok("FLOW", queue=top, data="p", children=children)
    root, ids = reply["parent_id"], reply["children_ids"]
    done(wire, far)
    shown = wire.ok("GETCHILDREN", parent_id=root, reqId=5)
    assert list(shown) == ["reqId", "ok", "parent_id", "children", "completed", "total", "children_ids", "success"]
    assert (shown["parent_id"], shown["total"], shown["children_ids"]) == (root, 3, ids)
    assert [(job["id"], job["data"], job["state"]) for job in shown["children"]] == [
        (ids[0], 0, "waiting"), (ids[1], 1, "completed"), (ids[2], 2, "waiting"),
    ]  # fmt: skip
    assert all(list(job)[:31] == JOB_KEYS and job["parent_id"] == root for job in shown["children"])
    waiting.send("PULL", queue=top, timeout=LONG_MS)
    done(wire, far)
    done(wire, near)
    assert waiting.read()["job"]["id"] == root
    wire.ok("ACK", id=root)
    shown = wire.ok("GETCHILDREN", parent_id=root)
    assert (shown["completed"], [job["state"] for job in shown["children"]]) == (3, ["completed"] * 3)


def test_flow_of_many_plain_children(place: Place, wire: Wire, waiting: Wire) -> None:
    """They are given out and acked in slices, and look as all others do."""
    top, near, far = place.queue(), place.queue(), place.foreign()
    children = [{"queue": (near, far)[n % 2], "data": {"n": n}} for n in range(600)]
    reply = wire.ok("FLOW", queue=top, data="p", children=children)
    root, ids = reply["parent_id"], reply["children_ids"]
    waiting.send("PULL", queue=top, timeout=LONG_MS)
    for k, queue in enumerate((near, far)):
        jobs = [wire.ok("PULL", queue=queue, timeout=LONG_MS)["job"]]
        jobs += wire.ok("PULLB", queue=queue, count=1000, timeout=0)["jobs"]
        assert [(job["id"], job["data"]["n"]) for job in jobs] == list(zip(ids[k::2], range(k, 600, 2), strict=True))
        assert all(list(job)[:31] == JOB_KEYS and job["parent_id"] == root for job in jobs)
        assert job_of(wire, jobs[-1]["id"])["parent_id"] == root
        wire.ok("ACK", id=jobs[0]["id"])
        wire.ok("ACKB", ids=[job["id"] for job in jobs[1:]])
    job = waiting.read()["job"]
    assert (job["id"], job["children_completed"]) == (root, 600)
    shown = wire.ok("GETCHILDREN", parent_id=root)
    assert [job["id"] for job in shown["children"]] == ids
    assert {job["parent_id"] for job in shown["children"]} == {root}


def test_get_children_of_no_parent_is_refused(place: Place, wire: Wire) -> None:
    job_id = wire.ok("PUSH", queue=place.queue(), data=1)["id"]
    for parent_id in (job_id, job_id + 1024 * 9_999_999):
        reply = wire.refused("GETCHILDREN", parent_id=parent_id)
        assert (reply["error"], reply["code"]) == (f"Parent job {parent_id} not found", "not_found")


def test_failed_child_fails_its_parent_elsewhere(place: Place, wire: Wire, waiting: Wire) -> None:
    """F24."""
    top, far = place.queue(), place.foreign()
    sign = {"queue": top, "data": "sign", "max_attempts": 1, "ignore_failure": True}
    first = wire.ok("FLOW", queue=top, data=1, children=[{"queue": far, "data": 1, "max_attempts": 1}])
    second = wire.ok("FLOW", queue=top, data=2, children=[{**sign, "queue": far}])
    root, (child,) = first["parent_id"], first["children_ids"]
    waiting.send("PULL", queue=top, timeout=LONG_MS)
    for job_id in (child, second["children_ids"][0]):
        assert wire.ok("PULL", queue=far, timeout=LONG_MS)["job"]["id"] == job_id
        wire.ok("FAIL", id=job_id)
    assert waiting.read()["job"]["id"] == second["parent_id"]
    assert (state(wire, root), job_of(wire, root)["error"]) == ("failed", f"Child {child} failed")


@pytest.mark.parametrize(
    ("children", "text", "code"),
    [
        ([], "Flow must have at least one child", "invalid"),
        ([{"queue": "ok"}, {"queue": "a b"}], "children[1]: Queue name must contain only", "invalid"),
        ([{"queue": "ok", "data": 1, "tags": ["t"] * 65}], "children[0]: Too many `tags` (65, max 64)", "too_large"),
        ([{"data": 1}], "missing field `queue` in `children[0]`", "invalid"),
        ([{"queue": "ok", "priority": "x"}], "in field `children[0].priority`", "invalid"),
        ([1], "in field `children[0]`", "invalid"),
    ],
)
def test_flow_with_a_fault_is_refused_whole(
    place: Place, wire: Wire, children: list[Any], text: str, code: str
) -> None:  # fmt: skip
    """F13."""
    queue = place.queue()
    names = {"ok": place.foreign()}
    children = [{**c, "queue": names.get(c["queue"], c["queue"])} if isinstance(c, dict) and "queue" in c else c
                for c in children]  # fmt: skip
    reply = wire.refused("FLOW", queue=queue, data=1, children=children)
    assert text in reply["error"], reply["error"]
    assert reply["code"] == code
    assert wire.ok("PULL", queue=names["ok"], timeout=0)["job"] is None


def test_refusal_of_another_shard_discards_what_is_stored_here(place: Place, wire: Wire) -> None:
    top, near, far = place.queue(), place.queue(), place.foreign()
    wire.ok("PUSH", queue=far, data=0, unique_key="k")
    children = [{"queue": near, "data": 1}, {"queue": far, "data": 2}, {"queue": far, "data": 3, "unique_key": "k"}]
    reply = wire.refused("FLOW", queue=top, data=1, children=children)
    assert (reply["error"], reply["code"]) == ("children[2]: Duplicate job with key: k", "duplicate")
    assert wire.ok("PULL", queue=near, timeout=0)["job"] is None
    done(wire, far)
    assert wire.ok("PULL", queue=far, timeout=0)["job"] is None


def test_repeated_request_gets_the_same_flow(place: Place, wire: Wire) -> None:
    top, far = place.queue(), place.foreign()
    request = {"queue": top, "data": 1, "children": [{"queue": far, "data": 2}], "idempotency_key": "once"}
    wire.send("FLOW", **request)
    wire.send("FLOW", **request)
    first, second = wire.read(), wire.read()
    assert first["ok"] is True
    assert first == second == wire.ok("FLOW", **request)
    done(wire, far)
    assert wire.ok("PULL", queue=far, timeout=0)["job"] is None


def test_named_job_may_depend_on_jobs_elsewhere(place: Place, wire: Wire, waiting: Wire) -> None:
    queue, other = place.queue(), place.foreign()
    first = wire.ok("PUSH", queue=other, data=1)["id"]
    name = f"name-{queue}"
    job_id = wire.ok("PUSH", queue=queue, data=2, depends_on=[first], job_id=name)["id"]
    assert wire.ok("PUSH", queue=queue, data=3, depends_on=[first], job_id=name)["id"] == job_id
    assert state(wire, job_id) == "waiting-children"
    unknown = first % 1024 + 1024 * 88_888_888
    reply = wire.refused("PUSH", queue=queue, data=1, depends_on=[unknown], job_id=name + "x")
    assert reply["error"] == f"Dependency {unknown} not found"
    waiting.send("PULL", queue=queue, timeout=LONG_MS)
    done(wire, other)
    assert waiting.read()["job"]["id"] == job_id


def test_what_a_connection_sends_behind_a_held_push_takes_effect_after_it(place: Place, wire: Wire) -> None:
    queue, other = place.queue(), place.foreign()
    first = wire.ok("PUSH", queue=other, data=1)["id"]
    done(wire, other)
    wire.send("PUSH", queue=queue, data=2, depends_on=[first], reqId="push")
    wire.send("PULL", queue=queue, timeout=0, reqId="pull")
    replies = {reply["reqId"]: reply for reply in (wire.read(), wire.read())}
    assert replies["pull"]["job"]["id"] == replies["push"]["id"]
