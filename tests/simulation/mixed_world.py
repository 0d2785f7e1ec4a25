"""All families of commands at once, on shards that die at any moment: what clients do, and what they are told.

Each seed is a history of pushes (plain, delayed, with priorities, retries, unique keys, custom ids, limit keys,
dependencies), flows, crons, keys and values, pulls, acks, failures and stale words, on three shards whose messages are
delivered in any order. A shard dies between two ticks, before a commit, or between it and its words, and sometimes the
power goes with it. What got no answer is sent again under its idempotency key. What must hold is judged by
`ledger.py`, from what clients know alone.
"""

from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any, Final

import msgspec

from flashq.engine.retry import connection_gone
from flashq.engine.settings import Limits
from flashq.protocol.slots import slot_of_queue
from flashq.testing.engine_kit import check_counts, engine_facts
from tests.simulation.ledger import Ledger
from tests.simulation.naming_world import Body, Client, Shard, World

SHARDS: Final = 3
LIMITS: Final = Limits(
    lease_ms=6_000, keep_completed_count=5, reconnect_grace_ms=400, crash_limit=0, queue_forget_ms=0,
    keep_completed_age_ms=0,
)  # fmt: skip
RATE, CONCURRENCY, KEY_RATE, KEY_CONCURRENCY = 5, 2, 4, 1
EVERY_MS = 700
KEYS: Final = ("x", "y", None)
Told = Callable[[Body], None]


class Ask:
    """A request, sent until it is answered if it has an idempotency key, else once."""

    def __init__(self, name: str, home: int, body: Body, told: Told, *, keyed: bool) -> None:
        self.name = name
        self.home = home
        self.told = told
        self.keyed = keyed
        self.client: Client | None = None
        key = {"idempotency_key": name} if keyed else {}
        self.frame = msgspec.json.encode({**body, **key, "reqId": name})

    def answer(self) -> Body | None:
        return self.client.told.get(self.name) if self.client is not None else None

    def is_lost(self) -> bool:
        return self.client is None or self.client.incarnation != self.client.shard.incarnation


