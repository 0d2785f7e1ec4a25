"""FLOW: all or nothing over slots and shards, and a parent that waits for all its children."""

from pathlib import Path
from typing import Any

import pytest

from flashq.engine import names, queries
from flashq.engine.drafts import DECIDED_WITHIN_MS
from flashq.engine.engine import Engine
from flashq.engine.links import GONE
from flashq.engine.removal import drain
from flashq.engine.replay import Replayer
from flashq.errors import RequestError
from flashq.storage.checkpointer import Checkpointer
from flashq.storage.recovery import Tables
from flashq.storage.sites import FileSite
from flashq.testing.engine_kit import EngineKit, check_counts, drained, engine_facts
from flashq.testing.shards import Shards
from tests.unit.engine.orchestration import cancel, finish, link, push_flow, record, revive, state


@pytest.fixture
def shards() -> Shards:
    return Shards()


@pytest.fixture
def near(shards: Shards) -> str:
    return next(shards.queues(0, "near"))


@pytest.fixture
def far(shards: Shards) -> str:
    return next(shards.queues(1, "far"))


@pytest.fixture
def top(shards: Shards) -> str:
    """The parents' queue."""
    return next(shards.queues(0, "top"))


def flow(shards: Shards, queue: str, children: list[dict[str, Any]], **fields: Any) -> tuple[int, list[int]]:
    """A flow, accepted everywhere: the ids of the parent and of its children."""
    draft = push_flow(shards.of_queue(queue), queue, children, **fields)
    settle(shards)
    assert draft.decided
    assert draft.error is None
    return draft.root, link(shards, draft.root).children or []


def settle(shards: Shards) -> None:
    shards.settle()
    shards.check_replay()
    for kit in shards.kits:
        check_counts(kit.engine)


def child(queue: str, data: Any = 0, **options: Any) -> dict[str, Any]:
    return {"queue": queue, "data": data, **options}


@pytest.mark.parametrize("codec", [0, 1])
def test_children_come_in_order_and_know_their_parent(
    shards: Shards, top: str, near: str, far: str, codec: int
) -> None:
    children = [child(far, {"n": 0}), child(near, 1, priority=3), child(far, 2, delay=9_000), child(top, 3)]
    root, ids = flow(shards, top, children, codec=codec, tags=["t"], timeout=5_000)
    assert [state(shards, i) for i in ids] == ["waiting", "waiting", "delayed", "waiting"]
    assert [shards.of_id(i) for i in ids] == [shards.of_queue(c["queue"]) for c in children]
    assert {link(shards, i).parent for i in ids} == {root}
    assert record(shards, ids[1]).priority == 3
    parent = record(shards, root)
    assert (parent.options.tags, parent.timeout, state(shards, root)) == (["t"], 5_000, "waiting-parent")
    queue = shards.of_queue(top).engine.queues[top]
    assert (queue.waiting, queue.held) == (1, 1)


def test_parent_is_ready_when_the_last_child_completed(shards: Shards, top: str, near: str, far: str) -> None:
    root, ids = flow(shards, top, [child(near), child(far), child(far)])
    finish(shards, near)
    finish(shards, far)
    settle(shards)
    left = link(shards, root).left
    assert left is not None
    assert list(left) == [ids[2]]
    assert shards.of_queue(top).pull(top) is None
    kit = shards.of_queue(far)
    kit.pull(far)
    kit.ack_batch([ids[2]])
    settle(shards)
    assert finish(shards, top) == root


def test_flow_in_one_slot_is_done_in_one_tick(shards: Shards, top: str) -> None:
    kit = shards.of_queue(top)
    before = len(kit.memory.kept)
    draft = push_flow(kit, top, [child(top, n) for n in range(3)])
    assert draft.decided
    assert len(kit.memory.kept) == before + 1
    for _ in range(3):
        finish(shards, top)
    assert finish(shards, top) == draft.root


