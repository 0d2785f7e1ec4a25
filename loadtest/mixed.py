"""Clients of every other family of commands: keys and names, dependencies and flows, limits, crons, counters, waits.

As those in clients.py they write down what they asked and were told. They are in no hurry: where the plain ones bring
load, these bring state for a kill to tear.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from flashq.testing.history import Await, Done, Heard, Increase, Push, Schedule, now_us
from loadtest.clients import BATCH, QUEUES, Client, Worker, payload
from loadtest.wire import Request, Wire

UNIQUE: Final = "unique"
NAMED: Final = ("named-a", "named-b")
CHAIN: Final = tuple(f"chain-{number}" for number in range(4))
GROUPED: Final = "grouped"
LIMITED: Final = "limited"
KEYED: Final = "keyed"
REVIVED: Final = "revived"
CRONS: Final = "crons"
WAITED: Final = "waited"
MIXED: Final = (UNIQUE, *NAMED, *CHAIN, GROUPED, LIMITED, KEYED, REVIVED, CRONS, WAITED)
COUNTERS: Final = tuple(f"counter-{number}" for number in range(4))
QUEUE_LIMIT: Final = 3
KEY_LIMIT: Final = 2
REST_S: Final = 0.01
HOLD_S: Final = 0.01
"""How long a worker keeps a job of a limited queue, so that others may meet it."""
WAIT_MS: Final = 2_000


class Mixer(Client):
    """Pushes, with an idempotency key or without."""

    def push(self, queue: str, jobs: int = 1, *, flow: bool = False, **about: Any) -> Push:
        """Write down a push that is about to be made; `about` are fields of `Push`."""
        op = self.recorder.next_op()
        keys = [f"{self.name}-{op}-{n}" for n in range(jobs)]
        if flow:
            about["after"] = keys[1:]
        push = Push(now_us(), self.name, op, queue, keys, **about)
        self.recorder.write(push)
        return push

    def send(self, wire: Wire, push: Push, request: Request) -> list[int]:
        """Make it, every other time until it is answered; the ids, none if it was refused. Raises Gone."""
        if self.random.random() < 0.5:
            reply = self.answered(wire, [push.op], [request])[0]
            answer = None if reply is None else (push.op, reply)
        else:
            tries = chain([push.op], iter(lambda: self._repeat(push), 0))
            answer = self.surely(lambda: next(tries), {**request, "idempotency_key": push.keys[0]})
        if answer is None:
            return []
        op, told = answer
        ids = [told["parent_id"], *told["children_ids"]] if "parent_id" in told else told.get("ids") or [told["id"]]
        self.recorder.write(Done(now_us(), self.name, op, ids=ids))
        return ids

    def _repeat(self, push: Push) -> int:
        op = self.recorder.next_op()
        fields = {name: getattr(push, name) for name in push.__struct_fields__}
        self.recorder.write(Push(**(fields | {"at_us": now_us(), "op": op, "repeat_of": push.op})))
        return op

    def single(self, wire: Wire, push: Push, **options: Any) -> list[int]:
        """As `send`, a PUSH."""
        return self.send(wire, push, {"cmd": "PUSH", "queue": push.queue, "data": payload(push.keys[0]), **options})


class Keyer(Mixer):
    """Pushes under a few unique keys and custom ids that all of its kind share."""

    def operate(self, wire: Wire) -> None:
        word = f"k{self.random.randrange(6)}"
        if self.random.random() < 0.5:
            self.single(wire, self.push(UNIQUE, unique=word), unique_key=word)
        else:
            self.single(wire, self.push(self.random.choice(NAMED), name=word), job_id=word)
        self.pause(REST_S / 2)


class Chainer(Mixer):
    """Makes jobs wait for its last ones, and flows over all shards."""

    RECENT: Final = 12

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._recent: list[tuple[str, int]] = []

    def operate(self, wire: Wire) -> None:
        pushed = self._flow(wire) if self.random.random() < 0.5 else self._dependant(wire)
        self._recent = [*self._recent, *pushed][-self.RECENT :]
        self.pause(REST_S)

    def _dependant(self, wire: Wire) -> list[tuple[str, int]]:
        named = self.random.sample(self._recent, min(len(self._recent), self.random.randrange(4)))
        push = self.push(self.random.choice(CHAIN), after=[key for key, _ in named])
        ids = self.single(wire, push, depends_on=[job_id for _, job_id in named])
        return list(zip(push.keys, ids, strict=False))

    def _flow(self, wire: Wire) -> list[tuple[str, int]]:
        push = self.push(self.random.choice(CHAIN), 1 + self.random.randint(2, 4), flow=True)
        parent, *children = push.keys
        request = {
            "cmd": "FLOW", "queue": push.queue, "data": payload(parent),
            "children": [{"queue": self.random.choice(CHAIN), "data": payload(key)} for key in children],
        }  # fmt: skip
        return list(zip(push.keys, self.send(wire, push, request), strict=False))


class Crowd(Mixer):
    """Pushes batches whose jobs may not all be active at once."""

    def operate(self, wire: Wire) -> None:
        word = f"g{self.random.randrange(3)}"
        queue = self.random.choice((LIMITED, GROUPED, KEYED))
        group, limit_key = word if queue == GROUPED else "", word if queue == KEYED else ""
        option = {"group_id": word} if group else {"limit_key": word} if limit_key else {}
        push = self.push(queue, 4, group=group, limit_key=limit_key)
        jobs = [{"data": payload(key), **option} for key in push.keys]
        self.send(wire, push, {"cmd": "PUSHB", "queue": queue, "jobs": jobs})
        self.pause(6 * REST_S)


class Scheduler(Client):
    """Makes one cron after the other, each with a few runs, and waits until it is through."""

    def operate(self, wire: Wire) -> None:
        name = f"cron-{self.name}-{self.recorder.next_op()}"
        every_ms, limit = self.random.randint(40, 150), self.random.randint(3, 8)

        def invoke() -> int:
            op = self.recorder.next_op()
            self.recorder.write(Schedule(now_us(), self.name, op, name, every_ms, limit))
            return op

        request = {
            "cmd": "CRON", "name": name, "queue": CRONS, "data": payload(name), "repeat_every": every_ms,
            "limit": limit, "misfire": "all", "idempotency_key": name,
        }  # fmt: skip
        answer = self.surely(invoke, request)
        if answer is None:
            return
        self.recorder.write(Done(now_us(), self.name, answer[0]))
        self.pause(every_ms * limit / 1e3)


class Adder(Client):
    """Adds to counters that all of its kind share."""

    def operate(self, wire: Wire) -> None:
        key, amount = self.random.choice(COUNTERS), self.random.randint(1, 3)
        once = f"{self.name}-{self.recorder.next_op()}" if self.random.random() < 0.7 else ""
        request: dict[str, Any] = {"cmd": "KVINCR", "key": key, "by": amount}

        def invoke() -> int:
            op = self.recorder.next_op()
            self.recorder.write(Increase(now_us(), self.name, op, key, amount, once))
            return op

        if once:
            answer = self.surely(invoke, request | {"idempotency_key": once})
        else:
            op = invoke()
            reply = self.answered(wire, [op], [request])[0]
            answer = None if reply is None else (op, reply)
        if answer is not None:
            self.recorder.write(Done(now_us(), self.name, answer[0], value=answer[1]["value"]))
        self.pause(REST_S / 4)


class Waiter(Mixer):
    """Waits for its own jobs' results."""

    def operate(self, wire: Wire) -> None:
        for job_id in self.single(wire, self.push(WAITED)):
            op = self.recorder.next_op()
            self.recorder.write(Await(now_us(), self.name, op, job_id))
            request = {"cmd": "WAITJOB", "id": job_id, "timeout": WAIT_MS}
            reply = self.answered(self.wire(), [op], [request])[0]
            if reply is not None:
                self.recorder.write(Done(now_us(), self.name, op, value=reply.get("result")))


