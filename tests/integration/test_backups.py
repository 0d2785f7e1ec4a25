"""flashq backup and flashq restore, with a cluster that serves."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flashq.cli.main import app
from flashq.cluster.backups.manifest import read_manifest
from flashq.cluster.backups.shelf import backups
from flashq.testing.cluster import Cluster
from tests.integration.test_checkpoints import kinds_of_jobs, picture, small_segments
from tests.integration.wire import Reply, Wire, counts

KEPT = {"FLASHQ_KEEP_COMPLETED_COUNT": "1000000", "FLASHQ_KEEP_COMPLETED_AGE_MS": "0"}


def run(*line: str | Path, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """`flashq …`; its exit code and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "flashq", *map(str, line)], capture_output=True, text=True, timeout=200, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("FLASHQ_")} | {**(environ or {})},
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def answered(*line: str | Path) -> tuple[int, str]:
    """As `run`, in this process: for many refusals, each of which would cost a start of Python."""
    result = CliRunner().invoke(app, [str(word) for word in line])
    return result.exit_code, result.output


def ran(*line: str | Path, environ: Mapping[str, str] | None = None) -> str:
    code, said = run(*line, environ=environ)
    assert code == 0, said
    return said


def backed_up(cluster: Cluster, folder: Path, *more: str) -> Reply:
    answer: Reply = json.loads(ran("backup", folder, "--data", cluster.data, "--json", *more))
    return answer


@pytest.mark.parametrize(("durability", "shards"), [("fsync", 2), ("commit", 3), ("commit", 1)])
def test_everything_is_there_in_a_cluster_restored_from_a_backup(durability: str, shards: int, tmp_path: Path) -> None:
    """Jobs in every state, leases, names, keys, crons, tokens; and no id or lease of the time since is given again."""
    folder, queues = tmp_path / "backups", [f"saved-{n}" for n in range(4)]
    ids: list[int] = []
    held: list[Reply] = []
    with Cluster(shards=2, durability=durability) as cluster:
        with Wire(cluster.connect()) as wire:
            for queue in queues:
                mine, leased = kinds_of_jobs(wire, queue)
                ids += mine
                held += leased[:3]
            named = wire.ok("PUSH", queue="named", data=1, jobId="mine", unique_key="k")["id"]
            waits = [wire.ok("PUSH", queue=f"after-{n}", data=n, depends_on=[named])["id"] for n in range(5)]
            wire.ok("KVSET", key="colour", value={"é": 1})
            wire.ok("CRON", name="nightly", queue="night", schedule="0 0 3 1 1 *", data={})
        ids += [named, *waits]
        before = picture(cluster, ids, queues)
        made = backed_up(cluster, folder)
        with Wire(cluster.connect()) as wire:
            later = wire.ok("PUSHB", queue=queues[0], jobs=[{"data": n} for n in range(1_000)])["ids"]
            later += [wire.ok("PUSH", queue=f"never-{n}", data=n)["id"] for n in range(20)]
            leases = {job["lease"] for job in wire.ok("PULLB", queue=queues[0], count=200)["jobs"]}
    assert made["counts"]["dead"] == len(queues)
    assert made["removed"] == []
    assert read_manifest(Path(made["backup"])).counts == made["counts"]
    ran("restore", folder, "--data", tmp_path / "new", "--shards", str(shards))
    with Cluster(shards=shards, durability=durability, data=tmp_path / "new") as cluster:
        assert picture(cluster, ids, queues) == before
        with Wire(cluster.connect()) as wire:
            assert wire.ok("PUSH", queue="named", data=2, jobId="mine")["id"] == named
            assert wire.ok("KVGET", key="colour")["value"] == {"é": 1}
            assert [cron["name"] for cron in wire.ok("CRONLIST")["crons"]] == ["nightly"]
            fresh = wire.ok("PUSHB", queue=queues[0], jobs=[{"data": n} for n in range(1_000)])["ids"]
            fresh += [wire.ok("PUSH", queue=f"never-{n}", data=n)["id"] for n in range(20)]
            assert not {*fresh} & {*ids, *later}
            for job in held:
                wire.ok("ACK", id=job["id"], lease=job["lease"])
            got = wire.ok("PULLB", queue=queues[0], count=200)["jobs"]
            assert min(job["lease"] for job in got) > max(leases)
            job = wire.ok("PULL", queue="named", timeout=0)["job"]
            wire.ok("ACK", id=job["id"], lease=job["lease"])
            for n in range(5):
                assert wire.ok("PULL", queue=f"after-{n}", timeout=20_000)["job"]["id"] == waits[n]


