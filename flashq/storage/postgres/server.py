"""Connections to the PostgreSQL server, by either driver, and its errors in our words.

Both drivers are asked in the few ways in which they are alike: `execute` with `%s`, `fetchall`, autocommit or not.
"""

from typing import Any, Final

import psycopg
import psycopg2
from psycopg.types.string import BytesBinaryDumper

from flashq.database_url import DatabaseUrl
from flashq.errors import ConfigError, StorageError

CONNECT_S: Final = 5
SERVER_MIN: Final = 130_000
_OPTIONS: Final[dict[str, Any]] = {
    # A server that is gone without a word is noticed in ten seconds, whatever waits for it.
    "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000,
    "connect_timeout": CONNECT_S,
}  # fmt: skip
SETTINGS: Final = (
    "SET synchronous_commit = on; SET client_encoding = 'UTF8'; SET lock_timeout = 0; SET statement_timeout = 0"
)
"""A reply depends on a commit, so it is on disk (and at a synchronous standby) when it returns, whatever the server's
default; and a statement that waits is not given up half-way."""
DRIVER_ERRORS: Final = (psycopg.Error, psycopg2.Error)


class Server:
    """A database, and how to talk to it."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url

    def connect(self, application: str, *, autocommit: bool = True) -> Any:
        """A connection of the driver, which blocks. Raises StorageError, in one line without the password."""
        words = {**_OPTIONS, "application_name": f"flashq {application}"}
        connection: Any
        try:
            if self.url.driver == "psycopg2":
                connection = psycopg2.connect(self.url.dsn, **words)
                connection.autocommit = True
            else:
                connection = psycopg.connect(self.url.dsn, autocommit=True, **words)
                connection.adapters.register_dumper(bytes, BytesBinaryDumper)
            connection.cursor().execute(SETTINGS)
            connection.autocommit = autocommit
        except DRIVER_ERRORS as fault:
            raise StorageError(f"{self.url.shown}: {one_line(fault)}") from fault
        return connection

    def check_version(self, connection: Any) -> None:
        """Raises ConfigError if the server is too old."""
        (version,) = first(connection, "SELECT current_setting('server_version_num')::int")
        if version < SERVER_MIN:
            raise ConfigError(
                f"database_url = {self.url.shown}: the server is PostgreSQL {version // 10_000}, "
                f"flashq needs {SERVER_MIN // 10_000} or later"
            )


def one_line(fault: Exception) -> str:
    """A driver's error without line breaks and hints."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("LINE ", "^", "HINT"))) or type(fault).__name__


def rows(connection: Any, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def first(connection: Any, query: str, values: tuple[Any, ...] = ()) -> Any:
    """The first row of a query, or None."""
    found = rows(connection, query, values)
    return found[0] if found else None


def run(connection: Any, query: str, values: tuple[Any, ...] = ()) -> int:
    """Carry out a statement; how many rows it was about."""
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return int(cursor.rowcount)
