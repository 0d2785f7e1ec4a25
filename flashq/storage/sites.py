"""Where the tables of one shard lie: a file of its own, or a schema of a database (`postgres/site.py`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, DBAPIError

from flashq.errors import StorageError
from flashq.storage import schema as s
from flashq.storage.files import OsFiles


class Site(Protocol):
    """One shard's tables, present or not. What opens a connection belongs to one thread."""

    shard: int

    @property
    def name(self) -> str:
        """For messages: where the tables are."""

    def make(self) -> None:
        """See to it that there are tables of this version, durably."""

    def read(self) -> Connection | None:
        """A connection that sees the tables as they are now until it is closed; None where there are none.

        Raises CheckpointTooNew or JournalCorrupt as `schema.check_meta` does.
        """

    def write(self) -> Connection:
        """A connection for `begin` and `commit`."""

    def begin(self, connection: Connection, position: int) -> None:
        """Begin a transaction that brings the tables forward from `position`. Raises StorageError if they moved."""

    def commit(self, connection: Connection) -> None:
        """What was written since `begin` is on disk when it returns."""

    def give_back(self, connection: Connection) -> bool:
        """Return a piece of free space to the file system, if there is much; whether there may be more."""

    def damaged(self, fault: DBAPIError) -> bool:
        """Whether the tables are what is wrong, not the disk or the moment."""


def close(connection: Connection) -> None:
    """Give back a connection that a site has opened."""
    engine = connection.engine
    connection.close()
    engine.dispose()


@contextmanager
def checked(site: Site) -> Iterator[None]:
    """What the database says of damage, in our words. Raises JournalCorrupt."""
    try:
        yield
    except DatabaseError as fault:
        if not site.damaged(fault):
            raise
        raise s.corrupt(site.name, site.shard, str(fault.orig)) from fault


class FileSite:
    """`tables.db` in a shard's folder. The folder's lock keeps others away."""

    def __init__(self, folder: Path, shard: int) -> None:
        self.shard = shard
        self._folder = folder
        self._path = folder / s.FILE

    @property
    def name(self) -> str:
        return str(self._path)

    def make(self) -> None:
        with checked(self):
            engine = s.connect(self._path)
            try:
                with engine.connect() as connection:
                    if not s.read_meta(connection):
                        # No file yet, or one whose maker was killed before there was anything in it.
                        connection.exec_driver_sql("BEGIN IMMEDIATE")
                        s.prepare(connection, self.name, self.shard)
                        connection.exec_driver_sql("COMMIT")
            finally:
                engine.dispose()
        OsFiles().sync_folder(str(self._folder))

    def read(self) -> Connection | None:
        if not self._path.exists():
            return None
        with checked(self):
            engine = self._engine()
            try:
                connection = engine.connect()
                connection.exec_driver_sql("BEGIN")
                s.check_meta(s.read_meta(connection), self.name, self.shard)
            except BaseException:
                engine.dispose()
                raise
        return connection

    def _engine(self) -> Engine:
        """Who `read` connects by."""
        return s.connect(self._path)

    def write(self) -> Connection:
        return s.connect(self._path).connect()

    def begin(self, connection: Connection, position: int) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def commit(self, connection: Connection) -> None:
        connection.exec_driver_sql("COMMIT")

    def give_back(self, connection: Connection) -> bool:
        return s.give_back(connection)

    def damaged(self, fault: DBAPIError) -> bool:
        return s.damaged(fault)


class ReadOnlySite(FileSite):
    """The same, for those who only look: nothing is made, changed or removed, not even what SQLite has beside its file.

    It may be written meanwhile; what is read is what was there when `read` was called.
    """

    def _engine(self) -> Engine:
        return s.connect_to_look(self._path)

    def damaged(self, fault: DBAPIError) -> bool:
        """What cannot be read cannot be called whole."""
        return True

    def make(self) -> None:
        raise StorageError(f"shard {self.shard}: {self.name} is only looked at")

    def write(self) -> Connection:
        raise StorageError(f"shard {self.shard}: {self.name} is only looked at")


def meta_of(connection: Connection) -> dict[str, Any]:
    """The rows of `meta`, of tables that `Site.read` has found."""
    return s.read_meta(connection)