def busy(wire: Wire, queue: str) -> None:
    """Jobs that come and go, and fill segments."""
    jobs = [{"data": "x" * 400, "remove_on_complete": True} for _ in range(100)]
    wire.ok("PUSHB", queue=queue, jobs=jobs)
    wire.ok("ACKB", ids=[job["id"] for job in wire.ok("PULLB", queue=queue, count=100, timeout=0)["jobs"]])


@contextmanager
def load(cluster: Cluster) -> Iterator[None]:
    """Families whose jobs are in queues of several shards, pushed, worked off in part; and segments are used again."""
    ended = threading.Event()
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with Wire(cluster.connect()) as wire:
                n = 0
                while not ended.wait(0.02):  # not as fast as can be: the machine may have other things to do
                    n += 1
                    children = [{"queue": f"child-{k}", "data": [number, n]} for k in range(4)]
                    wire.ok("FLOW", queue=f"parent-{n % 4}", data=[number, n], children=children)
                    for k in range(4):
                        job = wire.ok("PULL", queue=f"child-{k}", timeout=0)["job"]
                        if job is not None and n % 3:
                            wire.ok("ACK", id=job["id"], lease=job["lease"])
                    if n % 10 == 0:
                        busy(wire, f"busy-{number}")
        except BaseException as fault:  # for the test's own thread
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not faults, faults


def drained(cluster: Cluster) -> tuple[int, int]:
    """Work everything off, what is leased too: (parents, children) that were completed in all."""
    with Wire(cluster.connect()) as wire:
        names = [name for name in wire.ok("STATS")["queues"] if name.startswith(("parent", "child"))]

        def left() -> int:
            stats = [counts(wire, name) for name in names]
            for name in names:
                got = wire.ok("PULLB", queue=name, count=500, timeout=0)["jobs"]
                got += wire.ok("GETJOBS", queue=name, state="active", limit=1_000)["jobs"]  # whose worker is no more
                if got:
                    wire.ok("ACKB", ids=list({job["id"] for job in got}))
            return sum(found[state] for found in stats for state in ("waiting", "active", "delayed"))

        cluster.wait_until(lambda: left() == 0, "all to be worked off", 60.0)
        done = {name: wire.ok("GETJOBS", queue=name, state="completed")["total"] for name in names}
    total = {kind: sum(count for name, count in done.items() if name.startswith(kind)) for kind in ("parent", "child")}
    return total["parent"], total["child"]


@pytest.mark.timeout(400)
def test_a_backup_under_load_has_all_of_a_family_or_nothing_of_it(tmp_path: Path) -> None:
    """Messages between shards have their effect once, whatever was under way at the cut."""
    folder = tmp_path / "backups"
    with small_segments("commit", **KEPT) as cluster, load(cluster):
        positions = [backed_up(cluster, folder)["positions"] for _ in range(2)]
    assert all(int(a[shard]) < int(b[shard]) for a, b in pairwise(positions) for shard in a)
    assert len(backups(folder)) == 2
    for number, backup in enumerate(backups(folder)):
        data = tmp_path / f"data-{number}"
        ran("restore", backup, "--data", data, "--shards", str(number % 2 + 1))
        with Cluster(shards=number % 2 + 1, data=data, settings=KEPT) as cluster:
            parents, children = drained(cluster)
        assert children == 4 * parents, (number, parents)
        assert parents > 0 or number == 0


