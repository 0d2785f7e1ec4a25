"""Tables and what is behind them in the journal: together they are the state that a replay of everything gives.

Random lives of an engine; folds at random points, by a checkpointer that goes on or was just started; after each of
them a shard starts from the tables.
"""

from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flashq.engine import chosen, control_jobs, crons, hook_deliveries, incoming, kv, logs, names, removal, webhooks
from flashq.engine.engine import Engine
from flashq.engine.housekeeping import CleanUp
from flashq.engine.jobs import Job
from flashq.engine.limits import set_limit
from flashq.engine.push import store
from flashq.engine.replay import Replayer
from flashq.engine.settings import Chosen, Limits
from flashq.engine.slices import carry_on
from flashq.errors import FlashqError
from flashq.storage import checkpointer
from flashq.storage.checkpointer import Checkpointer
from flashq.storage.recovery import Tables
from flashq.storage.sites import FileSite
from flashq.testing.engine_kit import EngineKit, Spec, check_counts, decoded, drained, engine_facts
from tests.unit.engine.orchestration import push_flow

LIMITS = Limits(
    lease_ms=4_000, keep_completed_count=6, reconnect_grace_ms=500, webhook_waiting_max=60, webhook_retry_ms=200,
    webhook_give_up_ms=2_000, webhook_failed_max=5,
)  # fmt: skip
QUEUES = ("mail", "film", "plain")


