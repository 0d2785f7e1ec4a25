"""Opening a line: a session that holds the cluster's lock, on which something is found out before it inserts."""

from collections.abc import Callable
from select import select
from typing import Any, TypeVar

import psycopg
import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

from flashq.errors import StorageError
from flashq.storage.postgres.lines import Line, LineBroken, PlainLine, PreparedLine
from flashq.storage.postgres.ownership import hold_live_lock
from flashq.storage.postgres.server import CONNECT_S, DRIVER_ERRORS, SETTINGS, Server, one_line

Found = TypeVar("Found")


def open_line(server: Server, shard: int, epoch: int, look: Callable[[Any], Found]) -> tuple[Found, Line]:
    """Connect, have `look` find out what it wants on a connection that blocks, and make a line.

    Blocks: for a thread, or before there is a loop. Raises StorageError if the server is not reached, and what `look`
    raises.
    """
    connection = server.connect(f"shard {shard}")
    try:
        found = look(connection)
        if isinstance(connection, psycopg.Connection):
            return found, PreparedLine(connection, shard, epoch)
        line = PlainLine(_asynchronous(server, shard), shard, epoch)
        connection.close()
        return found, line
    except (*DRIVER_ERRORS, LineBroken) as fault:
        connection.close()
        raise StorageError(f"{server.url.shown}: {one_line(fault)}") from fault
    except BaseException:
        connection.close()
        raise


def _asynchronous(server: Server, shard: int) -> Any:
    """A connection of psycopg2 that does not block, with the settings and the lock of the others."""
    connection = psycopg2.connect(server.url.dsn, async_=1, application_name=f"flashq shard {shard}")
    _wait(connection)
    cursor = connection.cursor()
    for statement in (SETTINGS, hold_live_lock()):
        cursor.execute(statement)
        _wait(connection)
    return connection


def _wait(connection: Any) -> None:
    while (state := connection.poll()) != POLL_OK:
        fd = [connection.fileno()]
        if not any(select(*((fd, []) if state == POLL_READ else ([], fd)), [], 2 * CONNECT_S)):
            raise LineBroken("no answer from the server")
