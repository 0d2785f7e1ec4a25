"""Slots on their way when somebody dies: each has one owner, and all of its jobs, once."""

import os
import signal
from random import Random

import pytest

from flashq.cluster import health
from flashq.cluster.folders import read_record
from flashq.cluster.slot_moves import write_wanted
from flashq.protocol.slots import slot_of_queue
from flashq.testing.cluster import Cluster
from flashq.transport.shared_memory import SharedState
from tests.integration.wire import TEXT, Wire

QUEUES = [f"q{n}" for n in range(24)]
SLOTS = sorted({slot_of_queue(name) for name in QUEUES})


def order_moves(cluster: Cluster, to: int) -> None:
    record = read_record(cluster.run)
    assert record is not None
    write_wanted(cluster.run, [(slot, to) for slot in SLOTS])
    os.kill(record.pid, signal.SIGUSR1)


def wait_for_moves(cluster: Cluster, more: int) -> None:
    """Until so many more slots have changed their owner."""
    state = SharedState.attach(cluster.run)
    try:
        version = state.slots().version
        cluster.wait_until(lambda: state.slots().version >= version + more, f"{more} slots have moved")
    finally:
        state.close()


@pytest.mark.parametrize(
    ("durability", "victims"),
    [("commit", ["shard-00", "shard-01"]), ("fsync", ["shard-01", "all"]), ("commit", ["all"])],
)
def test_whoever_dies_while_slots_move_every_job_is_there_once(durability: str, victims: list[str]) -> None:
    """Source, target, or everything with the supervisor; what was moved is moved, the rest is tried again."""
    random = Random(len(victims))
    with Cluster(shards=2, durability=durability) as cluster:
        with Wire(cluster.connect(), TEXT) as wire:
            ids = {
                name: wire.ok("PUSHB", queue=name, jobs=[{"data": n, "priority": n % 2} for n in range(60)])["ids"]
                for name in QUEUES
            }
            leased = {name: wire.ok("PULLB", queue=name, count=5)["jobs"] for name in QUEUES[:6]}
        to = 1
        for victim in victims * 2:
            order_moves(cluster, to)
            wait_for_moves(cluster, random.randrange(2, 7))
            if victim == "all":
                cluster.kill_all()
                cluster.start()
            else:
                killed = cluster.kill(victim)
                cluster.wait_serving(victim, other_than=killed)
            health.move_slots(cluster.run, [(slot, to) for slot in SLOTS])
            to = 1 - to
        with Wire(cluster.connect(), TEXT) as wire:
            for name in QUEUES:
                held = leased.get(name, [])
                for job in held:
                    wire.ok("ACK", id=job["id"], lease=job["lease"])
                found = wire.ok("PULLB", queue=name, count=100, timeout=0)["jobs"]
                assert sorted(job["id"] for job in (*held, *found)) == sorted(ids[name]), name
                assert wire.ok("PUSH", queue=name, data=1)["id"] not in ids[name]
