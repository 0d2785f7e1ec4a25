"""An engine and its clocks in a test's hand: commands as the doors give them, time as the loop moves it, and replay.

Every command is a tick of its own: it ends with a record, which goes to `journal` (one in memory, if none is given).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec

from flashq.engine import chosen, control, crons, dead_letters, events, removal, retry, schedules, webhooks
from flashq.engine import cron_jobs as cron_jobs  # carries out what crons post
from flashq.engine.ack import ack, ack_batch
from flashq.engine.cleaning import Cleaning, state_to_clean
from flashq.engine.crons import Cron
from flashq.engine.deliveries import Delivery, Lone, Part
from flashq.engine.drafts import abandon
from flashq.engine.engine import Engine
from flashq.engine.eras import is_removed
from flashq.engine.hook_deliveries import fire
from flashq.engine.hook_lines import Delivery as HookDelivery
from flashq.engine.jobs import Job, Link, State
from flashq.engine.leases import Done, Lease
from flashq.engine.lines import Lines
from flashq.engine.pages import Page
from flashq.engine.pull import deliver, give_up_waits, serve, serve_freed, wait
from flashq.engine.push import Pushed, push_each, push_jobs, push_plain, push_plain_batch
from flashq.engine.queues import Queue
from flashq.engine.replay import Replayer
from flashq.engine.settings import Defaults, Limits
from flashq.engine.slices import carry_on
from flashq.engine.waits import Outcome
from flashq.engine.watching import settle
from flashq.errors import FlashqError
from flashq.protocol.codec import payload_of
from flashq.protocol.commands import FULL, JobOptions
from flashq.storage.contract import Journal, Record
from flashq.storage.memory import MemoryJournal

T = TypeVar("T")
Spec = dict[str, Any]
"""A job as JSON has it: `data` and options."""
_ENCODERS: Final = (msgspec.json.encode, msgspec.msgpack.encode)


class Given(NamedTuple):
    """What one pull got."""

    token: int
    ids: list[int]
    payloads: list[Any]
    """Decoded."""


class Ticket:
    """Where the answer to a waiting pull goes."""

    def __init__(self) -> None:
        self.willing = True

    def takes_jobs(self) -> bool:
        return self.willing


class EngineKit:
    """One engine, driven by hand."""

    def __init__(
        self, *, epoch: int = 1, limits: Limits | None = None, journal: Journal | None = None, boot: str = "boot-1",
        now_ms: int = 1_000_000, mono_ms: int = 5_000,
    ) -> None:  # fmt: skip
        self.limits = limits or Limits()
        self.boot = boot
        self.now_ms, self.mono_ms = now_ms, mono_ms
        self.memory = MemoryJournal(epoch=epoch, boot=boot, keep=True)
        self.journal: Journal = journal or self.memory
        self.engine = Engine(epoch=epoch, limits=self.limits)
        self.woken: list[tuple[Ticket, Given | None]] = []
        """Answers to waiting pulls that nobody has fetched yet."""
        self.ended: list[tuple[Any, Outcome]] = []
        """Answers to clients that wait for the end of a job, by their ticket."""

    def start(self) -> None:
        """Replay what the journal holds, then serve, as a shard does."""
        replayer = Replayer(self.engine)
        for record in self.journal.replay():
            replayer.apply(record.at_ms, record.mono_ms, record.boot, record.events)
        replayer.finish(self.boot, self.mono_ms, clean=self.journal.recovery.clean)
        self._begin()
        chosen.start(self.engine, Defaults())
        retry.start_grace(self.engine)
        crons.start(self.engine)
        webhooks.start(self.engine)
        abandon(self.engine)
        self.commit()

    def _begin(self) -> Engine:
        return self.begin()

    def begin(self) -> Engine:
        """A tick starts, which `commit` ends."""
        self.engine.begin(self.now_ms, self.mono_ms)
        return self.engine

    def do(self, act: Callable[[Engine], T]) -> T:
        """One tick. What `act` raises is raised when it has been committed."""
        try:
            return act(self.begin())
        finally:
            self.commit()

    def commit(self) -> None:
        """End the tick. What the journal raises stays unanswered."""
        engine = self.engine
        settle(engine)
        serve_freed(engine)
        if engine.hooks.lines:
            fire(engine)
            engine.happenings.clear()
        self.woken += [(w.ticket, given(d) if d is not None else None) for w, d in engine.woken]
        engine.woken.clear()
        self.ended += [(wait.ticket, outcome) for wait, outcome in engine.ended_waits]
        engine.ended_waits.clear()
        if engine.events:
            events, promise, sync = engine.taken()
            self.journal.append(events, at_ms=engine.now_ms, mono_ms=engine.mono_ms, promise=promise, sync=sync)

    def fetch_woken(self) -> list[tuple[Ticket, Given | None]]:
        """Answers to waiting pulls, in order; each is given out once."""
        out, self.woken = self.woken, []
        return out

    # -- commands

    def push(self, queue: str, *specs: Spec, codec: int = 0) -> list[int]:
        """PUSH or PUSHB; the ids."""
        engine = self._begin()
        frame, entries, payloads = decoded(queue, specs, codec)
        line = engine.queue(queue)
        if any(len(spec) > 1 for spec in specs):
            ids = push_jobs(engine, line, codec, list(zip(entries, payloads, strict=True)), frame)
        elif len(specs) == 1:
            ids = [push_plain(engine, line, codec, payloads[0], frame)]
        else:
            ids = [i for run in push_plain_batch(engine, line, codec, payloads, frame) for i in run]
        self.commit()
        return ids

    def push_each(self, queue: str, *specs: Spec, codec: int = 0) -> Pushed:
        """PUSHB of jobs with options: what was accepted, and what was not."""
        engine = self._begin()
        frame, entries, payloads = decoded(queue, specs, codec)
        pushed = push_each(engine, engine.queue(queue), codec, list(zip(entries, payloads, strict=True)), frame)
        self.commit()
        return pushed

    def pull(self, queue: str, count: int = 1, *, lease_ms: int | None = None, gid: int = 0) -> Given | None:
        """PULL or PULLB that does not wait. `gid` not 0: tied to that connection."""
        engine = self._begin()
        delivery = deliver(engine, engine.queue(queue), count, lease_ms=lease_ms, gid=gid)
        got = given(delivery) if delivery is not None else None
        self.commit()
        return got

    def wait(self, queue: str, count: int, timeout_ms: int, *, gid: int, tied: bool) -> Ticket:
        """A pull that found nothing waits its turn."""
        engine = self._begin()
        ticket = Ticket()
        wait(engine, engine.queue(queue), gid, ticket, count, timeout_ms, None, tied)
        return ticket

    def takes_jobs_again(self, queue: str) -> None:
        """The output of waiting clients is not backed up any more."""
        engine = self._begin()
        serve(engine, engine.queue(queue))
        self.commit()

    def ack(self, job_id: int, token: int | None = None, result: bytes | None = None) -> None:
        """ACK. Raises what it raises."""
        ack(self._begin(), job_id, token, result, 0)
        self.commit()

    def ack_batch(self, ids: list[int], tokens: Sequence[int | None] | None = None) -> dict[int, FlashqError]:
        """ACKB; what was refused, by index."""
        refused = ack_batch(self._begin(), ids, tokens, None, 0)
        self.commit()
        return dict(refused)

    def fail(self, job_id: int, token: int | None = None, error: str = "no") -> None:
        """FAIL. Raises what it raises; a crash that is taken back is recorded all the same."""
        self.do(lambda engine: retry.fail(engine, job_id, token, error))

    def heartbeat(self, job_id: int, token: int | None = None, gid: int = 0) -> None:
        """HEARTBEAT. Raises what it raises; a crash that is taken back is recorded all the same."""
        try:
            retry.heartbeat(self._begin(), job_id, token, gid)
        finally:
            self.commit()

    def drain(self, queue: str) -> int:
        count = removal.drain(self._begin(), queue)
        self.commit()
        return count

    def obliterate(self, queue: str) -> int:
        count = removal.obliterate(self._begin(), queue)
        self.commit()
        return count

    def purge_dead(self, queue: str) -> int:
        count = removal.purge_dead(self._begin(), queue)
        self.commit()
        return count

    def retry_dead(self, queue: str, job_id: int | None = None) -> int | None:
        """RETRYDLQ; None where it goes on in slices."""
        engine = self._begin()
        if job_id is not None:
            count: int | None = dead_letters.retry_one(engine, queue, job_id)
        else:
            work = dead_letters.Retrying(engine.queue(queue))
            count = work.count if carry_on(engine, work) else None
        self.commit()
        return count

    def clean(self, queue: str, state: str = "completed", grace_ms: int = 0, limit: int = 0) -> Cleaning:
        """CLEAN; its work, which may go on in slices."""
        engine = self._begin()
        work = Cleaning(engine, engine.queue(queue), state_to_clean(state), grace_ms, limit)
        carry_on(engine, work)
        self.commit()
        return work

    def carry_out(self, verb: Callable[..., T], *args: Any, **named: Any) -> T:
        """A verb that takes the engine first, as a tick of its own. Raises what it raises."""
        out = verb(self._begin(), *args, **named)
        self.commit()
        return out

    def cron(self, name: str, queue: str, data: Any = None, *, options: Spec | None = None, **schedule: Any) -> None:
        """CRON; `schedule`: schedule, repeat_every, timezone, misfire, limit."""
        engine = self._begin()
        text, every, zone, misfire, limit = (
            schedule.get(field) for field in ("schedule", "repeat_every", "timezone", "misfire", "limit")
        )
        _, first = schedules.checked(engine.limits, text, every, zone, misfire, engine.now_ms)
        frame = msgspec.json.encode({"cmd": "PUSH", "queue": queue, "data": data, **(options or {})})
        crons.put(
            engine, events.CronSet(name, queue, 0, frame, text, every, zone, misfire or "once", limit, first)
        )  # fmt: skip
        self.commit()

    def pause(self, queue: str) -> None:
        control.pause(self._begin(), queue)
        self.commit()

    def resume(self, queue: str) -> None:
        control.resume(self._begin(), queue)
        self.commit()

    def connection_gone(self, gid: int) -> None:
        retry.connection_gone(self._begin(), gid)
        self.commit()

    def advance(self, ms: int) -> None:
        """Time moves on, and all that is due by then happens, as in flashq/shard/loop.py."""
        self.now_ms += ms
        self.mono_ms += ms
        engine = self._begin()
        give_up_waits(engine, engine.mono_ms)
        retry.end_leases(engine, engine.mono_ms)
        for timers, now in ((engine.mono_timers, engine.mono_ms), (engine.timers, engine.now_ms)):
            for action, argument in timers.due(now, 1 << 30):
                action(engine, argument)
        for moments in (engine.lease_lines, engine.wait_lines, engine.mono_timers, engine.timers):
            moments.recount()
        self.commit()

    # -- replay

    def restarted(self, down_ms: int) -> Self:
        """Killed now, and served again from the journal in memory after `down_ms`."""
        again = type(self)(
            epoch=self.engine.epoch + 1, limits=self.limits, boot=self.boot, now_ms=self.now_ms + down_ms,
            mono_ms=self.mono_ms + down_ms,
        )  # fmt: skip
        again.memory = again.journal = MemoryJournal(
            epoch=again.engine.epoch, boot=self.boot, keep=True, records=self.memory.kept, sealed=False
        )
        again.start()
        return again

    def replayed(self) -> Engine:
        """A new engine that has read all records so far (of the journal in memory), at the time that it is."""
        return replayed(self.memory.kept, self.limits, self.engine.epoch, self.boot, self.now_ms, self.mono_ms)


def replayed(
    records: Iterable[Record], limits: Limits, epoch: int, boot: str, now_ms: int, mono_ms: int
) -> Engine:  # fmt: skip
    """What an engine is after these records."""
    engine = Engine(epoch=epoch, limits=limits)
    replayer = Replayer(engine)
    for record in records:
        replayer.apply(record.at_ms, record.mono_ms, record.boot, record.events)
    replayer.finish(boot, mono_ms, clean=True)
    engine.begin(now_ms, mono_ms)
    return engine


def decoded(queue: str, specs: Sequence[Spec], codec: int) -> tuple[bytes, list[JobOptions], list[bytes]]:
    """A frame, and what a door makes of it: options and payloads."""
    body: Spec = {"cmd": "PUSH", "queue": queue, **specs[0]}
    if len(specs) > 1:
        body = {"cmd": "PUSHB", "queue": queue, "jobs": list(specs)}
    frame = _ENCODERS[codec](body)
    command = FULL[codec](frame)  # type: ignore[index]
    entries = list(command.jobs) if len(specs) > 1 else [command]
    return frame, entries, [payload_of(e.data, codec) for e in entries]


def given(delivery: Delivery | Lone) -> Given:
    """A delivery as a worker sees it."""
    ids: list[int] = []
    payloads: list[Any] = []
    for part in delivery.parts:
        if isinstance(part, Part):
            ids += part.ids
            payloads += [value_of(payload, part.codec) for payload in part.payloads]
        else:
            ids.append(part.id)
            payloads.append(value_of(part.data, part.codec))
    assert len(ids) == delivery.jobs
    return Given(delivery.token, ids, payloads)


def value_of(payload: bytes, codec: int) -> Any:
    return msgspec.msgpack.decode(payload) if codec else msgspec.json.decode(payload)


# -- what an engine holds, as plain values


def job_facts(engine: Engine, page: Page, i: int) -> dict[str, Any]:
    """All that counts of one job. A delayed job that is due is as good as waiting."""
    job, mark = page.jobs[i], page.leases[i] if page.leases is not None else None
    facts: dict[str, Any] = {"data": job, "created_at": page.created_at(i), "queue": page.queue.name}
    state = State.WAITING
    if isinstance(job, Job):
        state = job.state
        names = ("data", "attempts", "max_attempts", "backoff", "ttl", "timeout", "run_at", "crashes", "stalls",
                 "token", "crash_token", "error", "failures", "priority", "created_at", "died_at", "codec", "progress",
                 "progress_msg", "started_at", "last_heartbeat", "steps", "logs")  # fmt: skip
        facts.update({name: getattr(job, name) for name in names})
        facts["timer"] = job.timer is not None and not is_removed(page, i)
        facts["link"] = link_facts(job.link)
        facts["trace"] = job.options.trace
        if state is State.DELAYED and job.run_at <= engine.now_ms:
            state = State.WAITING
    if isinstance(mark, Lease):
        state = State.ACTIVE
        facts["lease"] = (mark.token, mark.deadline, mark.hard_at, mark.soft_ms, mark.started_at, bool(mark.gid))
    elif isinstance(mark, Done):
        state = State.COMPLETED
        facts["done"] = (mark.completed_at, mark.started_at, mark.token, mark.result)
    facts["state"] = state
    facts["removed"] = is_removed(page, i)
    return facts


def link_facts(link: Link | None) -> Any:
    """What a job waits for and who waits for it; nothing for links that say nothing."""
    values = None if link is None else msgspec.structs.astuple(link)
    return values if values is not None and any(values) else None


def all_jobs(engine: Engine) -> dict[int, dict[str, Any]]:
    """The facts of every job that is kept, by id."""
    return {
        slot.id_of(page.base + i): job_facts(engine, page, i)
        for slot in engine.slots.values()
        for page in slot.pages.values()
        for i, job in enumerate(page.jobs)
        if job is not None
    }


def queue_facts(engine: Engine, queue: Queue) -> dict[str, Any]:
    """Counts of a queue, what is kept and what is dead, in order."""
    kept = [queue.slot.id_of(k.page.base + i) for k in queue.kept for i in range(k.start, k.stop)]
    return {
        "queued": queue.waiting + queue.delayed, "active": queue.active, "completed": queue.completed,
        "dead": list(queue.dead), "dead_count": queue.dead_count, "held": queue.held, "kept": kept,
        "paused": queue.paused,
        "limits": (queue.rate and (queue.rate.limit, queue.rate.tokens(engine.mono_ms)), queue.concurrency,
                   queue.key_rate, queue.key_concurrency),
        "bound": queue.lines and (sorted(queue.lines.busy), key_facts(engine, queue.lines)),
        "totals": (queue.pushed_total, queue.completed_total, queue.failed_total),
        "unique": {key: queue.slot.id_of(seq) for key, seq in queue.unique.items()},
        "debounced": {key: until for key, until in queue.debounced.items() if until > engine.now_ms},
    }  # fmt: skip


def key_facts(engine: Engine, lines: Lines) -> dict[str, tuple[int, int | None]]:
    """How many jobs of a key are active, and what its bucket holds; not of keys that are as good as new."""
    now = engine.mono_ms
    return {
        name: (key.active, key.bucket.tokens(now) if key.bucket is not None else None)
        for name, key in lines.keys.items()
        if key.active or (key.bucket is not None and not key.bucket.is_full(now))
    }


def kv_facts(engine: Engine) -> dict[str, Any]:
    """Keys that have not expired. What has is as good as gone, swept or not."""
    entries = engine.kv.entries.items()
    assert len(engine.kv.agenda) == sum(entry.moment is not None for _, entry in entries)
    return {key: (e.codec, e.value, e.expires_at) for key, e in entries if not 0 < e.expires_at < engine.now_ms}


def cron_facts(engine: Engine) -> dict[str, Any]:
    """Crons, and which queue's slot knows of them."""
    names = [name for name in Cron.__slots__ if name != "moment"]
    crons = engine.crons.by_name.values()
    assert len(engine.crons.agenda) == sum(cron.moment is not None for cron in crons)
    return {cron.name: [getattr(cron, name) for name in names] for cron in crons} | {"": engine.crons.aimed}


