"""The workloads: what is timed. Each prepares its requests, runs the clock, then books every job it moved.

A workload leaves its queue as deep as it found it or deeper; whoever called it drains the queue (or not: depth).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Final, NamedTuple

from loadtest.bench import Bench
from loadtest.dialects import Echo
from loadtest.sockets import Line
from loadtest.stats import Percentiles, percentiles
from loadtest.window import driver

WARM_UP: Final = 200
AT_REST_S: Final = 0.0004
"""How long a worker is left alone so that its pull has arrived: a hundred times what that takes."""
HOME_EVERY: Final = 32
"""A connection that speaks 64 times in a row to another shard is handed on to it; half of that keeps it where it is."""


class Sample(NamedTuple):
    """One round of one workload on one server."""

    rate: float
    """Requests, or jobs where they go in batches, a second."""
    latency: Percentiles
    client_share: float
    """Of the time, what the client's own core was busy: near 1, the client is what was measured."""


class Clock:
    """What a run took, and how much of that was the client's."""

    elapsed_s = 0.0
    client_share = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        before, busy = time.perf_counter(), time.process_time()
        yield
        self.elapsed_s = time.perf_counter() - before
        self.client_share = min((time.process_time() - busy) / self.elapsed_s, 1.0)

    def sample(self, count: int, latencies_ns: Sequence[int]) -> Sample:
        return Sample(count / self.elapsed_s, percentiles(latencies_ns), self.client_share)


def one_by_one(line: Line, requests: list[bytes], lines: int = 1) -> tuple[list[bytes], list[int]]:
    """Each request waits for the reply before it: the replies, and nanoseconds for each."""
    replies: list[bytes] = []
    took: list[int] = []
    ask, now = line.ask, perf_counter_ns
    for request in requests:
        since = now()
        reply = ask(request, lines)
        took.append(now() - since)
        replies.append(reply)
    return replies, took


def push(bench: Bench, count: int = 4_000) -> Sample:
    """PUSH, one at a time on one connection."""
    line, clock = bench.line(), Clock()
    requests = bench.requests(count + WARM_UP)
    each = [requests.one(number) for number in range(count + WARM_UP)]
    first, _ = one_by_one(line, each[:WARM_UP])
    with clock.running():
        replies, took = one_by_one(line, each[WARM_UP:])
    line.close()
    if not isinstance(bench.dialect, Echo):
        bench.booked(b"".join(first + replies), len(each))
    return clock.sample(count, took)


def push_window(bench: Bench, connections: int, depth: int, count: int) -> Sample:
    """PUSH from several connections with `depth` requests in flight on each."""
    lines, clock = [bench.line() for _ in range(connections)], Clock()
    requests = bench.requests(count)
    run = driver()
    with clock.running():
        replies = run(lines, depth, requests)
    for line in lines:
        line.close()
    if not isinstance(bench.dialect, Echo):
        bench.booked(replies.received, count)
    return clock.sample(count, replies.latencies_ns)


def push_batches(bench: Bench, count: int = 200_000) -> Sample:
    """PUSHB of a thousand, one at a time."""
    line, clock = bench.line(), Clock()
    requests = bench.batches(count // 1_000)
    with clock.running():
        replies, took = one_by_one(line, requests, bench.dialect.lines_a_push_batch)
    line.close()
    bench.booked(b"".join(replies), count)
    return clock.sample(count, took)


def pull_batches(bench: Bench, count: int = 200_000) -> Sample:
    """PULLB of a thousand, then ACKB of them (where there are no batches: pipelined by a hundred)."""
    bench.fill(max(count - len(bench.ledger), 0))
    line, dialect, clock = bench.line(), bench.dialect, Clock()
    due = bench.ledger.next_ids(count)
    groups = [due[at : at + dialect.batch] for at in range(0, count, dialect.batch)]
    # Which jobs will come is known, so their acks lie ready too; that they did come is checked afterwards.
    acks = [dialect.ack_batch(group) for group in groups]
    pull, pull_lines = dialect.pull_batch(bench.queue), dialect.lines_a_pull_batch(dialect.batch)
    ack_lines = dialect.lines_an_ack_batch(dialect.batch)
    pulled, acked, took = [], [], []
    with clock.running():
        for ack in acks:
            since = perf_counter_ns()
            pulled.append(line.ask(pull, pull_lines))
            acked.append(line.ask(ack, ack_lines))
            took.append(perf_counter_ns() - since)
    line.close()
    bench.ledger.took(dialect.pulled(b"".join(pulled)))
    dialect.acked(b"".join(acked), count)
    return clock.sample(count, took)


def pull_ack(bench: Bench, count: int = 4_000) -> Sample:
    """PULL, then ACK, one worker, one job at a time."""
    bench.fill(max(count - len(bench.ledger), 0))
    line, dialect, clock = bench.line(), bench.dialect, Clock()
    acks = [dialect.ack(job_id) for job_id in bench.ledger.next_ids(count)]
    pull, lines = dialect.pull(bench.queue), dialect.lines_a_job
    pulled, acked, took = [], [], []
    with clock.running():
        for ack in acks:
            since = perf_counter_ns()
            pulled.append(line.ask(pull, lines))
            acked.append(line.ask(ack))
            took.append(perf_counter_ns() - since)
    line.close()
    bench.ledger.took(dialect.pulled(b"".join(pulled)))
    dialect.acked(b"".join(acked), count)
    return clock.sample(count, took)


def end_to_end(bench: Bench, count: int = 1_500) -> Sample:
    """From a push's first byte to the job's last at a worker that waits on another connection."""
    producer, worker, dialect, clock = bench.line(), bench.line(), bench.dialect, Clock()
    requests = bench.requests(count)
    pull, lines = dialect.pull(bench.queue), dialect.lines_a_job
    took: list[int] = []
    with clock.running():
        for number in range(count):
            request = requests.one(number)
            worker.send(pull)
            time.sleep(AT_REST_S)
            since = perf_counter_ns()
            producer.send(request)
            job = worker.hear(lines)
            took.append(perf_counter_ns() - since)
            bench.booked(producer.hear(), 1)
            ids = dialect.pulled(job)
            bench.ledger.took(ids)
            dialect.acked(worker.ask(dialect.ack(ids[0])), 1)
    producer.close()
    worker.close()
    return clock.sample(count, took)


def forwarded(bench: Bench, count: int = 3_000) -> Sample:
    """PUSH to a queue of another shard than the one that holds the connection, one at a time.

    Without a `home`, the queue that the connection is held for, there is nothing to forward: PUSH.
    """
    if bench.home is None:
        return push(bench)
    home, clock = bench.home, Clock()
    line = home.line()
    requests, stays = bench.requests(count), home.requests(-(-count // HOME_EVERY))
    replies: list[bytes] = []
    at_home: list[bytes] = []
    took: list[int] = []
    with clock.running():
        for number in range(count):
            if number % HOME_EVERY == 0:
                at_home.append(line.ask(stays.one(number // HOME_EVERY)))
            request = requests.one(number)
            since = perf_counter_ns()
            reply = line.ask(request)
            took.append(perf_counter_ns() - since)
            replies.append(reply)
    line.close()
    bench.booked(b"".join(replies), count)
    home.booked(b"".join(at_home), len(at_home))
    home.drain()
    return clock.sample(count, took)
