"""Queues move to another shard while the cluster serves them: nothing is lost, doubled or refused."""

import threading
from pathlib import Path

import pytest

from flashq.cluster import health
from flashq.cluster.slot_map import find_map
from flashq.errors import ConfigError
from flashq.protocol.slots import slot_of_queue
from flashq.testing.cluster import Cluster
from tests.integration.test_checkpoints import kinds_of_jobs, picture
from tests.integration.wire import BINARY, TEXT, Reply, Wire


def moved(cluster: Cluster, names: list[str], shard: int) -> None:
    health.move_slots(cluster.run, [(slot, shard) for slot in sorted({slot_of_queue(name) for name in names})])
    assert {cluster.owner(name) for name in names} == {shard}


@pytest.mark.parametrize(("durability", "codec"), [("fsync", TEXT), ("commit", BINARY)])
def test_what_moved_live_is_what_it_was_also_after_kills(durability: str, codec: str) -> None:
    """Jobs in every state, leases, names, keys, crons and dependencies, there and back, and after restarts."""
    with Cluster(shards=3, durability=durability) as cluster:
        ids: list[int] = []
        held: list[Reply] = []
        queues = [f"moved-{n}" for n in range(4)]
        with Wire(cluster.connect(), codec) as wire:
            for queue in queues:
                mine, leased = kinds_of_jobs(wire, queue)
                ids += mine
                held += leased[:3]
            named = wire.ok("PUSH", queue="named", data=1, jobId="mine", unique_key="k")["id"]
            waits = [
                wire.ok("PUSH", queue=f"after-{n}", data=n, depends_on=[named, held[n]["id"]])["id"] for n in range(5)
            ]
            wire.ok("KVSET", key="colour", value={"é": 1})
            wire.ok("CRON", name="nightly", queue="night", schedule="0 0 3 1 1 *", data={})
            ids += [named, *waits]
            before = picture(cluster, ids, queues)
            everything = [*queues, "named", "mine", "colour", "nightly", "night", *(f"after-{n}" for n in range(5))]
            moved(cluster, everything, 2)
            assert picture(cluster, ids, queues) == before
            moved(cluster, everything, 0)
        cluster.kill_all()
        cluster.start()
        assert {cluster.owner(name) for name in everything} == {0}
        assert picture(cluster, ids, queues) == before
        moved(cluster, everything, 1)
        cluster.restart()
        assert picture(cluster, ids, queues) == before
        with Wire(cluster.connect(), codec) as wire:
            assert wire.ok("PUSH", queue="named", data=2, jobId="mine")["id"] == named
            assert wire.ok("KVGET", key="colour")["value"] == {"é": 1}
            for job in held:
                wire.ok("ACK", id=job["id"], lease=job["lease"])
            got = wire.ok("PULL", queue="named", timeout=0)["job"]
            wire.ok("ACK", id=got["id"], lease=got["lease"])
            for n in range(5):
                assert wire.ok("PULL", queue=f"after-{n}", timeout=20_000)["job"]["id"] == waits[n]


def test_clients_notice_no_move_under_load_nor_one_whose_shards_are_killed() -> None:
    """Each job is given out once; pulls that wait go along; no request is refused but those of a shard that died."""
    with Cluster(shards=2, durability="commit") as cluster:
        queue = next(cluster.queues_of(0))
        rounds = 12
        pushed: list[int] = []
        acked: list[int] = []
        over = threading.Event()

        def push() -> None:
            with Wire(cluster.connect(), TEXT) as wire:
                while not over.is_set():
                    pushed.append(wire.ok("PUSH", queue=queue, data=len(pushed))["id"])

        def work() -> None:
            with Wire(cluster.connect(), TEXT) as wire:
                while not (over.is_set() and len(acked) == len(pushed)):
                    job = wire.ok("PULL", queue=queue, timeout=200)["job"]
                    if job is not None:
                        wire.ok("ACK", id=job["id"], lease=job["lease"])
                        acked.append(job["id"])

        threads = [threading.Thread(target=call) for call in (push, work)]
        for thread in threads:
            thread.start()
        for n in range(rounds):
            before = len(acked)
            moved(cluster, [queue], (n + 1) % 2)
            cluster.wait_until(lambda before=before: len(acked) > before + 5, "work goes on")
        over.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert sorted(acked) == sorted(pushed), "each once"
        slots = find_map(Path(cluster.data))
        assert slots is not None
        assert slots.version >= rounds


