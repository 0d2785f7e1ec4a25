"""Custom ids as clients see them: one name space over all shards, in both codecs, on every way a request can take."""

import os
import threading
from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import CODECS, TEXT, Place, Wire


def names_of(cluster: Cluster, shard: int) -> Iterator[str]:
    """New names that a shard has to give."""
    return cluster.queues_of(shard, f"é{os.urandom(4).hex()}-")


@pytest.mark.parametrize("home", [0, 1])
def test_known_name_gives_its_job_whatever_the_queue(cluster: Cluster, place: Place, wire: Wire, home: int) -> None:
    name = next(names_of(cluster, home))
    first = wire.ok("PUSH", queue=place.queue(), data=1, job_id=name, reqId="a")
    assert first["reqId"] == "a"
    other = place.foreign()
    again = wire.ok("PUSH", queue=other, data=2, job_id=name, priority=5)
    assert again["id"] == first["id"]
    assert wire.ok("PUSH", queue=other, data=2, jobId=name)["id"] == first["id"]
    assert wire.ok("COUNT", queue=other)["count"] == 0
    seen = wire.ok("GETJOB", id=first["id"])["job"]
    assert (seen["custom_id"], seen["data"]) == (name, 1)


@pytest.mark.parametrize("home", [0, 1])
@pytest.mark.parametrize("field", ["job_id", "customId", "custom_id"])
def test_job_is_found_by_its_name(cluster: Cluster, place: Place, wire: Wire, home: int, field: str) -> None:
    name = next(names_of(cluster, home))
    unknown = wire.ok("GETJOBBYCUSTOMID", **{field: name})
    assert (unknown["job"], unknown["state"]) == (None, "unknown")
    for queue in (place.queue(), place.foreign()):
        name = next(names_of(cluster, home))
        job_id = wire.ok("PUSH", queue=queue, data={"n": 1}, job_id=name, delay=60_000)["id"]
        found = wire.ok("GETJOBBYCUSTOMID", **{field: name}, reqId="r")
        assert (found["state"], found["reqId"]) == ("delayed", "r")
        assert found["job"] == wire.ok("GETJOB", id=job_id)["job"]


def test_f8_completed_job_is_still_found_by_its_name(cluster: Cluster, place: Place, wire: Wire) -> None:
    queue = place.queue()
    for home in (0, 1):
        name = next(names_of(cluster, home))
        job_id = wire.ok("PUSH", queue=queue, data=1, job_id=name)["id"]
        assert wire.ok("PULL", queue=queue, timeout=0)["job"]["custom_id"] == name
        wire.ok("ACK", id=job_id, result=7)
        found = wire.ok("GETJOBBYCUSTOMID", job_id=name)
        assert (found["state"], found["job"]["id"], found["job"]["result"]) == ("completed", job_id, 7)


@pytest.mark.parametrize("home", [0, 1])
def test_f5_push_and_batch_alike_take_a_name_over_once_its_job_has_completed(
    cluster: Cluster, place: Place, wire: Wire, home: int
) -> None:
    queue = place.queue()
    name = next(names_of(cluster, home))
    ids = []
    for command in ("PUSH", "PUSHB", "PUSH"):
        fields = {"data": 1, "job_id": name}
        reply = wire.ok(command, queue=queue, **(fields if command == "PUSH" else {"jobs": [fields]}))
        ids.append(reply["id"] if command == "PUSH" else reply["ids"][0])
        wire.ok("PULL", queue=queue, timeout=0)
        wire.ok("ACK", id=ids[-1])
    assert len(set(ids)) == 3
    assert wire.ok("GETJOBBYCUSTOMID", job_id=name)["job"]["id"] == ids[-1]


@pytest.mark.parametrize("home", [0, 1])
def test_name_of_a_job_that_left_nothing_is_free(cluster: Cluster, place: Place, wire: Wire, home: int) -> None:
    """Told through the outbox: the name is forgotten, not only ignored."""
    queue = place.queue()
    name = next(names_of(cluster, home))
    job_id = wire.ok("PUSH", queue=queue, data=1, job_id=name, remove_on_complete=True)["id"]
    wire.ok("PULL", queue=queue, timeout=0)
    wire.ok("ACK", id=job_id)
    gone = wire.ok("GETJOBBYCUSTOMID", job_id=name)
    assert (gone["job"], gone["state"]) == (None, "unknown")
    assert wire.ok("PUSH", queue=queue, data=1, job_id=name)["id"] > job_id


def test_dead_letter_keeps_its_name(cluster: Cluster, place: Place, wire: Wire) -> None:
    queue = place.queue()
    for home in (0, 1):
        name = next(names_of(cluster, home))
        job_id = wire.ok("PUSH", queue=queue, data=1, job_id=name, max_attempts=1)["id"]
        wire.ok("PULL", queue=queue, timeout=0)
        wire.ok("FAIL", id=job_id)
        assert wire.ok("PUSH", queue=queue, data=1, job_id=name)["id"] == job_id


