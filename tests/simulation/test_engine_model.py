"""The engine against a naive model: one dictionary of jobs, everything found by looking at all of them.

After every step all states, counts and leases are compared, and all records so far are replayed into a new engine,
which must hold the same. Where the rules leave order open (jobs that came back in the same millisecond), any is right.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flashq.engine import control_jobs, queries
from flashq.engine.engine import Engine
from flashq.engine.settings import Limits
from flashq.errors import FlashqError
from flashq.testing.engine_kit import EngineKit, Given, Spec, Ticket, check_counts, drained, engine_facts

LIMITS = Limits(
    lease_ms=3_000, keep_completed_count=6, keep_completed_age_ms=9_000, crash_limit=3, reconnect_grace_ms=1_000
)
QUEUES = ("mail", "film", "plain")
"""To the last one only jobs without options are pushed, so that whole runs of them are acked at once."""
BACKOFF, ATTEMPTS = 1_000, 3
QUEUED = ("waiting", "delayed")


@dataclass
class ModelJob:
    """One job; `state` as it is on the wire."""

    id: int
    queue: str
    spec: Spec
    created_at: int
    number: int
    """Its place among all pushes."""
    state: str = "waiting"
    ready_at: int = 0
    front: int = 0
    """Where it stands among those put in front; 0: not one of them."""
    came_back: bool = False
    ttl_at: int = 0
    attempts: int = 0
    crashes: int = 0
    crash_at: int = -1
    token: int = 0
    gid: int = 0
    soft_ms: int = 0
    soft_end: int = 0
    hard_end: int = 0
    completed_at: int = 0
    record: bool = False
    """It has options or a history."""
    moved_to: int | None = None
    """Its priority, where that was changed."""
    died: int = 0
    """Its place among all that died."""

    def option(self, name: str, default: Any = 0) -> Any:
        value = self.spec.get(name)
        return default if value is None else value

    @property
    def priority(self) -> int:
        return int(self.option("priority") if self.moved_to is None else self.moved_to)

    def before(self, other: "ModelJob") -> bool:
        """Whether it has to be given out before the other."""
        if self.priority != other.priority:
            return self.priority > other.priority
        if self.front or other.front:
            return self.front > other.front
        if self.ready_at != other.ready_at:
            return self.ready_at < other.ready_at
        return self.simple and other.simple and self.number < other.number

    @property
    def simple(self) -> bool:
        """It has waited since it was pushed, in one place."""
        return not self.came_back and not self.option("delay") and self.moved_to is None


@dataclass
class ModelWait:
    ticket: Ticket
    queue: str
    count: int
    until: int
    gid: int
    tied: bool


@dataclass
class Model:
    """What the engine should be."""

    jobs: dict[int, ModelJob] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    kept: dict[str, list[ModelJob]] = field(default_factory=lambda: {name: [] for name in QUEUES})
    waits: list[ModelWait] = field(default_factory=list)
    fronts: int = 0
    deaths: int = 0
    token: int = 0
    now: int = 0
    mono: int = 0

    def of(self, queue: str, *states: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.queue == queue and job.state in states]

    def push(self, queue: str, ids: list[int], specs: list[Spec]) -> None:
        record = any(len(spec) > 1 for spec in specs)
        for job_id, spec in zip(ids, specs, strict=True):
            assert job_id not in self.jobs, "no id is given twice"
            job = ModelJob(job_id, queue, spec, self.now, len(self.jobs), record=record)
            self.jobs[job_id] = job
            job.ttl_at = self.now + job.option("ttl") if job.option("ttl") else 0
            job.ready_at = self.now + job.option("delay")
            job.state = "delayed" if job.option("delay") else "waiting"
            if job.option("lifo"):
                self.fronts += 1
                job.front = self.fronts

    def give(self, queue: str, got: Given, count: int, lease_ms: int, gid: int, *, strict: bool) -> None:
        assert queue not in self.paused, "a paused queue gives nothing"
        assert got.token > self.token, "tokens rise"
        self.token = got.token
        assert len(got.ids) <= count
        for job_id, payload in zip(got.ids, got.payloads, strict=True):
            job = self.jobs[job_id]
            assert (job.state, job.queue) == ("waiting", queue)
            assert payload == job.spec["data"]
            if strict:
                assert not [o.id for o in self.of(queue, "waiting") if o is not job and o.before(job)]
            self.lend(job, got.token, lease_ms, gid)

    def lend(self, job: ModelJob, token: int, lease_ms: int, gid: int) -> None:
        job.state, job.token, job.gid, job.front, job.ttl_at = "active", token, gid, 0, 0
        job.crash_at = -1
        job.soft_ms = job.option("stall_timeout") or lease_ms
        job.soft_end = self.mono + job.soft_ms
        timeout = job.option("timeout")
        job.hard_end = self.mono + timeout if timeout else 0

    def speaks(self, job_id: int, token: int | None) -> str:
        """What a worker's word about a job is worth: `ok`, `late`, `same`, or the code of the error."""
        job = self.jobs.get(job_id)
        if job is None or job.state in ("unknown", "evicted", "failed"):
            return "not_found"
        wrong = token is not None and token != job.token
        if job.state == "completed":
            return "lease_lost" if wrong else "not_found" if token is None else "same"
        if not job.token:
            return "not_found"
        return "lease_lost" if wrong else "ok" if job.state == "active" else "late"

    def complete(self, job: ModelJob) -> None:
        if job.option("remove_on_complete", False):
            job.state = "unknown"
            return
        job.state, job.completed_at = "completed", self.now
        kept = self.kept[job.queue]
        kept.append(job)
        most = job.option("keep_completed_count", LIMITS.keep_completed_count)
        while kept and (len(kept) > most or kept[0].completed_at < self.now - LIMITS.keep_completed_age_ms):
            kept.pop(0).state = "evicted"

    def spend(self, job: ModelJob) -> None:
        job.attempts += 1
        job.record = True
        most = job.option("max_attempts", ATTEMPTS)
        if most and job.attempts >= most:
            self.die(job)
        else:
            self.back(job, job.option("backoff", BACKOFF) << job.attempts)

    def die(self, job: ModelJob) -> None:
        job.state = "unknown" if job.option("remove_on_fail", False) else "failed"
        job.ttl_at = job.front = 0
        job.record = True
        self.deaths += 1
        job.died = self.deaths

    def revive(self, job: ModelJob) -> None:
        job.attempts = job.crashes = 0
        job.crash_at = -1
        self.back(job, 0)

    def prioritise(self, job: ModelJob, priority: int) -> None:
        if priority == job.priority:
            return
        job.moved_to, job.record = priority, True
        if job.state == "waiting" and job.option("lifo", False) and not job.token:
            self.fronts += 1
            job.front = self.fronts

    def remove(self, jobs: Iterable[ModelJob]) -> int:
        """These jobs cease to exist; how many there were."""
        gone = list(jobs)
        for job in gone:
            job.state = "unknown"
        return len(gone)

    def to_clean(self, queue: str, state: str, grace_ms: int, limit: int) -> list[ModelJob]:
        """What CLEAN takes, oldest first; of those that have completed, no further than the first that is too young."""
        until = self.now - grace_ms
        if state == "completed":
            old = [job for job in self.kept[queue] if job.completed_at <= until]
        else:
            old = [job for job in self.of(queue, state) if job.created_at <= until]
            old.sort(key=lambda job: job.died if state == "failed" else job.id)
        return old[: limit or len(old)]

    def back(self, job: ModelJob, wait_ms: int) -> None:
        job.ready_at = self.now + wait_ms
        job.state = "delayed" if wait_ms else "waiting"
        job.came_back = job.record = True

    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.mono += ms
        for job in self.jobs.values():
            if job.state == "active" and self.mono >= min(job.soft_end, job.hard_end or job.soft_end):
                self.spend(job)
        for job in self.jobs.values():
            if job.state == "delayed" and job.ready_at <= self.now:
                job.state = "waiting"

    def drop_expired(self) -> None:
        for job in self.jobs.values():
            if job.ttl_at and job.ttl_at <= self.now and job.state in QUEUED:
                job.state = "unknown"

    def lose(self, gid: int) -> None:
        self.waits = [w for w in self.waits if w.gid != gid]
        for job in self.jobs.values():
            if job.state == "active" and gid and job.gid == gid:
                job.crashes += 1
                job.crash_at = self.now
                if job.crashes >= LIMITS.crash_limit:
                    self.die(job)
                else:
                    self.back(job, 0)

    def show_again(self, job: ModelJob) -> None:
        """The worker was there after all: the crash does not count, if it shows in time."""
        if 0 <= self.now - job.crash_at <= LIMITS.reconnect_grace_ms and job.crash_at >= 0:
            job.crashes -= 1
            job.crash_at = -1

    def answer(self, woken: Iterable[tuple[Ticket, Given | None]], *, strict: bool) -> None:
        """Waiting pulls got something: the right ones, in the right order."""
        for ticket, got in woken:
            waiting = next(w for w in self.waits if w.ticket is ticket)
            if got is None:
                assert waiting.until <= self.mono
                self.waits.remove(waiting)
                continue
            first = next(w for w in self.waits if w.queue == waiting.queue and w.ticket.willing)
            assert first is waiting, "first come, first served"
            self.waits.remove(waiting)
            gid = waiting.gid if waiting.tied else 0
            self.give(waiting.queue, got, max(1, waiting.count), LIMITS.lease_ms, gid, strict=strict)

    def check_no_one_waits_in_vain(self) -> None:
        for w in self.waits:
            assert w.until > self.mono
            if w.ticket.willing and w.queue not in self.paused:
                assert not self.of(w.queue, "waiting"), "a job is ready, and a pull waits"


