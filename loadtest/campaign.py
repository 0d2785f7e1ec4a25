"""The crash campaign: clients work while processes are killed; then a checker judges what they were told.

A campaign ends with a count while nobody works, a drain until nothing is left, and another count: so a job that
nobody completed by then is lost, and what was counted has to have been there. Over every kill one worker holds a job
of the victim; its ack under the old lease has to count.
"""

import random
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Final

import msgspec

from flashq.testing.checker import Rules, Verdict, check
from flashq.testing.cluster import Cluster
from flashq.testing.history import Counted, Done, Given, Kill, Push, Recorder, Serving, now_us, read
from loadtest.clients import DOOMED_ATTEMPTS, Client, Producer, Worker, payload
from loadtest.wire import REPLY_S, Gone, Reply, Wire

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
EVERYTHING: Final = "everything"
KINDS: Final = (SHARD, ROUTER, EVERYTHING)
DRAIN_S: Final = 60.0
RETRY_S: Final = 0.002
HELD_LEASE_MS: Final = 120_000
DRAINERS: Final = 4


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

    def __init__(self, cluster: Cluster, folder: Path, seed: int, *, producers: int = 8, workers: int = 8) -> None:
        """`folder` takes the histories. A new campaign wants a cluster without jobs."""
        self._cluster = cluster
        self._folder = folder
        self._seed = seed
        self._random = random.Random(seed)
        self._pause = Event()
        """Never set: a wait on it is a pause."""
        self._producers = [self._client(Producer, f"producer-{number}", number) for number in range(producers)]
        self._workers = [self._client(Worker, f"worker-{number}", number) for number in range(workers)]
        self._judge = Recorder(folder / "judge.jsonl", "judge")
        self._holder = Holder("holder", 0, cluster.port, folder, seed)
        self._outages: list[Outage] = []

    def _client(self, kind: type[Client], name: str, number: int) -> Client:
        return kind(name, number, self._cluster.port, self._folder, self._seed)

    def run(self, kinds: Sequence[str], between_s: float = 0.3) -> Outcome:
        """Kill what `kinds` names, one after the other, under load; then drain and judge.

        Raises AssertionError if the cluster does not come back or cannot be drained.
        """
        with self._judge, self._holder.recorder:
            self._count()
            for client in (*self._producers, *self._workers):
                client.start()
            for number, kind in enumerate(kinds, 1):
                self._pause.wait(between_s * (0.5 + self._random.random()))
                self._kill(number, kind)
            self._pause.wait(between_s)
            _end(self._producers)
            _end(self._workers)
            self._count()
            self._drain()
            self._count()
            self._holder.drop()
        rules = Rules(reconnect_grace_ms=GRACE_MS, doomed_attempts=DOOMED_ATTEMPTS)
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
        if kind == EVERYTHING:
            self._cluster.kill_all()
            self._cluster.start()
        else:
            self._cluster.kill(victim)
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
                if reply["ok"]:
                    return reply
            except Gone:
                self._pause.wait(RETRY_S)
            finally:
                wire.close()
        raise AssertionError(f"no answer to {request} in {REPLY_S:.0f} s:\n{self._cluster.output()[-4000:]}")

    def _drain(self) -> None:
        """Work until nothing is left."""
        drainers = [self._client(Worker, f"drainer-{number}", number) for number in range(DRAINERS)]
        for drainer in drainers:
            drainer.start()
        deadline = time.monotonic() + DRAIN_S
        while _present(stats := self._ask({"cmd": "STATS"})):
            if time.monotonic() > deadline:
                raise AssertionError(f"not drained in {DRAIN_S:.0f} s: {stats}")
            self._pause.wait(0.05)
        _end(drainers)

    def _count(self) -> None:
        stats = self._ask({"cmd": "STATS"})
        op = self._judge.next_op()
        figures = (stats["queued"], stats["delayed"], stats["processing"], stats["dlq"])
        self._judge.write(Counted(now_us(), self._judge.by, op, *figures))


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


def _present(stats: Reply) -> int:
    return int(stats["queued"] + stats["delayed"] + stats["processing"])
