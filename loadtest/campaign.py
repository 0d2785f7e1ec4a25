"""The crash campaign: clients work while processes are killed; then a checker judges what they were told.

A campaign ends with a count while nobody works, a drain until nothing is left, and another count: so a job that
nobody completed by then is lost, and what was counted has to have been there. Over every kill one worker holds a job
of the victim; its ack under the old lease has to count.
"""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Final

import msgspec

from flashq.testing.checker import Rules, Verdict, check
from flashq.testing.cluster import Cluster
from flashq.testing.history import (
    Counted,
    Done,
    Given,
    Kill,
    Limit,
    Push,
    Recorder,
    Serving,
    Total,
    now_us,
    read,
)
from loadtest import mixed
from loadtest.clients import DOOMED_ATTEMPTS, Client, Producer, Worker, payload
from loadtest.crash_web import WebClient
from loadtest.wire import REPLY_S, Gone, Reply, Request, Wire

CLOCKS_MS: Final = 50
"""A busy machine may put a server off the processor between its readings of the two clocks: so far they are apart."""
GRACE_MS: Final = 500
SETTINGS: Final = {
    "FLASHQ_DEFAULT_MAX_ATTEMPTS": "0",
    "FLASHQ_DEFAULT_BACKOFF_MS": "20",
    "FLASHQ_RECONNECT_GRACE_MS": str(GRACE_MS),
    "FLASHQ_CRASH_LIMIT": "1000",
}
"""Of the cluster: no job may die but those that are doomed, and what a kill leaves leased is soon back."""
SHARD: Final = "shard"
ROUTER: Final = "router"
HTTP: Final = "http"
CHECKPOINTER: Final = "checkpointer"
EVERYTHING: Final = "everything"
KINDS: Final = (SHARD, ROUTER, HTTP, CHECKPOINTER, EVERYTHING)
SHARDLESS: Final = (HTTP, CHECKPOINTER)
"""What can die without a client of the stream port seeing it: the restart itself is waited for."""
HELD: Final = ("waiting-children", "waiting-parent")
DRAIN_S: Final = 60.0
RETRY_S: Final = 0.002
HELD_LEASE_MS: Final = 120_000
DRAINERS: Final = 4
LIMITS: Final[tuple[tuple[str, int, str, Request], ...]] = (
    (mixed.GROUPED, 1, "group", {}),
    (mixed.LIMITED, mixed.QUEUE_LIMIT, "", {"cmd": "SETCONCURRENCY"}),
    (mixed.KEYED, mixed.KEY_LIMIT, "limit_key", {"cmd": "SETCONCURRENCY", "per_key": True}),
)
"""Queue, how many, of each what, and the command that says so: groups are of themselves one at a time."""


class Outage(msgspec.Struct, frozen=True):
    """What one kill cost."""

    kind: str
    ms: float
    """From the kill to the next answer of what was killed, on a new connection."""
    first: bool
    """The victim's first death: it is restarted at once. Later ones within ten seconds wait, ever longer."""


class Outcome(msgspec.Struct):
    """What a campaign found."""

    verdict: Verdict
    kills: dict[str, int]
    outages: list[Outage]
    """Over each a job was held, and its ack under the old lease counted: else there is no outcome."""


