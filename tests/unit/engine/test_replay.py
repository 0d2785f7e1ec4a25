"""Replaying what was decided gives the state again; and what is delivered is what a naive list would deliver."""

import random
from typing import Any

import msgspec
import pytest

from flashq.engine import control, queries, retry
from flashq.engine.ack import ack, ack_batch
from flashq.engine.deliveries import Delivery, Lone, Part
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job
from flashq.engine.leases import Lease
from flashq.engine.pull import deliver
from flashq.engine.push import push_jobs, push_plain, push_plain_batch
from flashq.engine.replay import Replayer
from flashq.engine.settings import Defaults, Limits
from flashq.errors import RequestError
from flashq.protocol.commands import JobEntry

LIMITS = Limits(keep_completed_count=20, lease_ms=5_000)


def frame(queue: str, jobs: list[dict[str, Any]]) -> bytes:
    if len(jobs) == 1:
        return msgspec.json.encode({"cmd": "PUSH", "queue": queue, **jobs[0]})
    return msgspec.json.encode({"cmd": "PUSHB", "queue": queue, "jobs": jobs})


def ids_of(delivery: Delivery | Lone) -> list[int]:
    ids: list[int] = []
    for part in delivery.parts:
        ids += part.ids if isinstance(part, Part) else [part.id]
    return ids


