"""The doctor finds every damage, names it, touches nothing, and saves what is whole."""

import json
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from flashq.cli.main import app
from flashq.storage.journal_format import HEADER_BYTES, frames, parse_header
from tests.integration.test_checkpoints import fill, kinds_of_jobs, small_segments, wait_recycled
from tests.integration.wire import Wire

Folder = dict[str, tuple[int, bytes]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of two shards that were killed: tables, a tail in the journal, one of everything."""
    data = tmp_path_factory.mktemp("filled") / "data"
    with small_segments("commit") as cluster:
        for n in (0, 1):
            queue = next(cluster.queues_of(n, f"life-{n}-"))
            with Wire(cluster.connect()) as wire:
                kinds_of_jobs(wire, queue)
                wire.ok("PUSHB", queue=queue, jobs=[{"data": {"text": "y" * 400, "n": k}} for k in range(200)])
                fill(wire, next(cluster.queues_of(n, f"busy-{n}-")), 20)
            wait_recycled(cluster, n, 2)
        cluster.kill("checkpointer", signal.SIGSTOP)  # so that the tail has segments in it that are not the last
        for n in (0, 1):
            with Wire(cluster.connect()) as wire:
                fill(wire, next(cluster.queues_of(n, f"busy-{n}-")), 8)
                wire.ok("PUSH", queue=next(cluster.queues_of(n, f"life-{n}-")), data="the last one")
        with Wire(cluster.connect()) as wire:
            wire.ok("KVSET", key="colour", value={"red": 1})
            wire.ok("CRON", name="nightly", queue="reports", schedule="0 3 * * *", data={})
        cluster.kill_all()
        shutil.copytree(cluster.data, data)
    return data


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "data"))


def content(data: Path) -> Folder:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(data.rglob("*")) if path.is_file()
    }


def doctor(data: Path, *options: str) -> tuple[int, Any]:
    """Exit code and document; nothing in the folder may have changed."""
    before = content(data)
    result = CliRunner().invoke(app, ["doctor", str(data), "--json", *options])
    assert content(data) == before
    return result.exit_code, json.loads(result.stdout)


def segments(data: Path, shard: int = 0) -> list[Path]:
    return sorted((data / f"shard-{shard:02}" / "journal").glob("*.seg"))


def records(path: Path) -> list[tuple[int, int]]:
    """(offset, end) of each record of a segment."""

    class Bytes:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def pread(self, size: int, offset: int) -> bytes:
            return self.content[offset : offset + size]

        def size(self) -> int:
            return len(self.content)

    file = Bytes(path.read_bytes())
    found, at = [], HEADER_BYTES
    for frame in frames(file, parse_header(file.content[:512], str(path))):
        found.append((at, frame[0]))
        at = frame[0]
    return found


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def test_whole_folder_is_whole_and_stays_as_it_is(data: Path) -> None:
    code, document = doctor(data)
    assert (code, document["ok"], document["findings"]) == (0, True, [])
    assert [shard["whole"] for shard in document["shards"]] == [True, True]
    assert all(shard["last_record"] > shard["tables_position"] > 0 and shard["jobs"] for shard in document["shards"])
    said = CliRunner().invoke(app, ["doctor", str(data)])
    assert "all is whole" in said.stdout
    assert said.exit_code == 0


def test_running_cluster_is_looked_at_under_load() -> None:
    """Segments are recycled and records written while it looks: none of that is damage."""
    with small_segments("commit") as cluster:
        queue = next(cluster.queues_of(0, "busy-"))
        for _ in range(3):
            with Wire(cluster.connect()) as wire:
                fill(wire, queue, 20)
            result = CliRunner().invoke(app, ["doctor", str(cluster.data), "--json"])
            document = json.loads(result.stdout)
            assert (result.exit_code, document["findings"]) == (0, [])


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bit_in_any_record_is_found_and_named(data: Path, seed: int) -> None:
    random = Random(seed)
    path = random.choice([one for one in segments(data)[:-1] if len(records(one)) > 2])
    offset, end = random.choice(records(path)[:-1])
    flip(path, random.randrange(offset, end - 8))
    code, document = doctor(data)
    assert code == 1
    found = document["findings"][0]
    assert (found["shard"], found["file"], found["place"]) == (0, str(path), f"offset {offset}")
    assert "damaged or missing" in found["what"]
    assert [shard["whole"] for shard in document["shards"]] == [False, True]


def test_every_damaged_place_is_named_not_only_the_first(data: Path) -> None:
    paths = [one for one in segments(data)[:-1] if len(records(one)) > 6][-2:]
    places = []
    for path in paths:
        for number in (1, 4):
            offset, _ = records(path)[number]
            places.append((str(path), f"offset {offset}"))
    for file, place in places:
        flip(Path(file), int(place.removeprefix("offset ")) + 70)
    _, document = doctor(data)
    assert {(one["file"], one["place"]) for one in document["findings"]} >= set(places)


def test_torn_last_record_is_a_note(data: Path) -> None:
    path = next(one for one in reversed(segments(data)) if records(one))
    offset, end = records(path)[-1]
    content = path.read_bytes()
    path.write_bytes(content[: offset + 40] + bytes(end - offset - 40) + content[end:])
    code, document = doctor(data)
    assert (code, document["findings"]) == (0, [])
    assert f"{path} will be cut at offset {offset}" in document["shards"][0]["note"]


def test_segment_that_is_missing_is_named(data: Path) -> None:
    path = segments(data)[-3]
    path.unlink()
    code, document = doctor(data)
    assert code == 1
    assert str(path) in [one["file"] for one in document["findings"] if one["what"] == "it is missing"]


def damage(table: str, statement: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        with closing(sqlite3.connect(data / "shard-00" / "tables.db")) as db:
            assert db.execute(statement).rowcount == 1, table
            db.commit()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    return change


@pytest.mark.parametrize(
    ("change", "place", "what"),
    [
        (damage("jobs", "UPDATE jobs SET rest = x'80' WHERE id = (SELECT min(id) FROM jobs)"), "table jobs", "check"),
        (
            damage("chunks", "UPDATE chunks SET payloads = x'90' WHERE id = (SELECT max(id) FROM chunks)"),
            "table chunks, row", "checksum",
        ),
        (
            damage("queues", "UPDATE queues SET waiting = waiting + 1 WHERE name = (SELECT min(name) FROM queues)"),
            "table queues, row", "waiting is",
        ),
        (damage("meta", "UPDATE meta SET value = 1 WHERE key = 'shard'"), "", "it belongs to shard 1"),
        (damage("meta", "UPDATE meta SET value = 1 WHERE key = 'position'"), "offset", "are missing"),
        (lambda data: (data / "shard-00" / "tables.db").unlink(), "", "it is missing, and records 1 to"),
        (lambda data: shutil.rmtree(data / "shard-00"), "", "the folder of the shard is missing"),
        (lambda data: flip(data / "epoch", 3), "offset 0", "epochs that were given out"),
    ],
)  # fmt: skip
def test_damage_of_tables_and_what_is_between_is_named(
    data: Path, change: Callable[[Path], None], place: str, what: str
) -> None:
    change(data)
    code, document = doctor(data)
    assert code == 1
    assert any(one["place"].startswith(place) and what in one["what"] for one in document["findings"]), document


def test_folder_that_is_no_clusters_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert result.exit_code == 2
    assert "no cluster has kept anything here: there is no slots.json" in result.output
    assert list(tmp_path.iterdir()) == []


# What is whole


def exported(data: Path, file: Path) -> list[Any]:
    doctor(data, "--export", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_whole_folder_is_exported_as_it_is(data: Path, tmp_path: Path) -> None:
    lines = exported(data, tmp_path / "whole.jsonl")
    jobs = [line for line in lines if line["kind"] == "job"]
    assert {job["state"] for job in jobs} == {"waiting", "delayed", "active"}
    assert sum(job["data"] == "the last one" for job in jobs) == 2
    assert sum(isinstance(job["data"], dict) and "text" in job["data"] for job in jobs) >= 400
    assert {line["data"] for line in lines if line["kind"] == "dead_letter"} == {"dead"}
    assert {"r": [1, {"x": None}]} in [line["result"] for line in lines if line["kind"] == "result"]
    rich = next(job for job in jobs if job["data"] == {"rich": "\n"})
    assert (rich["priority"], rich["max_attempts"], rich["options"]["tags"]) == (3, 7, ["é"])
    keys = [line for line in lines if line["kind"] == "kv"]
    assert [(line["key"], line["value"]) for line in keys] == [("colour", {"red": 1})]
    cron = next(line for line in lines if line["kind"] == "cron")
    assert (cron["name"], cron["queue"], cron["schedule"]) == ("nightly", "reports", "0 3 * * *")
    assert sum(line["kind"] == "queue" for line in lines) >= 4


def test_export_does_not_write_over_a_file(data: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    result = CliRunner().invoke(app, ["doctor", str(data), "--export", str(there)])
    assert result.exit_code == 2
    assert "allowed is a file that is not there yet" in result.output
    assert there.read_text() == "mine"


def test_what_lies_behind_damage_is_saved(data: Path, tmp_path: Path) -> None:
    """A record in the middle of the journal is gone: all other jobs are in the file."""
    before = {(line["id"]) for line in exported(data, tmp_path / "before") if line["kind"] == "job"}
    path = segments(data)[0]
    offset, end = records(path)[0]
    assert end - offset > 70
    flip(path, offset + 70)
    after = exported(data, tmp_path / "after")
    saved = {line["id"] for line in after if line["kind"] == "job"}
    assert len(before - saved) <= 210, "at most the jobs of that record"
    assert any(line.get("data") == "the last one" for line in after)


def test_rows_of_tables_that_are_damaged_elsewhere_are_saved(data: Path, tmp_path: Path) -> None:
    damage("chunks", "UPDATE chunks SET payloads = x'90' WHERE id = (SELECT max(id) FROM chunks)")(data)
    lines = exported(data, tmp_path / "saved")
    jobs = [line["data"] for line in lines if line["kind"] in ("job", "dead_letter") and line["shard"] == 0]
    assert "dead" in jobs
    assert {"rich": "\n"} in jobs
    assert "the last one" in jobs
