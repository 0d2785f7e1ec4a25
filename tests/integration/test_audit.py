"""The audit tells the life of a job, wherever its records are by now, and finds what was tampered with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flashq.cli.main import app
from flashq.testing.cluster import Cluster
from tests.integration.test_archive import KEY, archiving, entries
from tests.integration.test_checkpoints import fill, wait_recycled
from tests.integration.wire import Wire

Deeds = list[dict[str, Any]]


def audit(cluster: Cluster, tmp_path: Path, *options: str) -> Deeds:
    result = run(cluster, tmp_path, "--json", *options)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def run(cluster: Cluster, tmp_path: Path, *options: str) -> Any:
    where = ["--data", str(cluster.data), "--archive", str(tmp_path / "archive")]
    return CliRunner(env={"FLASHQ_ARCHIVE_KEY": KEY}).invoke(app, ["audit", *where, *options])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with archiving(tmp_path) as one:
        yield one


def live(wire: Wire, queue: str) -> int:
    """A job that fails once and is then done; its id."""
    job_id: int = wire.ok("PUSH", queue=queue, data={"password": "hunter2"}, backoff=0, max_attempts=3)["id"]
    first = wire.ok("PULL", queue=queue, timeout=0)["job"]
    assert first["id"] == job_id
    wire.ok("FAIL", id=job_id, error="not \x1b[31m yet", lease=first["lease"])
    again = wire.ok("PULL", queue=queue, timeout=20_000)["job"]
    wire.ok("PROGRESS", id=job_id, progress=50, message="half")
    wire.ok("ACK", id=job_id, lease=again["lease"], result="hunter2")
    return job_id


def assert_life(deeds: Deeds, job_id: int, queue: str) -> None:
    assert [deed["what"] for deed in deeds][:6] == [
        "pushed", "pulled", "failed, to be tried again", "pulled", "progress", "completed",
    ]  # fmt: skip
    assert all(deed["jobs"] == [[job_id, 1]] and deed["queue"] == queue for deed in deeds)
    assert deeds[0]["at_ms"] <= deeds[1]["at_ms"] <= deeds[5]["at_ms"]
    assert deeds[1]["details"]["lease"] < deeds[3]["details"]["lease"]
    assert deeds[2]["details"]["attempts"] == 1
    assert deeds[2]["details"]["error"].startswith("not ")
    assert "hunter2" not in json.dumps(deeds)


def test_life_of_a_job_is_told_from_journal_archive_and_after_slots_moved(cluster: Cluster, tmp_path: Path) -> None:
    queue = next(cluster.queues_of(0, "life-"))
    with Wire(cluster.connect()) as wire:
        job_id = live(wire, queue)
    assert_life(audit(cluster, tmp_path, "--job", str(job_id)), job_id, queue)
    with Wire(cluster.connect()) as wire:
        fill(wire, next(cluster.queues_of(0, "busy-")), 30)
    wait_recycled(cluster, 0, 4)
    assert_life(audit(cluster, tmp_path, "--job", str(job_id)), job_id, queue)
    cluster.stop()
    cluster.shards = 3
    cluster.start()
    assert_life(audit(cluster, tmp_path, "--job", str(job_id)), job_id, queue)
    said = run(cluster, tmp_path, "--job", str(job_id)).stdout
    assert "\x1b" not in said
    assert f"pushed  queue {queue}  job {job_id}" in said


def test_queue_and_time_say_what_is_told(cluster: Cluster, tmp_path: Path) -> None:
    queue, other = next(cluster.queues_of(0, "mine-")), next(cluster.queues_of(0, "other-"))
    with Wire(cluster.connect()) as wire:
        ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(5)])["ids"]
        wire.ok("PUSHB", queue=other, jobs=[{"data": n} for n in range(5)])
        wire.ok("PAUSE", queue=queue)
        wire.ok("RESUME", queue=queue)
        held = wire.ok("PULLB", queue=queue, count=2, timeout=0)["jobs"]
        wire.ok("ACKB", ids=[job["id"] for job in held])
        wire.ok("DRAIN", queue=queue)
        wire.ok("KVSET", key="a", value="hunter2")
    deeds = audit(cluster, tmp_path, "--queue", queue)
    assert {deed["queue"] for deed in deeds} == {queue}
    whats = [deed["what"] for deed in deeds]
    assert whats[:7] == [
        "pushed", "queue paused", "queue resumed", "pulled", "completed", "queue drained", "removed",
    ]  # fmt: skip
    assert deeds[0]["jobs"] == [[ids[0], 5]]
    everything = audit(cluster, tmp_path)
    assert {"keys stored"} <= {deed["what"] for deed in everything}
    assert "hunter2" not in json.dumps(everything)
    assert [deed["at_ms"] for deed in everything] == sorted(deed["at_ms"] for deed in everything)
    last = everything[-1]["at_ms"]
    assert audit(cluster, tmp_path, "--since", "1d") == everything
    assert audit(cluster, tmp_path, "--since", "2999-01-01") == []
    assert audit(cluster, tmp_path, "--since", everything[-1]["time"]) == [
        deed for deed in everything if deed["at_ms"] >= last
    ]
    assert run(cluster, tmp_path, "--since", "yesterday").exit_code == 2


def test_every_record_is_told_once_while_the_cluster_works(cluster: Cluster, tmp_path: Path) -> None:
    """Segments go into the archive and are used again under the reader."""
    queue = next(cluster.queues_of(0, "busy-"))
    for n in range(3):
        with Wire(cluster.connect()) as wire:
            fill(wire, queue, 20)
        result = run(cluster, tmp_path, "--json", "--queue", queue)
        assert (result.exit_code, result.stderr) == (0, "")
        pushed = [json.loads(line) for line in result.stdout.splitlines()]
        count = sum(jobs for deed in pushed if deed["what"] == "pushed" for _, jobs in deed["jobs"])
        assert count == 200 * 20 * (n + 1)


def test_verify_names_what_was_tampered_with(cluster: Cluster, tmp_path: Path) -> None:
    with Wire(cluster.connect()) as wire:
        fill(wire, next(cluster.queues_of(0, "busy-")), 30)
    wait_recycled(cluster, 0, 4)
    cluster.stop()
    result = run(cluster, tmp_path, "--verify")
    assert (result.exit_code, result.stdout) == (0, "the archives of 2 shards are whole\n")
    victim = tmp_path / "archive" / "shard-00" / entries(tmp_path, 0)[1].name
    good = victim.read_bytes()
    victim.write_bytes(good[:50] + bytes((good[50] ^ 1,)) + good[51:])
    result = run(cluster, tmp_path, "--verify", "--json")
    assert result.exit_code == 1
    finding = json.loads(result.stdout)["findings"][0]
    assert (finding["file"], finding["shard"]) == (str(victim), 0)
    assert run(cluster, tmp_path).exit_code == 1, "what is not what was archived is not told either"
    victim.unlink()
    assert "is missing" in run(cluster, tmp_path, "--verify").stdout


def test_verify_without_an_archive_is_refused(cluster: Cluster) -> None:
    result = CliRunner().invoke(app, ["audit", "--data", str(cluster.data), "--verify"])
    assert result.exit_code == 2
    assert "--verify: there is no archive" in result.output
