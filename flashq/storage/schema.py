"""The tables of one shard, which hold its state up to one record of its journal: an SQLite file, or a schema of its own
in PostgreSQL (`postgres/site.py`).

For people: `jobs` (every job that has options or a history), `queues`, `dead_letters`, `completed` (what is kept of
completed jobs, a row a stretch). Jobs without options that nobody had to look at one by one are no rows: their
payloads lie in `chunks`, up to a thousand in one, and `pages` says what became of them. The column `rest` and the blobs
are for the engine alone. Everything that is small and rarely changes is in `entries`.

All rows carry their slot. Times are wall milliseconds; ids are `sequence * 1024 + slot`; a page is 1024 sequence
numbers, its id `number * 1024 + slot`, that of a chunk `page id * 1024 + first place`. CRCs are CRC-32C: SQLite checks
its own structure, not what lies in it.

One transaction is one fold: rows and position change together, on disk before anyone hears of it
(`synchronous=FULL` in every durability).
"""

import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, Index, MetaData, Table, create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from flashq.errors import CheckpointTooNew, JournalCorrupt
from flashq.storage.columns import INTEGER, Payload, Scalar, Words

SCHEMA: Final = 1
FILE: Final = "tables.db"
PAGE_BYTES: Final = 8192
WAL_PAGES: Final = 256
FREE_BYTES_KEPT: Final = 16 << 20
"""Free space in the file that is kept for what comes next."""
GIVEN_PAGES: Final = 512
"""Given back to the file system at a time."""
"""SQLite carries its log over into the file past this (2 MiB): in small pieces, as large ones hold up the journal."""
BUSY_MS: Final = 10_000
metadata: Final = MetaData()


def _integer(name: str) -> Column[int]:
    return Column(name, INTEGER, nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Words(), nullable=False)


META: Final = Table("meta", metadata, Column("key", Words(), primary_key=True), Column("value", Scalar()))
QUEUES: Final = Table(
    "queues", metadata, Column("name", Words(), primary_key=True), _integer("slot"), _integer("paused"),
    _integer("waiting"), _integer("delayed"), _integer("active"), _integer("completed"), _integer("dead"),
    _integer("pushed_total"), _integer("completed_total"), _integer("failed_total"), _integer("used_at"),
    _integer("completed_bytes"), Column("open_json", INTEGER), Column("open_msgpack", INTEGER),
    Column("rest", Payload()),
)  # fmt: skip
JOBS: Final = Table(
    "jobs", metadata, Column("id", INTEGER, primary_key=True), _integer("slot"), _text("queue"), _text("state"),
    _integer("priority"), Column("data", Payload()), _integer("codec"), _integer("created_at"), _integer("run_at"),
    _integer("started_at"), _integer("attempts"), _integer("max_attempts"), Column("error", Words()),
    Column("rest", Payload()), _integer("crc"),
)  # fmt: skip
DEAD_LETTERS: Final = Table(
    "dead_letters", metadata, Column("no", INTEGER, primary_key=True), _integer("id"), _integer("slot"),
    _text("queue"), _integer("died_at"), _integer("attempts"), Column("error", Words()),
    Index("dead_letters_id", "id"),
)  # fmt: skip
COMPLETED: Final = Table(
    "completed", metadata, Column("queue", Words(), primary_key=True), Column("no", INTEGER, primary_key=True),
    _integer("slot"), _integer("first_id"), _integer("jobs"), _integer("bytes"), _integer("completed_at"),
    _integer("started_at"), _integer("token"), _integer("codec"), Column("result", Payload()),
)  # fmt: skip
SLOTS: Final = Table(
    "slots", metadata, Column("slot", INTEGER, primary_key=True), _integer("next_page"), _integer("reserved_page"),
    Column("bad", Payload()), Column("gone", Payload()),
)  # fmt: skip
PAGES: Final = Table(
    "pages", metadata, Column("id", INTEGER, primary_key=True), _integer("slot"), _text("queue"), _integer("codec"),
    _integer("size"), _integer("records"), Column("defaults", Payload()), Column("at", Payload()),
    Column("ms", Payload()), Column("kinds", Payload()), Column("leases", Payload()), _integer("crc"),
)  # fmt: skip
CHUNKS: Final = Table(
    "chunks", metadata, Column("id", INTEGER, primary_key=True), _integer("slot"), _integer("places"),
    _integer("crc"), Column("sizes", Payload()), Column("payloads", Payload()),
)  # fmt: skip
BLOCKS: Final = Table(
    "blocks", metadata, Column("no", INTEGER, primary_key=True), _text("kind"), _integer("at_ms"),
    Column("value", Payload()),
)  # fmt: skip
ENTRIES: Final = Table(
    "entries", metadata, Column("kind", Words(), primary_key=True), Column("slot", INTEGER, primary_key=True),
    Column("key", Words(), primary_key=True), Column("value", Payload()),
)  # fmt: skip