def test_no_child_is_given_out_before_every_slot_has_accepted(shards: Shards, top: str, near: str, far: str) -> None:
    draft = push_flow(shards.of_queue(top), top, [child(near), child(far)])
    assert not draft.decided
    assert shards.of_queue(near).pull(near) is None
    ((kit, pair),) = shards.waiting()
    shards.carry(kit, pair)
    assert shards.of_queue(far).pull(far) is None
    shards.settle()
    finish(shards, near)
    finish(shards, far)


@pytest.mark.parametrize("where", ["near", "far"])
def test_one_refusal_discards_all(shards: Shards, top: str, near: str, far: str, where: str) -> None:
    bad = near if where == "near" else far
    shards.of_queue(bad).push(bad, {"data": 0, "unique_key": "taken"})
    children = [child(near), child(far), child(bad, unique_key="taken")]
    draft = push_flow(shards.of_queue(top), top, children, unique_key="mine")
    settle(shards)
    assert draft.error is not None
    assert (str(draft.error), draft.error.code) == ("children[2]: Duplicate job with key: taken", "duplicate")
    for name in (near, far):
        queue = shards.of_queue(name).engine.queue(name)
        assert (queue.held, queue.pushed_total) == (0, name == bad)
    assert shards.of_queue(top).engine.queue(top).unique == {}


def test_children_with_one_key_refuse_each_other(shards: Shards, top: str, far: str) -> None:
    children = [child(far, unique_key="k"), child(far, unique_key="k")]
    draft = push_flow(shards.of_queue(top), top, children)
    settle(shards)
    assert str(draft.error) == "children[1]: Duplicate job with key: k"


def test_silent_slot_ends_the_push_and_takes_it_back(shards: Shards, top: str, near: str, far: str) -> None:
    kit = shards.of_queue(top)
    told: list[object] = []
    draft = push_flow(kit, top, [child(near), child(far)])
    draft.done = lambda: told.append(draft.error)
    kit.advance(DECIDED_WITHIN_MS)
    assert len(told) == 1
    assert draft.error is not None
    assert draft.error.code == "unavailable"
    settle(shards)
    for name in (near, far, top):
        assert shards.of_queue(name).pull(name) is None
        assert shards.of_queue(name).engine.queue(name).held == 0


def test_leader_that_dies_before_it_decides_takes_it_back(shards: Shards, top: str, near: str, far: str) -> None:
    """Its client was told nothing, and may send it again."""
    push_flow(shards.of_queue(top), top, [child(near), child(far)])
    ((kit, pair),) = shards.waiting()
    shards.carry(kit, pair)
    shards.crash(0)
    settle(shards)
    for name in (near, far, top):
        assert shards.of_queue(name).engine.queue(name).held == 0
        assert shards.of_queue(name).pull(name) is None


@pytest.mark.parametrize("shard", [0, 1])
def test_decided_flow_survives_the_death_of_any_shard(
    shards: Shards, top: str, near: str, far: str, shard: int
) -> None:
    draft = push_flow(shards.of_queue(top), top, [child(near), child(far)])
    kit, pair = shards.waiting()[0]
    _, _, through = shards.carry(kit, pair)
    shards.answer(kit, pair, through)
    kit, pair = shards.waiting()[0]
    shards.carry(kit, pair)
    assert draft.decided
    shards.crash(shard)
    settle(shards)
    finish(shards, near)
    finish(shards, far)
    settle(shards)
    assert finish(shards, top) == draft.root


@pytest.mark.parametrize("how", ["dies", "cancelled", "dies and is forgotten"])
def test_failed_child_makes_its_parent_a_dead_letter(shards: Shards, top: str, far: str, how: str) -> None:
    """F24."""
    options = {"remove_on_fail": True} if how.endswith("forgotten") else {}
    root, ids = flow(shards, top, [child(far, max_attempts=1, **options), child(far)])
    if how == "cancelled":
        cancel(shards, ids[0])
    else:
        finish(shards, far, fail=True)
    settle(shards)
    assert state(shards, root) == "failed"
    assert record(shards, root).error == f"Child {ids[0]} failed"


def test_child_whose_failure_is_ignored_counts(shards: Shards, top: str, far: str) -> None:
    root, _ = flow(shards, top, [child(far, max_attempts=1, ignore_failure=True), child(far)])
    finish(shards, far, fail=True)
    finish(shards, far)
    settle(shards)
    assert finish(shards, top) == root


