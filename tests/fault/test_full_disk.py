"""A disk that runs full under a cluster: pushes are refused in time, workers drain it, and it comes back alone."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster, flashq_command
from tests.integration.wire import Reply, Wire

SIZE = "200m"
DATA = "x" * 100_000
PUSHES_MAX = 2_000
"""As many bytes as the disk has: some must be refused."""
REFUSAL = "Disk is nearly full: pushes are refused until there is room"
WAIT_S = 60


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster whose data lie on a small file system of their own, in a mount namespace that outlives its kills."""
    root = os.geteuid() == 0
    with subprocess.Popen(
        ["unshare", "-m" if root else "-rm", "sh", "-c", f"mount -t tmpfs -o size={SIZE} none /mnt && echo up && cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert (said := holder.stdout.readline()) == "up\n", said
        enter = ["nsenter", "-t", str(holder.pid), "-m", *([] if root else ["-U", "--preserve-credentials"]), "--"]
        command = [*enter, *flashq_command()]
        with Cluster(shards=2, durability="commit", http=True, data=Path("/mnt/data"), command=command) as one:
            yield one
        holder.communicate()


def health(cluster: Cluster) -> Reply:
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.http_port}/health") as answer:
        found: Reply = json.load(answer)["data"]
    return found


def push_until_refused(wire: Wire, queue: str) -> list[int]:
    """The ids of what was taken."""
    taken: list[int] = []
    while len(taken) < PUSHES_MAX:
        reply = wire.ask("PUSH", queue=queue, data=DATA)
        if not reply["ok"]:
            assert (reply["error"], reply["code"]) == (REFUSAL, "unavailable")
            return taken
        taken.append(reply["id"])
    raise AssertionError(f"{PUSHES_MAX} jobs of {len(DATA)} bytes were taken by a disk of {SIZE}")


def drain(wire: Wire, queue: str) -> list[int]:
    """Pull and ack all there is."""
    done: list[int] = []
    while (job := wire.ok("PULL", queue=queue, timeout=0)["job"]) is not None:
        wire.ok("ACK", id=job["id"])
        done.append(job["id"])
    return done


def test_full_disk_refuses_pushes_keeps_all_lets_workers_drain_and_recovers_alone(cluster: Cluster) -> None:
    """Others acknowledge what they cannot write. Here acks go on while pushes are refused, also over a kill of all."""
    queue = next(cluster.queues_of(0, "full"))
    with Wire(cluster.connect()) as wire:
        taken = push_until_refused(wire, queue)
        while (found := health(cluster))["status"] != "degraded":  # a fold has made room since
            taken += push_until_refused(wire, queue)
        assert found["pushes_refused"]["shard-00"] == "disk is nearly full"
    cluster.kill_all()
    cluster.start()
    with Wire(cluster.connect()) as wire:
        assert drain(wire, queue) == taken
        end = time.monotonic() + WAIT_S
        while not (reply := wire.ask("PUSH", queue=queue, data=DATA))["ok"]:
            assert time.monotonic() < end, (reply, health(cluster))
        assert wire.ok("PULL", queue=queue, timeout=0)["job"]["id"] == reply["id"]
    assert cluster.stop() == 0
