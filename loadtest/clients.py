"""Clients of the crash campaign: producers, workers and one that holds a job while its server is killed.

Each is a thread with a connection of its own, and writes what it asked and what it was told to a file of its own.
Half of them speak JSON, half MessagePack; every third connection begins with STATS, so that the router keeps it.
"""

import random
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from flashq.testing.facts import UNCERTAIN
from flashq.testing.history import (
    Ack,
    Done,
    Fail,
    Given,
    LinkLost,
    Pull,
    Push,
    Recorder,
    Refused,
    Unknown,
    now_us,
)
from loadtest.wire import Gone, Reply, Request, Wire

QUEUES: Final = tuple(f"q{number}" for number in range(6))
DOOMED: Final = "doomed"
"""The queue of jobs that every worker fails: they end as dead letters."""
DOOMED_ATTEMPTS: Final = 2
LEASE_MS: Final = 1_500
BATCH: Final = 20
RECONNECT_S: Final = 0.02
RESEND_S: Final = 20.0


def payload(key: str) -> dict[str, Any]:
    """A job's data: its key, and what only that key goes with."""
    return {"key": key, "sum": crc32(key.encode()), "pad": key * (crc32(key.encode()) % 8)}


def key_of(data: Any) -> str:
    """The key of a payload; empty if it is not what a producer sent."""
    key = data.get("key") if isinstance(data, dict) else None
    return key if isinstance(key, str) and data == payload(key) else ""


