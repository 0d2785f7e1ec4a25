"""The crash campaign: clients push, pull and ack while processes are killed; then the checker judges their history.

Producers and workers are threads with raw sockets; each writes what it asked and what it was told to a file of its own.
After the last kill the queues are drained, so that a job which nobody completed by then is lost.
"""

import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flashq.testing.checker import Verdict, check
from flashq.testing.cluster import Cluster
from flashq.testing.history import (
    Ack,
    Counted,
    Done,
    Given,
    Kill,
    LinkLost,
    Pull,
    Push,
    Recorder,
    Refused,
    Serving,
    Unknown,
    now_us,
    read,
)

QUEUES: Final = 6
LEASE_MS: Final = 1_500
SETTINGS: Final = {
    "FLASHQ_DEFAULT_MAX_ATTEMPTS": "0",
    "FLASHQ_DEFAULT_BACKOFF_MS": "20",
    "FLASHQ_RECONNECT_GRACE_MS": "500",
    "FLASHQ_CRASH_LIMIT": "1000",
}
REPLY_S: Final = 10.0
DRAIN_S: Final = 60.0
KINDS: Final = ("shard", "router", "everything")


class Gone(Exception):
    """The connection broke before the answer."""


class Line:
    """A connection that asks one thing at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._sock = cluster.connect(REPLY_S)
        self._sock.settimeout(REPLY_S)
        self._file = self._sock.makefile("rb")
        self.alive_us = now_us()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its reply. Raises Gone."""
        try:
            self._sock.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")
            reply = self._file.readline()
        except OSError as e:
            raise Gone(str(e)) from e
        if not reply.endswith(b"\n"):
            raise Gone("closed")
        self.alive_us = now_us()
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def close(self) -> None:
        """A second call does nothing."""
        self._file.close()
        self._sock.close()