def test_retried_parent_waits_for_its_retried_child(shards: Shards, top: str, far: str) -> None:
    root, ids = flow(shards, top, [child(far, max_attempts=1)])
    finish(shards, far, fail=True)
    shards.settle()
    revive(shards, root)
    assert state(shards, root) == "waiting-parent"
    revive(shards, ids[0])
    finish(shards, far)
    shards.settle()
    assert finish(shards, top) == root


def test_flows_in_flows(shards: Shards, top: str, near: str, far: str) -> None:
    leaf = next(shards.queues(1, "leaf"))
    middle = child(far, "m", children=[child(leaf, 1), child(near, 2)])
    root, ids = flow(shards, top, [middle, child(near, 3)])
    assert [state(shards, i) for i in ids] == ["waiting-parent", "waiting"]
    inner = link(shards, ids[0]).children
    assert inner is not None
    assert {link(shards, i).parent for i in inner} == {ids[0]}
    finish(shards, near)
    finish(shards, near)
    finish(shards, leaf)
    settle(shards)
    assert state(shards, root) == "waiting-parent"
    assert finish(shards, far) == ids[0]
    settle(shards)
    assert finish(shards, top) == root


def test_child_that_ends_before_its_parent_is_accepted_counts(shards: Shards, near: str, far: str) -> None:
    """The parent's slot may hear of the child before it hears of the acceptance."""
    leaf = next(shards.queues(0, "leaf"))
    kit = shards.of_queue(near)
    draft = push_flow(kit, near, [child(far, "m", children=[child(leaf)])])
    pair = shards.waiting()[0][1]
    _, _, through = shards.carry(kit, pair)
    shards.answer(kit, pair, through)
    back = shards.waiting()[0]
    shards.carry(*back)
    assert draft.decided
    finish(shards, leaf)
    late, early = sorted(kit.engine.outbox.waiting, key=lambda p: p == pair, reverse=True)
    shards.carry(kit, early)
    middle = draft.member_ids()[1]
    assert shards.of_queue(far).pull(far) is None
    assert state(shards, middle) == "waiting-children"
    shards.carry(kit, late)
    assert finish(shards, far) == middle


def test_parent_may_depend_on_others_too(shards: Shards, top: str, far: str) -> None:
    (other,) = shards.of_queue(far).push(far, {"data": "dependency"})
    root, _ = flow(shards, top, [child(top)], depends_on=[other])
    finish(shards, top)
    settle(shards)
    assert state(shards, root) == "waiting-children"
    finish(shards, far)
    settle(shards)
    assert finish(shards, top) == root


def test_child_may_depend_on_others(shards: Shards, top: str, near: str, far: str) -> None:
    (other,) = shards.of_queue(near).push(near, {"data": "dependency"})
    root, ids = flow(shards, top, [child(far, depends_on=[other])])
    assert state(shards, ids[0]) == "waiting-children"
    finish(shards, near)
    settle(shards)
    assert finish(shards, far) == ids[0]
    settle(shards)
    assert finish(shards, top) == root


def test_child_with_an_unknown_dependency_refuses_all(shards: Shards, top: str, near: str, far: str) -> None:
    unknown = 1024 * 77_777
    draft = push_flow(shards.of_queue(top), top, [child(near), child(far, depends_on=[unknown])])
    settle(shards)
    assert str(draft.error) == f"children[1]: Dependency {unknown} not found"
    assert shards.of_queue(near).pull(near) is None