class Life:
    """Random commands on an engine, and the tables of its shard."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = Random(seed)
        self.folder = folder
        self.kit = EngineKit(limits=LIMITS)
        self.kit.start()
        self.held: dict[int, int] = {}
        self.ids: list[int] = []
        self.checkpointer = Checkpointer(FileSite(folder, 0), LIMITS)
        self.folded = 0
        self.cleaned: list[int] = []
        self.known: list[int] = []
        """Some ids that jobs may depend on."""

    def step(self) -> None:
        r, kit = self.random, self.kit
        name = r.choice(QUEUES)
        act = r.random()
        if self.ids and r.random() < 0.2:
            self.control(r.choice(self.ids[-60:]))
        elif act < 0.32:
            specs, codec = self.specs(name), int(r.random() < 0.3)
            plain = not any(len(spec) > 1 for spec in specs)
            pushed = kit.push(name, *specs, codec=codec) if plain else kit.push_each(name, *specs, codec=codec).ids
            self.known += pushed
            self.ids += pushed
        elif act < 0.34:
            self.flow(name)
        elif act < 0.52:
            got = kit.pull(name, r.choice((1, 3, 40)), gid=r.choice((0, 0, 7, 8)))
            self.held.update(dict.fromkeys(got.ids, got.token) if got else {})
        elif act < 0.9 and self.held:
            self.finish()
        elif act < 0.94:
            (kit.pause if r.random() < 0.5 else kit.resume)(name)
        elif act < 0.949:
            self.remove(name)
        elif act < 0.955:
            kit.connection_gone(r.choice((7, 8)))
        elif act < 0.965:
            set_limit(kit.engine, name, r.randrange(4), r.choice((None, 2, 40)))
            kit.commit()
        elif act < 0.978:
            self.store()
        elif act < 0.98:
            self.store_late(name)
        elif act < 0.993 and kit.engine.hooks.lines:
            self.deliver()
        elif act < 0.995:
            queue, kinds = r.choice((None, name)), r.choice((["*"], ["job.pushed", "completed"]))
            kit.do(lambda engine: webhooks.make(engine, "https://example.com/", kinds, queue, "", ()))
            kit.do(lambda engine: incoming.put(engine, name, r.choice(("flashq", "")), "secret"))
            now = Chosen(r.choice((None, 1, 5)), completed_max=r.choice((None, 2, 30)), results_max=r.choice((None, 4)))
            kit.do(lambda engine: chosen.choose(engine, now, ()))
            kit.do(lambda engine: carry_on(engine, CleanUp(engine, self.cleaned.append)))
            if r.random() < 0.2:
                kit.do(chosen.reset_totals)
        else:
            kit.advance(r.choice((1, 60, 900, 5_000)))

    def store_late(self, name: str) -> None:
        """A named job that is stored when most of what was pushed behind its id has come and gone."""
        kit, word = self.kit, f"late-{self.random.randrange(3)}"
        frame, entries, payloads = decoded(name, [{"data": 1, "job_id": word}], 0)
        engine = kit.engine
        engine.begin(kit.now_ms, kit.mono_ms)
        claims = names.claim_here(engine, engine.queue(name), 0, entries)
        kit.commit()
        ids = kit.push(name, *({"data": n} for n in range(self.random.choice((3, 1_100)))))
        got = kit.pull(name, len(ids))
        kit.ack_batch(got.ids if got is not None else [])
        engine.begin(kit.now_ms, kit.mono_ms)
        store(engine, engine.queue(name), 0, list(zip(entries, payloads, strict=True)), frame, claims)
        names.finish(engine, engine.queue(name), claims)
        kit.commit()
        self.held = {job_id: token for job_id, token in self.held.items() if job_id not in (got.ids if got else ())}

    def deliver(self) -> None:
        """What happened is taken by a sender, and delivered or not; a webhook ends, failed ones are sent again."""
        r, kit = self.random, self.kit
        hook = r.choice(sorted(kit.engine.hooks.lines))
        if r.random() < 0.1:
            kit.do(lambda engine: webhooks.remove(engine, hook, ()))
            return
        for _ in range(r.choice((1, 5))):
            taken = list(hook_deliveries.take(kit.begin(), 30, 8, 1 << 20, ()))
            hook_deliveries.report(
                kit.engine, [(one.hook, one.no, r.choice((0, 0, 1, 3)), "HTTP 500") for one in taken]
            )
            kit.commit()
            kit.advance(r.choice((1, 900)))
        with suppress(FlashqError):
            kit.do(lambda engine: hook_deliveries.send_again(engine, hook, None))

    def store(self) -> None:
        """Keys and crons, made, changed and removed."""
        r, kit = self.random, self.kit
        key, word = r.choice("abc"), r.random()
        if word < 0.3:
            kit.carry_out(kv.put_all, [kv.Put(key, 0, b"%d" % r.randrange(9), r.choice((None, 40, 9_000)))])
        elif word < 0.4:
            kit.carry_out(kv.increase, key, 1)
        elif word < 0.5:
            kit.carry_out(kv.expire_in, key, 700)
        elif word < 0.6:
            kit.carry_out(kv.delete, key)
        elif word < 0.9 or key not in kit.engine.crons.by_name:
            kit.cron(key, r.choice(QUEUES), 1, schedule=r.choice(("*/5", "*/1")), limit=r.choice((None, 2)))
        else:
            kit.carry_out(crons.delete, key)

    def remove(self, name: str) -> None:
        r, kit = self.random, self.kit
        r.choice(
            (
                lambda: kit.drain(name), lambda: kit.obliterate(name), lambda: kit.purge_dead(name),
                lambda: kit.retry_dead(name), lambda: kit.clean(name, r.choice(("waiting", "failed", "completed"))),
            )
        )()  # fmt: skip

    def specs(self, name: str) -> list[Spec]:
        r = self.random
        specs: list[Spec] = [
            {"data": r.randrange(1_000)} for _ in range(r.choice((1, 1, 2, 30)) if r.random() < 0.97 else 900)
        ]
        for spec in specs if name != "plain" and len(specs) < 30 else ():
            spec.update(
                r.choice(
                    (
                        {}, {"priority": r.randrange(-1, 2)}, {"delay": r.choice((1, 700, 4_000))}, {"lifo": True},
                        {"ttl": r.choice((50, 3_000))}, {"timeout": 900}, {"max_attempts": 1}, {"backoff": 0},
                        {"remove_on_complete": True}, {"keep_completed_age": 700},
                        {"remove_on_fail": True, "max_attempts": 1},
                        {"tags": ["a", "ä"], "stall_timeout": 300}, {"unique_key": r.choice("abc")},
                        {"job_id": r.choice("mno")}, {"job_id": r.choice("mno"), "unique_key": "a"},
                        {"debounce_id": r.choice("ab"), "debounce_ttl": 800}, {"group_id": r.choice("xyz")},
                        {"trace": f"00-{r.randrange(1, 1 << 128):032x}-{r.randrange(1, 1 << 64):016x}-01"},
                        {"limit_key": r.choice("kl"), "priority": r.randrange(2)},
                    )
                )
            )  # fmt: skip
        if self.known and name == "film" and r.random() < 0.5:
            specs[-1]["depends_on"] = r.choices(self.known[-60:], k=r.choice((1, 2, 5)))
        return specs

    def flow(self, name: str) -> None:
        """A flow, all in this shard; half of them with a child of which the rest may have one too, by its key."""
        r = self.random
        children: list[Spec] = [
            {"queue": r.choice(QUEUES), "data": n, "max_attempts": 1, "ignore_failure": r.random() < 0.3}
            for n in range(r.choice((1, 3, 20)))
        ]
        if r.random() < 0.5:
            children += [{"queue": r.choice(("film", "plain")), "data": n} for n in range(r.choice((1, 5, 900)))]
        if r.random() < 0.5:
            children.append({"queue": "mail", "unique_key": r.choice("ab"), "debounce_id": r.choice("ab")})
            children.append({"queue": name, "children": [{"queue": "mail", "delay": 300}]})
        with suppress(FlashqError):
            draft = push_flow(self.kit, name, children, bundled_from=3)
            if draft.error is None:
                self.known += draft.member_ids()

    def finish(self) -> None:
        r, kit = self.random, self.kit
        ids = r.sample(sorted(self.held), min(len(self.held), r.choice((1, 1, 5, 60))))
        word = r.random()
        with suppress(FlashqError):
            if word < 0.4:
                kit.ack_batch(sorted(ids))
            elif word < 0.7:
                for job_id in ids:
                    kit.ack(job_id, self.held[job_id], r.choice((None, b'"done"')))
            elif word < 0.9:
                kit.fail(ids[0], error="no")
                ids = ids[:1]
            else:
                kit.heartbeat(ids[0], self.held[ids[0]], gid=7)
                ids = []
        for job_id in ids:
            self.held.pop(job_id, None)

    def control(self, job_id: int) -> None:
        """A command on one job, which may be in any state."""
        r, tick = self.random, self.kit.carry_out
        with suppress(FlashqError):
            match r.randrange(8):
                case 0:
                    tick(control_jobs.cancel, job_id)
                case 1:
                    tick(control_jobs.discard, job_id)
                case 2:
                    tick(control_jobs.promote, job_id)
                case 3:
                    tick(control_jobs.change_priority, job_id, r.randrange(-1, 2))
                case 4:
                    tick(control_jobs.update, job_id, *r.choice(((b'{"new":[1]}', 0), (b"\x01", 1))))
                case 5:
                    tick(control_jobs.move_to_delayed, job_id, r.choice((0, 800)), None)
                case 6:
                    tick(control_jobs.set_progress, job_id, r.randrange(100), r.choice((None, "on")), None, 0)
                case _:
                    tick(logs.log, job_id, "x" * r.choice((3, 60_000)), None)

    def fold(self) -> None:
        r = self.random
        if r.random() < 0.4:
            self.checkpointer.close()
        last = r.randrange(self.folded, self.kit.journal.durable_seq) + 1
        stops = iter([False] * r.randrange(1, 400))
        self.folded = self.checkpointer.fold_records(
            [record for record in self.kit.memory.kept if record.seq <= last], stopped=lambda: next(stops, True)
        )
        assert self.folded <= last
        state = self.checkpointer._state
        assert state is not None
        assert not any(entry.value for entry in state.saver.engine.kv.entries.values()), "values are in the tables"
        lines = state.saver.engine.hooks.lines.values()
        assert not any(one.happening.data for line in lines for one in line.waiting.values()), "payloads are there too"

    def restarted(self) -> Engine:
        """What a shard holds that starts now, from tables and tail."""
        kit = self.kit
        engine = Engine(epoch=1, limits=LIMITS)
        replayer = Replayer(engine)
        tables = Tables.find(FileSite(self.folder, 0))
        position = 0
        if tables is not None:
            tables.restore(replayer)
            position = tables.position
            tables.close()
        for record in kit.memory.kept:
            if record.seq > position:
                replayer.apply(record.at_ms, record.mono_ms, record.boot, record.events)
        replayer.finish(kit.boot, kit.mono_ms, clean=True)
        engine.begin(kit.now_ms, kit.mono_ms)
        return engine


def facts_of(engine: Engine) -> dict[str, Any]:
    """The facts, without keys of which nothing is counted: those that are forgotten now and then."""
    facts = engine_facts(engine)
    for queue in facts["queues"].values():
        busy, keys = queue["bound"] or ([], {})
        queue["bound"] = (busy, {name: n for name, n in keys.items() if n})
    return facts


def keys_in_order(engine: Engine, name: str) -> list[Any]:
    """What a queue gives out, as what its order is by: jobs that are equal in it may change places."""
    places = {
        slot.id_of(page.base + i): (page, i)
        for slot in engine.slots.values() for page in slot.pages.values() for i, job in enumerate(page.jobs) if job
    }  # fmt: skip
    keys = {}
    for job_id, (page, i) in places.items():
        job = page.jobs[i]
        keys[job_id] = (job.priority, job.run_at, job.options.lifo) if type(job) is Job else (0, page.created_at(i))
    return [keys[job_id][:2] for job_id in drained(engine, name)]


@pytest.mark.parametrize("seed", range(12))
def test_tables_and_tail_give_the_state_of_a_full_replay(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart reads them and nothing else: segments that are in the tables are gone by then."""
    if seed % 2:  # removal takes many slices, folds many transactions
        monkeypatch.setattr(removal, "SLICE", 10)
        monkeypatch.setattr(checkpointer, "LOOK_BYTES", 500)
        monkeypatch.setattr(checkpointer, "FLUSH_BYTES", 1_000)
    life = Life(seed, tmp_path)
    for _ in range(8):
        for _ in range(life.random.randrange(1, 40)):
            life.step()
        life.fold()
        whole, restarted = life.kit.replayed(), life.restarted()
        expected, found = facts_of(whole), facts_of(restarted)
        for part, facts in expected.items():
            assert found[part] == facts, f"seed {seed}: {part}"
        check_counts(restarted)
    life.checkpointer.close()
    for name in QUEUES:
        for engine in (whole, restarted):
            queue = engine.queue(name)
            queue.paused, queue.rate, queue.concurrency, queue.gate = False, None, None, False
        assert keys_in_order(restarted, name) == keys_in_order(whole, name), f"seed {seed}: {name}"
