"""Flows over two shards that are killed again and again: every parent runs once, after all its children."""

import time
from typing import Any

from flashq.testing.cluster import Cluster
from tests.integration.wire import Reply, Wire

FLOWS, CHILDREN = 10, 4
KILLS = FLOWS // 2
DEADLINE_S = 90.0
AGAIN = ("unavailable", "timeout")
PATIENT = {"max_attempts": 0, "backoff": 0}
"""A reply with jobs may be lost with its shard: they come back when their lease ends."""


class Client:
    """One client that repeats what it got no answer to, under its key."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.wire = Wire(cluster.connect())
        self.until = time.monotonic() + DEADLINE_S
        self.keys = 0

    def ask(self, cmd: str, **fields: Any) -> Reply:
        """The answer, be it after several deaths of whoever has to give it."""
        self.keys += 1
        if not cmd.startswith(("PULL", "GET")):
            fields["idempotency_key"] = f"key-{self.keys}"
        while True:
            assert time.monotonic() < self.until, f"no answer to {cmd} {fields}"
            try:
                reply = self.wire.ask(cmd, **fields)
            except OSError:
                self.connect()
                continue
            if reply["ok"] or reply["code"] not in AGAIN:
                return reply

    def connect(self) -> None:
        self.wire.sock.close()
        self.wire = Wire(self.cluster.connect())


def test_every_parent_runs_once_after_all_its_children_however_often_shards_are_killed() -> None:
    with Cluster(shards=2, durability="commit") as cluster:
        top, near, far = next(cluster.queues_of(0, "top")), *(next(cluster.queues_of(k, "work")) for k in (0, 1))
        client = Client(cluster)
        acked: set[tuple[int, int]] = set()
        pushed = kills = rounds = 0
        while len(acked) < FLOWS * (CHILDREN + 1):
            if pushed < FLOWS:
                children = [
                    {"queue": (near, far)[n % 2], "data": [pushed, n], **PATIENT} for n in range(1, CHILDREN + 1)
                ]
                reply = client.ask("FLOW", queue=top, data=[pushed, 0], children=children, **PATIENT)
                assert reply["ok"], reply
                pushed += 1
            rounds += 1
            if kills < KILLS and rounds % 2:
                cluster.wait_serving(f"shard-{kills % 2:02}")
                cluster.kill(f"shard-{kills % 2:02}")
                kills += 1
            for queue in (near, far, top):
                for job in client.ask("PULLB", queue=queue, count=3, timeout=20, lease_ms=1_500)["jobs"]:
                    flow, place = job["data"]
                    assert (flow, place) not in acked, "what was acked came again"
                    if place == 0:
                        missing = {(flow, n) for n in range(1, CHILDREN + 1)} - acked
                        assert not missing, f"the parent of flow {flow} came before {missing}"
                    assert client.ask("ACK", id=job["id"])["ok"]
                    acked.add((flow, place))
        assert kills == KILLS
        for queue in (near, far, top):
            assert client.ask("PULLB", queue=queue, count=9, timeout=0)["jobs"] == [], "a flow was pushed twice"
        client.wire.sock.close()
