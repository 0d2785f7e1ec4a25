"""kill -9 of either shard while names are given: one name is one job, and every push is answered in the end."""

import itertools
import os
import threading
import time
from collections import defaultdict

from flashq.testing.cluster import Cluster
from tests.integration.wire import CODECS, Reply, Wire

KILLS = 6
CLIENTS = 4
NAMES = 8
PATIENCE_S = 60.0


class Client:
    """Pushes the same names as all others, and sends again what was not answered."""

    def __init__(self, cluster: Cluster, number: int, queue: str, tag: str) -> None:
        self.cluster = cluster
        self.number = number
        self.queue = queue
        self.tag = tag
        self.ids: list[dict[str, int]] = []
        self.again = 0
        self._wire: Wire | None = None

    def run(self, enough: threading.Event) -> None:
        for k in itertools.count():
            if enough.is_set():
                self.close()
                return
            names = [f"{self.tag}-{k}-{n}" for n in range(NAMES)]
            names = names[self.number :] + names[: self.number]
            jobs = [{"data": self.number, "job_id": name} for name in names]
            key = f"{self.tag}-{self.number}-{k}"
            reply = self.answered({"queue": self.queue, "jobs": jobs, "idempotency_key": key})
            self.ids.append(dict(zip(names, reply["ids"], strict=True)))

    def close(self) -> None:
        if self._wire is not None:
            self._wire.sock.close()
            self._wire = None

    def answered(self, fields: Reply) -> Reply:
        """The reply, however often it has to be asked for."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if self._wire is None:
                    self._wire = Wire(self.cluster.connect(), CODECS[self.number % 2])
                reply = self._wire.ask("PUSHB", **fields)
            except OSError:
                self.close()
            else:
                if reply["ok"]:
                    return reply
                assert reply["code"] in ("unavailable", "timeout"), reply
            self.again += 1
        raise AssertionError(f"no answer in {PATIENCE_S} s to {fields}")


def test_killed_shards_neither_lose_nor_double_a_name() -> None:
    """Pushes of one name meet at its slot, whichever of both shards dies in the middle."""
    tag, enough = os.urandom(4).hex(), threading.Event()
    with Cluster(shards=2, durability="commit") as cluster:
        queues = [next(cluster.queues_of(n % 2, f"k{tag}-{n}-")) for n in range(CLIENTS)]
        clients = [Client(cluster, n, queue, tag) for n, queue in enumerate(queues)]
        threads = [threading.Thread(target=client.run, args=(enough,)) for client in clients]
        for thread in threads:
            thread.start()
        for k in range(KILLS):
            before = len(clients[0].ids)
            name = f"shard-{k % 2:02}"
            cluster.wait_serving(name, other_than=cluster.kill(name))
            wait_for(lambda before=before: len(clients[0].ids) > before + 3)  # type: ignore[misc]
        enough.set()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        jobs = defaultdict(set)
        for client in clients:
            for ids in client.ids:
                for name, job_id in ids.items():
                    jobs[name].add(job_id)
        assert all(len(ids) == 1 for ids in jobs.values()), "everybody was told the same job"
        with Wire(cluster.connect()) as wire:
            assert sum(wire.ok("COUNT", queue=queue)["count"] for queue in queues) == len(jobs)
            for name in list(jobs)[:: max(1, len(jobs) // 40)]:
                assert {wire.ok("GETJOBBYCUSTOMID", job_id=name)["job"]["id"]} == jobs[name]
    assert sum(client.again for client in clients) > 0, "the kills were felt"


def wait_for(happened: object) -> None:
    """Until it has, or much too long."""
    assert callable(happened)
    deadline, tick = time.monotonic() + PATIENCE_S, threading.Event()
    while not happened():
        assert time.monotonic() < deadline, "nothing is answered any more"
        tick.wait(0.01)
