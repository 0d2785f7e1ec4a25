"""What clients of the mixed simulation were told, and what follows from it (the invariants of the fault matrix).

I1 nothing acknowledged is lost · I2 what was acked never comes again · I3 one lease at a time, and no word of an older
one counts · I4 no job is retried or due early, no FAIL forgotten · I6 one live job of a key or a name, one job of a
repeated request · I7 priority, then first in, first out · I8 nothing before what it depends on; a flow whole or not at
all · I9 each run of a cron is one job · I10 no limit is exceeded. (I5, counts, are compared with a full scan.)
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from flashq.engine import queries
from flashq.engine.crons import Cron
from flashq.engine.jobs import Job, State
from flashq.protocol.slots import slot_of_queue
from tests.simulation.naming_world import Body, World


@dataclass
class Sent:
    """One job that some client wanted to push."""

    queue: str
    spec: Body
    first_at: int
    flow: str = ""
    id: int = 0
    """As a reply or a delivery told it; 0: not known."""
    accepted: bool = False
    refused: bool = False


class Held(NamedTuple):
    """A lease, as its worker knows it."""

    token: int
    end: int
    gid: int
    queue: str
    key: str | None


@dataclass
class Limit:
    """What was set for a queue."""

    rate: int | None
    active: int | None
    per_key: bool
    given: dict[str | None, list[int]] = field(default_factory=lambda: defaultdict(list))
    """When jobs were delivered, by key."""


class Ledger:
    """All clients' knowledge."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[str, Sent] = {}
        self.by_id: dict[int, str] = {}
        self.done: set[int] = set()
        self.unsure: set[int] = set()
        """An ack was sent; its answer is not known (yet)."""
        self.leases: dict[int, Held] = {}
        self.stale: list[tuple[int, int]] = []
        self.attempts: dict[int, int] = {}
        self.fails: dict[int, int] = {}
        self.not_before: dict[int, int] = {}
        self.cancelled: set[int] = set()
        self.needed: set[int] = set()
        """Others depend on them."""
        self.last_seq: dict[tuple[str, int], int] = {}
        self.unordered: set[int] = set()
        self.late: set[str] = set()
        self.death_at = [0] * len(world.owners)
        self.limits: dict[str, Limit] = {}
        self.counters: dict[str, int] = defaultdict(int)
        self.values: dict[str, Any] = {}
        self.crons: dict[str, tuple[int, int]] = {}
        self.cron_jobs: dict[str, set[int]] = defaultdict(set)
        self.cron_runs: dict[str, int] = {}
        self.flows: dict[str, list[str]] = {}
        self.flow_seen: set[str] = set()

    @property
    def now(self) -> int:
        return self.world.now_ms

    def owner(self, job_id: int) -> int:
        return self.world.owner_of(job_id & 1023)

    # -- pushes

    def sent(self, queue: str, jobs: Sequence[Body]) -> None:
        for spec in jobs:
            self.jobs[spec["data"]] = Sent(queue, spec, self.now)
        if any(spec.keys() & {"depends_on", "job_id"} for spec in jobs):
            # Other shards are asked first: ready is a job when they have answered, the others of its batch too.
            self.late.update(spec["data"] for spec in jobs)

    def pushed(self, queue: str, jobs: Sequence[Body], told: Body) -> None:
        assert told["ok"], told
        refused = {entry["index"]: entry["code"] for entry in told.get("errors", ())}
        ids = iter(told["ids"])
        for k, spec in enumerate(jobs):
            if k in refused:
                assert refused[k] == "duplicate", told
                self.check_refusal(queue, spec)
                self.jobs[spec["data"]].refused = True
            elif "job_id" in spec:
                next(ids)  # perhaps another job's: judged by `check_keys`
            else:
                self.learn(spec["data"], next(ids))

    def learn(self, payload: str, job_id: int) -> None:
        sent = self.jobs[payload]
        assert sent.id in (0, job_id), f"{payload} is both job {sent.id} and job {job_id} (I6)"
        assert self.by_id.setdefault(job_id, payload) == payload, f"job {job_id} was given twice"
        sent.id, sent.accepted = job_id, True

    def check_refusal(self, queue: str, spec: Body) -> None:
        key = spec["unique_key"]
        mine = self.jobs[spec["data"]]
        others = [
            s for s in self.jobs.values() if s is not mine and (s.queue, s.spec.get("unique_key")) == (queue, key)
        ]
        assert any(not s.refused for s in others), f"refused, though no job of unique key {key} was there (I6)"

    def flow_sent(self, queue: str, name: str, children: Sequence[Body]) -> None:
        self.jobs[name] = Sent(queue, {"data": name}, self.now, name)
        for child in children:
            self.jobs[child["data"]] = Sent(child["queue"], child, self.now, name)
        self.flows[name] = [child["data"] for child in children]

    def flow_pushed(self, name: str, children: Sequence[Body], told: Body) -> None:
        if not told["ok"]:
            for payload in (name, *self.flows[name]):
                self.jobs[payload].refused = True
            assert name not in self.flow_seen, "a refused flow was given out (I8)"
            return
        self.learn(name, told["parent_id"])
        for payload, job_id in zip(self.flows[name], told["children_ids"], strict=True):
            self.learn(payload, job_id)
            self.needed.add(job_id)

    def some_ids(self, random: Random, most: int) -> list[int]:
        """Jobs that were accepted, to depend on."""
        known = [job_id for job_id in list(self.by_id)[-30:] if job_id not in self.cancelled]
        ids = random.sample(known, min(len(known), random.randint(1, most)))
        self.needed.update(ids)
        return ids

    def some_free_id(self, random: Random) -> int:
        """A job that nobody depends on; 0: none."""
        known = [i for i, p in list(self.by_id.items())[-30:] if i not in self.needed and not self.jobs[p].flow]
        return random.choice(known) if known else 0

    def cancel_sent(self, job_id: int) -> None:
        self.cancelled.add(job_id)
        if job_id in self.leases:
            self.end_lease(job_id)

    def out_of_order(self, job_id: int) -> None:
        self.unordered.add(job_id)

    def may_be_early(self, job_id: int) -> None:
        """It is promoted."""
        self.not_before[job_id] = -1

    # -- deliveries

    def given(self, queue: str, jobs: Sequence[Body], lease_ms: int, gid: int) -> None:
        last_priority = 1 << 31
        for job in jobs:
            job_id, payload = job["id"], job["data"]
            assert job_id not in self.done, f"job {job_id} was acked and comes again (I2)"
            self.unsure.discard(job_id)  # whatever was sent about it came to nothing
            before = self.leases.get(job_id)
            if before is not None:
                assert before.end <= self.now, f"job {job_id} is held by {before.token} and given again (I3)"
                self.stale.append((job_id, before.token))
            if payload.startswith("cron "):
                self.cron_jobs[payload.removeprefix("cron ")].add(job_id)
                key = None
            else:
                self.check_given(queue, payload, job)
                key = self.jobs[payload].spec.get("limit_key")
            if queue not in self.limits:
                assert job["priority"] <= last_priority, "a lower priority was given first (I7)"
                last_priority = job["priority"]
            self.attempts[job_id] = job["attempts"]
            self.check_limits(queue, key)
            self.leases[job_id] = Held(job["lease"], self.now + lease_ms, gid, queue, key)

    def check_given(self, queue: str, payload: str, job: Body) -> None:
        sent, job_id = self.jobs[payload], job["id"]
        assert sent.queue == queue
        assert not sent.refused, f"{payload} was refused and is given out"
        assert sent.id in (0, job_id), f"{payload} is both job {sent.id} and job {job_id} (I6)"
        assert self.by_id.setdefault(job_id, payload) == payload
        sent.id = job_id
        spec = sent.spec
        if sent.flow:
            self.flow_seen.add(sent.flow)
        most = spec.get("max_attempts", 3)
        assert not most or job["attempts"] < most, f"job {job_id} has no attempt left (I4)"
        assert job["attempts"] >= self.fails.get(job_id, 0), f"a FAIL of job {job_id} is forgotten (I4)"
        due = max(sent.first_at + spec.get("delay", 0), self.not_before.get(job_id, 0))
        assert self.not_before.get(job_id) == -1 or due <= self.now, f"job {job_id} is {due - self.now} ms early (I4)"
        for other in spec.get("depends_on", ()):
            assert other in self.done or other in self.unsure, f"job {job_id} runs before job {other} (I8)"
        for child in self.flows.get(payload, ()):
            ended = self.jobs[child].id
            assert ended in self.done or ended in self.unsure, f"flow {payload} runs before {child} (I8)"
        self.check_order(queue, job, spec)

    def check_order(self, queue: str, job: Body, spec: Body) -> None:
        """First deliveries of jobs that nothing held up come in the order of their pushes."""
        sent, job_id = self.jobs[spec["data"]], job["id"]
        held_up = "delay" in spec or "limit_key" in spec or spec["data"] in self.late or sent.flow
        # One that was pushed before a death may have been given out then, and have come back since.
        came_back = job["attempts"] or job_id in self.leases or sent.first_at <= self.death_at[self.owner(job_id)]
        if held_up or came_back or queue in self.limits or job_id in self.unordered:
            return
        at = (queue, job["priority"])
        seq = job["id"] >> 10
        assert seq > self.last_seq.get(at, -1), f"job {job['id']} was overtaken (I7)"
        self.last_seq[at] = seq

    def check_limits(self, queue: str, key: str | None) -> None:
        limit = self.limits.get(queue)
        if limit is None or (limit.per_key and key is None):
            return
        line = key if limit.per_key else None
        if limit.rate is not None:
            times = limit.given[line]
            times.append(self.now)
            for k, begin in enumerate(times):
                most = limit.rate + limit.rate * (self.now - begin) / 1_000
                assert len(times) - k <= most, f"rate of {queue}, key {key}: {times[k:]} (I10)"
        if limit.active is not None:
            active = [
                job_id for job_id, held in self.leases.items()
                if held.queue == queue and held.end > self.now and (not limit.per_key or held.key == key)
            ]  # fmt: skip
            assert len(active) < limit.active, f"{queue}, key {key}: {active} are active already (I10)"

    def limit(self, queue: str, *, rate: int | None = None, active: int | None = None, per_key: bool = False) -> None:
        self.limits[queue] = Limit(rate, active, per_key)

    # -- ends

    def held(self) -> list[tuple[int, int]]:
        """(job, token) of all leases that workers believe in, or may still be right about."""
        return [(i, held.token) for i, held in self.leases.items() if i not in self.done and i not in self.unsure]

    def end_lease(self, job_id: int) -> None:
        self.leases[job_id] = self.leases[job_id]._replace(end=0)

    def ack_sent(self, ids: Sequence[int]) -> None:
        for job_id in ids:
            self.unsure.add(job_id)
            self.end_lease(job_id)

    def acked(self, job_id: int, told: Body) -> None:
        if told["ok"]:
            self.done.add(job_id)
        self.unsure.discard(job_id)
        if not told["ok"]:
            self.leases.pop(job_id, None)

    def acked_many(self, ids: Sequence[int], told: Body) -> None:
        refused = {*told.get("not_found", ()), *(entry["id"] for entry in told.get("errors", ()))}
        for job_id in ids:
            self.acked(job_id, {"ok": job_id not in refused})

    def forget_unsure(self) -> None:
        """All is answered or never will be: workers whose acks got lost take part again if their jobs come back."""
        for job_id in list(self.unsure):
            payload = self.by_id.get(job_id, "")
            removed = bool(payload) and self.jobs[payload].spec.get("remove_on_complete")
            if self.state(job_id) == "completed" or (removed and self.state(job_id) == "unknown"):
                self.done.add(job_id)
                self.unsure.discard(job_id)

    def fail_sent(self, job_id: int) -> int:
        """The attempts that were finished before."""
        self.end_lease(job_id)
        return self.attempts[job_id]

    def failed(self, job_id: int, attempts: int, told: Body) -> None:
        self.leases.pop(job_id, None)
        if told["ok"]:
            self.fails[job_id] = 1  # RETRYDLQ may set the job's count to 0 meanwhile: judged where it cannot
            payload = self.by_id.get(job_id, "")
            if not payload or self.jobs[payload].spec.get("max_attempts", 3):
                del self.fails[job_id]
            self.unordered.add(job_id)

    def spoke_stale(self, job_id: int, token: int, told: Body) -> None:
        assert not told["ok"], f"a word under the old token {token} of job {job_id} was taken (I3)"

    def hung_up(self, gid: int) -> None:
        for job_id, held in self.leases.items():
            if held.gid == gid:
                self.end_lease(job_id)
                self.unordered.add(job_id)

    def died(self, shard: int, *, power: bool) -> None:
        """Connections ended; with the power, leases that were not synced may have gone too."""
        for job_id, held in list(self.leases.items()):
            if self.owner(job_id) != shard:
                continue
            if power:
                self.end_lease(job_id)
            elif held.gid:
                grace = self.now + self.world.limits.reconnect_grace_ms
                self.leases[job_id] = held._replace(end=min(held.end, grace))
        if power:
            self.stale = [(i, token) for i, token in self.stale if self.owner(i) != shard]
        self.death_at[shard] = self.now
        for queue, limit in self.limits.items():
            if power and self.world.owner_of(slot_of_queue(queue)) == shard:
                limit.given.clear()

    # -- keys and values, crons

    def counted(self, key: str, told: Body) -> None:
        assert told["ok"], told
        self.counters[key] += 1

    def kept(self, entries: Sequence[Body], told: Body) -> None:
        assert told["ok"], told
        away = {error["index"] for error in told.get("errors", ())}
        self.values.update((entry["key"], entry["value"]) for k, entry in enumerate(entries) if k not in away)

    def cron(self, name: str) -> None:
        """It was made just now."""
        cron = self.world.shards[self.world.owner_of(slot_of_queue(name))].engine.crons.by_name[name]
        self.crons[name] = (cron.next_run, cron.repeat_every or 1_000)

    def check_cron(self, name: str, cron: Cron) -> None:
        """Every moment since it was made was a run, none twice."""
        first, every = self.crons[name]
        assert cron.executions * every == cron.next_run - first, f"cron {name} ran {cron.executions} times (I9)"
        self.cron_runs[name] = cron.executions

    # -- looks at the shards

    def state(self, job_id: int) -> str:
        return queries.state_of(self.world.shards[self.owner(job_id)].engine, job_id)

    def live_jobs(self) -> Iterator[Job]:
        for shard in self.world.shards:
            for slot in shard.engine.slots.values():
                for page in slot.pages.values():
                    for job in page.jobs:
                        if type(job) is Job and job.state is not State.COMPLETED:
                            yield job

    def check_keys(self) -> None:
        """One live job of each unique key of a queue, and of each name (I6)."""
        seen: dict[tuple[str, str], int] = {}
        for job in self.live_jobs():
            for space, key in ((job.queue.name, job.options.unique_key), ("", job.options.job_id)):
                if key is not None:
                    other = seen.setdefault((space, key), job.id)
                    assert other == job.id, f"jobs {other} and {job.id} share {key!r} (I6)"

    def check_end(self) -> None:
        for payload, sent in self.jobs.items():
            if sent.accepted and sent.id not in self.cancelled:
                state = "unknown" if sent.spec.get("remove_on_complete") else "completed"
                assert self.state(sent.id) == state, f"{payload}, job {sent.id}, was accepted and is lost (I1)"
                assert sent.id in self.done, f"job {sent.id} is completed, and nobody was given it (I1)"
        for name, children in self.flows.items():
            if name in self.flow_seen:
                ids = [self.jobs[payload].id for payload in (name, *children)]
                assert all(job_id in self.done for job_id in ids), f"half of flow {name} (I8)"
        for name, runs in self.cron_runs.items():
            assert len(self.cron_jobs[name]) == runs, f"cron {name}: {runs} runs, other jobs (I9)"
        for key, value in {**self.counters, **self.values}.items():
            engine = self.world.shards[self.world.owner_of(slot_of_queue(key))].engine
            assert engine.kv.entries[key].value == str(value).encode(), f"key {key}"
