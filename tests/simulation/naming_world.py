"""A few shards without processes: real dispatchers and engines, journals in memory, a network that the test delivers.

Every delivery is a tick: it is applied, committed, and what it says goes out; a shard may die before the commit, or
between it and its words. What a shard asks others leaves at once (as real sockets may send before a tick has ended);
what it answers leaves after its commit. Where the power goes too, records that promised nothing may be lost.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from flashq.access.access import Access
from flashq.engine import crons
from flashq.engine.drafts import abandon
from flashq.engine.engine import Engine
from flashq.engine.pull import give_up_waits, serve_freed
from flashq.engine.replay import Replayer
from flashq.engine.retry import end_leases, start_grace
from flashq.engine.settings import Defaults, Limits
from flashq.engine.watching import settle
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import SLOTS, slot_of_queue
from flashq.shard import internal
from flashq.shard.dispatcher import ShardDispatcher
from flashq.shard.postman import Postman
from flashq.storage.contract import Record
from flashq.storage.memory import MemoryJournal
from flashq.transport.envelope import Failure

LIMITS: Final = Limits(keep_completed_count=2)
BOOT: Final = "boot"
Body = dict[str, Any]


class Message(NamedTuple):
    """On its way from one shard to another."""

    kind: str
    """ask, part, answer or fail."""
    number: int
    body: bytes


class Asked(NamedTuple):
    """A question under way."""

    shard: int
    on_reply: Callable[[bytes], Any]
    on_fail: Callable[[Failure], Any]


class Crash(Exception):
    """The shard dies in the middle of a tick."""


class Client:
    """A connection to one shard, which keeps what it is told."""

    codec = Codec.TEXT
    principal = "anonymous"
    local = False
    takes_events = False

    def __init__(self, shard: "Shard", gid: int) -> None:
        self.shard = shard
        self.incarnation = shard.incarnation
        self.gid = gid
        self.wrong_tokens = 0
        self.told: dict[str, Body] = {}
        """Replies, by `reqId`."""
        self.order: list[str] = []

    def reply(self, body: bytes) -> None:
        self.shard.after_commit(lambda: self._read(body))

    def _read(self, body: bytes) -> None:
        value: Body = msgspec.json.decode(body)
        self.told[value["reqId"]] = value
        self.order.append(value["reqId"])

    def hold(self, *, ordered: bool) -> "HeldClient":
        return HeldClient(self)

    def fatal(self, text: str, code: str) -> None:
        raise AssertionError(text)

    def takes_jobs(self) -> bool:
        return True


class HeldClient:
    """The place of a reply that comes later."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def takes_jobs(self) -> bool:
        return True

    def reply(self, body: bytes) -> bool:
        self._client.reply(body)
        return True


