"""Engine and journal die together at any moment, and start again: what was told to clients still holds.

Each seed lives one shard through several deaths: the process is killed or the power is cut, before, during or after any
write or sync, or between the sync and the reply. The client's side is kept here: what it was told, and what it does not
know because its reply was lost. Checked at every start and every reply (the names are those of the fault matrix):

I1 nothing acknowledged is lost · I2 what was acked never comes again · I3 one lease at a time, and no word of an
older one counts · I4 attempts are counted · I5 counts are what a full scan finds; no id and no lease token twice.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import pytest

from flashq.engine import queries
from flashq.engine.settings import Limits
from flashq.errors import FlashqError
from flashq.storage.journal import SegmentJournal
from flashq.testing.background import SteppedExecutor
from flashq.testing.engine_kit import EngineKit, Given, Spec, check_counts
from flashq.testing.files import SimulatedDisk

SHARD = "/data/shard-00"
SEGMENT = 12 << 10
LIMITS = Limits(lease_ms=4_000, keep_completed_count=8, reconnect_grace_ms=500)
QUEUES = ("mail", "film")
DEATHS_EACH = 4
EVERY = 1_000_000
"""Attempts that nobody uses up."""


class Death(BaseException):
    """The process ends in the middle of whatever it was doing."""


@dataclass
class Clients:
    """What all clients together were told."""

    pushed: dict[int, int] = field(default_factory=dict)
    """id -> payload, acknowledged."""
    acked: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    """An ack was sent, its reply was lost: either is right."""
    leases: dict[int, tuple[int, int]] = field(default_factory=dict)
    """id -> (token, monotonic end) as the worker knows it; tied ones end sooner."""
    tied: dict[int, int] = field(default_factory=dict)
    """id -> the connection its lease ends with."""
    tokens: set[int] = field(default_factory=set)
    stale: list[tuple[int, int]] = field(default_factory=list)
    """(id, token) of leases that another one has followed."""
    failures: dict[int, int] = field(default_factory=dict)
    """FAILs that were answered."""


class Life:
    """One shard, one disk, and its clients."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = SimulatedDisk()
        self.clients = Clients()
        self.payload = self.epoch = 0
        self.now, self.mono, self.boot = 1_000_000, 10_000, "boot-0"
        self.kit = self.start()

    @property
    def gid(self) -> int:
        """The connection that workers have to this process."""
        return self.epoch

    # -- lives and deaths

    def start(self) -> EngineKit:
        self.epoch += 1
        journal = SegmentJournal.open(
            SHARD, shard=0, epoch=self.epoch, durability="fsync", files=self.disk, boot=self.boot,
            segment_bytes=SEGMENT, reserve_bytes=0, background=SteppedExecutor(),
            salt=lambda: self.random.randbytes(8),
        )  # fmt: skip
        kit = EngineKit(
            epoch=self.epoch, limits=LIMITS, journal=journal, boot=self.boot, now_ms=self.now, mono_ms=self.mono
        )
        kit.start()
        return kit

    def live(self, steps: int) -> None:
        """Work until death comes, at one of the next operations on the disk or between a commit and its reply."""
        left = self.random.randrange(1, 60)

        def before(what: str, path: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Death

        self.disk.before = before
        for _ in range(steps):
            self.step()
            check_counts(self.kit.engine)

    def die(self) -> None:
        """The process is gone, or the whole machine; then the next owner starts, and is held to what was told."""
        self.now, self.mono = self.kit.now_ms, self.kit.mono_ms
        self.disk.before = None
        power = self.random.random() < 0.5
        if power:
            self.disk = self.disk.cut(self.random)
            self.mono = self.random.randrange(1, 1_000)
            self.boot = f"boot-{self.epoch}"
        self.disk.kill()
        pause = self.random.choice((0, 10, 700))
        self.now += pause
        self.mono += pause
        self.kit = self.start()
        self.check_after_start(power)
        self.start_grace()

    def check_after_start(self, power: bool) -> None:
        engine, clients = self.kit.engine, self.clients
        check_counts(engine)
        for job_id, payload in clients.pushed.items():
            state = queries.state_of(engine, job_id)
            assert state != "unknown", f"job {job_id} was acknowledged and is lost (I1)"
            seen = queries.find(engine, job_id)
            if seen is not None:
                job = seen.page.jobs[seen.place]
                assert int(job if isinstance(job, bytes) else job.data) == payload
                if not isinstance(job, bytes):
                    assert job.attempts >= clients.failures.get(job_id, 0), "an answered FAIL is forgotten (I4)"
            if job_id in clients.acked:
                assert state == "completed", f"job {job_id} was acked and is {state} (I2)"
            elif job_id not in clients.unsure:
                assert state != "completed", f"job {job_id} is completed, and nobody said so"
        for job_id in list(clients.leases):
            self.check_lease(job_id, power)
        if power:  # of a lease that the power took nothing is known: the one before it is the latest again
            clients.stale = [(job_id, token) for job_id, token in clients.stale if self.token_of(job_id) != token]

    def check_lease(self, job_id: int, power: bool) -> None:
        clients = self.clients
        token, end = clients.leases[job_id]
        seen = queries.find(self.kit.engine, job_id)
        lease = seen.lease if seen is not None else None
        held = lease is not None and lease.token == token
        if not power:
            kept = held or end <= self.mono or job_id in clients.unsure
            assert kept, f"a killed process must not cost job {job_id} its lease (I3)"
        elif held:
            assert lease is not None
            clients.leases[job_id] = token, lease.deadline
            if lease.gid:  # also where the power took the release that followed the end of its connection
                clients.tied[job_id] = lease.gid
        else:  # written without a sync: the power may take it
            del clients.leases[job_id]
            if self.token_of(job_id) != token and queries.state_of(self.kit.engine, job_id) != "completed":
                clients.stale.append((job_id, token))

    def token_of(self, job_id: int) -> int:
        """The latest lease of a job that the engine knows of."""
        seen = queries.find(self.kit.engine, job_id)
        if seen is None:
            return 0
        job = seen.page.jobs[seen.place]
        mark = seen.lease or seen.done
        return mark.token if mark is not None else 0 if isinstance(job, bytes) else int(job.token)

    def start_grace(self) -> None:
        """What was tied to a connection of the dead process may be claimed for a while."""
        clients = self.clients
        for job_id in clients.tied.keys() & clients.leases.keys():
            token, end = clients.leases[job_id]
            clients.leases[job_id] = token, min(end, self.mono + LIMITS.reconnect_grace_ms)

    # -- commands

    def step(self) -> None:
        r = self.random
        choice = r.random()
        if choice < 0.3:
            self.push()
        elif choice < 0.55:
            self.pull()
        elif choice < 0.75:
            self.finish()
        elif choice < 0.82:
            self.fail()
        elif choice < 0.87:
            self.speak_stale()
        elif choice < 0.9:
            self.heartbeat()
        elif choice < 0.92:
            self.lose_connection()
        elif choice < 0.94:
            (self.kit.pause if r.random() < 0.3 else self.kit.resume)(r.choice(QUEUES))
        else:
            self.pass_time(r.choice((1, 40, 900, 3_000)))

    def answered(self) -> bool:
        """Whether the reply arrives: death may come between the commit and the reply."""
        if self.random.random() < 0.02:
            raise Death
        return True

    def push(self) -> None:
        r = self.random
        specs: list[Spec] = []
        for _ in range(r.choice((1, 1, 4, 30))):
            self.payload += 1
            specs.append({"data": self.payload})
        if r.random() < 0.5:
            for spec in specs:
                option = r.choice((("priority", r.randrange(-1, 2)), ("delay", 600), ("backoff", 0), ("lifo", True)))
                spec.update([option])
                spec["max_attempts"] = EVERY
        else:
            specs = [{"data": spec["data"]} for spec in specs]
        ids = self.kit.push(r.choice(QUEUES), *specs)
        if self.answered():
            for job_id, spec in zip(ids, specs, strict=True):
                assert job_id not in self.clients.pushed, f"id {job_id} was given twice"
                self.clients.pushed[job_id] = spec["data"]

    def pull(self) -> None:
        gid = self.random.choice((0, 0, self.gid))
        got = self.kit.pull(self.random.choice(QUEUES), self.random.choice((1, 1, 3, 40)), gid=gid)
        if got is not None:
            self.check_given(got)
            if self.answered():
                self.take(got, gid)

    def check_given(self, got: Given) -> None:
        clients = self.clients
        assert got.token not in clients.tokens, f"token {got.token} was given twice"
        clients.tokens.add(got.token)
        for job_id in got.ids:
            assert job_id not in clients.acked, f"job {job_id} was acked and comes again (I2)"
            token, end = clients.leases.get(job_id, (0, 0))
            assert end <= self.kit.mono_ms, f"job {job_id} is held by {token} and given to {got.token} (I3)"

    def take(self, got: Given, gid: int) -> None:
        clients = self.clients
        for job_id in got.ids:
            if job_id in clients.leases:
                clients.stale.append((job_id, clients.leases[job_id][0]))
            clients.leases[job_id] = got.token, self.kit.mono_ms + LIMITS.lease_ms
            clients.tied.pop(job_id, None)
            if gid:
                clients.tied[job_id] = gid

    def finish(self) -> None:
        """Acks by their holders; in one batch or one by one."""
        clients, r = self.clients, self.random
        mine = sorted(clients.leases)
        some = mine if r.random() < 0.3 else r.sample(mine, min(len(mine), 4))
        if not some:
            return
        tokens = [clients.leases[i][0] for i in some]
        before = clients.unsure & set(some)
        clients.unsure.update(some)
        refused = self.kit.ack_batch(some, tokens if r.random() < 0.7 else None)
        if not self.answered():
            return
        for k, job_id in enumerate(some):
            if k in refused:
                if job_id not in before:
                    clients.unsure.discard(job_id)
            else:
                clients.acked.add(job_id)
            del clients.leases[job_id]

    def fail(self) -> None:
        if not self.clients.leases:
            return
        job_id = self.random.choice(sorted(self.clients.leases))
        token, _ = self.clients.leases[job_id]
        self.clients.leases[job_id] = token, 0
        code = code_of(lambda: self.kit.fail(job_id, token))
        assert code in ("ok", "not_found", "lease_lost")
        if code == "ok" and self.answered():
            self.clients.failures[job_id] = self.clients.failures.get(job_id, 0) + 1

    def speak_stale(self) -> None:
        """A worker whose job another one has got since: refused, and nothing changes (I3)."""
        if not self.clients.stale:
            return
        job_id, token = self.random.choice(self.clients.stale)
        state = queries.state_of(self.kit.engine, job_id)
        act = self.random.choice((self.kit.ack, self.kit.fail, self.kit.heartbeat))
        with pytest.raises(FlashqError) as refusal:
            act(job_id, token)
        assert refusal.value.code in ("lease_lost", "not_found")
        assert queries.state_of(self.kit.engine, job_id) == state

    def heartbeat(self) -> None:
        """Workers renew what they hold, on the connection they have now."""
        clients = self.clients
        for job_id, (token, end) in sorted(clients.leases.items())[:3]:
            if end <= self.kit.mono_ms:
                continue
            code = code_of(lambda job_id=job_id, token=token: self.kit.heartbeat(job_id, token, self.gid))  # type: ignore[misc]
            if code == "ok":
                clients.leases[job_id] = token, self.kit.mono_ms + LIMITS.lease_ms
                if job_id in clients.tied:
                    clients.tied[job_id] = self.gid
            else:
                assert code == "not_found"
                assert job_id in clients.unsure, f"job {job_id} was held until {end}"

    def lose_connection(self) -> None:
        clients = self.clients
        for job_id in [i for i, gid in clients.tied.items() if gid == self.gid]:
            del clients.tied[job_id]
            if job_id in clients.leases:
                clients.leases[job_id] = clients.leases[job_id][0], 0
        self.kit.connection_gone(self.gid)

    def pass_time(self, ms: int) -> None:
        self.kit.advance(ms)

    # -- the end

    def drain(self) -> None:
        """Everything is given out and acked at last; then every job that was promised is accounted for."""
        self.disk.before = None
        kit, clients = self.kit, self.clients
        for name in QUEUES:
            kit.resume(name)
        for _ in range(200):
            kit.advance(5_000)
            if not any(q.waiting or q.delayed or q.active for q in kit.engine.queues.values()):
                break
            for name in QUEUES:
                while (got := kit.pull(name, 50)) is not None:
                    self.check_given(got)
                    self.take(got, 0)
                    assert not kit.ack_batch(got.ids)
                    clients.acked.update(got.ids)
        check_counts(kit.engine)
        t = kit.engine.totals
        assert (t.waiting, t.delayed, t.active) == (0, 0, 0)
        for job_id in clients.pushed:
            state = queries.state_of(kit.engine, job_id)
            assert state in ("completed", "failed"), f"job {job_id} is {state} at the end (I1)"


def code_of(act: Callable[[], object]) -> str:
    """The code of the error that a command ends with, `ok` if with none."""
    try:
        act()
    except FlashqError as e:
        return e.code
    return "ok"


def live(seed: int) -> int:
    """One seed; how many jobs were promised."""
    life = Life(seed)
    for _ in range(DEATHS_EACH):
        with suppress(Death):
            life.live(70)
        life.die()
    life.drain()
    return len(life.clients.pushed)


@pytest.mark.parametrize("block", range(10))
def test_what_was_told_survives_any_death(block: int) -> None:
    """500 seeds, 2,000 deaths: a client that was told something may go by it for ever."""
    promised = 0
    for seed in range(block * 50, block * 50 + 50):
        try:
            promised += live(seed)
        except (AssertionError, FlashqError, ValueError, KeyError) as fault:
            fault.add_note(f"seed {seed}")
            raise
    assert promised > 2_000


def test_segment_made_ahead_by_a_killed_process_survives_the_power_cut_after_it() -> None:
    """Killed between a segment's rename and the sync of its folder: the next owner writes into it, and the power goes.

    Opening a journal has to sync the folder before anything is built on the names in it.
    """
    live(56)