class MixedLife:
    """One seed's run."""

    def __init__(self, seed: int, *, deaths: bool) -> None:
        self.random = Random(seed)
        self.world = World(SHARDS, self.random, LIMITS)
        self.ledger = Ledger(self.world)
        self.deaths = deaths
        self.number = self.gid = 0
        self.open: list[Ask] = []
        names = [list(islice(self.world.names_of(home, "q"), 2)) for home in range(SHARDS)]
        self.random.shuffle(names)
        (self.plain, self.rated), (self.other, self.bounded), (self.third, self.keyed) = names
        self.queues = [queue for pair in names for queue in pair]
        self.names = [f"n{k}" for k in range(5)]
        self.crons = ["c0", "c1"]
        self.tied: list[tuple[Shard, int, int]] = []
        """(shard, its incarnation, connection) of pulls that give their jobs back when it closes."""
        self.power_cuts = 0

    # -- requests

    def ask(self, home: int, told: Told, *, keyed: bool = True, **body: Any) -> None:
        self.number += 1
        ask = Ask(f"r{self.number}", home, body, told, keyed=keyed)
        self.open.append(ask)
        self.send(ask)

    def send(self, ask: Ask) -> None:
        shard = self.world.shards[ask.home]
        self.gid += 1
        ask.client = client = Client(shard, self.gid)
        self.tick(shard, lambda: shard.dispatcher.submit(client, ask.frame))
        self.hear()

    def hear(self) -> None:
        """Read what came in."""
        for ask in list(self.open):
            answer = ask.answer()
            if answer is not None and (answer["ok"] or answer.get("code") != "unavailable"):
                self.open.remove(ask)
                ask.told(answer)
            elif not ask.keyed and (answer is not None or ask.is_lost()):
                self.open.remove(ask)  # unknown what became of it, and nobody asks again

    def send_again(self) -> None:
        for ask in list(self.open):
            if ask in self.open and (ask.is_lost() or ask.answer() is not None):
                self.send(ask)

    def tick(self, shard: Shard, act: Callable[[], None]) -> None:
        """One tick, which may be the last of this process."""
        before = shard.incarnation
        self.world.tick(shard, act, die=self.die())
        if shard.incarnation != before:
            self.ledger.died(shard.no, power=False)

    def die(self) -> str:
        return self.random.choice(("before", "after")) if self.deaths and self.random.random() < 0.01 else ""

    def home_of(self, text: str) -> int:
        return self.world.owner_of(slot_of_queue(text))

    def home_of_id(self, job_id: int) -> int:
        return self.world.owner_of(job_id & 1023)

    # -- pushes

    def set_up(self) -> None:
        """Limits and crons are set before the first death."""
        deaths, self.deaths = self.deaths, False
        for queue, cmd, limit, per_key in (
            (self.rated, "RATELIMIT", RATE, False), (self.bounded, "SETCONCURRENCY", CONCURRENCY, False),
            (self.keyed, "RATELIMIT", KEY_RATE, True), (self.keyed, "SETCONCURRENCY", KEY_CONCURRENCY, True),
        ):  # fmt: skip
            self.ask(self.home_of(queue), is_ok, cmd=cmd, queue=queue, limit=limit, per_key=per_key)
        self.ledger.limit(self.rated, rate=RATE)
        self.ledger.limit(self.bounded, active=CONCURRENCY)
        self.ledger.limit(self.keyed, rate=KEY_RATE, active=KEY_CONCURRENCY, per_key=True)
        for name, how in zip(self.crons, ({"repeat_every": EVERY_MS}, {"schedule": "* * * * * *"}), strict=True):
            self.ask(
                self.home_of(name), is_ok, cmd="CRON", name=name, queue=self.random.choice(self.queues),
                data=f"cron {name}", misfire="all", max_attempts=0, **how,
            )  # fmt: skip
            self.ledger.cron(name)
        self.deaths = deaths

    def job(self, queue: str) -> Body:
        """One job of a batch; its payload tells it from all others."""
        r = self.random
        self.number += 1
        job: Body = {"data": f"j{self.number}", "max_attempts": r.choice((0, 0, 3)), "backoff": 50}
        kind = r.random()
        if kind < 0.15:
            job["delay"] = r.choice((30, 400, 2_500))
        elif kind < 0.3:
            job["unique_key"] = r.choice(("u1", "u2"))
        elif kind < 0.45:
            job["job_id"] = r.choice(self.names)
        elif kind < 0.6 and (known := self.ledger.some_ids(r, 3)):
            job["depends_on"] = known
        if r.random() < 0.3:
            job["priority"] = r.choice((-1, 2))
        if r.random() < 0.1:
            job["remove_on_complete"] = True
        if queue == self.keyed and (key := r.choice(KEYS)):
            job["limit_key"] = key
        return job

    def push(self) -> None:
        r = self.random
        queue = r.choice(self.queues)
        if r.random() < 0.3 and queue != self.keyed:
            self.number += 1
            jobs = [{"data": f"p{self.number}-{k}"} for k in range(r.choice((1, 3, 6)))]
        else:
            jobs = [self.job(queue) for _ in range(r.randint(1, 3))]
        self.ledger.sent(queue, jobs)
        self.ask(
            self.home_of(queue), lambda told: self.ledger.pushed(queue, jobs, told), cmd="PUSHB", queue=queue, jobs=jobs
        )  # fmt: skip

    def flow(self) -> None:
        queue = self.random.choice((self.plain, self.other, self.third))
        self.number += 1
        name = f"f{self.number}"
        children = [
            {"queue": self.random.choice(self.queues), "data": f"{name}-{k}", "max_attempts": 0, "backoff": 50}
            for k in range(self.random.randint(1, 4))
        ]
        if self.random.random() < 0.3 and (known := self.ledger.some_ids(self.random, 2)):
            children[0]["depends_on"] = known
        self.ledger.flow_sent(queue, name, children)
        self.ask(
            self.home_of(queue), lambda told: self.ledger.flow_pushed(name, children, told), cmd="FLOW", queue=queue,
            data=name, children=children,
        )  # fmt: skip

    def keep_value(self) -> None:
        """Keys and values, over all shards; what counts twice would show."""
        r = self.random
        if r.random() < 0.6:
            key = r.choice(("k1", "k2", "k3"))
            self.ask(self.home_of(key), lambda told: self.ledger.counted(key, told), cmd="KVINCR", key=key, by=1)
            return
        self.number += 1
        entries = [{"key": f"v{self.number}-{k}", "value": self.number} for k in range(4)]
        told = lambda answer: self.ledger.kept(entries, answer)  # noqa: E731
        self.ask(r.randrange(SHARDS), told, cmd="KVMSET", entries=entries)

    # -- workers

    def pull(self) -> None:
        queue = self.random.choice(self.queues)
        shard = self.world.shards[self.home_of(queue)]
        tied = self.random.random() < 0.3
        how: Body = {"release_on_disconnect": True} if tied else {}
        self.ask(
            shard.no, lambda told: self.took(shard, queue, told, tied), keyed=False, cmd="PULLB", queue=queue,
            count=self.random.choice((1, 2, 9)), timeout=0, **how,
        )  # fmt: skip

    def took(self, shard: Shard, queue: str, told: Body, tied: bool) -> None:
        self.ledger.given(queue, told["jobs"], LIMITS.lease_ms, self.gid if tied else 0)
        if tied and told["jobs"]:
            self.tied.append((shard, shard.incarnation, self.gid))

    def finish_some(self) -> None:
        r, held = self.random, self.ledger.held()
        if not held:
            return
        job_id, token = r.choice(held)
        home = self.home_of_id(job_id)
        if r.random() < 0.75:
            self.ledger.ack_sent([job_id])
            self.ask(
                home, lambda told: self.ledger.acked(job_id, told), keyed=False, cmd="ACK", id=job_id, lease=token
            )  # fmt: skip
        else:
            attempts = self.ledger.fail_sent(job_id)
            self.ask(
                home, lambda told: self.ledger.failed(job_id, attempts, told), keyed=r.random() < 0.5, cmd="FAIL",
                id=job_id, lease=token, error="no",
            )  # fmt: skip

    def ack_many(self) -> None:
        """An ACKB of one shard's jobs."""
        home = self.random.randrange(SHARDS)
        held = [(job_id, token) for job_id, token in self.ledger.held() if self.home_of_id(job_id) == home][:5]
        if held:
            ids = [job_id for job_id, _ in held]
            self.ledger.ack_sent(ids)
            self.ask(
                home, lambda told: self.ledger.acked_many(ids, told), keyed=False, cmd="ACKB", ids=ids,
                leases=[token for _, token in held],
            )  # fmt: skip

    def speak_stale(self) -> None:
        """A worker whose job another one has by now."""
        if self.ledger.stale:
            job_id, token = self.random.choice(self.ledger.stale)
            cmd = self.random.choice(("ACK", "FAIL", "HEARTBEAT"))
            self.ask(
                self.home_of_id(job_id), lambda told: self.ledger.spoke_stale(job_id, token, told), keyed=False,
                cmd=cmd, id=job_id, lease=token,
            )  # fmt: skip

    def hang_up(self) -> None:
        if self.tied:
            shard, incarnation, gid = self.tied.pop(self.random.randrange(len(self.tied)))
            if shard.incarnation == incarnation:
                self.ledger.hung_up(gid)
                self.tick(shard, lambda: connection_gone(shard.engine, gid))

    def cancel(self) -> None:
        job_id = self.ledger.some_free_id(self.random)
        if job_id:
            self.ledger.cancel_sent(job_id)
            self.ask(self.home_of_id(job_id), unjudged, cmd="CANCEL", id=job_id)

    def control(self) -> None:
        """What changes a waiting job's place, or brings dead letters back."""
        r = self.random
        queue = r.choice(self.queues)
        if r.random() < 0.5:
            self.ask(self.home_of(queue), is_ok, cmd="RETRYDLQ", queue=queue)
        elif known := self.ledger.some_ids(r, 1):
            self.ledger.out_of_order(known[0])
            body: Body = r.choice(({"cmd": "CHANGEPRIORITY", "priority": 1}, {"cmd": "PROMOTE"}))
            self.ledger.may_be_early(known[0])
            self.ask(self.home_of_id(known[0]), unjudged, id=known[0], **body)

    # -- the world

    def deliver(self) -> None:
        before = [shard.incarnation for shard in self.world.shards]
        self.world.deliver(die=self.die())
        for shard, incarnation in zip(self.world.shards, before, strict=True):
            if shard.incarnation != incarnation:
                self.ledger.died(shard.no, power=False)

    def kill(self) -> None:
        if self.deaths:
            shard = self.random.choice(self.world.shards)
            power = self.random.random() < 0.4
            self.power_cuts += power
            self.world.crash(shard, power=power)
            self.ledger.died(shard.no, power=power)

    def pass_time(self, ms: int) -> None:
        self.world.now_ms += ms
        for shard in self.world.shards:
            self.tick(shard, shard.due)
            self.tick(shard, shard.postman.again)

    def step(self) -> None:
        self.world.now_ms += 1
        acts: list[tuple[Callable[[], None], int]] = [
            (self.push, 16), (self.flow, 4), (self.keep_value, 4), (self.pull, 16), (self.finish_some, 14),
            (self.ack_many, 5), (self.speak_stale, 3), (self.hang_up, 2), (self.cancel, 1), (self.control, 3),
            (self.deliver, 45), (self.kill, 2), (self.send_again, 4),
            (lambda: self.pass_time(self.random.choice((5, 90, 600, 3_000))), 6),
        ]  # fmt: skip
        (act,) = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])
        act()
        self.hear()

    # -- the end

    def settle(self) -> None:
        """Everything that is under way arrives."""
        for _ in range(500):
            while self.world.deliver():
                pass
            for shard in self.world.shards:
                self.world.tick(shard, shard.postman.again)
            self.hear()
            self.send_again()
            self.hear()
            if not self.open and not any(self.world.wires.values()):
                return
        raise AssertionError(f"never answered: {[ask.frame for ask in self.open]}")

    def work_off(self) -> None:
        """No more deaths: all is answered, worked off and, where it was dead, tried again."""
        self.deaths = False
        self.settle()
        for name in self.crons:
            self.ledger.check_cron(name, self.world.shards[self.home_of(name)].engine.crons.by_name[name])
            self.ask(self.home_of(name), is_ok, cmd="CRONDELETE", name=name)
        for _ in range(400):
            self.settle()
            self.ledger.forget_unsure()
            for job_id, token in self.ledger.held():
                self.ledger.ack_sent([job_id])
                self.ask(
                    self.home_of_id(job_id), lambda told, job_id=job_id: self.ledger.acked(job_id, told),  # type: ignore[misc]
                    keyed=False, cmd="ACK", id=job_id, lease=token,
                )  # fmt: skip
            for queue in self.queues:
                home = self.home_of(queue)
                self.ask(home, is_ok, cmd="RETRYDLQ", queue=queue)
                shard = self.world.shards[home]
                self.ask(
                    home, lambda told, shard=shard, queue=queue: self.took(shard, queue, told, False),  # type: ignore[misc]
                    keyed=False, cmd="PULLB", queue=queue, count=50, timeout=0,
                )  # fmt: skip
            self.settle()
            left = self.left()
            if not left:
                return
            self.pass_time(1_000)
        raise AssertionError(f"never worked off: {left}")

    def left(self) -> dict[str, tuple[int, ...]]:
        """Queues with jobs that have not ended, dead letters among them: all of those can be tried again."""
        counts = {
            queue.name: (queue.waiting, queue.delayed, queue.active, queue.held, queue.dead_count)
            for shard in self.world.shards for queue in shard.engine.queues.values()
        }  # fmt: skip
        return {name: count for name, count in counts.items() if any(count)}

    def check(self) -> None:
        for shard in self.world.shards:
            check_counts(shard.engine)
        self.ledger.check_keys()

    def check_end(self) -> None:
        self.check()
        for shard in self.world.shards:
            assert engine_facts(shard.replayed(clean=True)) == engine_facts(shard.engine), f"shard {shard.no}"
            assert not shard.engine.outbox.waiting
            assert not shard.engine.drafts
            assert not shard.engine.parts
            assert not shard.engine.names.pending
        self.ledger.check_end()


def is_ok(told: Body) -> None:
    assert told["ok"], told


def unjudged(told: Body) -> None:
    """Any answer is right: the job may be in any state."""
