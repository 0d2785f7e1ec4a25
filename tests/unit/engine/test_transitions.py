"""Real lives against the table: every step of a job is a row, and no row is there that no job takes."""

import random
from collections.abc import Callable
from typing import Any, Final

from flashq.engine import control_jobs, queries
from flashq.engine.jobs import State
from flashq.engine.settings import Limits
from flashq.engine.transitions import TRANSITIONS, Cause, diagram
from flashq.errors import RequestError
from flashq.testing.engine_kit import EngineKit
from tests.unit.engine.orchestration import push_flow

C = Cause
LIMITS: Final = Limits(crash_limit=2, keep_completed_count=6, lease_ms=400, reconnect_grace_ms=0)
QUEUES: Final = ("a", "b")
GIDS: Final = (1, 2)
DEATH: Final = frozenset((C.GIVEN_UP, C.DEAD_UNKEPT))
OTHERS: Final = frozenset(
    (C.RELEASED, C.RELEASED_FOR_LATER, C.CHILDREN_DONE, C.NEEDS_FAILED, C.DEAD_UNKEPT, C.DUE, C.EVICTED)
)
"""What a step may bring about for jobs that it does not name."""
PUSHES: Final = frozenset((C.PUSHED, C.PUSHED_FOR_LATER, C.PUSHED_DEPENDING, C.PUSHED_AS_PARENT))
RETRIES: Final = frozenset((C.RETRIED, C.RETRIED_AT_ONCE))
Seen = dict[int, State]
Row = tuple[State | None, Cause]


class Life:
    """One engine that all kinds of things happen to."""

    def __init__(self, seed: int) -> None:
        self.kit = EngineKit(limits=LIMITS)
        self.kit.start()
        self.dice = random.Random(seed)
        self.ids: list[int] = []
        self.seen: Seen = {}
        self.taken: set[Row] = set()
        self.deeds: list[tuple[int, frozenset[Cause], Callable[[], object]]] = [
            (8, PUSHES, self.push),
            (4, PUSHES, self.push_depending),
            (4, PUSHES, self.push_flow),
            (9, frozenset((C.PULLED,)), self.pull),
            (6, frozenset((C.ACKED, C.DONE_UNKEPT)), lambda: self.kit.ack(self.one())),
            (5, RETRIES | DEATH, lambda: self.kit.fail(self.one())),
            (2, frozenset((C.RETURNED,)) | DEATH, lambda: self.kit.connection_gone(self.dice.choice(GIDS))),
            (5, RETRIES | DEATH | {C.EXPIRED}, lambda: self.kit.advance(self.dice.choice((1, 20, 90, 500)))),
            (2, frozenset((C.CANCELLED,)), lambda: self.control(control_jobs.cancel)),
            (2, frozenset((C.DISCARDED, C.DEAD_UNKEPT)), lambda: self.control(control_jobs.discard)),
            (2, frozenset((C.PROMOTED,)), lambda: self.control(control_jobs.promote)),
            (2, frozenset((C.MOVED,)), lambda: self.control(control_jobs.move_to_delayed, 30, None)),
            (2, frozenset((C.MOVED_FOR_NOW,)), lambda: self.control(control_jobs.move_to_delayed, 0, None)),
            (3, frozenset((C.REVIVED, C.REVIVED_DEPENDING, C.REVIVED_AS_PARENT)), self.revive),
            (1, frozenset((C.REMOVED,)), self.remove),
        ]  # fmt: skip

    def one(self) -> int:
        return self.dice.choice(self.ids) if self.ids else 0

    def options(self) -> dict[str, Any]:
        dice = self.dice
        chosen: dict[str, Any] = {
            "data": 1, "delay": dice.choice((0, 0, 60, 400)), "ttl": dice.choice((0, 0, 0, 40)),
            "backoff": dice.choice((0, 10)), "max_attempts": dice.choice((1, 2, 3)),
            "remove_on_complete": dice.random() < 0.2, "remove_on_fail": dice.random() < 0.2,
        }  # fmt: skip
        return {name: value for name, value in chosen.items() if dice.random() < 0.8 or name == "data"}

    def push(self) -> None:
        self.ids += self.kit.push(self.dice.choice(QUEUES), self.options())

    def push_depending(self) -> None:
        if self.ids:
            needs = [self.one() for _ in range(self.dice.randint(1, 2))]
            self.ids += self.kit.push(self.dice.choice(QUEUES), {**self.options(), "depends_on": needs})

    def push_flow(self) -> None:
        children = [{"queue": self.dice.choice(QUEUES), **self.options()} for _ in range(self.dice.randint(1, 2))]
        own = {name: value for name, value in self.options().items() if name != "data"}
        if self.ids and self.dice.random() < 0.6:
            own["depends_on"] = [self.one()]
        draft = push_flow(self.kit, self.dice.choice(QUEUES), children, **own)
        assert draft.decided
        if draft.error is None:
            self.ids += draft.member_ids()

    def pull(self) -> None:
        self.kit.pull(self.dice.choice(QUEUES), self.dice.randint(1, 4), gid=self.dice.choice((0, *GIDS)))

    def control(self, verb: Callable[..., None], *args: Any) -> None:
        self.kit.carry_out(verb, self.one(), *args)

    def revive(self) -> None:
        self.kit.retry_dead(self.dice.choice(QUEUES))

    def remove(self) -> None:
        queue, kit, dice = self.dice.choice(QUEUES), self.kit, self.dice
        dice.choice((
            lambda: kit.drain(queue),
            lambda: kit.obliterate(queue),
            lambda: kit.purge_dead(queue),
            lambda: kit.clean(queue, dice.choice(("completed", "failed", "waiting", "delayed"))),
        ))()  # fmt: skip

    def step(self) -> None:
        (_, causes, deed) = self.dice.choices(self.deeds, [weight for weight, _, _ in self.deeds])[0]
        try:
            deed()
        except RequestError:
            causes = frozenset()
        self.compare(causes | OTHERS)

    def compare(self, causes: frozenset[Cause]) -> None:
        now: Seen = {}
        for job_id in self.ids:
            found = queries.find(self.kit.engine, job_id)
            if found is not None:
                now[job_id] = found.state
        for job_id in now.keys() | self.seen.keys():
            before, after = self.seen.get(job_id), now.get(job_id)
            if before == after:
                continue
            rows = [(before, cause) for cause in causes if TRANSITIONS.get((before, cause), before) == after]
            self.taken.update(rows)
            assert rows or after in reachable(before, causes), (job_id, before, after, causes)
        self.seen = now
        self.ids = list(now)


def reachable(start: State | None, causes: frozenset[Cause]) -> set[State | None]:
    """Where a job may be after one step that does several things to it, such as a lease that ends and a ttl."""
    found, new = set[State | None](), {start}
    while new:
        new = {TRANSITIONS[state, cause] for state in new for cause in causes if (state, cause) in TRANSITIONS} - found
        found |= new
    return found


def test_every_step_of_random_lives_is_a_row_and_every_row_is_taken() -> None:
    taken: set[Row] = set()
    for seed in range(16):
        life = Life(seed)
        for _ in range(400):
            life.step()
        taken |= life.taken
    assert sorted(map(str, TRANSITIONS.keys() - taken)) == []


def test_diagram_has_an_arrow_for_every_pair_of_states() -> None:
    text = list(diagram())
    pairs = {(state, to) for (state, _), to in TRANSITIONS.items()}
    assert len([line for line in text if "-->" in line]) == len(pairs)
    assert "    WAITING --> ACTIVE : pulled" in text
    assert "    [*] --> WAITING : pushed" in text
