"""What happens in the shards, followed by a process that owns none: of some queues, or of all of a shard.

Rules kept here
- A shard is asked to tell of a queue while somebody here follows it, and for `LINGER_S` after the last has left: who
  comes back within that time can be told what it missed.
- `done` is called when the shard has said that it tells: what happens from then on is heard.
- A shard that was restarted is asked again. What happened around its end may have been told to nobody, so that all who
  follow it hear of a gap.

For processes whose clients do not SUBSCRIBE on connections of their own: those use the `EventDesk`, and a process has
one or the other, for a shard keeps one list of queues a process.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from flashq.errors import FlashqError, Unavailable
from flashq.protocol.happenings import Happening, event_text
from flashq.transport.envelope import Failure
from flashq.transport.event_desk import AskShard, Done, decode_batch

ALL: Final = "*"
LINGER_S: Final = 15.0
"""Browsers come back after 3 s, or 5."""
RETRY_S: Final = 1.0
Position = tuple[int, int]
"""The epoch of a shard, and the number of an event in it."""
Key = tuple[int, str]
"""A shard, and a queue of it or `*`."""
_encode: Final = msgspec.msgpack.Encoder().encode
_listening: Final = msgspec.msgpack.Decoder(tuple[bool, Position | str, str]).decode


class Behind(msgspec.Struct, array_like=True, frozen=True):
    """Some of what happened behind a position (flashq/shard/ring.py has the same as `Page`)."""

    epoch: int
    gap: bool
    through: int
    more: bool
    numbers: list[int]
    happenings: list[Happening]


_behind: Final = msgspec.msgpack.Decoder(tuple[bool, Behind | str, str]).decode


class Batch:
    """Events of one tick of a shard. All who hear it share what is made of it."""

    __slots__ = ("_jobs", "_texts", "epoch", "happenings", "notes", "numbers", "shard")

    def __init__(self, shard: int, epoch: int, numbers: Sequence[int], happenings: Sequence[Happening]) -> None:
        self.shard = shard
        self.epoch = epoch
        self.numbers = numbers
        self.happenings = happenings
        self.notes: dict[Any, bytes] = {}
        """For whoever makes something of an event that others can use too."""
        self._texts: dict[int, bytes] = {}
        self._jobs: dict[int, list[int]] | None = None

    def text(self, i: int) -> bytes:
        """The i-th event as JSON."""
        found = self._texts.get(i)
        if found is None:
            found = self._texts[i] = event_text(self.happenings[i])
        return found

    def of_job(self, job_id: int) -> Sequence[int]:
        """Which of them are about a job."""
        if self._jobs is None:
            self._jobs = {}
            for i, happening in enumerate(self.happenings):
                self._jobs.setdefault(happening.job_id, []).append(i)
        return self._jobs.get(job_id, ())


class Hearer(Protocol):
    """Who follows."""

    def hear(self, batch: Batch) -> None:
        """It happened, in the order of its numbers. Other queues' events may be among them."""

    def gap(self) -> None:
        """Something may have happened that nobody was told of."""


class _Topic:
    """One queue of a shard, or all of it."""

    __slots__ = ("epoch", "hearers", "linger", "waiting")

    def __init__(self) -> None:
        self.hearers: dict[int, Hearer] = {}
        """By identity, in the order in which they came."""
        self.waiting: list[Done] = []
        self.epoch = 0
        """The life of the shard that said it tells; 0 while none has."""
        self.linger: asyncio.TimerHandle | None = None


