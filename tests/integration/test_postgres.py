"""A cluster whose journal and tables are in PostgreSQL, by each driver."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from flashq.testing.cluster import Cluster
from flashq.testing.postgres import PostgresServer
from tests.integration.web import Web
from tests.integration.wire import Wire, counts

SETTINGS = {"FLASHQ_CHECKPOINT_BYTES": "65536"}
QUEUES = ("one", "two", "three", "four")


def connect(cluster: Cluster) -> Wire:
    return Wire(cluster.connect())


@pytest.fixture(params=["psycopg", "psycopg2"])
def url(request: pytest.FixtureRequest, postgres: PostgresServer) -> str:
    return postgres.database(request.param)


@pytest.fixture
def cluster(url: str) -> Iterator[Cluster]:
    with Cluster(shards=2, settings=SETTINGS | {"DATABASE_URL": url}) as one:
        yield one


def database(url: str) -> str:
    return url.rpartition("/")[2]


def rows(cluster: Cluster, postgres: PostgresServer, query: str) -> list[tuple[object, ...]]:
    return postgres.run(database(cluster.settings["DATABASE_URL"]), query)


def test_every_kind_of_state_is_there_after_kills_and_after_a_stop(cluster: Cluster) -> None:
    """What was answered comes back from the database alone, whichever way the processes ended."""
    with connect(cluster) as c:
        for queue in QUEUES:
            c.ok("PUSHB", queue=queue, jobs=[{"data": {"n": n}} for n in range(50)])
            done = c.ok("PULL", queue=queue)["job"]["id"]
            c.ok("ACK", id=done, result={"text": "grün\0"})
            dead = c.ok("PUSH", queue=queue, data=1, max_attempts=1, priority=9)["id"]
            assert c.ok("PULL", queue=queue)["job"]["id"] == dead
            c.ok("FAIL", id=dead, error="with \0 and \ue000 in it")
            c.ok("PUSH", queue=queue, data=2, delay=3_600_000)
            c.ok("PULL", queue=queue)
        flow = c.ok("FLOW", queue="one", data="parent", children=[{"queue": "two", "data": n} for n in range(3)])
        c.ok("KVSET", key="a\0key", value=[1, 2])
        before = [counts(c, queue) for queue in QUEUES]
    for ended in ("shards", "all", "stopped"):
        if ended == "shards":
            pids = {name: cluster.kill(name) for name in ("shard-00", "shard-01")}
            for name, pid in pids.items():
                cluster.wait_serving(name, other_than=pid)
        else:
            if ended == "all":
                cluster.kill_all()
            cluster.restart()
        with connect(cluster) as c:
            assert [counts(c, queue) for queue in QUEUES] == before, ended
            assert c.ok("KVGET", key="a\0key")["value"] == [1, 2]
            assert c.ok("GETRESULT", id=done)["result"] == {"text": "grün\0"}
            assert c.ok("DLQ", queue="four")["jobs"][0]["id"] == dead
            assert c.ok("GETSTATE", id=flow["parent_id"])["state"] == "waiting-parent"


def test_journal_is_folded_into_tables_and_its_rows_are_deleted(cluster: Cluster, postgres: PostgresServer) -> None:
    """The journal does not grow for ever, and what is left of it and the tables are the whole."""
    with connect(cluster) as c:

        def gone() -> bool:
            c.ok("PUSHB", queue="one", jobs=[{"data": "x" * 100} for n in range(1_000)])
            return bool(rows(cluster, postgres, "SELECT 1 FROM flashq.gone WHERE through_seq > 10"))

        cluster.wait_until(gone, "folded rows to be deleted")
        c.ok("ACKB", ids=[job["id"] for job in c.ok("PULLB", queue="one", count=500)["jobs"]])
        before = counts(c, "one")
    (first,) = rows(cluster, postgres, "SELECT min(seq) FROM flashq.journal WHERE shard = 1")[0]
    assert isinstance(first, int)
    assert first > 10
    cluster.kill_all()
    cluster.start()
    with connect(cluster) as c:
        assert counts(c, "one") == before
        assert c.ok("PULLB", queue="one", count=1_000)["jobs"][-1]["data"] == "x" * 100


def refusal(url: str, cluster: Cluster, *, shards: int = 2) -> str:
    """The one line with which a start on this database ends."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLASHQ_")}
    line = [sys.executable, "-m", "flashq", "cluster", "start", "--port", "0", "--no-http", "--shards", str(shards)]
    line += ["--data", str(cluster.data.parent / "other"), "--run", str(cluster.data.parent / "other-run")]
    ended = subprocess.run(
        line, env=env | {"DATABASE_URL": url}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert "secret" not in ended.stdout + ended.stderr
    (said,) = (ended.stdout + ended.stderr).strip().splitlines()
    return said


@pytest.mark.parametrize("url", ["psycopg"], indirect=True)  # each refusal is a start; what is refused is the same
def test_starts_that_cannot_be_say_why_in_one_line(cluster: Cluster, url: str, postgres: PostgresServer) -> None:
    assert "another cluster (host " in refusal(url, cluster)
    assert "uses this database" in refusal(url, cluster)
    cluster.stop()
    assert "is laid out for 2" in refusal(url, cluster, shards=3)
    assert 'database "nowhere" does not exist' in refusal(url.replace(database(url), "nowhere"), cluster)
    assert "Connection refused" in refusal(url.replace(str(postgres.port), "1"), cluster)
    postgres.run("postgres", "DROP ROLE IF EXISTS stranger")
    postgres.run("postgres", "CREATE ROLE stranger LOGIN")
    assert "permission denied" in refusal(url.replace("flashq:", "stranger:"), cluster)


def test_shard_of_a_cluster_that_lost_the_database_writes_nothing_more(
    cluster: Cluster, postgres: PostgresServer
) -> None:
    """Fencing: whoever raises the epoch owns the shard, whatever the old process believes."""
    name = database(cluster.settings["DATABASE_URL"])
    with connect(cluster) as c:
        c.ok("PUSH", queue="one", data=1)
        postgres.run(name, "UPDATE flashq.cluster SET run = 'another', owner = 'host other, pid 1'")
        postgres.run(name, "UPDATE flashq.shards SET epoch = epoch + 1000")
        before = postgres.run(name, "SELECT shard, max(seq) FROM flashq.journal GROUP BY 1 ORDER BY 1")
        with pytest.raises((ConnectionError, EOFError, AssertionError)):
            c.ok("PUSH", queue="one", data=2)

    def down() -> bool:
        return cluster.statuses()["shard-01"].state == "refused"

    cluster.wait_until(down, "the shard to be refused")
    assert "another cluster (host other, pid 1) has taken it" in cluster.statuses()["shard-01"].reason
    assert postgres.run(name, "SELECT shard, max(seq) FROM flashq.journal GROUP BY 1 ORDER BY 1") == before


def test_tables_are_for_people_too(cluster: Cluster, postgres: PostgresServer) -> None:
    """SQL over jobs works in any client."""
    with connect(cluster) as c:
        c.ok("PUSH", queue="one", data={"to": "ä"}, priority=5, tags=["x"])

        def folded() -> bool:
            c.ok("PUSHB", queue="one", jobs=[{"data": "x" * 100} for n in range(1_000)])
            with psycopg.connect(postgres.url(database(cluster.settings["DATABASE_URL"]))) as db:
                if db.execute("SELECT to_regclass('flashq_shard_01.jobs')").fetchone() == (None,):
                    return False
                found = db.execute(
                    "SELECT queue, state, convert_from(data, 'UTF8')::jsonb ->> 'to' FROM flashq_shard_01.jobs"
                ).fetchall()
                return found == [("one", "waiting", "ä")]

        cluster.wait_until(folded, "the job to be a row")


def test_settings_and_traces_are_there_after_kills_and_after_a_stop(url: str) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with Cluster(shards=2, http=True, settings=SETTINGS | {"DATABASE_URL": url}) as cluster:
        with Web(cluster) as web, connect(cluster) as c:
            web.ok("POST", "/settings/queue-defaults", {"default_max_attempts": 7})
            for queue in QUEUES:
                c.ok("PUSH", queue=queue, data=1, trace=trace)
        for ended in ("shards", "stopped"):
            if ended == "shards":
                pids = {name: cluster.kill(name) for name in ("shard-00", "shard-01")}
                for name, pid in pids.items():
                    cluster.wait_serving(name, other_than=pid)
            else:
                assert cluster.stop() == 0
                cluster.start()
            with connect(cluster) as c:
                for queue in QUEUES:
                    pushed = c.ok("PUSH", queue=queue, data=2, priority=-1)["id"]
                    assert c.ok("GETJOB", id=pushed)["job"]["max_attempts"] == 7
                    c.ok("CANCEL", id=pushed)
        with connect(cluster) as c:
            assert [c.ok("PULL", queue=queue)["job"]["trace"] for queue in QUEUES] == [trace] * len(QUEUES)
