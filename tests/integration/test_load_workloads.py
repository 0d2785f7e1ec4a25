"""The workloads of the load test on a real cluster, small: each books its jobs, and each job comes once."""

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from flashq.cluster.health import read_status
from flashq.testing.cluster import Cluster
from loadtest import alone, workloads
from loadtest.bench import Bench
from loadtest.dialects import Flashq
from loadtest.ledger import WrongJobsError
from loadtest.workloads import Sample


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit") as cluster:
        yield cluster


def bench_of(cluster: Cluster, queue: str) -> Bench:
    return Bench(cluster.port, Flashq(), queue)


WORKLOADS: dict[str, Callable[[Bench], Sample]] = {
    "push": lambda bench: workloads.push(bench, 50),
    "push_window": lambda bench: workloads.push_window(bench, 10, 1, 200),
    "push_window deep": lambda bench: workloads.push_window(bench, 1, 64, 200),
    "push_batches": lambda bench: workloads.push_batches(bench, 2_000),
    "pull_batches": lambda bench: workloads.pull_batches(bench, 2_000),
    "pull_ack": lambda bench: workloads.pull_ack(bench, 50),
    "end_to_end": lambda bench: workloads.end_to_end(bench, 10),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_moves_every_job_once(cluster: Cluster, name: str) -> None:
    bench = bench_of(cluster, name.replace(" ", "-"))
    sample = WORKLOADS[name](bench)
    bench.drain()
    assert sample.rate > 0
    assert 0 < sample.latency.p50 <= sample.latency.p99 <= sample.latency.worst


def test_forwarded_pushes_stay_forwarded(cluster: Cluster) -> None:
    """The connection must not be handed on to the queue's shard: then nothing would be forwarded any more."""
    [queue], [home] = islice(cluster.queues_of(0, "away-"), 1), islice(cluster.queues_of(1, "home-"), 1)
    bench = bench_of(cluster, queue)
    bench.home = bench_of(cluster, home)
    workloads.forwarded(bench, 400)
    bench.drain()
    forwarded = forwarded_into(cluster, 0)
    assert forwarded >= 400


def forwarded_into(cluster: Cluster, shard: int) -> int:
    return read_status(cluster.run).shards[shard].counters["forwarded_in"]


def test_memory_is_filled_in_both_ways(cluster: Cluster) -> None:
    for how in (alone.in_batches, alone.one_by_one):
        bench = bench_of(cluster, how.__name__)
        how(bench, 3_000)
        assert len(bench.ledger) == 3_000
        bench.drain()


def test_bench_sees_a_job_that_somebody_took(cluster: Cluster) -> None:
    bench = bench_of(cluster, "stolen")
    bench.fill(1_000)
    with bench.line() as thief:
        thief.ask(bench.dialect.pull("stolen"))
    with pytest.raises(WrongJobsError):
        bench.drain()


def test_bench_sees_a_job_that_it_never_pushed(cluster: Cluster) -> None:
    bench = bench_of(cluster, "foisted")
    with bench.line() as other:
        other.ask(bench.dialect.push("foisted", 1))
    with pytest.raises(WrongJobsError, match="nobody pushed"):
        bench.drain()