def connect(path: Path) -> Engine:
    """The file at `path`, for one connection at a time. It is made at the first use if it is not there."""
    engine = create_engine(
        f"sqlite+pysqlite:///{path}", poolclass=StaticPool, isolation_level="AUTOCOMMIT",
        connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False},
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        # Without secure_delete=OFF, which Debian turns on, what is deleted is written once more, as zeros.
        for pragma in (
            f"page_size={PAGE_BYTES}", "auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL",
            "secure_delete=OFF", f"wal_autocheckpoint={WAL_PAGES}", f"journal_size_limit={WAL_PAGES * PAGE_BYTES}",
            "cache_size=-4096",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")

    return engine


def connect_to_look(path: Path) -> Engine:
    """The file at `path`, for one connection that only reads and leaves no trace.

    Where SQLite's log has something in it, that is read too, by the index beside it. Else the file is all there is, and
    it is read without a lock, as SQLite would make log and index to have one.
    """
    log = path.with_name(path.name + "-wal")
    index = path.with_name(path.name + "-shm")
    logged = log.exists() and log.stat().st_size > 0
    how = "immutable=1" if not logged else "mode=ro&readonly_shm=1" if index.exists() else "mode=ro"
    uri = f"{path.absolute().as_uri()}?{how}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)

    return create_engine("sqlite+pysqlite://", creator=connect, poolclass=StaticPool, isolation_level="AUTOCOMMIT")


def give_back(connection: Connection) -> bool:
    """Let the file shrink by a piece if more than half of it, and more than a little, is free; whether it did."""
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    if free * PAGE_BYTES < FREE_BYTES_KEPT or free * 2 < connection.exec_driver_sql("PRAGMA page_count").scalar_one():
        return False
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA incremental_vacuum({GIVEN_PAGES})")
    cursor.fetchall()  # a page goes with each row, of no columns, that is fetched
    cursor.close()
    return bool(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() < free)


def damaged(fault: DBAPIError) -> bool:
    """Whether the file is what is wrong, not the disk or the moment."""
    name = getattr(fault.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_ERROR"))


def corrupt(path: str, shard: int, what: str) -> JournalCorrupt:
    """The error of a tables file that cannot be trusted."""
    return JournalCorrupt(f"shard {shard}: {path} is damaged: {what}")


def prepare(connection: Connection, path: str, shard: int) -> None:
    """Make the tables where there are none yet; the caller holds a transaction.

    Raises CheckpointTooNew, or JournalCorrupt where the file is another shard's.
    """
    metadata.create_all(connection)
    if not read_meta(connection):
        rows = [{"key": "schema", "value": SCHEMA}, {"key": "shard", "value": shard}, {"key": "position", "value": 0}]
        connection.execute(META.insert(), rows)
    check_meta(read_meta(connection), path, shard)


def read_meta(connection: Connection) -> dict[str, Any]:
    """The rows of `meta`; none where the file was never written."""
    if not inspect(connection).has_table(META.name):
        return {}
    return {row.key: row.value for row in connection.execute(select(META))}


def check_meta(meta: dict[str, Any], path: str, shard: int) -> None:
    """Raises CheckpointTooNew or JournalCorrupt if these tables are not for this program and shard."""
    schema = meta.get("schema", SCHEMA)
    if not isinstance(schema, int):
        raise corrupt(path, shard, f"its schema version is {schema!r}")
    if schema > SCHEMA:
        raise CheckpointTooNew(
            f"shard {shard}: {path} has schema {schema}, this flashq knows schemas up to {SCHEMA}: use a later flashq"
        )
    if meta.get("shard", shard) != shard:
        raise corrupt(path, shard, f"it belongs to shard {meta['shard']}")
