"""Rows that need a cluster of their own: memory of a million jobs, an idle cluster of 32 shards, checkpoint spikes."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from time import perf_counter_ns
from typing import Final, NamedTuple

from flashq.testing.cluster import Cluster
from loadtest.bench import FILL, Bench
from loadtest.dialects import Flashq
from loadtest.processes import Memory, cpu_s, memory
from loadtest.servers import Server
from loadtest.sockets import RECEIVE_BYTES, SILENCE_S, Requests, SilentServerError
from loadtest.stats import Percentiles, percentiles
from loadtest.window import driver

MILLION: Final = 1_000_000
STEP: Final = 100_000
STILL_BYTES: Final = 500_000
"""A server whose memory changes by less within a second has finished what it does behind its replies."""
STILL_S: Final = 30
IDLE_SHARDS: Final = 32
SPIKE_RATE: Final = 50_000
SPIKE_CHECKPOINT: Final = "16MiB"
"""So that several checkpoints fall into a run; by default one comes every 64 MiB."""


class MemoryGrowth(NamedTuple):
    """What a million waiting jobs of 92 bytes cost, in bytes."""

    pss: int
    anonymous: int


class Idle(NamedTuple):
    """A cluster that nobody talks to."""

    ready_s: float
    core_share: float
    """Of one core, over the time that it was watched."""
    pss: int


def memory_growth(server: Server, how: Callable[[Bench, int], None]) -> MemoryGrowth:
    """Push a million jobs with `how`; then drain them, once each."""
    bench = Bench(server.port, server.dialect, "memory")
    how(bench, FILL)  # what the first job of a queue costs is not a job's
    before = _at_rest(server.pids)
    how(bench, MILLION)
    after = _at_rest(server.pids)
    bench.drain()
    return MemoryGrowth(after.pss - before.pss, after.anonymous - before.anonymous)


def in_batches(bench: Bench, count: int) -> None:
    """PUSHB of a thousand."""
    bench.fill(count)


def one_by_one(bench: Bench, count: int) -> None:
    """PUSH, 64 in flight."""
    run = driver()
    for done in range(0, count, STEP):
        due = min(STEP, count - done)
        line = bench.line()
        bench.booked(run([line], 64, bench.requests(due)).received, due)
        line.close()


def _at_rest(pids: Callable[[], list[int]]) -> Memory:
    last = memory(pids())
    for _ in range(STILL_S):
        time.sleep(1.0)
        now = memory(pids())
        if abs(now.pss - last.pss) < STILL_BYTES:
            return now
        last = now
    return last


def idle(seconds: float) -> Idle:
    """Start 32 shards, leave them alone, look at what they use."""
    with _cluster(IDLE_SHARDS, "fsync") as server:
        assert server.cluster is not None
        _at_rest(server.pids)
        before = cpu_s(server.pids())
        time.sleep(seconds)
        return Idle(server.cluster.ready_s, (cpu_s(server.pids()) - before) / seconds, memory(server.pids()).pss)


def checkpoint_spike(durability: str, seconds: float) -> Percentiles:
    """PUSH at 50 k a second, come what may; latencies count from when a request was due, not from when it could go."""
    with _cluster(2, durability, {"FLASHQ_CHECKPOINT_BYTES": SPIKE_CHECKPOINT}) as server:
        bench = Bench(server.port, server.dialect, "spike")
        requests = bench.requests(SPIKE_RATE)
        latencies, replies = _open_loop(server.port, requests, SPIKE_RATE, int(seconds * SPIKE_RATE))
        bench.booked(replies, len(latencies))
        bench.drain()
        return percentiles(latencies)


@contextmanager
def _cluster(shards: int, durability: str, settings: dict[str, str] | None = None) -> Iterator[Server]:
    with Cluster(shards=shards, durability=durability, settings=settings) as cluster:
        yield Server("flashq", cluster.port, Flashq(), cluster.pids()["supervisor"], durability, cluster)


def _open_loop(port: int, requests: Requests, rate: int, total: int) -> tuple[list[int], bytes]:
    """Send at `rate` a second, over and over through `requests`; latencies in order, and all replies."""
    arrivals: list[tuple[int, int]] = []
    received: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), SILENCE_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = perf_counter_ns()
        sent = done = 0
        while done < total:
            due = min(total, (perf_counter_ns() - start) * rate // 10**9)
            if due > sent:
                client.sendall(_cycled(requests, sent, due))
                sent = due
            # select, as its timeout is finer than epoll's millisecond.
            if not select.select([client], [], [], 0.0005 if sent < total else SILENCE_S)[0]:
                if sent == total:
                    raise SilentServerError(f"{done} of {total} replies, then none in {SILENCE_S:.0f} s")
                continue
            data = client.recv(RECEIVE_BYTES)
            if not data:
                raise SilentServerError("the server closed the connection")
            count = data.count(b"\n")
            arrivals.append((perf_counter_ns() - start, count))
            received.append(data)
            done += count
    moments = chain.from_iterable(repeat(at, count) for at, count in arrivals)
    return [at - number * 10**9 // rate for number, at in enumerate(moments)], b"".join(received)


def _cycled(requests: Requests, first: int, last: int) -> bytes:
    """Requests `first` to `last` of an endless repetition."""
    size, count = requests.size, requests.count
    at, end = first % count, last - first
    whole = requests.blob[at * size : (at + end) * size]
    missing = end - len(whole) // size
    return whole + requests.blob * (missing // count) + requests.blob[: missing % count * size]
