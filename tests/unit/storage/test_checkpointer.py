"""Folds: what they write, what they refuse, and that a failed one is done again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from flashq.engine import events
from flashq.engine.engine import Engine
from flashq.engine.idempotency import remember
from flashq.engine.replay import Replayer
from flashq.engine.settings import Limits
from flashq.errors import CheckpointTooNew, JournalCorrupt, StorageError
from flashq.storage.checkpointer import Checkpointer, NoFold
from flashq.storage.folds import FOLDS
from flashq.storage.recovery import Tables
from flashq.storage.saving import Saver
from flashq.storage.sites import FileSite
from flashq.testing.engine_kit import EngineKit, engine_facts

LIMITS = Limits(keep_completed_count=2)


@pytest.fixture
def kit() -> EngineKit:
    one = EngineKit(limits=LIMITS)
    one.start()
    return one


@pytest.fixture
def checkpointer(tmp_path: Path) -> Iterator[Checkpointer]:
    one = Checkpointer(FileSite(tmp_path, 0), LIMITS)
    yield one
    one.close()


def rows(folder: Path, query: str) -> list[Any]:
    """As any client of SQLite sees the tables."""
    with closing(sqlite3.connect(folder / "tables.db")) as db:
        return db.execute(query).fetchall()


def change(folder: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "tables.db")) as db:
        db.execute(statement, values)
        db.commit()


def restored(folder: Path) -> Engine:
    """The state of the tables alone."""
    engine = Engine(epoch=2, limits=LIMITS)
    tables = Tables.find(FileSite(folder, 0))
    assert tables is not None
    with closing(tables):
        tables.restore(Replayer(engine))
    return engine


def test_job_that_came_and_went_between_two_folds_costs_no_row(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path
) -> None:
    """Only what is there at the end of a fold is written; of completed jobs what retention asks for."""
    for _ in range(3):
        kit.push("mail", *[{"data": n} for n in range(1_000)])
        got = kit.pull("mail", 1_000)
        assert got is not None
        kit.ack_batch(got.ids)
    assert checkpointer.fold_records(kit.memory.kept) == kit.journal.durable_seq
    assert rows(tmp_path, "SELECT count(*) FROM jobs") == [(0,)]
    assert rows(tmp_path, "SELECT sum(jobs) FROM completed") == [(2,)]
    assert rows(tmp_path, "SELECT count(*) FROM pages")[0][0] <= 2
    assert rows(tmp_path, "SELECT completed_total, waiting FROM queues") == [(3_000, 0)]


def test_file_whose_maker_was_killed_before_there_were_tables_gets_them(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path
) -> None:
    """Else nothing of this shard would ever be folded."""
    with closing(sqlite3.connect(tmp_path / "tables.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
    kit.push("mail", {"data": 1})
    assert checkpointer.fold_records(kit.memory.kept) == kit.journal.durable_seq
    assert rows(tmp_path, "SELECT waiting FROM queues") == [(1,)]


def test_tables_are_for_people_too(kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path) -> None:
    """What failed, why and with which data is a query away."""
    (dead,) = kit.push("mail", {"data": {"to": "é"}, "max_attempts": 1, "priority": 2})
    kit.pull("mail")
    kit.fail(dead, error="no such address")
    (later,) = kit.push("mail", {"data": 7, "delay": 60_000})
    checkpointer.fold_records(kit.memory.kept)
    query = "SELECT id, state, priority, data, json_extract(data, '$.to'), error FROM jobs WHERE state = 'failed'"
    assert rows(tmp_path, query) == [(dead, "failed", 2, '{"to":"é"}', "é", "no such address")]
    assert rows(tmp_path, "SELECT id, attempts, error FROM dead_letters") == [(dead, 1, "no such address")]
    assert rows(tmp_path, f"SELECT state, run_at - created_at FROM jobs WHERE id = {later}") == [("delayed", 60_000)]
    assert rows(tmp_path, "SELECT name, delayed, dead, pushed_total FROM queues") == [("mail", 1, 1, 2)]
    kit.retry_dead("mail", dead)
    got = kit.pull("mail")
    assert got is not None
    checkpointer.fold_records(kit.memory.kept)
    assert rows(tmp_path, "SELECT count(*) FROM dead_letters") == [(0,)]
    assert rows(tmp_path, f"SELECT state, data FROM jobs WHERE id = {dead}") == [("active", '{"to":"é"}')]


def test_fold_that_failed_is_done_again(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and position are one transaction: nothing of a fold is there before all of it is."""
    kit.push("mail", *[{"data": n} for n in range(5)])
    first = checkpointer.fold_records(kit.memory.kept)
    kit.push("mail", {"data": "late", "priority": 3})
    kit.pull("mail", 3)
    real = Saver.save

    def save_and_fail(saver: Saver, connection: Any, meta: Any) -> None:
        real(saver, connection, meta)
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr(Saver, "save", save_and_fail)
    with pytest.raises(StorageError, match=r"tables\.db cannot be written: .*disk I/O error"):
        checkpointer.fold_records(kit.memory.kept)
    assert checkpointer.position == first
    assert rows(tmp_path, "SELECT value FROM meta WHERE key = 'position'") == [(first,)]
    assert rows(tmp_path, "SELECT count(*) FROM jobs") == [(0,)]
    monkeypatch.undo()
    assert checkpointer.fold_records(kit.memory.kept) == kit.journal.durable_seq
    assert checkpointer.fold_records(kit.memory.kept) == kit.journal.durable_seq, "twice does no harm"
    assert engine_facts(restored(tmp_path))["jobs"] == engine_facts(kit.replayed())["jobs"]