def engine_facts(engine: Engine) -> dict[str, Any]:
    """All that a restart has to bring back."""
    totals = engine.totals
    names = ("pushed", "completed", "failed", "retried", "active", "dead", "completed_now", "latency_ms",
             "latency_count")  # fmt: skip
    idle = (0, 0, 0)
    return {
        "jobs": all_jobs(engine),
        "queues": {
            n: f for n, q in engine.queues.items() if (f := queue_facts(engine, q))["totals"] != idle or q.gate
        },
        "totals": {name: getattr(totals, name) for name in names} | {"queued": totals.waiting + totals.delayed},
        "ended": {no: (slot.bad.runs(), slot.gone.runs()) for no, slot in engine.slots.items() if slot.next_page},
        "reserved": {no: slot.reserved_page for no, slot in engine.slots.items() if slot.next_page},
        "names": engine.names.bound,
        "parts": {key: msgspec.structs.astuple(part) for key, part in engine.parts.items()},
        "drafts": {root: draft.slots for root, draft in engine.drafts.items()},
        "outbox": (engine.outbox.waiting, engine.outbox.last_sent, engine.outbox.taken),
        "kv": kv_facts(engine),
        "crons": cron_facts(engine),
        "hooks": hook_facts(engine),
    }  # fmt: skip