class Shard:
    """One shard, which may die and be started again on its journal. Also its own way to the others (`Elsewhere`)."""

    def __init__(self, world: "World", no: int) -> None:
        self.world = world
        self.no = no
        self.incarnation = 0
        self.records: list[Record] = []
        self.promised: list[bool] = []
        """Of each record: whether it was synced before anything was said."""
        self.start()

    def start(self) -> None:
        """On the journal that there is, as after kill -9."""
        self.incarnation += 1
        self.asking: dict[int, Asked] = {}
        self.passed_on: list[tuple[str, int]] = []
        """What it said of clients to shards that may hold something of them."""
        self.effects: list[Callable[[], None]] = []
        self.engine = self.replayed(clean=False)
        self.journal = MemoryJournal(epoch=self.incarnation, boot=BOOT, keep=True)
        self.dispatcher = ShardDispatcher(
            self.engine, shard=self.no, shards=len(self.world.owners), owner_of=self.world.owner_of, elsewhere=self,
            totals=None, access=Access(),  # type: ignore[arg-type]
        )  # fmt: skip
        self.postman = Postman(self.dispatcher, self)  # type: ignore[arg-type]
        self.tick(self._serve)

    def _serve(self) -> None:
        """What a process does before it serves."""
        engine = self.engine
        engine.adopt_defaults(Defaults())
        start_grace(engine)
        crons.start(engine)
        abandon(engine)

    def lose_unsynced(self, random: Random) -> int:
        """The power goes: some of the last records, which promised nothing, were not on disk yet. How many."""
        loose = 0
        while loose < len(self.promised) and not self.promised[-1 - loose]:
            loose += 1
        lost = random.randint(0, loose)
        if lost:
            del self.records[-lost:], self.promised[-lost:]
        return lost

    def replayed(self, *, clean: bool) -> Engine:
        engine = Engine(epoch=max(1, self.incarnation), limits=self.world.limits)
        for slot in range(SLOTS):
            engine.owns[slot] = self.world.owner_of(slot) == self.no
        replayer = Replayer(engine)
        for record in self.records:
            replayer.apply(record.at_ms, record.mono_ms, record.boot, record.events)
        replayer.finish(BOOT, self.world.now_ms, clean=clean)
        engine.begin(self.world.now_ms, self.world.now_ms)
        return engine

    # -- ticks

    def tick(self, action: Callable[[], None], *, die: str = "") -> None:
        """`die`: "before" the commit, or "after" it, with nothing said; else not at all."""
        engine = self.engine
        engine.begin(self.world.now_ms, self.world.now_ms)
        action()
        settle(engine)
        while engine.freed:
            serve_freed(engine)
        self.dispatcher.answer_woken()
        if die == "before":
            raise Crash
        if engine.events:
            events, promise, sync = engine.taken()
            self.journal.append(
                events, at_ms=engine.now_ms, mono_ms=engine.mono_ms, promise=promise, sync=sync
            )  # fmt: skip
            self.records.append(self.journal.kept[-1])
            self.promised.append(promise or sync)
        if die == "after":
            raise Crash
        self.dispatcher.naming.send()
        self.postman.send()
        effects, self.effects = self.effects, []
        for effect in effects:
            effect()

    def due(self) -> None:
        """What is due by now happens, as in flashq/shard/loop.py."""
        engine = self.engine
        give_up_waits(engine, engine.mono_ms)
        end_leases(engine, engine.mono_ms)
        for timers, now in ((engine.mono_timers, engine.mono_ms), (engine.timers, engine.now_ms)):
            for action, argument in timers.due(now, 1 << 30):
                action(engine, argument)
        for moments in (engine.lease_lines, engine.wait_lines, engine.mono_timers, engine.timers):
            moments.recount()

    def after_commit(self, effect: Callable[[], None]) -> None:
        self.effects.append(effect)

    # -- as the way to other shards

    def ask_shard(
        self, shard: int, frame: bytes, on_reply: Callable[[bytes], Any], on_fail: Callable[[Failure], Any]
    ) -> None:
        number = self.world.next_number()
        self.asking[number] = Asked(shard, on_reply, on_fail)
        self.world.send(self.no, shard, Message("ask", number, frame))

    def ask_part(
        self, shard: int, link: Client, frame: bytes, on_reply: Callable[[bytes], Any],
        on_fail: Callable[[Failure], Any],
    ) -> None:  # fmt: skip
        number = self.world.next_number()
        self.asking[number] = Asked(shard, on_reply, on_fail)
        self.world.send(self.no, shard, Message("part", number, frame))

    def give_back(self, job_ids: Iterable[int], token: int) -> None:
        for job_id in job_ids:
            holder = self.world.shards[self.world.owner_of(job_id & 1023)]
            holder.tick(lambda job_id=job_id, holder=holder: holder.dispatcher.given_back(token, (job_id,)))  # type: ignore[misc]

    def ended(self, gid: int) -> None:
        self.passed_on.append(("ended", gid))

    def gone(self, gid: int) -> None:
        self.passed_on.append(("gone", gid))

    def req_id_of(self, frame: bytes, codec: int) -> Raw:
        class Head(msgspec.Struct):
            reqId: Raw = Raw(b"")

        return msgspec.json.decode(frame, type=Head).reqId

    # -- as the postman's loop

    def call_later(self, delay_s: float, call: Callable[[], None]) -> "Shard":
        """What failed is sent again when the world says so."""
        return self

    def cancel(self) -> None:
        """As a timer."""


