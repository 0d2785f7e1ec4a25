"""A flow of ten thousand children over all shards: pushed, worked off, its parent released; and as many plain jobs.

Both are worked off in the same batches, a thousand at a time from one shard's queue after the other's. The parent can
be had only when each child has been worked off and the word of each has crossed the shards.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from flashq.testing.cluster import Cluster
from loadtest.bench import FILL
from loadtest.dialects import payload
from loadtest.sockets import Line
from loadtest.station import DIALECT, Station
from loadtest.trials import Figures, Side, Site, queue_on

FLOW: Final = "a flow, ms"
PLAIN: Final = "plain jobs, ms"
WAIT_MS: Final = 20_000


class _FlowReply(msgspec.Struct):
    parent_id: int
    children_ids: list[int]


def flow(site: Site) -> Sequence[Side]:
    """One FLOW, or PUSHB of a thousand each and a PUSH; the queues are the same."""
    cluster, count = site.cluster(), site.size(10_000, 500)
    go = _Go(cluster, count)

    def plain() -> Figures:
        return {PLAIN: go.timed(go.push_plain(), go.plain_pushed)}

    def flowed() -> Figures:
        return {FLOW: go.timed([go.flow_frame()], go.flow_pushed)}

    return plain, flowed


class _Go:
    """The queues, and what is pushed to them and taken from them."""

    def __init__(self, cluster: Cluster, count: int) -> None:
        self._count = count
        self._children = [Station(cluster.port, queue_on(cluster, at, "children")) for at in range(cluster.shards)]
        self._parents = Station(cluster.port, queue_on(cluster, 0, "parents"))

    def timed(self, frames: Sequence[bytes], pushed: Callable[[Sequence[bytes]], None]) -> float:
        """Push, work off all children, take the parent; milliseconds."""
        since = time.perf_counter()
        with self._parents.line() as line:
            pushed([line.ask(frame) for frame in frames])
            for station in self._children:
                while len(station.bag):
                    _work(station, line, FILL)
            _work(self._parents, line, 1)
        took = time.perf_counter() - since
        for station in (*self._children, self._parents):
            station.drain()
        return took * 1e3

    def push_plain(self) -> list[bytes]:
        """The frames of as many jobs without a flow: the parent is pushed last."""
        share = self._count // len(self._children)
        frames = [batch for station in self._children for batch in station.batches(share)]
        return [*frames, b'{"cmd":"PUSH","queue":"%b","data":null}\n' % self._parents.queue.encode()]

    def plain_pushed(self, replies: Sequence[bytes]) -> None:
        """Book them."""
        share = self._count // len(self._children)
        ids = DIALECT.pushed(b"".join(replies[:-1]))
        for at, station in enumerate(self._children):
            station.bag.pushed(ids[at * share : (at + 1) * share], share)
        self._parents.bag.pushed(DIALECT.pushed(replies[-1]), 1)

    def flow_frame(self) -> bytes:
        """The children are dealt to the shards' queues in turn."""
        queues = [station.queue.encode() for station in self._children]
        children = b",".join(
            b'{"queue":"%b","data":%b}' % (queues[number % len(queues)], payload(number))
            for number in range(self._count)
        )
        parent = self._parents.queue.encode()
        return b'{"cmd":"FLOW","queue":"%b","data":null,"children":[%b]}\n' % (parent, children)

    def flow_pushed(self, replies: Sequence[bytes]) -> None:
        """Book them."""
        [reply] = replies
        DIALECT.check_ok(reply)
        flow = msgspec.json.decode(reply, type=_FlowReply)
        self._parents.bag.pushed([flow.parent_id], 1)
        for at, station in enumerate(self._children):
            ids = flow.children_ids[at :: len(self._children)]
            station.bag.pushed(ids, self._count // len(self._children))


def _work(station: Station, line: Line, count: int) -> int:
    """Wait for jobs, take and finish them; how many."""
    pull = b'{"cmd":"PULLB","queue":"%b","count":%d,"timeout":%d}\n' % (station.queue.encode(), count, WAIT_MS)
    ids = DIALECT.pulled(line.ask(pull))
    if not ids:
        raise RuntimeError(f"{station.queue}: no job in {WAIT_MS} ms")
    station.bag.took(ids)
    DIALECT.acked(line.ask(DIALECT.ack_batch(ids)), len(ids))
    return len(ids)