class Campaign:
    """One cluster, its clients, its kills."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, *, producers: int = 6, workers: int = 6) -> None:
        """`folder` takes the histories. A new campaign wants a cluster without jobs, and with HTTP."""
        self._cluster = cluster
        self._folder = folder
        self._seed = seed
        self._random = random.Random(seed)
        self._pause = Event()
        """Never set: a wait on it is a pause."""
        self._producers = [self._client(Producer, f"producer-{number}", number) for number in range(producers)]
        self._workers = [self._client(Worker, f"worker-{number}", number) for number in range(workers)]
        self._producers += [self._client(kind, f"{kind.__name__.lower()}-{n}", n) for n, kind in enumerate(mixed.KINDS)]
        self._producers += [self._client(partial(WebClient, http_port=cluster.http_port), "web-0", 0)]
        self._workers += [self._client(mixed.MixedWorker, f"mixed-{number}", number) for number in range(workers)]
        self._judge = Recorder(folder / "judge.jsonl", "judge")
        self._holder = Holder("holder", 0, cluster.port, folder, seed)
        self._outages: list[Outage] = []

    def _client(self, kind: Callable[..., Client], name: str, number: int) -> Client:
        return kind(name, number, self._cluster.port, self._folder, self._seed)

    def run(self, kinds: Sequence[str], between_s: float = 0.3) -> Outcome:
        """Kill what `kinds` names, one after the other, under load; then drain and judge.

        Raises AssertionError if the cluster does not come back or cannot be drained.
        """
        with self._judge, self._holder.recorder:
            self._limit()
            self._count()
            for client in (*self._producers, *self._workers):
                client.start()
            for number, kind in enumerate(kinds, 1):
                self._pause.wait(between_s * (0.5 + self._random.random()))
                self._kill(number, kind)
            self._pause.wait(between_s)
            _end(self._producers)
            self._let_crons_end()
            _end(self._workers)
            self._revive()
            self._count()
            self._drain()
            self._count()
            self._read_counters()
            self._holder.drop()
        rules = Rules(reconnect_grace_ms=GRACE_MS, doomed_attempts=DOOMED_ATTEMPTS, tolerance_ms=CLOCKS_MS)
        verdict = check(read(sorted(self._folder.glob("*.jsonl"))), rules)
        kills = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
        return Outcome(verdict, kills, self._outages)

    def _kill(self, number: int, kind: str) -> None:
        victim = self._random.choice(sorted(name for name in self._cluster.pids() if name.startswith(kind)) or [kind])
        shard = int(victim.removeprefix("shard-")) if kind == SHARD else 0
        [queue] = islice(self._cluster.queues_of(shard, f"held-{number}-"), 1)
        job = self._holder.take(queue)
        first = kind == EVERYTHING or not self._cluster.statuses()[victim].restarts
        self._judge.write(Kill(now_us(), self._judge.by, number, [victim]))
        since = time.monotonic()
        pid = 0
        if kind == EVERYTHING:
            self._cluster.kill_all()
            self._cluster.start()
        else:
            pid = self._cluster.kill(victim)
        if kind in SHARDLESS:
            self._cluster.wait_serving(victim, other_than=pid)
        self._ask({"cmd": "COUNT", "queue": queue})
        self._outages.append(Outage(kind, (time.monotonic() - since) * 1e3, first))
        self._judge.write(Serving(now_us(), self._judge.by, number))
        self._holder.finish(queue, job)

    def _ask(self, request: dict[str, Any]) -> Reply:
        """Ask, on new connections, until there is an answer."""
        deadline = time.monotonic() + REPLY_S
        while time.monotonic() < deadline:
            try:
                wire = Wire(self._cluster.port, binary=False)
            except ConnectionError:
                self._pause.wait(RETRY_S)
                continue
            try:
                reply = wire.ask(request)
                if reply["ok"] and not reply.get("partial"):
                    return reply
            except Gone:
                self._pause.wait(RETRY_S)
            finally:
                wire.close()
        raise AssertionError(f"no answer to {request} in {REPLY_S:.0f} s:\n{self._cluster.output()[-4000:]}")

    def _limit(self) -> None:
        for queue, most, each, request in LIMITS:
            if request:
                self._ask({**request, "queue": queue, "limit": most})
            self._judge.write(Limit(now_us(), self._judge.by, self._judge.next_op(), queue, most, each))

    def _let_crons_end(self) -> None:
        """Each has a few runs only."""
        self._until(lambda: not self._ask({"cmd": "CRONLIST"})["crons"], "the crons' ends")

    def _revive(self) -> int:
        """How many dead letters wait again."""
        [revived] = self._ask({"cmd": "RETRYDLQ", "queue": mixed.REVIVED})["ids"]
        return int(revived)

    def _drain(self) -> None:
        """Work until nothing is left, or nothing but what waits for other jobs and never comes: the checker tells."""
        drainers = [
            self._client(kind, f"drainer-{kind.__name__}-{number}", number)
            for kind in (Worker, mixed.MixedDrainer)
            for number in range(DRAINERS)
        ]
        for drainer in drainers:
            drainer.start()
        self._until(lambda: not self._revive() and not self._left(), "an empty cluster")
        _end(drainers)

    def _left(self) -> int:
        stats = self._ask({"cmd": "STATS"})
        return int(stats["queued"] + stats["delayed"] + stats["processing"]) + self._held()

    def _held(self) -> int:
        """Jobs that wait for others."""
        asked = [self._ask({"cmd": "GETJOBS", "state": state, "limit": 1}) for state in HELD]
        return sum(int(reply["total"]) for reply in asked)

    def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DRAIN_S
        while not true():
            if time.monotonic() > deadline:
                stats, held = self._ask({"cmd": "STATS"}), [self._ask({"cmd": "GETJOBS", "state": s}) for s in HELD]
                raise AssertionError(f"waited {DRAIN_S:.0f} s for {what}: {stats}, held: {held}")
            self._pause.wait(0.05)

    def _read_counters(self) -> None:
        for key in mixed.COUNTERS:
            value = self._ask({"cmd": "KVGET", "key": key})["value"]
            self._judge.write(Total(now_us(), self._judge.by, self._judge.next_op(), key, value or 0))

    def _count(self) -> None:
        stats = self._ask({"cmd": "STATS"})
        crons = stats["queues"].get(mixed.CRONS, {})  # counted by their runs
        op = self._judge.next_op()
        figures = (stats["queued"] - crons.get("waiting", 0), stats["delayed"] - crons.get("delayed", 0))
        active = stats["processing"] - crons.get("active", 0)
        self._judge.write(Counted(now_us(), self._judge.by, op, *figures, active, stats["dlq"], self._held()))


class Holder(Worker):
    """A worker with one long job, whose ack has to count whatever was killed meanwhile. No thread: it is called."""

    def take(self, queue: str) -> Given:
        """Push a job and pull it, under a long lease. Raises AssertionError."""
        op = self.recorder.next_op()
        key = f"held-{op}"
        self.recorder.write(Push(now_us(), self.name, op, queue, [key]))
        reply = self.answered(self.wire(), [op], [{"cmd": "PUSH", "queue": queue, "data": payload(key)}])[0]
        assert reply is not None
        self.recorder.write(Done(now_us(), self.name, op, ids=[reply["id"]]))
        [job] = self.pull(self.wire(), queue, 1, lease_ms=HELD_LEASE_MS, timeout=1_000)
        return job

    def finish(self, queue: str, job: Given) -> None:
        """Ack the job under the lease it had before the kill. Raises AssertionError unless it is still ours."""
        deadline = time.monotonic() + REPLY_S
        while time.monotonic() < deadline:
            try:
                others = self.pull(self.wire(), queue, 1, timeout=0)
                assert not others, f"job {job.id} is held under lease {job.lease}, but was given out again: {others}"
                assert self.ack(self.wire(), [job]), f"job {job.id}: its ack under lease {job.lease} did not count"
                return
            except Gone:
                self.drop()  # on the old connection the server is dead
        raise AssertionError(f"no answer to the ack of job {job.id} in {REPLY_S:.0f} s")


def _end(clients: Sequence[Client]) -> None:
    """End clients; raises what one of them ended with."""
    for client in clients:
        client.end()
    for client in clients:
        client.join(2 * REPLY_S)
        assert not client.is_alive(), f"{client.name} hangs"
        if client.fault is not None:
            raise client.fault