class Answering:
    """The way back of one question."""

    def __init__(self, shard: Shard, asker: int, number: int) -> None:
        self._shard, self._asker, self._number = shard, asker, number

    def takes_jobs(self) -> bool:
        return True

    def reply(self, body: bytes) -> bool:
        shard = self._shard
        shard.after_commit(lambda: shard.world.send(shard.no, self._asker, Message("answer", self._number, body)))
        return True


class PartLink(Answering):
    """A shard that asks for this one's part of a client's request, as a link."""

    codec = Codec.TEXT
    principal = "anonymous"
    local = True
    takes_events = False
    gid = 0
    wrong_tokens = 0

    def hold(self, *, ordered: bool) -> Answering:
        return self

    def fatal(self, text: str, code: str) -> None:
        raise AssertionError(text)


class World:
    """Shards, and what is on its way between them."""

    def __init__(self, shards: int, random: Random, limits: Limits = LIMITS) -> None:
        self.random = random
        self.limits = limits
        self.owners = list(range(shards))
        self.now_ms = 1_000_000
        self._number = 0
        self.wires: dict[tuple[int, int], deque[Message]] = {}
        self.shards = [Shard(self, no) for no in range(shards)]
        self.crashes = 0

    def owner_of(self, slot: int) -> int:
        return slot % len(self.owners)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def names_of(self, shard: int, prefix: str) -> Iterator[str]:
        """Names, of queues or jobs, that hash to a shard."""
        number = 0
        while True:
            number += 1
            if self.owner_of(slot_of_queue(f"{prefix}{number}")) == shard:
                yield f"{prefix}{number}"

    def send(self, source: int, target: int, message: Message) -> None:
        self.wires.setdefault((source, target), deque()).append(message)

    def deliver(self, *, die: str = "") -> bool:
        """One message of any wire. False: there is none."""
        busy = sorted(pair for pair, line in self.wires.items() if line)
        if not busy:
            return False
        source, target = self.random.choice(busy)
        message = self.wires[source, target].popleft()
        shard = self.shards[target]
        if message.kind == "ask":
            way = Answering(shard, source, message.number)
            self.tick(shard, lambda: internal.answer(shard.dispatcher, message.body, way), die=die)
            return True
        if message.kind == "part":
            link = PartLink(shard, source, message.number)
            self.tick(shard, lambda: shard.dispatcher.submit(link, message.body), die=die)  # type: ignore[arg-type]
            return True
        asked = shard.asking.pop(message.number, None)
        if asked is not None:
            failure = Failure("unavailable", may_have_happened=True)
            answered = message.kind == "answer"
            self.tick(
                shard, lambda: asked.on_reply(message.body) if answered else asked.on_fail(failure), die=die
            )  # fmt: skip
        return True

    def tick(self, shard: Shard, action: Callable[[], None], *, die: str = "") -> None:
        """One tick; perhaps the last of this incarnation."""
        try:
            shard.tick(action, die=die)
        except Crash:
            self.crash(shard)

    def crash(self, shard: Shard, *, power: bool = False) -> int:
        """It dies and starts again. What waits for it is lost, what it sent may arrive, questions to it fail.

        How many records were lost, if the power went too.
        """
        self.crashes += 1
        lost = shard.lose_unsynced(self.random) if power else 0
        for (source, target), line in self.wires.items():
            if target == shard.no:
                line.clear()
            elif source == shard.no:
                kept = [m for m in line if m.kind == "fail" or self.random.random() < 0.5]
                line.clear()
                line.extend(kept)
        for other in self.shards:
            if other is not shard:
                for number, asked in other.asking.items():
                    if asked.shard == shard.no:
                        self.send(shard.no, other.no, Message("fail", number, b""))
        shard.start()
        return lost
