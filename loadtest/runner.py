"""Rounds: every row on every server in turn, again and again, so that what else the machine does meets all alike."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import islice

from loadtest.bench import Bench
from loadtest.dialects import Echo
from loadtest.processes import one_core
from loadtest.rows import DEPTH, FORWARDED, Row
from loadtest.servers import Server
from loadtest.workloads import Sample

Samples = dict[str, list[Sample]]
"""By server."""


class Runner:
    """Runs rows on servers and keeps the samples."""

    def __init__(self, rows: Sequence[Row], servers: Sequence[Server], *, deep: bool) -> None:
        """`deep`: rows that say so are also run with a million jobs waiting."""
        self._rows = rows
        self._servers = {server.name: server for server in servers}
        self._deep = deep
        self._benches: dict[tuple[str, str], Bench] = {}
        self._deep_benches: dict[str, Bench] = {}
        self.samples: dict[str, Samples] = defaultdict(lambda: defaultdict(list))
        """By row."""
        self.deep_samples: dict[str, Samples] = defaultdict(lambda: defaultdict(list))

    def steps(self) -> int:
        """How many samples a round takes."""
        return sum(1 + self._runs_deep(row, server) for row in self._rows for server in self._servers_of(row))

    def round(self, before_each: Callable[[str], None]) -> None:
        """One round; `before_each` is told what is measured next."""
        for row in self._rows:
            for server in self._servers_of(row):
                before_each(f"{row.title}: {server.name}")
                self._shallow(row, server)
                if self._runs_deep(row, server):
                    before_each(f"{row.title}: {server.name}, a million waiting")
                    self._at_depth(row, server)

    def settle(self) -> None:
        """Drain what was kept deep: all its jobs have to come, once."""
        for bench in self._deep_benches.values():
            bench.drain()

    def _servers_of(self, row: Row) -> list[Server]:
        return [self._servers[name] for name in row.servers() if name in self._servers]

    def _runs_deep(self, row: Row, server: Server) -> bool:
        return self._deep and row.deep and server.cluster is not None

    def _shallow(self, row: Row, server: Server) -> None:
        bench = self._bench(row, server)
        self.samples[row.key][server.name].append(_sample(row, server, bench))
        if not isinstance(server.dialect, Echo):
            bench.drain()

    def _at_depth(self, row: Row, server: Server) -> None:
        bench = self._deep_benches.get(server.name)
        if bench is None:
            bench = self._deep_benches[server.name] = Bench(server.port, server.dialect, "deep")
        bench.level(DEPTH)
        self.deep_samples[row.key][server.name].append(_sample(row, server, bench))

    def _bench(self, row: Row, server: Server) -> Bench:
        bench = self._benches.get((row.key, server.name))
        if bench is None:
            bench = self._benches[row.key, server.name] = _new_bench(row, server)
        return bench


def _new_bench(row: Row, server: Server) -> Bench:
    if row.key != FORWARDED or server.cluster is None:
        return Bench(server.port, server.dialect, row.key)
    [queue] = islice(server.cluster.queues_of(0, "away-"), 1)
    [home] = islice(server.cluster.queues_of(1, "home-"), 1)
    return Bench(server.port, server.dialect, queue, home=Bench(server.port, server.dialect, home))


def _sample(row: Row, server: Server, bench: Bench) -> Sample:
    with one_core(server.pids()) if row.one_core else nullcontext():
        return row.run(bench)