class Life:
    """Random commands on an engine, and the journal they leave."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.engine = Engine(epoch=1, limits=LIMITS)
        self.now = self.mono = 1_000_000
        self.journal: list[tuple[int, int, bytes]] = []
        self.held: dict[int, int] = {}
        self.tokens: list[int] = []
        self.ids: list[int] = []
        self.engine.begin(self.now, self.mono)
        self.engine.adopt_defaults(Defaults())
        self.commit()

    def commit(self) -> None:
        events, _, _ = self.engine.taken()
        if events:
            self.journal.append((self.now, self.mono, b"".join(events)))
        self.engine.woken.clear()

    def pass_time(self) -> None:
        step = self.random.choice((0, 1, 7, 300, 2_500))
        self.now += step
        self.mono += step
        engine = self.engine
        engine.begin(self.now, self.mono)
        retry.end_leases(engine, self.mono)
        for action, argument in engine.mono_timers.due(self.mono, 100):
            action(engine, argument)
        for action, argument in engine.timers.due(self.now, 100):
            action(engine, argument)

    def step(self) -> None:
        self.pass_time()
        name = self.random.choice(("a", "b", "long-name"))
        queue = self.engine.queue(name)
        choice = self.random.random()
        try:
            if choice < 0.3:
                self.push(queue.name)
            elif choice < 0.55:
                self.pull(queue.name)
            elif choice < 0.8:
                self.finish()
            elif choice < 0.9 and self.held:
                job_id = self.random.choice(list(self.held))
                retry.fail(self.engine, job_id, self.random.choice((None, self.held[job_id])), "no")
            elif choice < 0.93 and self.held:
                job_id = self.random.choice(list(self.held))
                retry.heartbeat(self.engine, job_id, self.held[job_id], 0)
            elif choice < 0.96:
                retry.connection_gone(self.engine, self.random.randrange(1, 4))
            else:
                (control.pause if self.random.random() < 0.3 else control.resume)(self.engine, name)
        except RequestError as e:
            if e.code not in ("not_found", "lease_lost"):
                raise
        self.commit()

    def push(self, name: str) -> None:
        engine, queue, r = self.engine, self.engine.queue(name), self.random
        n = r.choice((1, 1, 3, 40))
        jobs: list[dict[str, Any]] = [{"data": r.randrange(1000)} for _ in range(n)]
        payloads = [msgspec.json.encode(j["data"]) for j in jobs]
        if r.random() < 0.5:
            if n == 1:
                self.ids.append(push_plain(engine, queue, 0, payloads[0], frame(name, jobs)))
            else:
                self.ids += [i for run in push_plain_batch(engine, queue, 0, payloads, frame(name, jobs)) for i in run]
            return
        for job in jobs:
            job.update(
                r.choice(
                    (
                        {"priority": r.randrange(-2, 3)}, {"delay": r.randrange(1, 3000)}, {"lifo": True},
                        {"ttl": r.randrange(1, 4000)}, {"timeout": 2000}, {"max_attempts": 1}, {"backoff": 0},
                        {"remove_on_complete": True}, {"remove_on_fail": True, "max_attempts": 1},
                    )
                )
            )  # fmt: skip
        entries = [(msgspec.convert({k: v for k, v in j.items() if k != "data"}, JobEntry), p)
                   for j, p in zip(jobs, payloads, strict=True)]  # fmt: skip
        self.ids += push_jobs(engine, queue, 0, entries, frame(name, jobs))

    def pull(self, name: str) -> None:
        gid = self.random.choice((0, 0, 1, 2, 3))
        delivery = deliver(self.engine, self.engine.queue(name), self.random.choice((1, 2, 50)), gid=gid)
        if delivery is None:
            return
        assert not self.engine.queue(name).paused
        assert not self.tokens or delivery.token > self.tokens[-1], "tokens rise"
        self.tokens.append(delivery.token)
        ids = ids_of(delivery)
        assert len(ids) == len(set(ids)) == delivery.jobs
        for job_id in ids:
            self.held[job_id] = delivery.token

    def finish(self) -> None:
        r = self.random
        if not self.held:
            return
        mine = sorted(self.held)
        some = mine if r.random() < 0.4 else r.sample(mine, min(len(mine), 5))
        if len(some) == 1:
            ack(self.engine, some[0], self.held[some[0]], r.choice((None, b'"ok"')), 0)
        else:
            ack_batch(self.engine, some, None if r.random() < 0.5 else [self.held[i] for i in some], None, 0)
        for job_id in some:
            del self.held[job_id]

    def again(self) -> Engine:
        engine = Engine(epoch=1, limits=LIMITS)
        replayer = Replayer(engine)
        for at, mono, events in self.journal:
            replayer.apply(at, mono, "boot", events)
        replayer.finish("boot", self.mono, clean=True)
        engine.begin(self.now, self.mono)
        return engine


def picture(engine: Engine, ids: list[int]) -> dict[str, Any]:
    """All that a client could see, as plain values."""
    jobs: dict[int, Any] = {}
    for job_id in ids:
        seen = queries.find(engine, job_id)
        state = queries.state_of(engine, job_id)
        if seen is None:
            jobs[job_id] = state
            continue
        job = seen.page.jobs[seen.place]
        lease = seen.lease
        jobs[job_id] = (
            state,
            job.data if isinstance(job, Job) else job,
            (job.attempts, job.priority, job.run_at, job.error, job.crashes, job.max_attempts)
            if isinstance(job, Job) and state != "completed"
            else None,
            (lease.token, lease.deadline, lease.started_at, lease.hard_at) if isinstance(lease, Lease) else None,
            (seen.done.completed_at, seen.done.result) if seen.done is not None else None,
        )
    queues = {
        q.name: (q.waiting + q.delayed, q.active, q.completed, q.dead_count, list(q.dead), q.paused)
        for q in engine.queues.values()
        if q.pushed_total or q.paused
    }
    t = engine.totals
    return {"jobs": jobs, "queues": queues, "totals": (t.waiting + t.delayed, t.active, t.dead, t.completed_now)}


@pytest.mark.parametrize("seed", range(60))
def test_replay_gives_the_state_again(seed: int) -> None:
    """What a restart reads is what was there, whatever happened."""
    life = Life(seed)
    for _ in range(250):
        life.step()
    life.engine.begin(life.now, life.mono)
    before, after = picture(life.engine, life.ids), picture(life.again(), life.ids)
    assert before["queues"] == after["queues"], f"seed {seed}"
    assert before["totals"] == after["totals"], f"seed {seed}"
    differing = {i: (before["jobs"][i], after["jobs"][i]) for i in life.ids if before["jobs"][i] != after["jobs"][i]}
    assert not differing, f"seed {seed}: {differing}"


@pytest.mark.parametrize("seed", range(20))
def test_counts_match_a_full_scan(seed: int) -> None:
    """Counts are kept as things change; they are what a look at every job says."""
    life = Life(seed)
    for _ in range(250):
        life.step()
        engine = life.engine
        seen: dict[str, int] = {}
        for job_id in life.ids:
            state = queries.find(engine, job_id)
            if state is not None:
                kind = queries.WIRE[state.state]
                seen[kind] = seen.get(kind, 0) + 1
        t = engine.totals
        assert t.waiting + t.delayed == seen.get("waiting", 0) + seen.get("delayed", 0), f"seed {seed}"
        assert (t.active, t.dead, t.completed_now) == (
            seen.get("active", 0), seen.get("failed", 0), seen.get("completed", 0),
        ), f"seed {seed}"  # fmt: skip


def drained(engine: Engine, name: str) -> list[int]:
    out: list[int] = []
    while (delivery := deliver(engine, engine.queue(name), 7)) is not None:
        out += ids_of(delivery)
    return out


@pytest.mark.parametrize("seed", range(40))
def test_order_is_priority_then_ready_moment_then_push(seed: int) -> None:
    """Against a sorted list: priority, then lifo latest first, then the moment of being ready, then the push."""
    r = random.Random(seed)
    engine = Engine(epoch=1, limits=LIMITS)
    now = 1_000
    fifo: list[tuple[int, int, int, int]] = []
    lifo: list[tuple[int, int, int, int]] = []
    for k in range(r.randrange(1, 80)):
        now += r.choice((0, 0, 1, 50))
        engine.begin(now, now)
        for action, argument in engine.timers.due(now, 100):
            action(engine, argument)
        priority, delay, is_lifo = r.choice((0, 0, 0, 1, -1)), r.choice((0, 0, 60)), r.random() < 0.2
        delay = 0 if is_lifo else delay
        job = {"data": k, "priority": priority, "delay": delay, "lifo": is_lifo}
        if priority or delay or is_lifo:
            entry = JobEntry(priority=priority, delay=delay or None, lifo=is_lifo)
            job_id = push_jobs(engine, engine.queue("q"), 0, [(entry, b"%d" % k)], frame("q", [job]))[0]
        else:
            job_id = push_plain(engine, engine.queue("q"), 0, b"%d" % k, frame("q", [job]))
        (lifo if is_lifo else fifo).append((-priority, now + delay, k, job_id))
    now += 1_000
    engine.begin(now, now)
    expected = sorted([*((p, 0, -k, i) for p, _, k, i in lifo), *((p, at, k, i) for p, at, k, i in fifo)])
    assert drained(engine, "q") == [i for *_, i in expected], f"seed {seed}"