@pytest.mark.parametrize(
    ("children", "text"),
    [
        ([], "^Flow must have at least one child$"),
        ([{"queue": "a b"}], r"^children\[0\]: Queue name must contain only"),
        ([{"queue": "a"}, {"queue": ""}], r"^children\[1\]: Queue name cannot be empty"),
        ([{"queue": "a", "children": [{"queue": "__x"}]}], r"^children\[0\]\.children\[0\]: Queue name '__x'"),
        ([{"queue": "a", "children": []}], r"^children\[0\]: Flow must have at least one child"),
        ([{"queue": "a", "data": "x" * (10 << 20)}], r"^children\[0\]: Job data too large"),
        ([{"queue": "a", "delay": 1 << 60}], r"^children\[0\]: .*`delay`"),
        ([{"queue": "a", "unique_key": ""}], r"^children\[0\]: .*`unique_key`"),
    ],
)  # fmt: skip
def test_faults_name_the_child(shards: Shards, top: str, children: list[dict[str, Any]], text: str) -> None:
    """F13: validated as a push is."""
    with pytest.raises(RequestError, match=text):
        push_flow(shards.of_queue(top), top, children)
    assert not shards.of_queue(top).engine.queue(top).pushed_total


def test_gone_child_of_a_retried_parent_kills_it_again(shards: Shards, top: str, far: str) -> None:
    root, ids = flow(shards, top, [child(far)])
    cancel(shards, ids[0])
    shards.settle()
    revive(shards, root)
    assert state(shards, root) == "failed"
    assert link(shards, root).left == {ids[0]: GONE}


# -- bundles: children without options, stored as plain jobs


N = 1_500
"""More than a page."""


def bundled(shards: Shards, top: str, *queues: str, codec: int = 0) -> tuple[int, list[int]]:
    return flow(shards, top, [child(queues[n % len(queues)], n) for n in range(N)], codec=codec)


@pytest.mark.parametrize("codec", [0, 1])
def test_plain_children_are_plain_jobs_and_know_their_parent(
    shards: Shards, top: str, near: str, far: str, codec: int
) -> None:  # fmt: skip
    """So that they are given out and acked in slices."""
    root, ids = bundled(shards, top, near, far, codec=codec)
    assert len(set(ids)) == N
    for job_id in ids[100:102]:
        seen = queries.find(shards.of_id(job_id).engine, job_id)
        assert seen is not None
        assert type(seen.page.jobs[seen.place]) is bytes
        assert seen.page.defaults.parent == root
    for k, name in enumerate((near, far)):
        got = shards.of_queue(name).pull(name, N)
        assert got is not None
        assert (got.ids, got.payloads) == (ids[k::2], list(range(k, N, 2)))


def test_parent_of_plain_children_is_ready_when_all_are_acked(shards: Shards, top: str, near: str, far: str) -> None:
    root, ids = bundled(shards, top, near, far)
    for name in (near, far):
        kit = shards.of_queue(name)
        while (got := kit.pull(name, 400)) is not None:
            assert state(shards, root) == "waiting-parent"
            assert not kit.ack_batch(got.ids)
        settle(shards)
    assert finish(shards, top) == root
    assert link(shards, root).children == ids


def test_plain_child_may_fail_and_dies_for_its_parent(shards: Shards, top: str, far: str) -> None:
    root, ids = bundled(shards, top, far)
    kit = shards.of_queue(far)
    got = kit.pull(far, N)
    assert got is not None
    for attempt in range(3):
        kit.fail(ids[0])
        assert link(shards, ids[0]).parent == root
        kit.advance(60_000)
        assert (kit.pull(far) is None) is (attempt == 2)
    settle(shards)
    assert record(shards, root).error == f"Child {ids[0]} failed"


def test_plain_child_may_be_acked_alone_or_cancelled(shards: Shards, top: str, far: str) -> None:
    root, ids = bundled(shards, top, far)
    finish(shards, far)
    settle(shards)
    left = link(shards, root).left
    assert left is not None
    assert (ids[0] in left, len(left)) == (False, N - 1)
    cancel(shards, ids[7])
    settle(shards)
    assert record(shards, root).error == f"Child {ids[7]} failed"


def test_refused_bundles_leave_nothing(shards: Shards, top: str, near: str, far: str) -> None:
    shards.of_queue(far).push(far, {"data": 0, "unique_key": "k"})
    children = [child((near, far)[n % 2], n) for n in range(N)]
    draft = push_flow(shards.of_queue(top), top, [*children, child(far, unique_key="k")])
    settle(shards)
    assert draft.error is not None
    for name in (near, far):
        kit = shards.of_queue(name)
        queue = kit.engine.queues[name]
        assert queue.waiting == (name == far)
        assert not [page for page in queue.slot.pages.values() if page.reserved or not page.live]


