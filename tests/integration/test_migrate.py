"""flashq migrate: a folder's jobs into PostgreSQL and back, nothing else than they were."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flashq.testing.cluster import Cluster
from flashq.testing.postgres import PostgresServer
from tests.integration.wire import Reply, Wire, counts

QUEUES = ("one", "two", "three", "four")


def run(*line: str) -> tuple[int, str]:
    """`flashq migrate`; its exit code and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "flashq", "migrate", *line], capture_output=True, text=True, timeout=60, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("FLASHQ_")},
    )  # fmt: skip
    assert "secret" not in ended.stdout + ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def fill(c: Wire) -> None:
    for queue in QUEUES:
        c.ok("PUSHB", queue=queue, jobs=[{"data": {"n": n}, "priority": n % 2} for n in range(30)])
        c.ok("PUSHB", queue=queue, jobs=[{"data": f"plain {n}"} for n in range(30)])
        c.ok("ACK", id=c.ok("PULL", queue=queue)["job"]["id"], result={"text": "grün\0"})
        dead = c.ok("PUSH", queue=queue, data=1, max_attempts=1, priority=9)["id"]
        assert c.ok("PULL", queue=queue)["job"]["id"] == dead
        c.ok("FAIL", id=dead, error="with \0 in it")
        c.ok("PUSH", queue=queue, data=2, delay=3_600_000)
        c.ok("PUSH", queue=queue, data=3, custom_id=f"named {queue}", tags=["a", "b"])
    c.ok("FLOW", queue="one", data="parent", children=[{"queue": "two", "data": n} for n in range(3)])
    c.ok("KVSET", key="a\0key", value=[1, 2])
    c.ok("CRON", name="nightly", queue="one", schedule="0 0 3 * * *", data="cron")


def shown(c: Wire) -> list[Reply]:
    """What clients can see, but for what the moment changes."""
    dead = [{k: v for k, v in job.items() if k != "lease"} for job in c.ok("DLQ", queue="two", count=10)["jobs"]]
    return [
        *(counts(c, queue) for queue in QUEUES),
        {"dead": dead},
        c.ok("KVGET", key="a\0key"),
        c.ok("GETJOBBYCUSTOMID", job_id="named three"),
        c.ok("CRONLIST"),
    ]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_jobs_move_into_postgresql_and_back(postgres: PostgresServer, tmp_path: Path, driver: str) -> None:
    """All that clients see is the same on each side, new ids do not repeat, and the old side is left as it was."""
    url = postgres.database(driver)
    beside, back = tmp_path / "beside", tmp_path / "back"
    with Cluster(shards=2) as files:
        with Wire(files.connect()) as c:
            fill(c)
            before = shown(c)
            last = c.ok("PUSH", queue="one", data="last")["id"]
            c.ok("CANCEL", id=last)
            before = shown(c)
        assert "uses this folder" in run("--from", str(files.data), "--to", url, "--data", str(beside))[1]
        files.stop()
        code, said = run("--from", str(files.data), "--to", url, "--data", str(beside))
        assert code == 0, said
        assert "the same on both sides" in said
        with Cluster(shards=2, data=beside, settings={"DATABASE_URL": url}) as there:
            with Wire(there.connect()) as c:
                assert shown(c) == before
                late = c.ok("PUSH", queue="one", data="last")["id"]
                assert late > last
                c.ok("CANCEL", id=late)
                before = shown(c)
            there.stop()
        code, said = run("--from", url, "--to", str(back), "--data", str(beside))
        assert code == 0, said
        with Cluster(shards=2, data=back) as again, Wire(again.connect()) as c:
            assert shown(c) == before
            assert c.ok("PUSH", queue="one", data="last")["id"] > late


def test_moves_that_cannot_be_are_refused_in_a_line(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.database()
    beside = str(tmp_path / "beside")
    with Cluster(shards=1) as files:
        with Wire(files.connect()) as c:
            c.ok("PUSH", queue="q", data=1)
        assert "no cluster has kept anything here" in run("--from", str(tmp_path), "--to", url, "--data", beside)[1]
        assert "no cluster has kept" in run("--from", url, "--to", str(tmp_path / "x"), "--data", beside)[1]
        files.kill_all()
        killed = run("--from", str(files.data), "--to", url, "--data", beside)[1]
        assert "was not stopped in order: start its cluster once, and stop it" in killed
        started = Cluster(shards=1, data=tmp_path / "beside", settings={"DATABASE_URL": url})
        started.launch()
        started.wait_output("a migration into it was broken off")
        started.wait_until(lambda: not started.running(), "the start to end")
        started.close()
        files.start()
        files.stop()
        assert "is not empty" in run("--from", str(files.data), "--to", url, "--data", beside)[1]
