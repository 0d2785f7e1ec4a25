"""Crons whose jobs have a custom id, over shards that die: one job at a time has the name. Seeded: messages come late,
and again where their answer was lost.
"""

import random

import pytest

from flashq.engine import queries
from flashq.engine.names import RESERVED
from flashq.testing.engine_kit import EngineKit
from flashq.testing.shards import Shards

SEEDS = range(120)
NAME_SHARD, QUEUE_SHARD, CRON_SHARD = 0, 1, 2


class World:
    """A cron, its queue and its jobs' name on three shards."""

    def __init__(self, seed: int, *, shared: bool = False) -> None:
        self.random = random.Random(seed)
        self.shards = Shards(3)
        home = self.random.randrange(3)
        places = (home, home, home) if shared else (NAME_SHARD, QUEUE_SHARD, CRON_SHARD)
        self.name, self.queue, self.cron = (next(self.shards.queues(shard)) for shard in places)
        self.done: set[int] = set()
        self.seen: set[int] = set()
        self.named(self.cron).cron(self.cron, self.queue, "run", schedule="*/1", options={"job_id": self.name})

    def named(self, name: str) -> EngineKit:
        return self.shards.of_queue(name)

    def jobs(self) -> list[int]:
        """Jobs of the queue that hold their name."""
        engine = self.named(self.queue).engine
        slot = engine.queue(self.queue).slot
        ids = [slot.id_of(page.base + i) for page in slot.pages.values() for i in range(len(page.jobs))]
        return [i for i in ids if queries.state_of(engine, i) in ("waiting", "active", "delayed", "failed")]

    def step(self) -> None:
        what = self.random.random()
        if what < 0.25:
            for kit in self.shards.kits:
                kit.advance(1_000)
        elif what < 0.7:
            waiting = self.shards.waiting()
            if waiting:
                kit, pair = self.random.choice(waiting)
                _, _, through = self.shards.carry(kit, pair, self.random.choice([1, 256]))
                if self.random.random() < 0.7:  # else the answer is lost, and all comes again
                    self.shards.answer(kit, pair, through)
        elif what < 0.85:
            self.work()
        else:
            self.shards.crash(self.random.randrange(3))

    def work(self) -> None:
        kit = self.named(self.queue)
        got = kit.pull(self.queue)
        if got is not None:
            (job_id,) = got.ids
            assert job_id not in self.done
            kit.ack(job_id)
            self.done.add(job_id)

    def check(self) -> None:
        held = self.jobs()
        assert len(held) <= 1, f"jobs {held} have one name"
        self.seen.update(held)


@pytest.mark.parametrize("shared", [False, True], ids=["three shards", "one shard"])
def test_one_job_at_a_time_has_the_name_whatever_dies(shared: bool) -> None:
    made = 0
    for seed in SEEDS:
        world = World(seed, shared=shared)
        for _ in range(60):
            world.step()
            world.check()
        world.shards.settle()
        world.check()
        world.shards.check_replay()
        bound = world.named(world.name).engine.names.bound.get(world.name)
        assert bound != RESERVED, "a reserved name is decided"
        held = world.jobs()
        assert bound in (held or [None, *world.done]), f"seed {seed}"
        made += len(world.seen)
    assert made > len(SEEDS), "runs followed each other"


def test_completed_job_gives_the_name_to_the_next_run_and_a_live_one_keeps_it() -> None:
    world = World(1)

    def second() -> None:
        for kit in world.shards.kits:
            kit.advance(1_000)
        world.shards.settle()

    second()
    (first,) = world.jobs()
    second()
    second()
    assert world.jobs() == [first], "runs in the meantime made none"
    world.work()
    second()
    (then,) = world.jobs()
    assert then != first
    assert world.named(world.name).engine.names.bound[world.name] == then
    assert world.named(world.cron).engine.crons.by_name[world.cron].executions == 4


def test_refused_run_leaves_the_name_free() -> None:
    """Its unique key is held by another job."""
    world = World(1)
    world.named(world.queue).push(world.queue, {"data": 1, "unique_key": "u"})
    kit = world.named(world.cron)
    kit.cron(world.cron, world.queue, "run", schedule="*/1", options={"job_id": world.name, "unique_key": "u"})
    for one in world.shards.kits:
        one.advance(1_000)
    world.shards.settle()
    assert len(world.jobs()) == 1
    assert world.name not in world.named(world.name).engine.names.bound