class Client(threading.Thread):
    """Does one operation after the other, on a new connection whenever the old one breaks, until it is told to end."""

    def __init__(self, name: str, number: int, port: int, folder: Path, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.random = random.Random(f"{seed}-{name}")
        self.recorder = Recorder(folder / f"{name}.jsonl", name)
        self.fault: BaseException | None = None
        """What ended it, if that was not `end`."""
        self._port = port
        self._number = number
        self._link = 0
        self._wire: Wire | None = None
        self._end = threading.Event()

    def end(self) -> None:
        """Finish the operation under way, then end."""
        self._end.set()

    def run(self) -> None:
        """What the thread does."""
        try:
            with self.recorder:
                while not self._end.is_set():
                    self._turn()
        except BaseException as error:
            self.fault = error
            raise
        finally:
            if self._wire is not None:
                self._wire.close()

    def _turn(self) -> None:
        try:
            self.operate(self.wire())
        except Gone:
            self.drop()
        except ConnectionError:
            self._end.wait(RECONNECT_S)

    def wire(self) -> Wire:
        """The connection, made if there is none. Raises OSError or Gone."""
        if self._wire is None:
            self._wire = Wire(self._port, binary=self._number % 2 == 1)
            self._link += 1
            if (self._link + self._number) % 3 == 0:
                self._wire.ask({"cmd": "STATS"})
        return self._wire

    def drop(self) -> None:
        """Give up the connection, broken or not."""
        if self._wire is not None:
            op = self.recorder.next_op()
            self.recorder.write(LinkLost(now_us(), self.name, op, self._link, self._wire.alive_us))
            self._wire.close()
            self._wire = None

    def operate(self, wire: Wire) -> None:
        """One operation. Raises Gone."""
        raise NotImplementedError

    def answered(self, wire: Wire, ops: Sequence[int], requests: Sequence[Request]) -> list[Reply | None]:
        """The replies that are ok, None for the others, which are written down here. Raises Gone."""
        try:
            replies = wire.ask_all(requests)
        except Gone as error:
            for op in ops:
                self.recorder.write(Unknown(now_us(), self.name, op, str(error)))
            raise
        return [self._ok(op, reply) for op, reply in zip(ops, replies, strict=True)]

    def surely(self, invoke: Callable[[], int], request: Request) -> tuple[int, Reply] | None:
        """Ask under an idempotency key until there is an answer; the key makes sure that it happens once.

        `invoke` writes down one more try; its operation comes back with the reply. None: refused, or told to end.
        """
        while True:
            try:
                wire = self.wire()
                op = invoke()
                # A refusal that leaves it open is no answer either.
                reply = self._tried(wire, op, request)
                if reply["ok"]:
                    return op, reply
                if reply["code"] not in UNCERTAIN:
                    return None
            except Gone:
                self.drop()
            except ConnectionError:
                pass  # nobody listens yet
            if self._end.wait(RECONNECT_S):
                return None

    def _tried(self, wire: Wire, op: int, request: Request) -> Reply:
        """The reply, whatever it says; what is not an answer is written down here. Raises Gone."""
        try:
            reply = wire.ask(request)
        except Gone as error:
            self.recorder.write(Unknown(now_us(), self.name, op, str(error)))
            raise
        self._ok(op, reply)
        return reply

    def pause(self, seconds: float) -> None:
        """Unless it is to end."""
        self._end.wait(seconds)

    def _ok(self, op: int, reply: Reply) -> Reply | None:
        if reply["ok"]:
            return reply
        self.recorder.write(Refused(now_us(), self.name, op, reply["code"], reply["error"]))
        return None


class Producer(Client):
    """Pushes single jobs, several in flight, batches, and single ones again and again under an idempotency key."""

    def operate(self, wire: Wire) -> None:
        kind = self.random.choice((self._singles, self._singles, self._batch, self._surely))
        kind(wire)

    def _singles(self, wire: Wire) -> None:
        pushes = [self._push(1) for _ in range(self.random.choice((1, 1, 8)))]
        requests = [self._request(push) for push in pushes]
        self._book(pushes, self.answered(wire, [push.op for push in pushes], requests))

    def _batch(self, wire: Wire) -> None:
        push = self._push(BATCH)
        jobs = [{"data": payload(key), **self._options(push)} for key in push.keys]
        request = {"cmd": "PUSHB", "queue": push.queue, "jobs": jobs}
        self._book([push], self.answered(wire, [push.op], [request]))

    def _surely(self, wire: Wire) -> None:
        """Where no answer came, ask again until one does."""
        push = self._push(1)
        tries = chain([push.op], iter(lambda: self._repeat(push).op, 0))
        answer = self.surely(lambda: next(tries), self._request(push) | {"idempotency_key": push.keys[0]})
        if answer is not None:
            self.recorder.write(Done(now_us(), self.name, answer[0], ids=[answer[1]["id"]]))

    def _push(self, count: int) -> Push:
        """Write down a push that is about to be made."""
        op = self.recorder.next_op()
        doomed = self.random.random() < 0.05
        queue = DOOMED if doomed else self.random.choice(QUEUES)
        keys = [f"{self.name}-{op}-{number}" for number in range(count)]
        push = Push(now_us(), self.name, op, queue, keys, doomed=doomed)
        self.recorder.write(push)
        return push

    def _repeat(self, push: Push) -> Push:
        op = self.recorder.next_op()
        again = Push(now_us(), self.name, op, push.queue, push.keys, repeat_of=push.op, doomed=push.doomed)
        self.recorder.write(again)
        return again

    def _request(self, push: Push) -> dict[str, Any]:
        return {"cmd": "PUSH", "queue": push.queue, "data": payload(push.keys[0]), **self._options(push)}

    def _options(self, push: Push) -> dict[str, int]:
        if push.doomed:
            return {"max_attempts": DOOMED_ATTEMPTS, "backoff": 0}
        # By the key, so that a repetition says the same.
        draw = crc32(push.keys[0].encode()) % 10
        return {"priority": draw} if draw < 2 else {"delay": 20 * draw} if draw < 4 else {}

    def _book(self, pushes: Sequence[Push], replies: Sequence[Reply | None]) -> None:
        for push, reply in zip(pushes, replies, strict=True):
            if reply is not None:
                ids = reply["ids"] if "ids" in reply else [reply["id"]]
                self.recorder.write(Done(now_us(), self.name, push.op, ids=ids))


class Worker(Client):
    """Pulls one job or some, acks them under their leases, fails a few. Every other one ties them to its connection."""

    def operate(self, wire: Wire) -> None:
        queue = DOOMED if self.random.random() < 0.15 else self.random.choice(QUEUES)
        given = self.pull(wire, queue, self.random.choice((1, BATCH)))
        if given and self.tied() and self.random.random() < 0.01:
            self.drop()  # a worker that dies: its jobs are another's at once
            return
        if queue == DOOMED:
            self.fail(wire, given)
        elif given and self.random.random() < 0.05:
            self.fail(wire, given[:1])
            self.ack(wire, given[1:])
        else:
            self.ack(wire, given)

    def tied(self) -> bool:
        """Its leases end with its connection."""
        return self._number % 4 >= 2  # some of both formats

    def pull(self, wire: Wire, queue: str, count: int, *, lease_ms: int = LEASE_MS, timeout: int = 20) -> list[Given]:
        """Up to `count` jobs."""
        op = self.recorder.next_op()
        self.recorder.write(Pull(now_us(), self.name, op, queue, lease_ms, self._link, self.tied()))
        request: dict[str, Any] = {"cmd": "PULL", "queue": queue, "timeout": timeout, "lease_ms": lease_ms}
        if count > 1:
            request |= {"cmd": "PULLB", "count": count}
        if self.tied():
            request["release_on_disconnect"] = True
        reply = self.answered(wire, [op], [request])[0]
        if reply is None:
            return []
        jobs = reply["jobs"] if count > 1 else [job for job in [reply["job"]] if job]
        given = [given_of(job) for job in jobs]
        self.recorder.write(Done(now_us(), self.name, op, given=given))
        return given

    def ack(self, wire: Wire, given: Sequence[Given], *, results: bool = False) -> bool:
        """Finish them, in one request, with their leases as `results`; whether all of that counted."""
        if not given:
            return True
        op = self.recorder.next_op()
        self.recorder.write(Ack(now_us(), self.name, op, [(job.id, job.lease) for job in given]))
        request: dict[str, Any] = {"cmd": "ACKB", "ids": [j.id for j in given], "leases": [j.lease for j in given]}
        if len(given) == 1:
            request = {"cmd": "ACK", "id": given[0].id, "lease": given[0].lease}
        if results:
            request |= {"results": request["leases"]} if "leases" in request else {"result": request["lease"]}
        reply = self.answered(wire, [op], [request])[0]
        if reply is None:
            return False
        errors = reply.get("errors", [])
        unknown = [error["id"] for error in errors if error["code"] in UNCERTAIN]
        refused = [error["id"] for error in errors if error["code"] not in UNCERTAIN] + reply.get("not_found", [])
        self.recorder.write(Done(now_us(), self.name, op, refused=refused, unknown=unknown))
        return not refused and not unknown

    def fail(self, wire: Wire, given: Sequence[Given]) -> None:
        """Give them back, one by one."""
        for job in given:
            op = self.recorder.next_op()
            self.recorder.write(Fail(now_us(), self.name, op, job.id, job.lease))
            request = {"cmd": "FAIL", "id": job.id, "lease": job.lease, "error": "as told"}
            if self.answered(wire, [op], [request])[0] is not None:
                self.recorder.write(Done(now_us(), self.name, op))


def given_of(job: Reply) -> Given:
    """A job of a reply, as histories have it."""
    return Given(job["id"], key_of(job["data"]), job["lease"], job["started_at"], job["attempts"])