class Following:
    """All that one process follows."""

    def __init__(self, process: str, ask_shard: AskShard, loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self._ask_shard = ask_shard
        self._loop = loop
        self._topics: dict[Key, _Topic] = {}
        self.positions: dict[int, Position] = {}
        """By shard: the latest that was heard of."""

    def follow(self, key: Key, hearer: Hearer, done: Done) -> None:
        """Hear from when `done` is called without an error."""
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic()
        topic.hearers[id(hearer)] = hearer
        if topic.linger is not None:
            topic.linger.cancel()
            topic.linger = None
        if topic.epoch:
            done(None)
            return
        topic.waiting.append(done)
        if len(topic.waiting) == 1:
            self._listen(key, topic)

    def leave(self, key: Key, hearer: Hearer) -> None:
        """Hear nothing more. Who does not follow does no harm."""
        topic = self._topics.get(key)
        if topic is None or topic.hearers.pop(id(hearer), None) is None or topic.hearers:
            return
        topic.linger = self._loop.call_later(LINGER_S, self._forget, key, topic)

    def _forget(self, key: Key, topic: _Topic) -> None:
        topic.linger = None
        del self._topics[key]
        shard, queue = key
        self._ask_shard(shard, _encode(("listen", (self._process, queue, False))), _noted, _noted)

    def stop(self) -> None:
        """The process ends."""
        for topic in self._topics.values():
            if topic.linger is not None:
                topic.linger.cancel()
        self._topics.clear()

    # -- shards

    def _listen(self, key: Key, topic: _Topic) -> None:
        shard, queue = key

        def came(body: bytes) -> None:
            ok, said, _ = _listening(body)
            if ok and not isinstance(said, str):
                self._stands(key, topic, said)
            else:
                self._failed(key, topic, Unavailable(str(said)))

        def failed(failure: Failure) -> None:
            self._failed(key, topic, Unavailable(f"Shard {shard} is unavailable"))

        self._ask_shard(shard, _encode(("listen", (self._process, queue, True))), came, failed)

    def _stands(self, key: Key, topic: _Topic, position: Position) -> None:
        shard, _ = key
        self.positions[shard] = max(self.positions.get(shard, position), position)
        was, topic.epoch = topic.epoch, position[0]
        waiting, topic.waiting = topic.waiting, []
        for done in waiting:
            done(None)
        if was and was != topic.epoch:
            for hearer in list(topic.hearers.values()):
                hearer.gap()

    def _failed(self, key: Key, topic: _Topic, error: FlashqError) -> None:
        waiting, topic.waiting = topic.waiting, []
        for done in waiting:
            done(error)
        if topic.epoch and self._topics.get(key) is topic:
            self._loop.call_later(RETRY_S, self._again, key, topic)

    def _again(self, key: Key, topic: _Topic) -> None:
        if self._topics.get(key) is topic:
            self._listen(key, topic)

    def shard_serves(self, shard: int) -> None:
        """It may have been restarted, and have forgotten that we listen."""
        for key, topic in list(self._topics.items()):
            if key[0] == shard and topic.epoch:
                self._listen(key, topic)

    def behind(
        self, key: Key, position: Position, job_id: int, on_answer: Callable[[Behind], Any],
        on_fail: Callable[[FlashqError], Any],
    ) -> None:  # fmt: skip
        """Ask what happened behind a position, of one job if `job_id` is not 0. `key` is being followed."""
        shard, queue = key

        def came(body: bytes) -> None:
            ok, said, _ = _behind(body)
            if ok and not isinstance(said, str):
                on_answer(said)
            else:
                on_fail(Unavailable(str(said)))

        def failed(failure: Failure) -> None:
            on_fail(Unavailable(f"Shard {shard} is unavailable"))

        self._ask_shard(shard, _encode(("since", (*position, queue, job_id))), came, failed)

    # -- events

    def came(self, shard: int, payload: bytes) -> None:
        """A notice of a shard."""
        epoch, numbers, happenings = decode_batch(payload)
        self.positions[shard] = max(self.positions.get(shard, (0, 0)), (epoch, numbers[-1]))
        self._tell((shard, ALL), Batch(shard, epoch, numbers, happenings))
        by_queue: dict[str, tuple[list[int], list[Happening]]] = {}
        for n, happening in zip(numbers, happenings, strict=True):
            if (shard, happening.queue) in self._topics:
                some = by_queue.setdefault(happening.queue, ([], []))
                some[0].append(n)
                some[1].append(happening)
        for queue, (some_numbers, some_happenings) in by_queue.items():
            self._tell((shard, queue), Batch(shard, epoch, some_numbers, some_happenings))

    def _tell(self, key: Key, batch: Batch) -> None:
        topic = self._topics.get(key)
        if topic is not None:
            for hearer in list(topic.hearers.values()):
                hearer.hear(batch)


def _noted(_: object) -> None:
    """Whether it heard that we do not listen any more makes no difference: what it sends finds nobody."""