def hook_facts(engine: Engine) -> dict[int, Any]:
    """Webhooks, and each delivery as far as it has to last."""

    def facts(found: dict[int, HookDelivery]) -> dict[int, Any]:
        return {
            no: (one.happening, one.attempts, one.next_at, one.since, one.error, one.failed)
            for no, one in sorted(found.items())
        }

    lines = {
        hook: (line.hook, line.delivered, line.dropped, line.bytes, facts(line.waiting), facts(line.failed))
        for hook, line in engine.hooks.lines.items()
    }
    return {0: engine.hooks.version, -1: engine.incoming, -2: engine.chosen, **lines}


def check_counts(engine: Engine) -> None:
    """Every count is what a full scan finds (I5), and leases' own counts are those of the places that name them."""
    found: dict[str, list[int]] = {name: [0, 0, 0, 0, 0] for name in engine.queues}
    held: dict[int, int] = {}
    needed: set[int] = set()
    leases: dict[int, Lease] = {}
    column = {State.ACTIVE: 1, State.COMPLETED: 2, State.FAILED: 3, State.HELD: 4, State.PARENT: 4}
    for slot in engine.slots.values():
        for page in slot.pages.values():
            aside = sum(
                job is None and slot.id_of(page.base + i) in engine.names.pending for i, job in enumerate(page.jobs)
            )
            assert page.live == aside + sum(job is not None for job in page.jobs)
            for i, job in enumerate(page.jobs):
                if job is None:
                    continue
                removed = page.queue.sweep is not None and is_removed(page, i)
                if not removed:
                    found[page.queue.name][column.get(job_facts(engine, page, i)["state"], 0)] += 1
                mark = page.leases[i] if page.leases is not None else None
                if isinstance(mark, Lease):
                    leases[id(mark)] = mark
                    held[id(mark)] = held.get(id(mark), 0) + 1
                    if not removed:
                        needed.add(id(mark))
    for name, queue in engine.queues.items():
        assert found[name] == [
            queue.waiting + queue.delayed, queue.active, queue.completed, queue.dead_count, queue.held
        ], name  # fmt: skip
    assert all(leases[key].live == n for key, n in held.items())
    assert needed <= {id(lease) for lease in engine.lease_lines.live_items()} <= set(held)
    t = engine.totals
    sums = [sum(column) for column in zip(*found.values(), strict=True)] or [0, 0, 0, 0, 0]
    assert sums[:4] == [t.waiting + t.delayed, t.active, t.completed_now, t.dead]


def drained(engine: Engine, name: str) -> list[int]:
    """The ids of all ready jobs of a queue, in the order in which they are given out."""
    out: list[int] = []
    while (delivery := deliver(engine, engine.queue(name), 7)) is not None:
        out += given(delivery).ids
    return out
