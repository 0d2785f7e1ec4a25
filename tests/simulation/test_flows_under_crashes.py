"""Jobs that wait for others, on engines that die at any moment, with a post that loses, repeats and delays (I8).

Each seed pushes random graphs: plain jobs, jobs that depend on any of those before, flows and flows in flows, over the
queues of two shards. Messages are carried in random pieces; answers are lost; what was carried comes again, later; a
shard dies between two ticks or in one. Checked against what clients know:

- Never early: a job is given out only when all that it depends on, and all its children, have completed, or failed
  where that may count.
- Never stuck: when everything was carried and worked off, and dead letters were retried, nothing is held but for
  dead letters, which somebody might retry.
- Exactly once: what was acked never comes again, and of a push that was not accepted no job is ever given out.
- One name, one job: of the flows' jobs with custom ids no two that have not completed have the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from flashq.engine import queries
from flashq.engine.dead_letters import retry_one
from flashq.engine.drafts import DECIDED_WITHIN_MS, Draft
from flashq.engine.engine import Engine
from flashq.engine.outbox import Message, take
from flashq.engine.settings import Limits
from flashq.errors import FlashqError
from flashq.testing.engine_kit import EngineKit, check_counts
from flashq.testing.shards import Pair, Shards
from tests.unit.engine.orchestration import cancel, link, push_draft, push_flow

LIMITS = Limits(keep_completed_count=6, lease_ms=1 << 40)


@dataclass
class Told:
    """One job, as clients know it."""

    depends_on: list[int]
    lenient: bool
    """A dependency's failure counts as completion."""
    children: list[tuple[int, bool]] = field(default_factory=list)
    """(id, its failure counts as completion)"""