class Reviver(Mixer):
    """Pushes jobs that die of one failure, and lets the dead wait again."""

    def operate(self, wire: Wire) -> None:
        if self.random.random() < 0.2:
            wire.ask({"cmd": "RETRYDLQ", "queue": REVIVED})
        else:
            self.single(wire, self.push(REVIVED, revived=True), max_attempts=1, backoff=0)
        self.pause(REST_S)


class Listener(Client):
    """Hears the events of a busy queue; a kill may cost it any number of them."""

    _subscribed: Wire | None = None

    def operate(self, wire: Wire) -> None:
        if wire is not self._subscribed:
            wire.ask({"cmd": "SUBSCRIBE", "queue": QUEUES[0]})
            self._subscribed = wire
        wire.ask({"cmd": "PING"})
        if wire.heard:
            self.recorder.write(Heard(now_us(), self.name, self.recorder.next_op(), wire.heard))
            wire.heard = 0
        self.pause(REST_S)


class MixedWorker(Worker):
    """Works on the queues of these clients; keeps what is limited for a moment, kills what can be revived."""

    def operate(self, wire: Wire) -> None:
        queue = self.random.choice(MIXED)
        given = self.pull(wire, queue, self.random.choice((1, 1, BATCH // 4)))
        if queue in (GROUPED, LIMITED, KEYED) and given:
            self.pause(HOLD_S * self.random.random())
        failed = [job for job in given if self.random.random() < self.odds(queue)]
        self.fail(wire, failed)
        self.ack(wire, [job for job in given if job not in failed], results=queue == WAITED)

    def odds(self, queue: str) -> float:
        """That it fails a job."""
        return 0.5 if queue == REVIVED else 0.05


class MixedDrainer(MixedWorker):
    """Works until nothing is left, and fails nothing."""

    def odds(self, queue: str) -> float:
        return 0.0


KINDS: Final[tuple[Callable[..., Client], ...]] = (
    Keyer, Keyer, Chainer, Chainer, Crowd, Scheduler, Adder, Adder, Waiter, Waiter, Reviver, Listener,
)  # fmt: skip
"""One client each; where two are there, they meet."""
