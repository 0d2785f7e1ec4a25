"""The tables of one shard in PostgreSQL: the schema `flashq_shard_NN`, with the tables of `storage/schema.py`."""

from typing import Any, Final

from psycopg.types.string import BytesBinaryDumper
from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateSchema

from flashq.errors import StorageError
from flashq.storage import schema as s
from flashq.storage.postgres.server import Server, one_line
from flashq.storage.sites import checked

_DAMAGE: Final = ("XX001", "XX002")
"""SQLSTATEs of data_corrupted and index_corrupted."""


def schema_of(shard: int) -> str:
    """The name of a shard's schema."""
    return f"flashq_shard_{shard:02}"


class DatabaseSite:
    """A `Site`. `run`: the cluster's life that may write; empty: whoever has the database."""

    def __init__(self, server: Server, shard: int, run: str = "") -> None:
        self.shard = shard
        self._server = server
        self._run = run

    @property
    def name(self) -> str:
        return f"{self._server.url.shown} schema {schema_of(self.shard)}"

    def make(self) -> None:
        engine = self._connect()
        try:
            with engine.begin() as connection:
                connection.execute(CreateSchema(schema_of(self.shard), if_not_exists=True))
                s.prepare(connection, self.name, self.shard)
                for table, column in (("chunks", "payloads"), ("jobs", "data")):
                    connection.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
        finally:
            engine.dispose()

    def read(self) -> Connection | None:
        engine = self._connect(isolation_level="REPEATABLE READ")
        try:
            with checked(self):
                connection = engine.connect()
                if not inspect(connection).has_table(s.META.name):
                    engine.dispose()
                    return None
                s.check_meta(s.read_meta(connection), self.name, self.shard)
        except DBAPIError as fault:
            engine.dispose()
            raise StorageError(f"shard {self.shard}: {self.name} cannot be read: {one_line(fault)}") from fault
        except BaseException:
            engine.dispose()
            raise
        return connection

    def write(self) -> Connection:
        return self._connect().connect()

    def begin(self, connection: Connection, position: int) -> None:
        """The row of the position is taken: of two checkpointers, one that was replaced finds that it moved."""
        connection.begin()
        if self._run:
            query = "SELECT run FROM flashq.cluster FOR SHARE"
            if connection.exec_driver_sql(query).scalar() != self._run:
                raise StorageError(f"shard {self.shard}: another cluster has taken {self._server.url.shown}")
        found = connection.execute(select(s.META.c.value).where(s.META.c.key == "position").with_for_update()).scalar()
        if found != position:
            raise StorageError(f"shard {self.shard}: {self.name} is at record {found}, not at {position}")

    def commit(self, connection: Connection) -> None:
        connection.commit()

    def give_back(self, connection: Connection) -> bool:
        """The server's own vacuum does it."""
        return False

    def damaged(self, fault: DBAPIError) -> bool:
        return getattr(fault.orig, "sqlstate", None) in _DAMAGE or getattr(fault.orig, "pgcode", None) in _DAMAGE

    def _connect(self, **words: Any) -> Engine:
        url = self._server.url
        schema = schema_of(self.shard)

        def connect() -> Any:
            connection = self._server.connect(f"tables {self.shard}", autocommit=False)
            with connection.cursor() as cursor:
                cursor.execute(f"SET search_path = {schema}")
            connection.commit()
            return connection

        engine = create_engine(f"postgresql+{url.driver}://", creator=connect, poolclass=StaticPool, **words)

        @event.listens_for(engine, "connect")
        def set_up(connection: Any, _: Any) -> None:
            if url.driver == "psycopg":
                connection.adapters.register_dumper(bytes, BytesBinaryDumper)

        return engine
