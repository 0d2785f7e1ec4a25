"""A real cluster with small segments: its journal is folded and recycled, and everything is there afterwards."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import BINARY, TEXT, Reply, Wire

SEGMENT = 64 << 10
OPTIONS: Reply = {"priority": 3, "ttl": 3_000_000, "max_attempts": 7, "backoff": 5, "tags": ["é"], "lifo": True}


def small_segments(durability: str, **more: str) -> Cluster:
    """`more`: environment variables."""
    settings = {
        "FLASHQ_SEGMENT_BYTES": str(SEGMENT), "FLASHQ_CHECKPOINT_BYTES": str(SEGMENT),
        "FLASHQ_KEEP_COMPLETED_COUNT": "50",
    }  # fmt: skip
    return Cluster(shards=2, durability=durability, settings=settings | more)


def journal_of(cluster: Cluster, shard: int) -> Path:
    return cluster.data / f"shard-{shard:02}" / "journal"


def first_segment(cluster: Cluster, shard: int) -> int:
    """The number of the oldest segment that is kept."""
    return min(int(path.stem) for path in journal_of(cluster, shard).glob("*.seg"))


def wait_recycled(cluster: Cluster, shard: int, through: int) -> None:
    """Until the segments up to this number are not needed any more."""
    cluster.wait_until(lambda: first_segment(cluster, shard) > through, f"segment {through} to be recycled", 40.0)


def fill(wire: Wire, queue: str, rounds: int) -> None:
    """Jobs that come and go: several segments of them."""
    for n in range(rounds):
        jobs = [{"data": {"n": n, "k": k, "text": "x" * 80}} for k in range(200)]
        wire.ok("PUSHB", queue=queue, jobs=jobs)
        got = wire.ok("PULLB", queue=queue, count=200, timeout=0)["jobs"]
        assert len(got) == 200
        wire.ok("ACKB", ids=[job["id"] for job in got], leases=[job["lease"] for job in got])


def kinds_of_jobs(wire: Wire, queue: str) -> tuple[list[int], list[Reply]]:
    """One of everything that a restart has to bring back; all ids, and jobs that are held."""
    dead = wire.ok("PUSH", queue=queue, data="dead", max_attempts=1, priority=9)["id"]
    done = wire.ok("PUSH", queue=queue, data={"done": [None, "é", 2.5]}, priority=8)["id"]
    retried = wire.ok("PUSH", queue=queue, data="retried", backoff=300_000, priority=7)["id"]
    for job_id in (dead, done, retried):
        assert wire.ok("PULL", queue=queue, timeout=0)["job"]["id"] == job_id
    wire.ok("FAIL", id=dead, error="of old age")
    wire.ok("ACK", id=done, result={"r": [1, {"x": None}]})
    wire.ok("FAIL", id=retried, error="not yet")
    plain = wire.ok("PUSHB", queue=queue, jobs=[{"data": {"n": n}} for n in range(120)])["ids"]
    held = wire.ok("PULLB", queue=queue, count=100, timeout=0)["jobs"]
    wire.ok("ACKB", ids=plain[:30])
    delayed = wire.ok("PUSH", queue=queue, data="delayed", delay=600_000)["id"]
    rich = wire.ok("PUSH", queue=queue, data={"rich": "\n"}, **OPTIONS)["id"]
    held.append(wire.ok("PULL", queue=queue, timeout=0)["job"])
    return [dead, done, retried, *plain, delayed, rich], held[30:]


def picture(cluster: Cluster, ids: list[int], queues: list[str]) -> dict[str, Any]:
    """All that can be asked about these."""
    with Wire(cluster.connect()) as wire:
        stats = wire.ok("STATS")["queues"]
        return {
            "jobs": [wire.ok("GETJOB", id=i) for i in ids],
            "states": [wire.ok("GETSTATE", id=i)["state"] for i in ids],
            "results": [wire.ok("GETRESULT", id=i) for i in ids],
            "stats": [stats.get(q) for q in queues],
        }


@pytest.mark.parametrize(("durability", "codec"), [("fsync", TEXT), ("commit", BINARY)])
def test_everything_is_there_after_segments_were_recycled_and_all_was_killed(durability: str, codec: str) -> None:
    """The tables have what the journal has not any more: jobs in every state, leases, dead letters, results, counts."""
    with small_segments(durability) as cluster:
        live_and_die(cluster, codec)


def live_and_die(cluster: Cluster, codec: str) -> None:
    ids: list[int] = []
    held: list[Reply] = []
    queues = [next(cluster.queues_of(n, f"life-{n}-")) for n in (0, 1)]
    busy = [next(cluster.queues_of(n, f"busy-{n}-")) for n in (0, 1)]
    for n, queue in enumerate(queues):
        with Wire(cluster.connect(), codec) as wire:
            mine, leased = kinds_of_jobs(wire, queue)
            ids += mine
            held += leased
            wire.ok("PAUSE", queue=busy[n] + "-paused")
        with Wire(cluster.connect(), codec) as wire:
            fill(wire, busy[n], 30)
        wait_recycled(cluster, n, 4)
    before = picture(cluster, ids, queues + busy)
    for end in (cluster.kill_all, cluster.kill_all, cluster.stop):
        end()
        cluster.start()
        assert picture(cluster, ids, queues + busy) == before
        for queue in busy:
            with Wire(cluster.connect(), codec) as wire:
                fill(wire, queue, 3)
        before = picture(cluster, ids, queues + busy)
    for n, queue in enumerate(queues):
        with Wire(cluster.connect(), codec) as wire:
            mine = [job for job in held if job["id"] % 1024 == ids[0 if n == 0 else len(ids) // 2] % 1024]
            for job in mine[:5]:
                wire.ok("ACK", id=job["id"], lease=job["lease"])
                assert wire.ask("ACK", id=job["id"], lease=job["lease"] - 1)["code"] == "lease_lost"
            left = wire.ok("PULLB", queue=queue, count=100, timeout=0)["jobs"]
            assert [job["data"]["n"] for job in left] == list(range(100, 120)), "in their order"


def test_checkpointer_killed_again_and_again_loses_nothing() -> None:
    """It dies in the middle of folds, which are done again by the next one."""
    with small_segments("commit") as cluster:
        queue = next(cluster.queues_of(0, "q-"))
        kept = []
        with Wire(cluster.connect()) as wire:
            for n in range(5):
                jobs = [{"data": {"keep": n, "k": k, "text": "y" * 90}} for k in range(400)]
                kept += wire.ok("PUSHB", queue=queue, jobs=jobs)["ids"]
                cluster.wait_serving("checkpointer", other_than=cluster.kill("checkpointer"))
                fill_other = next(cluster.queues_of(0, f"other-{n}-"))
                fill(wire, fill_other, 6)
        wait_recycled(cluster, 0, 8)
        cluster.kill_all()
        cluster.start()
        with Wire(cluster.connect()) as wire:
            found: list[int] = []
            while len(found) < len(kept):
                found += [job["id"] for job in wire.ok("PULLB", queue=queue, count=500, timeout=0)["jobs"]]
            assert found == kept


@pytest.mark.parametrize("harm", ["missing", "damaged", "too new"])
def test_tables_that_cannot_be_used_keep_their_shard_down(harm: str) -> None:
    """What is in them only is lost without them: the other shard serves, this one says which file it is."""
    with small_segments("commit") as cluster:
        queue = next(cluster.queues_of(0, "q-"))
        with Wire(cluster.connect()) as wire:
            fill(wire, queue, 12)
        wait_recycled(cluster, 0, 2)
        cluster.kill_all()
        tables = cluster.data / "shard-00" / "tables.db"
        if harm == "too new":
            with sqlite3.connect(tables) as db:
                db.execute("UPDATE meta SET value = 999 WHERE key = 'schema'")
            db.close()
        else:
            for path in tables.parent.glob("tables.db*"):
                path.unlink()
            if harm == "damaged":
                tables.write_bytes(b"this is no SQLite file, for sure" * 500)
        cluster.launch()
        what = {"missing": "is missing", "damaged": "is damaged", "too new": "has schema 999"}[harm]
        cluster.wait_output(f"{tables} {what}")
