"""The kit that other tests start clusters with: it kills what it was told to, and nothing is left of it."""

import json
import signal
import sys
from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster, ClusterError


def push(cluster: Cluster, queue: str) -> int:
    with cluster.connect() as client, client.makefile("rb") as replies:
        client.sendall(b'{"cmd":"PUSH","queue":"%b","data":1}\n' % queue.encode())
        reply = json.loads(replies.readline())
    assert reply["ok"], reply
    job_id: int = reply["id"]
    return job_id


def alive(pid: int) -> bool:
    """Not ended; whether somebody has waited for it is not the question."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_killed_processes_come_back_and_data_stay() -> None:
    with Cluster(shards=2, durability="commit") as cluster:
        first = push(cluster, "mail")
        for name in ("shard-00", "shard-01", "router-0"):
            pid = cluster.kill(name)
            assert cluster.wait_serving(name, other_than=pid) != pid
        old = cluster.pids()
        cluster.kill_all()
        assert not cluster.running()
        cluster.restart()
        assert not set(old.values()) & set(cluster.pids().values())
        assert push(cluster, "mail") > first
        assert cluster.stop() == 0
        assert "ready in" in cluster.output()


def test_nothing_is_left_of_a_cluster() -> None:
    with Cluster(shards=1, durability="memory", unix=True) as cluster:
        folder, pids = cluster.run.parent, cluster.pids()
        assert cluster.unix_path is not None
        assert cluster.unix_path.is_socket()
    assert not folder.exists()
    assert not [name for name, pid in pids.items() if alive(pid)]


def test_queues_of_a_shard_are_owned_by_it() -> None:
    with Cluster(shards=3, durability="memory") as cluster:
        for shard in range(3):
            assert cluster.owner(next(cluster.queues_of(shard))) == shard


def test_cluster_that_does_not_start_says_what_it_printed() -> None:
    program = "print('no such thing'); raise SystemExit(2)"
    cluster = Cluster(command=[sys.executable, "-c", program])
    with pytest.raises(ClusterError, match="no such thing"):
        cluster.start()
    cluster.close()


def test_stopped_process_can_be_told_from_a_dead_one() -> None:
    with Cluster(shards=1, durability="memory") as cluster:
        pid = cluster.kill("shard-00", signal.SIGSTOP)
        assert alive(pid)
        cluster.kill("shard-00", signal.SIGCONT)
        push(cluster, "mail")