def test_event_without_a_fold_stops_before_its_record(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that this version does not know is folded past: the journal keeps it."""
    kit.push("mail", {"data": 1})
    before = kit.journal.durable_seq
    kit.pause("mail")
    kit.push("mail", {"data": 2})
    monkeypatch.delitem(FOLDS, events.QueuePaused)
    for _ in range(2):
        with pytest.raises(NoFold, match=f"record {before + 1} has an event without a fold: QueuePaused"):
            checkpointer.fold_records(kit.memory.kept)
        assert checkpointer.position == before
    assert rows(tmp_path, "SELECT waiting, paused FROM queues") == [(1, 0)]
    monkeypatch.undo()
    assert checkpointer.fold_records(kit.memory.kept) == kit.journal.durable_seq
    assert rows(tmp_path, "SELECT waiting, paused FROM queues") == [(2, 1)]


def test_gap_between_records_is_refused(kit: EngineKit, checkpointer: Checkpointer) -> None:
    kit.push("mail", {"data": 1})
    kit.push("mail", {"data": 2})
    with pytest.raises(StorageError, match="shard 0: record 1 is not there, but 2"):
        checkpointer.fold_records(kit.memory.kept[1:])


def test_replies_to_idempotency_keys_are_there_again_until_their_window_ends(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path
) -> None:
    remember(kit.engine, "me PUSH mail", "k1", b"digest", b"reply", 5)
    kit.commit()
    checkpointer.fold_records(kit.memory.kept)
    kit.now_ms += LIMITS.idempotency_window_ms - 10
    kit.push("mail", {"data": 1})
    checkpointer.fold_records(kit.memory.kept)
    assert restored(tmp_path).answers.find("me PUSH mail", "k1", b"digest", kit.now_ms) == b"reply"
    kit.now_ms += 20
    kit.push("mail", {"data": 2})
    checkpointer.fold_records(kit.memory.kept)
    assert rows(tmp_path, "SELECT count(*) FROM blocks") == [(0,)]


def test_large_payloads_are_written_once_and_in_pieces(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path
) -> None:
    """A chunk is a transaction's morsel, not a page of a thousand payloads of any size."""
    kit.push("mail", *[{"data": "x" * 300_000} for _ in range(6)])
    checkpointer.fold_records(kit.memory.kept)
    before = rows(tmp_path, "SELECT id, places, length(payloads) FROM chunks")
    assert [places for _, places, _ in before] == [2, 2, 2]
    kit.pull("mail", 4)
    kit.push("mail", {"data": "y"})
    checkpointer.fold_records(kit.memory.kept)
    assert rows(tmp_path, "SELECT id, places, length(payloads) FROM chunks")[:3] == before
    assert engine_facts(restored(tmp_path))["jobs"] == engine_facts(kit.replayed())["jobs"]


@pytest.mark.parametrize(
    ("statement", "error", "text"),
    [
        ("UPDATE meta SET value = 2 WHERE key = 'schema'", CheckpointTooNew, "has schema 2, this flashq knows"),
        ("UPDATE meta SET value = 1 WHERE key = 'shard'", JournalCorrupt, "it belongs to shard 1"),
        ("UPDATE chunks SET payloads = zeroblob(length(payloads))", JournalCorrupt, "has another checksum"),
        ("UPDATE pages SET kinds = x'0101'", JournalCorrupt, "has another checksum"),
        ("UPDATE jobs SET rest = x'93'", JournalCorrupt, "has another checksum"),
        ("DELETE FROM jobs", JournalCorrupt, "lacks jobs"),
        ("DELETE FROM pages", JournalCorrupt, "is damaged"),
        ("DROP TABLE slots", JournalCorrupt, "no such table"),
    ],
)
def test_tables_that_cannot_be_trusted_are_refused(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path, statement: str, error: type[Exception], text: str
) -> None:
    """With shard and file, so that somebody can look."""
    kit.push("mail", {"data": 1}, {"data": 2})
    kit.push("mail", {"data": 3, "priority": 1})
    checkpointer.fold_records(kit.memory.kept)
    checkpointer.close()
    change(tmp_path, statement)
    with pytest.raises(error, match=f"shard 0: {tmp_path}/tables.db .*{text}"):
        restored(tmp_path)


def test_file_that_is_no_database_is_refused(checkpointer: Checkpointer, kit: EngineKit, tmp_path: Path) -> None:
    (tmp_path / "tables.db").write_bytes(b"no SQLite file" * 1_000)
    with pytest.raises(JournalCorrupt, match=r"shard 0: .*/tables\.db is damaged: file is not a database"):
        restored(tmp_path)
    with pytest.raises(JournalCorrupt, match=r"shard 0: .*/tables\.db is damaged"):
        checkpointer.fold_records(kit.memory.kept)


def test_payloads_that_nobody_needs_give_their_space_back_before_their_page_goes(
    kit: EngineKit, checkpointer: Checkpointer, tmp_path: Path
) -> None:
    """A page is a thousand jobs: as many large payloads would fill a disk long after their jobs are done."""
    kit.push("mail", *[{"data": "x" * 500_000} for _ in range(80)])
    checkpointer.fold_records(kit.memory.kept)
    before = (tmp_path / "tables.db").stat().st_size
    while kit.engine.queues["mail"].waiting > 10:
        got = kit.pull("mail", 5)
        assert got is not None
        kit.ack_batch(got.ids)
    checkpointer.close()
    checkpointer.fold_records(kit.memory.kept)
    checkpointer.close()
    assert 10 <= rows(tmp_path, "SELECT sum(places) FROM chunks")[0][0] <= 16
    assert (tmp_path / "tables.db").stat().st_size < before * 2 // 3
    assert engine_facts(restored(tmp_path)) == engine_facts(kit.engine)
