"""Groups, keys and limits against a naive model: nothing exceeds a limit, and what a limit allows is delivered.

The model keeps every job in a list and judges by looking at all of them. A token bucket is modelled by fractions.
"""

from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from flashq.engine.limits import CONCURRENCY, KEY_CONCURRENCY, KEY_RATE, RATE, set_limit
from flashq.engine.retry import connection_gone
from flashq.engine.settings import Limits
from flashq.testing.engine_kit import EngineKit, check_counts, engine_facts

QUEUE = "q"
_BOTH = ({"group_id": "A", "limit_key": "x"}, {"group_id": "B", "limit_key": "y"})
GID = 77


@dataclass
class Tokens:
    """A bucket, naively."""

    limit: int
    level: Fraction

    def pass_time(self, ms: int) -> None:
        self.level = min(Fraction(self.limit), self.level + Fraction(self.limit * ms, 1000))


@dataclass
class Known:
    """One job, as the model has it."""

    id: int
    group: str | None
    key: str | None
    priority: int
    state: str = "ready"
    token: int = 0


class Play:
    """One random life of a queue."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.kit = EngineKit(limits=Limits(lease_ms=10_000, crash_limit=0))
        self.jobs: dict[int, Known] = {}
        self.limits: dict[int, int | None] = dict.fromkeys((RATE, CONCURRENCY, KEY_RATE, KEY_CONCURRENCY))
        self.bucket: Tokens | None = None
        self.key_buckets: dict[str, Tokens] = {}

    # -- the model's judgement

    def key_tokens(self, key: str) -> Tokens | None:
        rate = self.limits[KEY_RATE]
        if rate is None:
            return None
        return self.key_buckets.setdefault(key, Tokens(rate, Fraction(rate)))

    def active(self, **what: Any) -> int:
        return sum(
            j.state == "active" and all(getattr(j, name) == value for name, value in what.items())
            for j in self.jobs.values()
        )

    def queue_allows(self) -> bool:
        most = self.limits[CONCURRENCY]
        return (most is None or self.active() < most) and (self.bucket is None or self.bucket.level >= 1)

    def allows(self, job: Known) -> bool:
        if job.state != "ready" or (job.group and self.active(group=job.group)):
            return False
        if job.key:
            most = self.limits[KEY_CONCURRENCY]
            tokens = self.key_tokens(job.key)
            if (most is not None and self.active(key=job.key) >= most) or (tokens is not None and tokens.level < 1):
                return False
        if job.group:
            # A group's line steps aside with its head: of a group only the first may come.
            mates = [j for j in self.jobs.values() if j.group == job.group and j.state == "ready"]
            return max(m.priority for m in mates) == job.priority
        return True

    # -- steps

    def push(self) -> None:
        specs = []
        for _ in range(self.random.randint(1, 5)):
            spec: dict[str, Any] = {"data": None, "priority": self.random.choice((0, 0, 0, 2))}
            # A group's line steps aside with the key of its head: all of a group have the same one here, or none.
            bound = self.random.choice(({}, {"limit_key": "x"}, {"limit_key": "z"}, {"group_id": "C"}, *_BOTH))
            spec |= bound
            specs.append(spec)
        for spec, job_id in zip(specs, self.kit.push(QUEUE, *specs), strict=True):
            self.jobs[job_id] = Known(job_id, spec.get("group_id"), spec.get("limit_key"), spec["priority"])

    def pull(self) -> None:
        before = [j for j in self.jobs.values() if self.allows(j)] if self.queue_allows() else []
        count = self.random.choice((1, 1, 3, 50))
        got = self.kit.pull(QUEUE, count, gid=self.random.choice((0, GID)))
        ids = got.ids if got is not None else []
        assert bool(ids) == bool(before), (ids, before)
        for job_id in ids:
            job = self.jobs[job_id]
            assert self.queue_allows(), "more were given than the queue's limits allow"
            assert self.allows(job), f"{job} was given against its group or key"
            assert job.priority == max(j.priority for j in self.jobs.values() if self.allows(j))
            self.lend(job, got.token if got is not None else 0)
        if len(ids) < count:
            assert not (self.queue_allows() and any(map(self.allows, self.jobs.values()))), "more could be given"

    def lend(self, job: Known, token: int) -> None:
        job.state, job.token = "active", token
        if self.bucket is not None:
            self.bucket.level -= 1
        if job.key and (tokens := self.key_tokens(job.key)) is not None:
            tokens.level -= 1

    def some(self, state: str) -> Known | None:
        found = [j for j in self.jobs.values() if j.state == state]
        return self.random.choice(found) if found else None

    def end(self) -> None:
        job = self.some("active")
        if job is None:
            return
        if self.random.random() < 0.6:
            self.kit.ack(job.id, job.token)
            del self.jobs[job.id]
        else:
            self.kit.fail(job.id, job.token)
            job.state = "ready"

    def lose_connection(self) -> None:
        engine = self.kit._begin()
        tied = {lease.token for lease in engine.tied.get(GID, ())}
        connection_gone(engine, GID)
        self.kit.commit()
        for job in self.jobs.values():
            if job.state == "active" and job.token in tied:
                job.state = "ready"

    def pass_time(self) -> None:
        ms = self.random.choice((1, 7, 100, 400))
        self.kit.advance(ms)
        for tokens in (self.bucket, *self.key_buckets.values()):
            if tokens is not None:
                tokens.pass_time(ms)

    def limit(self) -> None:
        kind = self.random.choice((RATE, CONCURRENCY, KEY_RATE, KEY_CONCURRENCY))
        value = self.random.choice((None, None, 0, 1, 2, 5))
        set_limit(self.kit._begin(), QUEUE, kind, value)
        self.kit.commit()
        if QUEUE not in self.kit.engine.queues:
            return
        self.limits[kind] = value
        if kind == RATE:
            self.bucket = Tokens(value, Fraction(value)) if value is not None else None
        elif kind == KEY_RATE:
            self.key_buckets.clear()

    def step(self) -> None:
        steps = (self.push, self.pull, self.pull, self.end, self.end, self.pass_time, self.limit, self.lose_connection)
        self.random.choices(steps, (4, 4, 4, 3, 3, 4, 1, 1))[0]()


def bound_specs(monkey: Play) -> None:
    """Retries come back at once, so that the model need not know of backoff."""
    push = monkey.kit.push

    def pushed(queue: str, *specs: dict[str, Any], codec: int = 0) -> list[int]:
        return push(queue, *({**s, "backoff": 0, "max_attempts": 0} for s in specs), codec=codec)

    monkey.kit.push = pushed  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", range(60))
def test_limits_are_kept_and_nothing_they_allow_is_held_back(seed: int) -> None:
    play = Play(seed)
    bound_specs(play)
    for n in range(120):
        play.step()
        check_counts(play.kit.engine)
        if n % 20 == 19:
            again = play.kit.replayed()
            assert engine_facts(again) == engine_facts(play.kit.engine)
            play.kit.engine = again  # and it goes on as if nothing had been
            play.kit.advance(0)


@pytest.mark.parametrize("seed", range(20))
def test_waiting_pulls_get_what_a_freed_limit_allows(seed: int) -> None:
    """Without polling: an ack, a token's moment, a changed limit serve those who wait."""
    play = Play(seed)
    bound_specs(play)
    kit = play.kit
    set_limit(kit._begin(), QUEUE, CONCURRENCY, 2)
    set_limit(kit._begin(), QUEUE, KEY_RATE, 2)
    kit.commit()
    specs = [
        {"data": n, "group_id": play.random.choice("ABC"), "limit_key": play.random.choice("xy")} for n in range(30)
    ]
    kit.push(QUEUE, *specs)
    for _ in range(40):
        kit.wait(QUEUE, 0, 10_000_000, gid=1, tied=False)
    kit.takes_jobs_again(QUEUE)
    done: list[int] = []
    for _ in range(3_000):
        woken = kit.fetch_woken()
        for _ticket, given in woken:
            if given is None:
                continue
            for job_id in given.ids:
                kit.ack(job_id, given.token)
                done.append(job_id)
        if len(done) == 30:
            break
        if not woken:
            kit.advance(50)
    assert len(done) == 30
    assert len(set(done)) == 30


