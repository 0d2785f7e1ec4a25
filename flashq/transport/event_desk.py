"""Who of this process's connections listens to what, and how it gets here.

Rules kept here
- A subscription lives where its connection lives. The shard that owns the queue only knows that this process listens
  to it, and sends each tick's events as one notice, once they are on disk there.
- A client is told `ok` when the shard has said so: what happens from then on it is told of.
- A shard that was restarted is asked again, as soon as it serves.
- A listener that does not read loses events, is told how many, and holds up nobody.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from flashq.errors import FlashqError, Unavailable
from flashq.protocol.dispatch import Link
from flashq.protocol.happenings import Happening, pushed_to_client
from flashq.transport.envelope import Failure

FEED: Final = 18
"""Notice to a process that listens: a `Batch`, as MessagePack."""
Batch = tuple[int, list[int], list[Happening]]
"""The shard's epoch, the events' numbers in it, and they."""
encode_batch: Final = msgspec.msgpack.Encoder().encode
decode_batch: Final = msgspec.msgpack.Decoder(Batch).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_answer: Final = msgspec.msgpack.Decoder(tuple[bool, Any, str]).decode

AskShard = Callable[[int, bytes, Callable[[bytes], Any], Callable[[Failure], None]], None]
Done = Callable[[FlashqError | None], Any]
"""Called when a subscription stands, or with why it does not."""


class EventDesk:
    """The subscriptions of one process."""

    def __init__(
        self, process: str, *, shard: int | None, owner_of_queue: Callable[[str], int], ask_shard: AskShard,
        own_changed: Callable[[], None],
    ) -> None:  # fmt: skip
        """`shard`: which one this process is, if any; `own_changed` is called when listeners to its queues change."""
        self._process = process
        self._shard = shard
        self._owner_of_queue = owner_of_queue
        self._ask_shard = ask_shard
        self._own_changed = own_changed
        self._links: dict[str, dict[int, tuple[Link, frozenset[str] | None]]] = {}
        """By queue and connection."""
        self._queues_of: dict[int, set[str]] = {}
        self._standing: set[str] = set()
        """Queues of other shards that have said they will tell us."""
        self._waiting: dict[str, list[Done]] = {}

    def own_queues(self) -> set[str]:
        """Queues of this shard that somebody here listens to."""
        return {queue for queue in self._links if self._owner_of_queue(queue) == self._shard}

    # -- clients

    def subscribe(self, link: Link, queue: str, kinds: frozenset[str] | None, done: Done) -> None:
        """From when `done` is called the connection gets the queue's events of these kinds; None: all."""
        self._links.setdefault(queue, {})[link.gid] = (link, kinds)
        self._queues_of.setdefault(link.gid, set()).add(queue)
        owner = self._owner_of_queue(queue)
        if owner == self._shard:
            self._own_changed()
            done(None)
        elif queue in self._standing:
            done(None)
        else:
            waiting = self._waiting.setdefault(queue, [])
            waiting.append(done)
            if len(waiting) == 1:
                self._listen(owner, queue)

    def unsubscribe(self, link: Link, queue: str) -> None:
        """The connection gets nothing more of this queue."""
        mine = self._queues_of.get(link.gid)
        if mine is not None:
            mine.discard(queue)
            if not mine:
                del self._queues_of[link.gid]
        links = self._links.get(queue)
        if links is not None and links.pop(link.gid, None) is not None and not links:
            del self._links[queue]
            self._unheard(queue)

    def gone(self, link: Link) -> None:
        """A connection ended."""
        for queue in list(self._queues_of.get(link.gid, ())):
            self.unsubscribe(link, queue)

    def listens(self, gid: int) -> bool:
        """Whether the connection has a subscription, or waits for one."""
        return gid in self._queues_of

    # -- shards

    def _listen(self, shard: int, queue: str) -> None:
        def came(body: bytes) -> None:
            ok, answer, _ = _decode_answer(body)
            self._stands(queue, None if ok else Unavailable(str(answer)))

        def failed(failure: Failure) -> None:
            self._stands(queue, Unavailable(f"Shard {shard} is unavailable"))

        self._ask_shard(shard, _encode(("listen", (self._process, queue, True))), came, failed)

    def _stands(self, queue: str, error: FlashqError | None) -> None:
        if error is None:
            self._standing.add(queue)
        for done in self._waiting.pop(queue, ()):
            done(error)
        if queue not in self._links:
            self._unheard(queue)

    def _unheard(self, queue: str) -> None:
        """Nobody here listens to it any more."""
        owner = self._owner_of_queue(queue)
        if owner == self._shard:
            self._own_changed()
        elif queue in self._standing:
            self._standing.discard(queue)
            self._ask_shard(owner, _encode(("listen", (self._process, queue, False))), _noted, _noted)

    def shard_serves(self, shard: int) -> None:
        """It may have been restarted, and have forgotten that we listen."""
        for queue in list(self._links):
            if self._owner_of_queue(queue) == shard != self._shard:
                self._standing.discard(queue)
                self._waiting.setdefault(queue, [])
                self._listen(shard, queue)

    # -- events

    def came(self, payload: bytes) -> None:
        """A notice of a shard."""
        self.deliver(decode_batch(payload)[2])

    def deliver(self, happenings: list[Happening]) -> None:
        """To each listener what it asked for."""
        for happening in happenings:
            links = self._links.get(happening.queue)
            if not links:
                continue
            bodies: dict[int, bytes] = {}
            for link, kinds in links.values():
                if kinds is None or happening.kind in kinds:
                    codec = link.codec
                    body = bodies.get(codec)
                    if body is None:
                        body = bodies[codec] = pushed_to_client(happening, codec)
                    link.push_event(body)


def _noted(_: object) -> None:
    """Whether it heard that we do not listen any more makes no difference: what it sends finds nobody."""