def test_backups_of_a_stopped_and_of_a_killed_cluster_and_only_the_latest_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    with Cluster(shards=2) as cluster:
        with Wire(cluster.connect()) as wire:
            ids, _ = kinds_of_jobs(wire, "q")
        before = picture(cluster, ids, ["q"])
        cluster.kill_all()
        first = backed_up(cluster, folder)
        cluster.start()
        cluster.stop()
        second = backed_up(cluster, folder, "--keep", "1")
        assert second["removed"] == [Path(first["backup"]).name]
        assert [path.name for path in folder.iterdir() if path.name != ".lock"] == [Path(second["backup"]).name]
        assert Path(second["backup"]).name in ran("backups", folder)
    ran("restore", second["backup"], "--data", tmp_path / "new")
    with Cluster(shards=2, data=tmp_path / "new") as cluster:
        assert picture(cluster, ids, ["q"]) == before


def test_what_cannot_be_backed_up_or_restored_is_refused_in_a_line(tmp_path: Path) -> None:
    folder, new = tmp_path / "backups", tmp_path / "new"
    assert "no cluster has kept anything here" in answered("backup", folder, "--data", tmp_path / "none")[1]
    assert backups(folder) == []
    with Cluster(shards=2) as cluster:
        with Wire(cluster.connect()) as wire:
            kinds_of_jobs(wire, "q")
            kinds_of_jobs(wire, "r")
        backup = Path(backed_up(cluster, folder)["backup"])
        assert "another cluster uses this folder" in answered("restore", backup, "--data", cluster.data)[1]
    assert "--keep -1: allowed is a number from 0" in answered("backup", folder, "--keep", "-1")[1]
    assert "there is no backup here" in answered("restore", tmp_path, "--data", new)[1]
    assert "shards = 2000: allowed is" in answered("restore", backup, "--data", new, "--shards", "2000")[1]
    new.mkdir()
    (new / "precious").write_text("x")
    code, said = answered("restore", backup, "--data", new)
    assert code == 2
    assert "is not empty: it has precious" in said
    assert (new / "precious").read_text() == "x"
    (new / "precious").unlink()
    for path in sorted(backup.iterdir()):
        whole = path.read_bytes()
        middle = len(whole) // 2
        for damaged in (whole[:-2], whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]):
            path.write_bytes(damaged)
            code, said = answered("restore", backup, "--data", new)
            assert code == 1, said
            assert str(path) in said
        path.unlink()
        assert str(path) in answered("restore", backup, "--data", new)[1]
        path.write_bytes(whole)
    later = json.loads((backup / "manifest.json").read_bytes()) | {"format": 2}
    shutil.copytree(backup, tmp_path / "flashq-later")
    (tmp_path / "flashq-later" / "manifest.json").write_text(json.dumps(later))
    assert "has format 2, this flashq reads up to 1" in answered("restore", tmp_path / "flashq-later", "--data", new)[1]
    started = Cluster(shards=2, data=new)  # a restore was broken off here
    started.launch()
    started.wait_output("a restore into this folder was broken off: restore it again")
    started.wait_until(lambda: not started.running(), "the start to end")
    started.close()
    ran("restore", backup, "--data", new)
    with Cluster(shards=2, data=new) as cluster, Wire(cluster.connect()) as wire:
        stats: Any = wire.ok("STATS")["queues"]
        assert {"q", "r"} <= stats.keys()


def test_tokens_are_in_a_backup(tmp_path: Path) -> None:
    with Cluster(shards=1) as cluster:
        with Wire(cluster.connect()) as wire:
            wire.ok("PUSH", queue="q", data=1)
        secret = ran("auth", "create", "ops", "--role", "admin", "--data", cluster.data).split()[-1]
        backed_up(cluster, tmp_path / "backups")
    ran("restore", tmp_path / "backups", "--data", tmp_path / "new")
    assert oct((tmp_path / "new" / "tokens" / "tokens.json").stat().st_mode)[-3:] == "600"
    with Cluster(shards=1, data=tmp_path / "new") as cluster, Wire(cluster.connect()) as wire:
        wire.refused("PUSH", queue="q", data=1)
        wire.ok("AUTH", token=secret)
        assert wire.ok("PULL", queue="q", timeout=0)["job"]["data"] == 1
