"""The tables of one shard: an SQLite file that holds its state up to one record of its journal.

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

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, Index, Integer, MetaData, String, Table, create_engine, event, select
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.pool import StaticPool
from sqlalchemy.types import UserDefinedType

from flashq.errors import CheckpointTooNew, JournalCorrupt

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


class Anything(UserDefinedType[Any]):
    """A value as it is: bytes, or text that people can read. Nothing is converted."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "BLOB"


metadata: Final = MetaData()


def _integer(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False)


META: Final = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Anything()))
QUEUES: Final = Table(
    "queues", metadata, Column("name", String, primary_key=True), _integer("slot"), _integer("paused"),
    _integer("waiting"), _integer("delayed"), _integer("active"), _integer("completed"), _integer("dead"),
    _integer("pushed_total"), _integer("completed_total"), _integer("failed_total"), _integer("used_at"),
    _integer("completed_bytes"), Column("open_json", Integer), Column("open_msgpack", Integer),
    Column("rest", Anything()),
)  # fmt: skip
JOBS: Final = Table(
    "jobs", metadata, Column("id", Integer, primary_key=True), _integer("slot"), _text("queue"), _text("state"),
    _integer("priority"), Column("data", Anything()), _integer("codec"), _integer("created_at"), _integer("run_at"),
    _integer("started_at"), _integer("attempts"), _integer("max_attempts"), Column("error", String),
    Column("rest", Anything()), _integer("crc"),
)  # fmt: skip
DEAD_LETTERS: Final = Table(
    "dead_letters", metadata, Column("no", Integer, primary_key=True), _integer("id"), _integer("slot"),
    _text("queue"), _integer("died_at"), _integer("attempts"), Column("error", String),
    Index("dead_letters_id", "id"),
)  # fmt: skip
COMPLETED: Final = Table(
    "completed", metadata, Column("queue", String, primary_key=True), Column("no", Integer, primary_key=True),
    _integer("slot"), _integer("first_id"), _integer("jobs"), _integer("bytes"), _integer("completed_at"),
    _integer("started_at"), _integer("token"), _integer("codec"), Column("result", Anything()),
)  # fmt: skip
SLOTS: Final = Table(
    "slots", metadata, Column("slot", Integer, primary_key=True), _integer("next_page"), _integer("reserved_page"),
    Column("bad", Anything()), Column("gone", Anything()),
)  # fmt: skip
PAGES: Final = Table(
    "pages", metadata, Column("id", Integer, primary_key=True), _integer("slot"), _text("queue"), _integer("codec"),
    _integer("size"), _integer("records"), Column("defaults", Anything()), Column("at", Anything()),
    Column("ms", Anything()), Column("kinds", Anything()), Column("leases", Anything()), _integer("crc"),
)  # fmt: skip
CHUNKS: Final = Table(
    "chunks", metadata, Column("id", Integer, primary_key=True), _integer("slot"), _integer("places"),
    _integer("crc"), Column("sizes", Anything()), Column("payloads", Anything()),
)  # fmt: skip
BLOCKS: Final = Table(
    "blocks", metadata, Column("no", Integer, primary_key=True), _text("kind"), _integer("at_ms"),
    Column("value", Anything()),
)  # fmt: skip
ENTRIES: Final = Table(
    "entries", metadata, Column("kind", String, primary_key=True), Column("slot", Integer, primary_key=True),
    Column("key", String, primary_key=True), Column("value", Anything()),
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


@contextmanager
def checked(path: Path, shard: int) -> Iterator[None]:
    """What SQLite says of a damaged file, in our words. Raises JournalCorrupt."""
    try:
        yield
    except DatabaseError as fault:
        if not damaged(fault):
            raise
        raise corrupt(path, shard, str(fault.orig)) from fault


def damaged(fault: DBAPIError) -> bool:
    """Whether the file is what is wrong, not the disk or the moment."""
    name = getattr(fault.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_ERROR"))


def corrupt(path: Path, shard: int, what: str) -> JournalCorrupt:
    """The error of a tables file that cannot be trusted."""
    return JournalCorrupt(f"shard {shard}: {path} is damaged: {what}")


def prepare(connection: Connection, path: Path, shard: int) -> None:
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
    if connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'meta'").first() is None:
        return {}
    return {row.key: row.value for row in connection.execute(select(META))}


def check_meta(meta: dict[str, Any], path: Path, shard: int) -> None:
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