def test_a_pull_that_waits_goes_along_with_its_queue() -> None:
    """It is answered by the shard that has the queue then, over the connection it came on."""
    with Cluster(shards=2, durability="fsync") as cluster:
        queue = next(cluster.queues_of(0))
        with Wire(cluster.connect(), TEXT) as waiting, Wire(cluster.connect(), TEXT) as wire:
            waiting.send("PULL", queue=queue, timeout=30_000, reqId="p")
            moved(cluster, [queue], 1)
            pushed = wire.ok("PUSH", queue=queue, data="late")["id"]
            assert waiting.read()["job"]["id"] == pushed


def test_all_slots_are_spread_over_fewer_shards_and_back() -> None:
    """The command says how many moved; a shard without slots serves on, and gets its share again."""
    with Cluster(shards=3, durability="commit") as cluster:
        queues = [f"s{n}" for n in range(12)]
        with Wire(cluster.connect(), TEXT) as wire:
            ids = [wire.ok("PUSH", queue=name, data=1)["id"] for name in queues]
            assert health.spread(cluster.run, 2, timeout_ms=120_000) > 300
            assert {cluster.owner(name) for name in queues} <= {0, 1}
            assert health.spread(cluster.run, 2) == 0
            assert health.spread(cluster.run, 3, timeout_ms=120_000) > 300
            assert [wire.ok("PULL", queue=name, timeout=0)["job"]["id"] for name in queues] == ids
        with pytest.raises(ConfigError, match="allowed is 1 to 3"):
            health.spread(cluster.run, 4)


def test_what_is_tied_to_a_connection_outlives_the_move() -> None:
    """Waits for a job's end, subscriptions, and leases that end when their connection does."""
    with Cluster(shards=2, durability="fsync") as cluster:
        queue = next(cluster.queues_of(0))
        with Wire(cluster.connect(), TEXT) as wire, Wire(cluster.connect(), TEXT) as listener:
            job_id = wire.ok("PUSH", queue=queue, data=1)["id"]
            tied = Wire(cluster.connect(), TEXT)
            token = tied.ok("PULL", queue=queue, timeout=0, release_on_disconnect=True)["job"]["lease"]
            listener.ok("SUBSCRIBE", queue=queue, events=["completed"])
            with Wire(cluster.connect(), TEXT) as waiting:
                waiting.send("WAITJOB", id=job_id, timeout=60_000, reqId="w")
                moved(cluster, [queue], 1)
                tied.sock.close()
                again = wire.ok("PULL", queue=queue, timeout=30_000)["job"]
                assert (again["id"], again["lease"] > token) == (job_id, True), "it came back with its connection's end"
                told = listener.ask("PING")  # a move may overtake what happens in the same moment: not what comes later
                assert told["pong"] is True
                wire.ok("ACK", id=job_id, lease=again["lease"], result="done")
                ended = waiting.read()
                assert (ended["ok"], ended["result"], ended["reqId"]) == (True, "done", "w")
            event = listener.read()
            assert (event["event_type"], event["job_id"]) == ("completed", job_id)


def test_requests_over_many_slots_are_not_refused_while_all_of_them_move() -> None:
    """Flows, custom ids, keys of several slots, repeated requests: each concerns slots that may be on their way."""
    with Cluster(shards=3, durability="commit") as cluster:
        over = threading.Event()
        refused: list[Reply] = []
        counts = {0: 0, 1: 0}

        def ask(wire: Wire, cmd: str, **fields: object) -> Reply:
            reply = wire.ask(cmd, **fields)
            if not reply["ok"] or reply.get("errors"):
                refused.append(reply)
            return reply

        def live(client: int) -> None:
            with Wire(cluster.connect(), TEXT) as wire:
                while not over.is_set():
                    n = counts[client] = counts[client] + 1
                    children = [{"queue": f"b{(n + k) % 7}", "data": k} for k in range(4)]
                    ask(wire, "FLOW", queue=f"a{client}", data=1, children=children)
                    named = {
                        "queue": f"c{n % 9}",
                        "data": 1,
                        "jobId": f"n{client}-{n}",
                        "idempotency_key": f"{n}-{client}",
                    }
                    assert ask(wire, "PUSH", **named) == ask(wire, "PUSH", **named), "the first answer again"
                    ask(wire, "KVMSET", entries=[{"key": f"v{client}-{k}", "value": n} for k in range(5)])
                    job = ask(wire, "PULL", queue=f"b{n % 7}", timeout=0).get("job")
                    if job is not None:
                        ask(wire, "ACK", id=job["id"], lease=job["lease"])

        threads = [threading.Thread(target=live, args=(client,)) for client in counts]
        for thread in threads:
            thread.start()
        moved_slots = health.spread(cluster.run, 2, timeout_ms=120_000)
        over.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert refused == []
        assert moved_slots > 300
        assert min(counts.values()) > 20
