"""The outbox: what one slot has to tell another, exactly once in effect, whatever dies in between.

Rules kept here
- A message is decided in the same record as the change that causes it, and kept until its receiver has it on disk.
- Messages of one pair of slots are numbered from 1 without a gap and taken in order; the receiver keeps the last
  number of each pair, so that what is sent again does nothing.
- Where this shard owns the receiving slot too, the message is carried out at once, in the same record.

What a message means is a function in `HANDLERS`, registered by the module that the word belongs to. It may record
events, and it must not raise: what cannot be carried out any more (the job has ended) does nothing. Handlers run live
only; replay sees the events that they recorded.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from flashq.engine import events

if TYPE_CHECKING:
    from flashq.engine.engine import Engine

Handler = Callable[["Engine", int, int, Any], None]
"""(engine, source slot, receiving slot, body): `body` is what a MessagePack decoder makes of it (lists, not tuples)."""
HANDLERS: Final[dict[str, Handler]] = {}


class Message(Struct, array_like=True, frozen=True):
    """One thing to be told."""

    source: int
    target: int
    no: int
    word: str
    body: Any


class Outbox:
    """Messages that wait, by pair of slots, and what was taken from others."""

    __slots__ = ("fresh", "last_sent", "taken", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[tuple[int, int], deque[Message]] = {}
        self.last_sent: dict[tuple[int, int], int] = {}
        """The number of the last message of each pair."""
        self.taken: dict[tuple[int, int], int] = {}
        """The last number that was carried out, of each pair."""
        self.fresh: set[tuple[int, int]] = set()
        """Pairs that got a message since the sender last looked."""


def post(engine: "Engine", source: int, target: int, word: str, body: Any) -> None:
    """Slot `source`, which is ours, tells slot `target`. Does nothing in replay: the events tell."""
    if engine.replaying:
        return
    # Where earlier ones still wait, from when the slot was another shard's, they come first.
    if engine.owns[target] and (source, target) not in engine.outbox.waiting:
        HANDLERS[word](engine, source, target, body)
        return
    no = engine.outbox.last_sent.get((source, target), 0) + 1
    event = events.Posted(source, target, no, word, body)
    keep(engine, event)
    engine.record(event)


def keep(engine: "Engine", event: events.Posted) -> None:
    """Decided, live or in replay: the message waits."""
    box, pair = engine.outbox, (event.source, event.target)
    box.last_sent[pair] = event.no
    message = Message(event.source, event.target, event.no, event.word, event.body)
    box.waiting.setdefault(pair, deque()).append(message)
    box.fresh.add(pair)


def take(engine: "Engine", messages: Sequence[Message]) -> int:
    """Carry out messages of one pair, in order; the number of the last that has been. A gap stops it."""
    taken = engine.outbox.taken
    pair = (messages[0].source, messages[0].target)
    last = taken.get(pair, 0)
    for message in messages:
        if message.no == last + 1:
            last = taken[pair] = message.no
            engine.record(events.Taken(*pair, last))
            HANDLERS[message.word](engine, *pair, message.body)
    return last


def told(engine: "Engine", source: int, target: int, through: int) -> None:
    """The receiver has all messages of this pair up to `through` on disk."""
    if forget(engine, source, target, through):
        engine.record(events.Told(source, target, through), promise=False)


def forget(engine: "Engine", source: int, target: int, through: int) -> bool:
    """Drop what has been told; whether there was any."""
    line = engine.outbox.waiting.get((source, target))
    dropped = False
    while line and line[0].no <= through:
        line.popleft()
        dropped = True
    if line is not None and not line:
        del engine.outbox.waiting[source, target]
    return dropped
