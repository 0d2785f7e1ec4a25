"""Everything is killed with jobs waiting: how soon they are served again, and in how much memory."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from flashq.testing.cluster import Cluster
from loadtest.processes import family, memory
from loadtest.sockets import Line
from loadtest.station import DIALECT, Station
from loadtest.trials import Bound, Figures, Side, Site, queue_on

SERVED: Final = "served again after kill -9, s"
BEFORE: Final = "memory before, MB"
AFTER: Final = "memory after, MB"
QUEUES_A_SHARD: Final = 2
START_S: Final = 120.0
STILL_S: Final = 1.0


def bounds(seconds: float) -> tuple[Bound, ...]:
    """Served again within so long, in no more memory than before."""
    return Bound(SERVED, seconds, at_most=True), Bound(AFTER, 1.05, BEFORE, at_most=True)


def restart(jobs: int) -> Callable[[Site], Sequence[Side]]:
    """So many waiting jobs over both shards; a PULL at each queue is what counts as served."""
    return partial(_sides, jobs)


def _sides(jobs: int, site: Site) -> Sequence[Side]:
    count = site.size(jobs, 4_000)
    cluster = site.cluster()

    def run() -> Figures:
        names = [queue_on(cluster, shard, f"restart-{n}") for shard in range(2) for n in range(QUEUES_A_SHARD)]
        stations = [Station(cluster.port, name) for name in names]
        for station in stations:
            station.push(count // len(stations))
        before = _memory(cluster)
        cluster.kill_all()
        started = time.monotonic()
        cluster.start(START_S)
        for station in stations:
            with Line(cluster.port) as line:
                ids = DIALECT.pulled(line.ask(DIALECT.pull_batch(station.queue)))
                served = time.monotonic() - started
                station.bag.took(ids)
                DIALECT.acked(line.ask(DIALECT.ack_batch(ids)), len(ids))
        after = _memory(cluster)
        for station in stations:
            station.drain()
        return {SERVED: served, BEFORE: before, AFTER: after}

    return (run,)


def _memory(cluster: Cluster) -> float:
    """Anonymous memory of all its processes when it has come to rest, in MB."""
    last = 0.0
    while True:
        now = memory(family(cluster.pids()["supervisor"])).anonymous / 1e6
        if abs(now - last) < 1.0:
            return now
        last = now
        time.sleep(STILL_S)