def test_queue_that_is_drained_before_the_acceptance_takes_its_children(shards: Shards, top: str, far: str) -> None:
    shards.of_queue(far).push(far, {"data": 0})
    draft = push_flow(shards.of_queue(top), top, [child(far, n) for n in range(N)])
    ((kit, pair),) = shards.waiting()
    _, _, through = shards.carry(kit, pair)
    shards.answer(kit, pair, through)
    shards.of_queue(far).do(lambda engine: drain(engine, far))
    settle(shards)
    assert draft.error is None
    assert shards.of_queue(far).pull(far) is None
    assert state(shards, draft.root) == "failed"


def test_child_that_is_depended_on_before_its_slot_heard_of_the_acceptance(shards: Shards, top: str, far: str) -> None:
    draft = push_flow(shards.of_queue(top), top, [child(far, n) for n in range(N)])
    while not draft.decided:
        kit, pair = shards.waiting()[0]
        _, _, through = shards.carry(kit, pair)
        shards.answer(kit, pair, through)
    last = draft.member_ids()[N]
    assert state(shards, last) == "waiting-children"
    (job_id,) = shards.of_queue(far).push(far, {"data": 1, "depends_on": [last], "priority": 1})
    shards.check_replay()
    settle(shards)
    kit = shards.of_queue(far)
    got = kit.pull(far, N)
    assert got is not None
    assert got.ids == draft.member_ids()[1:]
    kit.ack_batch(got.ids)
    settle(shards)
    assert finish(shards, far) == job_id


@pytest.mark.parametrize("crash", ["the leader", "the other"])
def test_bundle_survives_deaths_once_it_is_decided(shards: Shards, top: str, far: str, crash: str) -> None:
    draft = push_flow(shards.of_queue(top), top, [child(far, n) for n in range(N)])
    for _ in range(2):
        kit, pair = shards.waiting()[0]
        _, _, through = shards.carry(kit, pair)
        shards.answer(kit, pair, through)
    assert draft.decided
    shards.crash(0 if crash == "the leader" else 1)
    settle(shards)
    kit = shards.of_queue(far)
    got = kit.pull(far, N)
    assert got is not None
    assert got.payloads == list(range(N))
    kit.ack_batch(got.ids)
    settle(shards)
    assert finish(shards, top) == draft.root


def test_bundle_that_waits_while_the_tables_are_written_is_whole(
    shards: Shards, top: str, far: str, tmp_path: Path
) -> None:  # fmt: skip
    push_flow(shards.of_queue(top), top, [child(far, n) for n in range(N)])
    ((kit, pair),) = shards.waiting()
    _, _, through = shards.carry(kit, pair)
    mine = shards.of_queue(far)
    checkpointer = Checkpointer(FileSite(tmp_path, 1), shards.limits)
    checkpointer.fold_records(mine.memory.kept)
    assert engine_facts(restored(tmp_path, mine)) == engine_facts(mine.engine)
    shards.answer(kit, pair, through)
    settle(shards)
    checkpointer.fold_records(mine.memory.kept[-2:])
    checkpointer.close()
    engine = restored(tmp_path, mine)
    assert engine_facts(engine) == engine_facts(mine.engine)
    assert drained(engine, far) == drained(mine.engine, far)


def test_part_whose_names_are_asked_about_is_in_the_tables(
    shards: Shards, top: str, far: str, tmp_path: Path
) -> None:  # fmt: skip
    """Before the answer and behind it, and a refusal among them."""
    taken, new = next(shards.queues(0, "taken")), next(shards.queues(0, "new"))
    flow(shards, top, [child(top, job_id=taken)])
    push_flow(shards.of_queue(top), top, [child(far, job_id=new), child(far, job_id=taken)])
    mine, folded, seen = shards.of_queue(far), 0, set()
    checkpointer = Checkpointer(FileSite(tmp_path, 1), shards.limits)
    while waiting := shards.waiting():
        kit, pair = waiting[0]
        _, _, through = shards.carry(kit, pair, 1)
        shards.answer(kit, pair, through)
        seen.update((part.asked, part.refusal is not None) for part in mine.engine.parts.values())
        checkpointer.fold_records(mine.memory.kept[folded:])
        folded = len(mine.memory.kept)
        if folded:
            assert engine_facts(restored(tmp_path, mine)) == engine_facts(mine.engine)
    checkpointer.close()
    assert seen >= {(2, False), (0, True)}
    assert owner(shards, new) is None