def test_keys_take_turns_so_that_a_flood_of_one_starves_nobody() -> None:
    kit = EngineKit()
    kit.push(QUEUE, *({"data": n, "limit_key": "flood"} for n in range(50)))
    few = kit.push(QUEUE, *({"data": n, "limit_key": "few"} for n in range(3)))
    none = kit.push(QUEUE, *({"data": n, "tags": ["none"]} for n in range(3)))
    got = kit.pull(QUEUE, 9)
    assert got is not None
    assert set(few) | set(none) <= set(got.ids)


def test_limit_of_a_key_holds_over_a_restart() -> None:
    """In replay a job leaves its line before it counts as active, so the next of its key was listed as allowed."""
    kit = EngineKit()
    set_limit(kit.begin(), QUEUE, KEY_CONCURRENCY, 1)
    kit.commit()
    first, second = kit.push(QUEUE, {"data": 1, "limit_key": "x"}, {"data": 2, "limit_key": "x"})
    got = kit.pull(QUEUE, 9)
    assert got is not None
    assert got.ids == [first]
    again = kit.restarted(0)
    assert again.pull(QUEUE, 9) is None
    again.ack(first, got.token)
    after = again.pull(QUEUE, 9)
    assert after is not None
    assert after.ids == [second]


def test_group_gives_one_at_a_time_in_order_and_others_overtake() -> None:
    kit = EngineKit()
    first, second = kit.push(QUEUE, {"data": 1, "group_id": "g"}, {"data": 2, "group_id": "g"})
    (other,) = kit.push(QUEUE, {"data": 3})
    got = kit.pull(QUEUE, 10)
    assert got is not None
    assert got.ids == [first, other]
    kit.ack(first, got.token)
    again = kit.pull(QUEUE, 10)
    assert again is not None
    assert again.ids == [second]
