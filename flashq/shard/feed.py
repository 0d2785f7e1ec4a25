"""What happened in this shard, told to those who listen, in this process and in others, after it is on disk."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from flashq.engine.telling import listen
from flashq.errors import Unavailable
from flashq.protocol.happenings import Happening
from flashq.shard import internal
from flashq.shard.ring import ALL, Ring
from flashq.transport.event_desk import FEED, EventDesk, encode_batch

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

log = structlog.get_logger()


class Feed:
    """One shard's events, numbered from 1 in each life of the process."""

    def __init__(self, here: "ShardDispatcher", notify: Callable[[str, int, bytes], Any]) -> None:
        self._here = here
        self._notify = notify
        self._desk: EventDesk = here.desk
        self._peers: dict[str, set[str]] = {}
        """Queues that other processes listen to; `*` stands for all."""
        self.ring = Ring(here.engine.epoch)

    @property
    def position(self) -> tuple[int, int]:
        """Which life this is, and the number of its latest event."""
        return self.ring.epoch, self.ring.number

    def refresh(self) -> None:
        """Listeners came or went."""
        queues = self._desk.own_queues().union(*self._peers.values())
        self.ring.hear(queues)
        listen(self._here.engine, queues - {ALL}, everything=ALL in queues)

    def listen(self, process: str, queue: str, on: bool) -> None:
        """A process begins or ends to listen to a queue, or to all (`*`)."""
        queues = self._peers.setdefault(process, set())
        if on:
            queues.add(queue)
        else:
            queues.discard(queue)
        if not queues:
            del self._peers[process]
        self.refresh()

    def peer_gone(self, process: str) -> None:
        """It died, and its listeners with it."""
        if self._peers.pop(process, None) is not None:
            self.refresh()

    def publish(self, happened: list[Happening]) -> None:
        """A tick is committed: tell what happened in it."""
        audience = self._here.engine.audience
        if audience.hooked or audience.hooked_all:
            happened = [happening for happening in happened if audience.follows(happening.queue)]
            if not happened:
                return
        numbers = self.ring.add(happened)
        self._desk.deliver(happened)
        epoch = self.ring.epoch
        whole = b""
        for process, queues in list(self._peers.items()):
            if ALL in queues:
                whole = whole or encode_batch((epoch, numbers, happened))
                self._send(process, whole)
                continue
            some = [(n, h) for n, h in zip(numbers, happened, strict=True) if h.queue in queues]
            if some:
                self._send(process, encode_batch((epoch, [n for n, _ in some], [h for _, h in some])))

    def _send(self, process: str, payload: bytes) -> None:
        try:
            self._notify(process, FEED, payload)
        except Unavailable as e:
            log.warning("a process that listens is not there", process=process, reason=str(e))
            self.peer_gone(process)


def _listen(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    process, queue, on = msgspec.convert(value, tuple[str, str, bool])
    here.feed.listen(process, queue, on)
    return here.feed.position


def _since(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    return here.feed.ring.since(*msgspec.convert(value, tuple[int, int, str, int]))


internal.WORDS["listen"] = _listen
internal.WORDS["since"] = _since
