"""Several engines, each with a share of the slots, and a post office between them in a test's hand.

Messages travel when the test says so; they may be lost, come again and late, and any engine may die between two ticks
or in the middle of one, whose events are lost then.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from flashq.engine.engine import Engine
from flashq.engine.outbox import Message, take, told
from flashq.engine.settings import Limits
from flashq.protocol.slots import SLOTS, slot_of_queue
from flashq.storage.memory import MemoryJournal
from flashq.testing.engine_kit import EngineKit, engine_facts

T = TypeVar("T")
Pair = tuple[int, int]


class Shards:
    """`n` engines; slot i belongs to engine i modulo n."""

    def __init__(self, n: int = 2, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.n = n
        self.kits: list[EngineKit] = []
        for shard in range(n):
            self.kits.append(self._started(shard, MemoryJournal(keep=True, boot="boot-1")))

    def _started(self, shard: int, journal: MemoryJournal, old: EngineKit | None = None) -> EngineKit:
        kit = EngineKit(epoch=old.engine.epoch + 1 if old else 1, limits=self.limits, journal=journal)
        if old is not None:
            kit.now_ms, kit.mono_ms = old.now_ms, old.mono_ms
        kit.memory = journal
        kit.engine.owns = bytearray(slot % self.n == shard for slot in range(SLOTS))
        kit.start()
        return kit

    def queues(self, shard: int, prefix: str = "q") -> Iterator[str]:
        """Names of queues that a shard has."""
        number = 0
        while True:
            name = f"{prefix}{number}"
            if slot_of_queue(name) % self.n == shard:
                yield name
            number += 1

    def of_id(self, job_id: int) -> EngineKit:
        """The kit that has a job."""
        return self.kits[job_id % SLOTS % self.n]

    def of_queue(self, name: str) -> EngineKit:
        return self.kits[slot_of_queue(name) % self.n]

    # -- the post

    def waiting(self) -> list[tuple[EngineKit, Pair]]:
        """Where messages wait: the sender, and the pair of slots."""
        return [(kit, pair) for kit in self.kits for pair in kit.engine.outbox.waiting]

    def carry(self, kit: EngineKit, pair: Pair, most: int = 256) -> tuple[EngineKit, list[Message], int]:
        """Carry messages of a pair to their receiver, who answers; the answer is still under way."""
        line = list(kit.engine.outbox.waiting[pair])[:most]
        messages = msgspec.msgpack.decode(msgspec.msgpack.encode(line), type=list[Message])
        receiver = self.kits[pair[1] % self.n]
        through = receiver.do(lambda engine: take(engine, messages))
        return receiver, messages, through

    def answer(self, kit: EngineKit, pair: Pair, through: int) -> None:
        """Carry the answer back."""
        kit.do(lambda engine: told(engine, *pair, through))

    def settle(self) -> None:
        """Carry until nothing is under way."""
        while waiting := self.waiting():
            for kit, pair in waiting:
                if pair in kit.engine.outbox.waiting:
                    _, _, through = self.carry(kit, pair)
                    self.answer(kit, pair, through)

    # -- life and death

    def crash(self, shard: int, act: Callable[[Engine], object] | None = None) -> EngineKit:
        """An engine dies, in the middle of `act` if there is one; the next starts from what was committed."""
        old = self.kits[shard]
        if act is not None:
            act(old.begin())
        journal = MemoryJournal(
            epoch=old.engine.epoch + 1, boot=old.boot, keep=True, records=old.memory.kept, sealed=False
        )  # fmt: skip
        self.kits[shard] = self._started(shard, journal, old)
        return self.kits[shard]

    def check_replay(self) -> None:
        """Every engine's records give its state again."""
        for shard, kit in enumerate(self.kits):
            assert engine_facts(kit.replayed()) == engine_facts(kit.engine), f"shard {shard}"