class Client(threading.Thread):
    """One client: an operation after the other, on a new connection whenever the old one breaks."""

    def __init__(self, run: "Campaign", name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.run_ = run
        self.random = random.Random(f"{run.seed}-{name}")
        self.recorder = Recorder(run.folder / f"{name}.jsonl", name)
        self.link = 0
        self.line: Line | None = None
        self.fault: BaseException | None = None

    def run(self) -> None:
        """Until the campaign says stop."""
        try:
            with self.recorder:
                while not self.run_.stopped(self):
                    self._turn()
                if self.line is not None:
                    self.line.close()
        except BaseException as e:
            self.fault = e
            raise

    def _turn(self) -> None:
        if self.line is None:
            try:
                self.line = Line(self.run_.cluster)
            except OSError:
                self.run_.pause.wait(0.02)
                return
            self.link += 1
        try:
            self.operate(self.line)
        except Gone:
            self.recorder.write(LinkLost(now_us(), self.name, self.recorder.next_op(), self.link, self.line.alive_us))
            self.line.close()
            self.line = None

    def operate(self, line: Line) -> None:
        """One operation."""
        raise NotImplementedError

    def asked(self, line: Line, op: int, request: dict[str, Any]) -> dict[str, Any] | None:
        """The reply if it was ok; anything else is written down here."""
        try:
            reply = line.ask(request)
        except Gone as e:
            self.recorder.write(Unknown(now_us(), self.name, op, str(e)))
            raise
        if reply["ok"]:
            return reply
        self.recorder.write(Refused(now_us(), self.name, op, reply["code"], reply["error"]))
        return None


class Producer(Client):
    """Pushes single jobs and batches, plain ones and some with options."""

    def operate(self, line: Line) -> None:
        queue = f"q{self.random.randrange(QUEUES)}"
        op = self.recorder.next_op()
        n = self.random.choice((1, 1, 1, 20))
        keys = [f"{self.name}-{op}-{k}" for k in range(n)]
        options = {"priority": self.random.randrange(3)} if self.random.random() < 0.2 else {}
        self.recorder.write(Push(now_us(), self.name, op, queue, keys))
        if n == 1:
            request = {"cmd": "PUSH", "queue": queue, "data": {"k": keys[0]}, **options}
        else:
            request = {"cmd": "PUSHB", "queue": queue, "jobs": [{"data": {"k": k}, **options} for k in keys]}
        reply = self.asked(line, op, request)
        if reply is not None:
            ids = [reply["id"]] if n == 1 else reply["ids"]
            self.recorder.write(Done(now_us(), self.name, op, ids))
        self.run_.pause.wait(0.001)


class Worker(Client):
    """Pulls a few jobs, acks them under their leases."""

    def operate(self, line: Line) -> None:
        queue = f"q{self.random.randrange(QUEUES)}"
        op = self.recorder.next_op()
        self.recorder.write(Pull(now_us(), self.name, op, queue, LEASE_MS, self.link, False))
        request = {"cmd": "PULLB", "queue": queue, "count": 30, "timeout": 20, "lease_ms": LEASE_MS}
        reply = self.asked(line, op, request)
        if reply is None:
            return
        given = [Given(j["id"], j["data"]["k"], j["lease"], j["started_at"], j["attempts"]) for j in reply["jobs"]]
        self.recorder.write(Done(now_us(), self.name, op, given=given))
        if not given:
            return
        op = self.recorder.next_op()
        self.recorder.write(Ack(now_us(), self.name, op, [(g.id, g.lease) for g in given]))
        request = {"cmd": "ACKB", "ids": [g.id for g in given], "leases": [g.lease for g in given]}
        reply = self.asked(line, op, request)
        if reply is not None:
            errors = reply.get("errors", [])
            unsure = [e["id"] for e in errors if e["code"] in ("unavailable", "timeout")]
            refused = [e["id"] for e in errors if e["code"] not in ("unavailable", "timeout")]
            self.recorder.write(
                Done(now_us(), self.name, op, refused=[*reply.get("not_found", []), *refused], unknown=unsure)
            )


@dataclass
class Outcome:
    """What a campaign found."""

    verdict: Verdict
    kills: dict[str, int] = field(default_factory=dict)
    outages_ms: dict[str, list[int]] = field(default_factory=dict)


class Campaign:
    """Clients, kills, drain, judgement."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, *, producers: int = 3, workers: int = 3) -> None:
        self.cluster = cluster
        self.folder = folder
        self.seed = seed
        self.pause = threading.Event()
        """Never set: a wait on it is a pause."""
        self._pushing = True
        self._working = True
        self._producers: list[Client] = [Producer(self, f"producer-{k}") for k in range(producers)]
        self._workers: list[Client] = [Worker(self, f"worker-{k}") for k in range(workers)]
        self._random = random.Random(seed)
        self._own = Recorder(folder / "campaign.jsonl", "campaign")
        self.outcome_kills: dict[str, int] = {}
        self.outages_ms: dict[str, list[int]] = {}

    def stopped(self, client: Client) -> bool:
        return not (self._pushing if isinstance(client, Producer) else self._working)

    def run(self, kinds: list[str], between_s: float = 0.25) -> Outcome:
        """Kill what `kinds` names, one after the other, under load; then drain and judge."""
        for client in (*self._producers, *self._workers):
            client.start()
        for number, kind in enumerate(kinds, 1):
            self.pause.wait(between_s * (0.5 + self._random.random()))
            self._kill(number, kind)
        self.pause.wait(between_s)
        self._pushing = False
        for client in self._producers:
            client.join(REPLY_S * 2)
        self._drain()
        self._working = False
        for client in self._workers:
            client.join(REPLY_S * 2)
        faults = [c.fault for c in (*self._producers, *self._workers) if c.fault is not None]
        if faults:
            raise faults[0]
        self._count()
        self._own.close()
        verdict = check(read(sorted(self.folder.glob("*.jsonl"))))
        return Outcome(verdict, self.outcome_kills, self.outages_ms)

    def _kill(self, number: int, kind: str) -> None:
        cluster = self.cluster
        names = sorted(n for n in cluster.pids() if n.startswith(kind))
        victim = self._random.choice(names) if names else kind
        self._own.write(Kill(now_us(), "campaign", number, [victim]))
        started = time.monotonic()
        if kind == "everything":
            cluster.kill_all()
            cluster.start()
        else:
            pid = cluster.kill(victim)
            cluster.wait_serving(victim, other_than=pid)
        self._answers()
        self.outages_ms.setdefault(kind, []).append(round((time.monotonic() - started) * 1000))
        self.outcome_kills[kind] = self.outcome_kills.get(kind, 0) + 1
        self._own.write(Serving(now_us(), "campaign", number))

    def _answers(self) -> None:
        """Returns when every queue's shard answers again."""
        until = time.monotonic() + REPLY_S
        while True:
            try:
                line = Line(self.cluster)
                try:
                    if all(line.ask({"cmd": "COUNT", "queue": f"q{k}"})["ok"] for k in range(QUEUES)):
                        return
                finally:
                    line.close()
            except (Gone, OSError):
                self.pause.wait(0.005)
            if time.monotonic() > until:
                raise AssertionError("the cluster does not answer")

    def _stats(self) -> dict[str, Any]:
        line = Line(self.cluster)
        try:
            return line.ask({"cmd": "STATS"})
        finally:
            line.close()

    def _drain(self) -> None:
        """Returns when nothing is waiting, delayed or active."""
        until = time.monotonic() + DRAIN_S
        while time.monotonic() < until:
            stats = self._stats()
            if not (stats["queued"] or stats["processing"] or stats["delayed"]):
                return
            self.pause.wait(0.1)
        raise AssertionError(f"not drained within {DRAIN_S} s: {self._stats()}")

    def _count(self) -> None:
        stats = self._stats()
        self._own.write(
            Counted(
                now_us(),
                "campaign",
                len(self.outages_ms) + 10_000,
                stats["queued"],
                stats["delayed"],
                stats["processing"],
                stats["dlq"],
            )
        )