def test_batch_with_names_of_all_shards_known_new_repeated_and_refused(
    cluster: Cluster, place: Place, wire: Wire
) -> None:
    queue = place.queue()
    here, there = names_of(cluster, 0), names_of(cluster, 1)
    known = [next(here), next(there)]
    old = [wire.ok("PUSH", queue=place.foreign(), data=0, job_id=name)["id"] for name in known]
    wire.ok("PUSH", queue=queue, data=0, unique_key="k", priority=-1)
    new = [next(here), next(there), next(there)]
    names = [known[0], new[0], new[1], known[1], new[1], None, new[2], new[2]]
    jobs = [{"data": n, "job_id": name} for n, name in enumerate(names)]
    jobs[6]["unique_key"] = "k"
    reply = wire.ok("PUSHB", queue=queue, jobs=jobs)
    ids = reply["ids"]
    assert [(e["index"], e["code"]) for e in reply["errors"]] == [(6, "duplicate")]
    assert [ids[0], ids[3]] == old
    assert ids[2] == ids[4]
    assert len(set(ids)) == 6
    got = wire.ok("PULLB", queue=queue, count=10, timeout=0)["jobs"]
    assert [(job["data"], job["custom_id"]) for job in got] == [
        (1, new[0]), (2, new[1]), (5, None), (7, new[2]), (0, None),
    ]  # fmt: skip


def test_refused_push_does_not_keep_its_name(cluster: Cluster, place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSH", queue=queue, data=1, unique_key="k")
    for home in (0, 1):
        name = next(names_of(cluster, home))
        assert wire.refused("PUSH", queue=queue, data=1, unique_key="k", job_id=name)["code"] == "duplicate"
        assert wire.ok("GETJOBBYCUSTOMID", job_id=name)["state"] == "unknown"
        wire.ok("PUSH", queue=queue, data=1, job_id=name)


def test_effects_of_one_connection_keep_their_order(cluster: Cluster, place: Place, wire: Wire) -> None:
    """Pushes that wait for another shard are not overtaken by what the same client sent behind them."""
    queue = place.queue()
    there = names_of(cluster, 1)
    for n in range(40):
        fields = {"job_id": next(there)} if n % 3 == 0 else {}
        wire.send("PUSH", queue=queue, data=n, **fields)
    wire.send("PULLB", queue=queue, count=100, timeout=0)
    ids = [wire.read()["id"] for _ in range(40)]
    got = wire.read()["jobs"]
    assert [(job["id"], job["data"]) for job in got] == list(zip(ids, range(40), strict=True))


def test_resend_of_a_named_push_gets_the_first_answer(cluster: Cluster, place: Place, wire: Wire) -> None:
    queue = place.queue()
    for home in (0, 1):
        fields = {"queue": queue, "data": 1, "job_id": next(names_of(cluster, home)), "idempotency_key": f"i{home}"}
        with place.connect() as other:
            wire.send("PUSH", **fields)
            other.send("PUSH", **fields)
            assert wire.read()["id"] == other.read()["id"]
        job = wire.ok("PULL", queue=queue, timeout=0)["job"]
        wire.ok("ACK", id=job["id"])
        assert wire.ok("PUSH", **fields)["id"] == job["id"]
        assert wire.ok("COUNT", queue=queue)["count"] == 0


def test_pushes_of_one_name_at_once_from_everywhere_yield_one_job(cluster: Cluster) -> None:
    """Hard case 29: two shards, eight connections, each batch with the same names in another order."""
    rounds, clients = 12, 8
    queues = [next(cluster.queues_of(n % 2, f"race{os.urandom(3).hex()}-{n}-")) for n in range(clients)]
    homes = names_of(cluster, 0), names_of(cluster, 1)
    batches = [[next(homes[k % 2]) for k in range(10)] for _ in range(rounds)]
    found: list[list[dict[str, int]]] = [[] for _ in range(clients)]
    start = threading.Barrier(clients)

    def client(n: int) -> None:
        with Wire(cluster.connect(), CODECS[n % 2]) as wire:
            for batch in batches:
                names = batch[n:] + batch[:n]
                start.wait(20)
                jobs = [{"data": n, "job_id": name} for name in names]
                found[n].append(dict(zip(names, wire.ok("PUSHB", queue=queues[n], jobs=jobs)["ids"], strict=True)))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(f) for f in found] == [rounds] * clients
    for k in range(rounds):
        assert all(f[k] == found[0][k] for f in found), "every client got the same job for a name"
    with Wire(cluster.connect(), TEXT) as wire:
        stored = sum(wire.ok("COUNT", queue=queue)["count"] for queue in queues)
    assert stored == rounds * 10
