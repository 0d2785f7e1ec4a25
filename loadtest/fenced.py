"""One PUSH at a time beside one autocommitted, fenced INSERT of the same bytes: `python -m loadtest.fenced`.

Alternating rounds on one server with its syncs on; medians of the rounds' medians, and their ratio.
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

from flashq.database_url import parse
from flashq.storage.postgres import ownership
from flashq.storage.postgres.server import Server, run
from flashq.testing.cluster import Cluster
from flashq.testing.postgres import PostgresServer

ROUNDS: Final = 9
EACH: Final = 400
PAYLOAD: Final = "x" * 92
_INSERT: Final = (
    "WITH mine AS (SELECT 1 FROM flashq.shards WHERE shard = 0 AND epoch = 1 FOR SHARE)"
    " INSERT INTO flashq.journal (shard, seq, epoch, at_ms, mono_ms, events)"
    " SELECT 0, %s, 1, 0, 0, %s FROM mine"
)


def p50_us(once: Callable[[], Any]) -> float:
    """The median of `EACH` calls."""
    took = []
    for _ in range(EACH):
        start = time.perf_counter_ns()
        once()
        took.append((time.perf_counter_ns() - start) / 1_000)
    return median(took)


def inserting(url: str) -> Callable[[], Any]:
    """One insert a call, on a database of its own."""
    server = Server(parse(url))
    ownership.take(server, 1, (0,) * 1024)
    connection = server.connect("insert")
    run(connection, "UPDATE flashq.shards SET epoch = 1")
    events = PAYLOAD.encode() + b" " * 100  # what a push's record has besides
    seq = 0

    def insert() -> None:
        nonlocal seq
        seq += 1
        if run(connection, _INSERT, (seq, events)) != 1:
            raise AssertionError("nothing was inserted")

    return insert


def pushing(cluster: Cluster) -> Callable[[], Any]:
    """One push a call, answered."""
    client = cluster.connect()
    line = json.dumps({"cmd": "PUSH", "queue": "q", "data": PAYLOAD}).encode() + b"\n"

    def push() -> None:
        client.sendall(line)
        if not client.recv(4_096).startswith(b'{"ok":true'):
            raise AssertionError("a push was refused")

    return push


def main(driver: str = "psycopg") -> None:
    """Print the comparison."""
    with (
        PostgresServer(durable=True) as postgres,
        Cluster(shards=1, settings={"DATABASE_URL": postgres.database(driver)}) as cluster,
    ):
        insert, push = inserting(postgres.database(driver)), pushing(cluster)
        rounds = [(p50_us(insert), p50_us(push)) for _ in range(ROUNDS)]
    inserted, pushed = (median(column) for column in zip(*rounds, strict=True))
    ratio = median(b / a for a, b in rounds)
    print(f"{driver}: INSERT p50 {inserted:.0f} us, PUSH p50 {pushed:.0f} us, ratio {ratio:.2f} (at most 1.50)")


if __name__ == "__main__":
    main(*sys.argv[1:])