def restored(folder: Path, kit: EngineKit) -> Engine:
    """What a shard holds that starts from the tables alone."""
    engine = Engine(epoch=1, limits=kit.limits)
    replayer = Replayer(engine)
    tables = Tables.find(FileSite(folder, 1))
    assert tables is not None
    tables.restore(replayer)
    assert tables.position == kit.memory.durable_seq
    tables.close()
    replayer.finish(kit.boot, kit.mono_ms, clean=True)
    engine.begin(kit.now_ms, kit.mono_ms)
    return engine


# -- custom ids


def owner(shards: Shards, name: str) -> int | None:
    """The job that a name is bound to."""
    return shards.of_queue(name).engine.names.bound.get(name)


def test_children_have_custom_ids_of_names_on_any_shard(shards: Shards, top: str, near: str, far: str) -> None:
    names = [next(shards.queues(n % 2, f"name-{n}-")) for n in range(4)]
    root, children = flow(
        shards, top,
        [child(near, job_id=names[0]), child(far, job_id=names[1]), child(far, job_id=names[2]), child(near)],
        job_id=names[3],
    )  # fmt: skip
    assert [owner(shards, name) for name in names] == [*children[:3], root]
    for queue in (near, near, far, far, top):
        finish(shards, queue)
        settle(shards)
    assert state(shards, root) == "completed"


@pytest.mark.parametrize("place", [0, 1], ids=["name here", "name elsewhere"])
@pytest.mark.parametrize("holder", [0, 1], ids=["holder here", "holder elsewhere"])
def test_name_that_a_live_job_has_refuses_the_whole_flow(
    shards: Shards, top: str, near: str, far: str, place: int, holder: int
) -> None:
    """Another child's name, taken meanwhile, is free again."""
    name, other = next(shards.queues(place, "taken")), next(shards.queues(1 - place, "other"))
    _, (first,) = flow(shards, top, [child((near, far)[holder], job_id=name)])
    draft = push_flow(shards.of_queue(top), top, [child(far, job_id=other), child(near, job_id=name)])
    settle(shards)
    assert draft.decided
    assert (str(draft.error), draft.error and draft.error.code) == (
        f"children[1]: Job with id '{name}' already exists", "duplicate",
    )  # fmt: skip
    assert (owner(shards, name), owner(shards, other)) == (first, None)
    finish(shards, (near, far)[holder])
    settle(shards)
    _, (again,) = flow(shards, top, [child(far, job_id=name)])
    assert owner(shards, name) == again, "a completed job holds its name no more"


def test_name_given_twice_in_a_flow_is_refused_before_anything_is_stored(shards: Shards, top: str, far: str) -> None:
    with pytest.raises(RequestError, match=r"children\[1\]: invalid value: `job_id` 'n' is given twice"):
        push_flow(shards.of_queue(top), top, [child(far, job_id="n"), child(far, job_id="n")])


def test_whether_a_job_of_an_undecided_flow_holds_its_name_is_known_when_it_is_decided(
    shards: Shards, top: str, far: str
) -> None:
    """A push that was told of a job which then never was would have lost its own."""
    name = next(shards.queues(0, "name"))
    draft = push_flow(shards.of_queue(top), top, [child(far, depends_on=[UNKNOWN_JOB])], job_id=name)
    heard: list[bool] = []
    kit = shards.of_queue(top)
    assert not draft.decided
    assert kit.do(lambda engine: names.holds_name(engine, draft.root)) is None
    kit.do(lambda engine: names.wait_decided(engine, draft.root, heard.append))
    settle(shards)
    assert draft.error is not None
    assert heard == [False]
    assert owner(shards, name) is None


UNKNOWN_JOB = (1 << 40) | 1