OPTIONS = st.fixed_dictionaries(
    {"data": st.integers(0, 9)},
    optional={
        "priority": st.integers(-2, 2), "delay": st.sampled_from([1, 400, 2_500]),
        "ttl": st.sampled_from([300, 4_000]), "timeout": st.sampled_from([500, 5_000]),
        "max_attempts": st.integers(0, 2), "backoff": st.sampled_from([0, 50]),
        "lifo": st.booleans(), "remove_on_complete": st.booleans(), "remove_on_fail": st.booleans(),
        "stall_timeout": st.sampled_from([200, 4_000]), "keep_completed_count": st.integers(0, 3),
    },
)  # fmt: skip
PLAIN = st.fixed_dictionaries({"data": st.integers(0, 9)})
GIDS = st.sampled_from([0, 0, 7, 8])


def tidy(spec: Spec) -> Spec:
    """A delayed LIFO job stands in front from when it is due or from a restart: its place is not compared."""
    return {k: v for k, v in spec.items() if not (k == "lifo" and "delay" in spec)}


class EngineMachine(RuleBasedStateMachine):
    """Random commands on engine and model alike."""

    def __init__(self) -> None:
        super().__init__()
        self.kit = EngineKit(limits=LIMITS)
        self.kit.start()
        self.model = Model(now=self.kit.now_ms, mono=self.kit.mono_ms)

    def settle(self, *, strict: bool = True) -> None:
        self.model.answer(self.kit.fetch_woken(), strict=strict)

    @rule(queue=st.sampled_from(QUEUES), specs=st.lists(PLAIN, min_size=1, max_size=10), codec=st.integers(0, 1))
    def push_plain(self, queue: str, specs: list[Spec], codec: int) -> None:
        self.model.push(queue, self.kit.push(queue, *specs, codec=codec), specs)
        self.settle()

    @rule(queue=st.sampled_from(("mail", "mail", "film")), specs=st.lists(OPTIONS, min_size=1, max_size=4),
          codec=st.integers(0, 1))  # fmt: skip
    def push_with_options(self, queue: str, specs: list[Spec], codec: int) -> None:
        specs = [tidy(spec) for spec in specs]
        self.model.push(queue, self.kit.push(queue, *specs, codec=codec), specs)
        self.settle()

    @rule(queue=st.sampled_from(QUEUES), count=st.sampled_from([1, 2, 5, 50]), gid=GIDS,
          lease_ms=st.sampled_from([None, 100, 2_000]))  # fmt: skip
    def pull(self, queue: str, count: int, gid: int, lease_ms: int | None) -> None:
        ready = 0 if queue in self.model.paused else len(self.model.of(queue, "waiting"))
        got = self.kit.pull(queue, count, lease_ms=lease_ms, gid=gid)
        assert (len(got.ids) if got else 0) == min(count, ready)
        if got is not None:
            self.model.give(queue, got, count, lease_ms or LIMITS.lease_ms, gid, strict=True)

    @rule(queue=st.sampled_from(QUEUES), count=st.sampled_from([0, 1, 4]), timeout=st.sampled_from([50, 6_000]),
          gid=st.sampled_from([7, 8, 9]), tied=st.booleans())  # fmt: skip
    def pull_and_wait(self, queue: str, count: int, timeout: int, gid: int, tied: bool) -> None:
        if queue in self.model.paused or not self.model.of(queue, "waiting"):
            ticket = self.kit.wait(queue, count, timeout, gid=gid, tied=tied)
            self.model.waits.append(ModelWait(ticket, queue, count, self.model.mono + timeout, gid, tied))

    @precondition(lambda self: self.model.waits)
    @rule(data=st.data())
    def output_backs_up_or_drains(self, data: st.DataObject) -> None:
        waiting = data.draw(st.sampled_from(self.model.waits))
        waiting.ticket.willing = not waiting.ticket.willing
        if waiting.ticket.willing:
            self.kit.takes_jobs_again(waiting.queue)
        self.settle()

    def some_ids(self, data: st.DataObject, most: int) -> list[int]:
        """Mostly jobs that are active."""
        jobs = self.model.jobs.values()
        active = [job.id for job in jobs if job.state == "active"]
        any_job = data.draw(st.sampled_from([False, False, False, True]))
        every = active if active and not any_job else [job.id for job in jobs if job.token or any_job]
        ids: list[int] = data.draw(
            st.lists(st.sampled_from(every or [1024 * 77]), min_size=1, max_size=most, unique=True)
        )
        return ids

    def token(self, data: st.DataObject, job_id: int) -> int | None:
        job = self.model.jobs.get(job_id)
        right = job.token if job is not None and job.token else 1
        return data.draw(st.sampled_from([right, right, right, None, max(1, right - 1)]))

    def says(self, act: Any) -> str:
        try:
            act()
        except FlashqError as e:
            return e.code
        return "ok"

    @precondition(lambda self: self.model.token)
    @rule(data=st.data(), result=st.sampled_from([None, b'"done"']))
    def ack(self, data: st.DataObject, result: bytes | None) -> None:
        (job_id,) = self.some_ids(data, 1)
        token = self.token(data, job_id)
        worth = self.model.speaks(job_id, token)
        code = self.says(lambda: self.kit.ack(job_id, token, result))
        assert code == ("ok" if worth in ("late", "same") else worth)
        if worth in ("ok", "late"):
            self.model.complete(self.model.jobs[job_id])

    @precondition(lambda self: self.model.token)
    @rule(data=st.data(), in_order=st.booleans(), with_tokens=st.booleans())
    def ack_batch(self, data: st.DataObject, in_order: bool, with_tokens: bool) -> None:
        ids = self.some_ids(data, 8)
        if in_order:
            ids = sorted(job.id for job in self.model.of(self.model.jobs[ids[0]].queue, "active")) or ids
        tokens = [self.token(data, i) for i in ids] if with_tokens else None
        refused = self.kit.ack_batch(ids, tokens)
        for k, job_id in enumerate(ids):
            worth = self.model.speaks(job_id, tokens[k] if tokens else None)
            assert (refused[k].code if k in refused else "ok") == ("ok" if worth in ("late", "same") else worth)
            if worth in ("ok", "late"):
                self.model.complete(self.model.jobs[job_id])

    @precondition(lambda self: self.model.token)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        (job_id,) = self.some_ids(data, 1)
        token = self.token(data, job_id)
        worth = self.model.speaks(job_id, token)
        code = self.says(lambda: self.kit.fail(job_id, token))
        assert code == ("not_found" if worth in ("late", "same") else worth)
        if worth == "ok":
            self.model.spend(self.model.jobs[job_id])
        if worth == "late" and token is not None:
            self.model.show_again(self.model.jobs[job_id])
        self.settle()

    @precondition(lambda self: self.model.token)
    @rule(data=st.data(), gid=GIDS)
    def heartbeat(self, data: st.DataObject, gid: int) -> None:
        (job_id,) = self.some_ids(data, 1)
        token = self.token(data, job_id)
        worth = self.model.speaks(job_id, token)
        code = self.says(lambda: self.kit.heartbeat(job_id, token, gid))
        assert code == ("not_found" if worth in ("late", "same") else worth)
        job = self.model.jobs.get(job_id)
        if worth == "ok" and job is not None:
            job.soft_end = self.model.mono + job.soft_ms
            job.gid = gid if gid and job.gid else job.gid
        if worth == "late" and token is not None and job is not None:
            self.model.show_again(job)

    def some_job(self, data: st.DataObject) -> ModelJob:
        """A job in any state, each state as likely as the others."""
        by_state: dict[str, list[ModelJob]] = {}
        for job in self.model.jobs.values():
            by_state.setdefault(job.state, []).append(job)
        return data.draw(st.sampled_from(by_state[data.draw(st.sampled_from(sorted(by_state)))]))

    def control(self, act: Callable[[Engine], object], expected: str) -> bool:
        """Carry it out; whether it was not refused. It is refused just as expected."""
        assert self.says(lambda: self.kit.do(act)) == expected
        return expected == "ok"

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.some_job(data)
        ended = {"completed": "invalid", "evicted": "invalid", "failed": "invalid", "unknown": "not_found"}
        if job.state == "unknown" and queries.state_of(self.kit.engine, job.id) == "completed":
            ended["unknown"] = "invalid"
        if self.control(lambda engine: control_jobs.cancel(engine, job.id), ended.get(job.state, "ok")):
            self.model.remove([job])
        self.settle()

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        job = self.some_job(data)
        expected = "ok" if job.state in (*QUEUED, "active") else "not_found"
        if self.control(lambda engine: control_jobs.discard(engine, job.id), expected):
            self.model.die(job)
        self.settle()

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        job = self.some_job(data)
        expected = {"delayed": "ok", "waiting": "invalid"}.get(job.state, "not_found")
        if self.control(lambda engine: control_jobs.promote(engine, job.id), expected):
            job.state, job.ready_at, job.came_back = "waiting", self.model.now, True
        self.settle()

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), priority=st.integers(-3, 3))
    def change_priority(self, data: st.DataObject, priority: int) -> None:
        job = self.some_job(data)
        expected = "ok" if job.state in (*QUEUED, "active", "failed") else "not_found"
        if self.control(lambda engine: control_jobs.change_priority(engine, job.id, priority), expected):
            self.model.prioritise(job, priority)
        self.settle()

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data(), value=st.integers(10, 19), codec=st.integers(0, 1))
    def update(self, data: st.DataObject, value: int, codec: int) -> None:
        job = self.some_job(data)
        expected = "ok" if job.state in (*QUEUED, "active", "failed") else "not_found"
        payload = msgspec.msgpack.encode(value) if codec else msgspec.json.encode(value)
        if self.control(lambda engine: control_jobs.update(engine, job.id, payload, codec), expected):
            job.spec, job.record = job.spec | {"data": value}, True
        self.settle()

    @precondition(lambda self: self.model.token)
    @rule(data=st.data(), delay=st.sampled_from([0, 70, 3_000]))
    def move_to_delayed(self, data: st.DataObject, delay: int) -> None:
        (job_id,) = self.some_ids(data, 1)
        token = self.token(data, job_id)
        worth = self.model.speaks(job_id, token)
        expected = "not_found" if worth in ("late", "same") else worth
        if self.control(lambda engine: control_jobs.move_to_delayed(engine, job_id, delay, token), expected):
            self.model.back(self.model.jobs[job_id], delay)
        if worth == "late" and token is not None:
            self.model.show_again(self.model.jobs[job_id])
        self.settle(strict=False)

    @rule(queue=st.sampled_from(QUEUES))
    def drain(self, queue: str) -> None:
        assert self.kit.drain(queue) == self.model.remove(self.model.of(queue, *QUEUED))

    @rule(queue=st.sampled_from(QUEUES))
    def obliterate(self, queue: str) -> None:
        gone = self.model.remove(self.model.of(queue, *QUEUED, "active", "failed"))
        assert self.kit.obliterate(queue) == gone
        self.model.paused.discard(queue)

    @rule(queue=st.sampled_from(QUEUES))
    def purge_dead(self, queue: str) -> None:
        assert self.kit.purge_dead(queue) == self.model.remove(self.model.of(queue, "failed"))

    @rule(queue=st.sampled_from(QUEUES), one=st.booleans(), data=st.data())
    def retry_dead(self, queue: str, one: bool, data: st.DataObject) -> None:
        dead = self.model.of(queue, "failed")
        if one and self.model.jobs:
            job = self.some_job(data)
            dead = [job] if job in dead else []
            assert self.kit.retry_dead(queue, job.id) == len(dead)
        else:
            assert self.kit.retry_dead(queue) == len(dead)
        for job in dead:
            self.model.revive(job)
        self.settle(strict=False)

    @rule(queue=st.sampled_from(QUEUES), state=st.sampled_from(["waiting", "delayed", "completed", "failed"]),
          grace_ms=st.sampled_from([0, 0, 60, 2_000]), limit=st.sampled_from([0, 1, 3]))  # fmt: skip
    def clean(self, queue: str, state: str, grace_ms: int, limit: int) -> None:
        old = self.model.to_clean(queue, state, grace_ms, limit)
        assert self.kit.clean(queue, state, grace_ms, limit).count == len(old)
        if state == "completed":
            del self.model.kept[queue][: len(old)]
            for job in old:
                job.state = "evicted"
        else:
            self.model.remove(old)

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause_or_resume(self, queue: str, paused: bool) -> None:
        if paused:
            self.model.paused.add(queue)
            self.kit.pause(queue)
        else:
            self.model.paused.discard(queue)
            self.kit.resume(queue)
        self.settle()

    @rule(gid=st.sampled_from([7, 8, 9]))
    def connection_gone(self, gid: int) -> None:
        self.kit.connection_gone(gid)
        self.model.lose(gid)
        self.settle(strict=False)

    @rule(ms=st.sampled_from([0, 1, 60, 450, 1_900, 6_000]))
    def time_passes(self, ms: int) -> None:
        self.kit.advance(ms)
        self.model.pass_time(ms)
        self.settle(strict=False)
        self.model.drop_expired()

    @invariant()
    def states_are_the_models(self) -> None:
        engine, model = self.kit.engine, self.model
        for job in model.jobs.values():
            expected = "completed" if job.state == "evicted" else job.state
            assert queries.state_of(engine, job.id) == expected, job
        for name, queue in engine.queues.items():
            counts = tuple(len(model.of(name, s)) for s in ("active", "completed", "failed"))
            assert (queue.active, queue.completed, queue.dead_count) == counts
            assert (queue.waiting, queue.delayed) == tuple(len(model.of(name, s)) for s in QUEUED)
        check_counts(engine)
        model.check_no_one_waits_in_vain()

    @invariant()
    def leases_are_the_models(self) -> None:
        for job in self.model.jobs.values():
            if job.state == "active":
                seen = queries.find(self.kit.engine, job.id)
                assert seen is not None
                assert seen.lease is not None
                end = min(job.soft_end, job.hard_end or job.soft_end)
                assert (seen.lease.token, seen.lease.deadline, seen.lease.gid) == (job.token, end, job.gid), job

    @invariant()
    def replay_gives_the_same_state(self) -> None:
        live, again = engine_facts(self.kit.engine), engine_facts(self.kit.replayed())
        assert again == live

    def teardown(self) -> None:
        """What is left comes out in the same order, from the engine that lived and from the one that was read."""
        for waiting in self.model.waits:
            waiting.ticket.willing = False
        for name in QUEUES:
            self.kit.resume(name)
        engine, again = self.kit.engine, self.kit.replayed()
        for name in QUEUES:
            assert drained(again, name) == drained(engine, name)


TestEngineMatchesModel = pytest.mark.timeout(300)(EngineMachine.TestCase)
TestEngineMatchesModel.settings = settings(max_examples=300, stateful_step_count=50)