class Life:
    """Two shards, the post between them, and clients."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.shards = Shards(2, LIMITS)
        self.queues = [name for shard in (0, 1) for name, _ in zip(self.shards.queues(shard), range(2), strict=False)]
        self.jobs: dict[int, Told] = {}
        self.completed: set[int] = set()
        self.failed: set[int] = set()
        """Was a dead letter, or gone, at some time."""
        self.names = [f"n{n}" for n in range(5)]
        self.named: dict[str, list[int]] = {}
        """The jobs of accepted flows that were given a name."""
        self.active: list[int] = []
        self.old: list[tuple[Pair, list[Message]]] = []
        """What was carried, and may come again."""
        self.answers: list[tuple[int, Pair, int]] = []
        """Answers under way: (receiving shard, pair, number)."""

    # -- clients

    def some(self, most: int) -> list[int]:
        known = list(self.jobs)[-25:]
        return self.random.sample(known, min(len(known), self.random.randrange(1, most + 1))) if known else []

    def push(self) -> None:
        queue = self.random.choice(self.queues)
        kit = self.shards.of_queue(queue)
        others, lenient = self.some(4), self.random.random() < 0.3
        if self.random.random() < 0.1:
            others.append(self.random.randrange(1, 2000) * 1024 * 997 + self.random.randrange(4))
        policy = {"on_dependency_failure": "run"} if lenient else {}
        spec = {"data": 1, "depends_on": others, "max_attempts": 1, **policy} if others else {"data": 1, "priority": 1}
        try:
            draft = push_draft(kit, queue, spec)
        except FlashqError:
            return
        self.when_done(draft, lambda: self.learn(draft.root, Told(others, lenient)))

    def flow(self) -> None:
        queue = self.random.choice(self.queues)
        shape = self.children(2)
        bundled_from = self.random.choice((2, 2, 64))
        try:
            draft = push_flow(self.shards.of_queue(queue), queue, shape, bundled_from=bundled_from)
        except FlashqError:
            return  # a name that was given twice

        def learn() -> None:
            ids, plan = draft.member_ids(), draft.plan
            members = {member.number: member.child for member in plan.members}
            for number, job_id in enumerate(ids):
                self.learn(job_id, Told((number in members and members[number].depends_on) or [], False))
                name = members[number].job_id if number in members else None
                if name is not None:
                    self.named.setdefault(name, []).append(job_id)
            for parent, first, count in plan.families:
                self.jobs[ids[parent]].children += [
                    (ids[n], n in members and bool(members[n].ignore_failure)) for n in range(first, first + count)
                ]

        self.when_done(draft, learn)

    def children(self, depth: int) -> list[dict[str, Any]]:
        r = self.random
        children = []
        for n in range(r.randrange(1, 4)):
            child: dict[str, Any] = {"queue": r.choice(self.queues), "data": n, "max_attempts": 1}
            if r.random() < 0.2:
                child["ignore_failure"] = True
            if r.random() < 0.15:
                child["depends_on"] = self.some(2)
            if r.random() < 0.2:
                child["job_id"] = r.choice(self.names)
            if depth and r.random() < 0.25:
                child["children"] = self.children(depth - 1)
            children.append(child)
        if r.random() < 0.4:
            plain = r.choice(self.queues)
            children += [{"queue": plain, "data": n} for n in range(r.randrange(1, 5))]
        return children

    def learn(self, job_id: int, told: Told) -> None:
        assert job_id not in self.jobs, "no id is given twice"
        self.jobs[job_id] = told

    def when_done(self, draft: Draft, accepted: Callable[[], None]) -> None:
        def done() -> None:
            if draft.error is None:
                accepted()

        if draft.decided:
            done()
        else:
            draft.done = done

    def pull(self) -> None:
        queue = self.random.choice(self.queues)
        got = self.shards.of_queue(queue).pull(queue, self.random.choice((1, 4)))
        for job_id in got.ids if got is not None else ():
            self.check_given(job_id)
            self.active.append(job_id)

    def check_given(self, job_id: int) -> None:
        assert job_id in self.jobs, f"job {job_id} was given out, of a push that was not accepted"
        assert job_id not in self.completed, f"job {job_id} was acked and comes again"
        told = self.jobs[job_id]
        for other in told.depends_on:
            counts = other in self.completed or (told.lenient and other in self.failed)
            assert counts, f"job {job_id} is early: it depends on {other}"
        for child, lenient in told.children:
            counts = child in self.completed or (lenient and child in self.failed)
            assert counts, f"job {job_id} is early: its child {child} has not ended"

    def finish(self) -> None:
        if not self.active:
            return
        job_id = self.active.pop(self.random.randrange(len(self.active)))
        kit = self.shards.of_id(job_id)
        if self.random.random() < 0.8:
            kit.ack_batch([job_id]) if self.random.random() < 0.5 else kit.ack(job_id)
            self.completed.add(job_id)
        else:
            kit.fail(job_id)
            self.failed.add(job_id)

    def cancel(self) -> None:
        live = [
            job_id for job_id in self.jobs
            if job_id not in self.active and self.state(job_id) in ("waiting", "waiting-children")
            and queries.find(self.shards.of_id(job_id).engine, job_id)
        ]  # fmt: skip
        if live:
            job_id = self.random.choice(live)
            cancel(self.shards, job_id)
            self.failed.add(job_id)

    def retry(self) -> None:
        dead = [job_id for job_id in self.jobs if self.state(job_id) == "failed"]
        if dead:
            self.revive(self.random.choice(dead))

    def revive(self, job_id: int) -> None:
        kit = self.shards.of_id(job_id)
        seen = queries.find(kit.engine, job_id)
        assert seen is not None
        name = seen.page.queue.name
        kit.do(lambda engine: retry_one(engine, name, job_id))

    def state(self, job_id: int) -> str:
        return queries.state_of(self.shards.of_id(job_id).engine, job_id)

    def note_failures(self) -> None:
        self.failed.update(job_id for job_id in self.jobs if self.state(job_id) == "failed")

    # -- the post, and deaths

    def carry(self) -> None:
        waiting = self.shards.waiting()
        if not waiting:
            return
        kit, pair = self.random.choice(waiting)
        _, messages, through = self.shards.carry(kit, pair, self.random.choice((1, 1, 2, 50)))
        self.old.append((pair, messages))
        if self.random.random() < 0.7:
            self.answers.append((pair[0] % 2, pair, through))

    def carry_again(self) -> None:
        """Something that was carried before, perhaps of a shard that has died since."""
        if self.old:
            pair, messages = self.random.choice(self.old[-40:])
            self.shards.kits[pair[1] % 2].do(lambda engine: take(engine, messages))

    def answer(self) -> None:
        if self.answers:
            shard, pair, through = self.answers.pop(self.random.randrange(len(self.answers)))
            self.shards.answer(self.shards.kits[shard], pair, through)

    def die(self) -> None:
        shard = self.random.randrange(2)
        act = self.random.choice((None, self.doing_in_vain))
        for draft in self.shards.kits[shard].engine.drafts.values():
            draft.done = None
        self.shards.crash(shard, act)

    def doing_in_vain(self, engine: Engine) -> None:
        """Messages are taken in a tick that is never committed."""
        shard = next(k for k, kit in enumerate(self.shards.kits) if kit.engine is engine)
        for kit, pair in self.shards.waiting():
            if pair[1] % 2 == shard:
                take(engine, list(kit.engine.outbox.waiting[pair]))

    def pass_time(self) -> None:
        for kit in self.shards.kits:
            kit.advance(self.random.choice((1, 100, DECIDED_WITHIN_MS)))

    def step(self) -> None:
        acts: list[tuple[Callable[[], None], int]] = [
            (self.push, 14), (self.flow, 6), (self.pull, 14), (self.finish, 16), (self.cancel, 1), (self.retry, 2),
            (self.carry, 40), (self.carry_again, 6), (self.answer, 25), (self.die, 2), (self.pass_time, 1),
        ]  # fmt: skip
        (act,) = self.random.choices([a for a, _ in acts], [w for _, w in acts])
        act()
        self.note_failures()

    def check_names(self) -> None:
        for name, ids in self.named.items():
            holders = [job_id for job_id in ids if self.state(job_id) not in ("completed", "unknown")]
            assert len(holders) <= 1, f"jobs {holders} have the name {name}"
            if holders:
                assert self.shards.of_queue(name).engine.names.bound.get(name) == holders[0], name

    def check_names_at_rest(self) -> None:
        for kit in self.shards.kits:
            for name, job_id in kit.engine.names.bound.items():
                assert job_id in self.named[name]
                assert queries.find(self.shards.of_id(job_id).engine, job_id) is not None, f"{name} is nobody's"

    # -- the end

    def work_off(self) -> None:
        """Everything is carried and worked off; what is dead is tried again, until nothing changes."""
        for _ in range(len(self.jobs) + 5):
            before = self.states()
            for kit in self.shards.kits:
                kit.advance(60_000)
            self.shards.settle()
            self.note_failures()
            while self.active:
                job_id = self.active.pop()
                self.shards.of_id(job_id).ack(job_id)
                self.completed.add(job_id)
            for queue in self.queues:
                self.take_all(self.shards.of_queue(queue), queue)
            self.shards.settle()
            for job_id in self.jobs:
                if self.state(job_id) == "failed":
                    self.failed.add(job_id)
                    self.revive(job_id)
                    self.note_failures()
            self.shards.settle()
            if self.states() == before:
                return
        raise AssertionError("it never comes to rest")

    def take_all(self, kit: EngineKit, queue: str) -> None:
        while (got := kit.pull(queue, 50)) is not None:
            for job_id in got.ids:
                self.check_given(job_id)
                kit.ack(job_id)
                self.completed.add(job_id)

    def states(self) -> dict[int, str]:
        return {job_id: self.state(job_id) for job_id in self.jobs}

    def check_end(self) -> None:
        for kit in self.shards.kits:
            engine = kit.engine
            assert not engine.drafts
            assert not engine.parts
            for queue in engine.queues.values():
                assert (queue.waiting, queue.delayed, queue.active) == (0, 0, 0), queue.name
        held = 0
        for job_id, state in self.states().items():
            if job_id in self.completed:
                assert state == "completed"
            elif state.startswith("waiting-"):
                held += 1
                assert self.waits_for_the_dead(job_id), f"job {job_id} is stuck"
            elif state != "unknown":
                assert state == "failed", f"job {job_id} is {state}"
                told = self.jobs[job_id]
                bad = [o for o in told.depends_on if o not in self.completed and not told.lenient]
                bad += [c for c, lenient in told.children if c not in self.completed and not lenient]
                assert bad, f"job {job_id} is dead, and nothing that it waits for is"
        assert held == sum(queue.held for kit in self.shards.kits for queue in kit.engine.queues.values())

    def waits_for_the_dead(self, job_id: int) -> bool:
        """It was retried after what it waits for had died again, which may be retried too; or waits for such a job."""
        found = link(self.shards, job_id)
        others = (*(found.unmet or ()), *(found.left or ()))
        return any(
            self.state(other) == "failed"
            or (self.state(other).startswith("waiting-") and self.waits_for_the_dead(other))
            for other in others
        )


@pytest.mark.parametrize("seed", range(150))
def test_never_early_never_stuck_exactly_once(seed: int) -> None:
    life = Life(seed)
    for k in range(160):
        life.step()
        life.check_names()
        if k % 40 == 39:
            life.shards.check_replay()
            for kit in life.shards.kits:
                check_counts(kit.engine)
    life.work_off()
    life.check_end()
    life.check_names()
    life.check_names_at_rest()
    life.shards.check_replay()
