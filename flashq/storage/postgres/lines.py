"""The way of records into the database: one statement at a time, which is sent, and asked for when its answer came.

Neither driver blocks here: a line has a descriptor, which the shard's own loop watches. A thread for the insert was
the first thought; but its wake-ups, and two threads that want one interpreter, cost a single push more than the insert
itself takes in the server, while this costs what the driver does.

Every statement is a transaction: it takes the shard's row FOR SHARE and inserts nothing unless the epoch is ours.
"""

import os
from collections.abc import Sequence
from struct import pack
from typing import Any, Final, NamedTuple, Protocol

import psycopg
import psycopg2
from psycopg import pq
from psycopg2.extensions import POLL_OK, POLL_WRITE

from flashq.storage.postgres.server import one_line


class Row(NamedTuple):
    """A record on its way."""

    seq: int
    at_ms: int
    mono_ms: int
    events: bytes


class LineBroken(Exception):
    """The statement failed, or its connection: whether it was carried out is not known."""


class Line(Protocol):
    """A connection that inserts. All of it raises LineBroken."""

    def fileno(self) -> int: ...

    def insert(self, rows: Sequence[Row]) -> bool:
        """Begin; the last one has been answered. True if `go_on` is to be called when it is writable, too."""

    def go_on(self) -> bool:
        """It is readable or writable: go on. True while it has to be writable for more."""

    def inserted(self) -> int | None:
        """How many rows were inserted; None while that is not known. Tells once."""

    def close(self) -> None: ...


_FENCE: Final = "WITH mine AS (SELECT 1 FROM flashq.shards WHERE shard = {shard} AND epoch = {epoch} FOR SHARE) "
_ONE: Final = _FENCE + (  # noqa: S608  (only our own words and numbers are put in)
    "INSERT INTO flashq.journal (shard, seq, epoch, at_ms, mono_ms, events)"
    " SELECT {shard}, {seq}, {epoch}, {at}, {mono}, {events} FROM mine"
)
_MANY: Final = _FENCE + (  # noqa: S608  (only our own words and numbers are put in)
    "INSERT INTO flashq.journal (shard, seq, epoch, at_ms, mono_ms, events)"
    " SELECT {shard}, r.seq, {epoch}, r.at_ms, r.mono_ms, r.events"
    " FROM mine, unnest({seq}, {at}, {mono}, {events}) AS r (seq, at_ms, mono_ms, events)"
)
_INT8, _BYTEA = 20, 17


class PreparedLine:
    """psycopg 3: prepared statements, values in binary."""

    def __init__(self, connection: "psycopg.Connection[Any]", shard: int, epoch: int) -> None:
        self._connection = connection
        self._wire = wire = connection.pgconn
        for name, template, kinds in (("one", _ONE, ("int8", "bytea")), ("many", _MANY, ("int8[]", "bytea[]"))):
            number, data = kinds
            query = template.format(
                shard=shard, epoch=epoch, seq=f"$1::{number}", at=f"$2::{number}", mono=f"$3::{number}",
                events=f"$4::{data}",
            )  # fmt: skip
            result = wire.prepare(b"flashq_" + name.encode(), query.encode())
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise LineBroken(_words(result.error_message))
        wire.nonblocking = 1
        # One of our own: libpq closes its descriptor by itself when the connection breaks, while a loop still has it.
        self._fd = os.dup(wire.socket)

    def fileno(self) -> int:
        return self._fd

    def insert(self, rows: Sequence[Row]) -> bool:
        try:
            if len(rows) == 1:
                seq, at_ms, mono_ms, events = rows[0]
                values = [pack("!q", seq), pack("!q", at_ms), pack("!q", mono_ms), events]
                self._wire.send_query_prepared(b"flashq_one", values, (1, 1, 1, 1), 1)
            else:
                seqs, ats, monos, bodies = zip(*rows, strict=True)
                values = [*(_numbers(column) for column in (seqs, ats, monos)), _blobs(bodies)]
                self._wire.send_query_prepared(b"flashq_many", values, (1, 1, 1, 1), 1)
            return bool(self._wire.flush())
        except psycopg.Error as fault:
            raise LineBroken(one_line(fault)) from fault

    def go_on(self) -> bool:
        try:
            self._wire.consume_input()
            return bool(self._wire.flush())
        except psycopg.Error as fault:
            raise LineBroken(one_line(fault)) from fault

    def inserted(self) -> int | None:
        wire = self._wire
        if wire.is_busy():
            return None
        inserted: int | None = None
        try:
            while (result := wire.get_result()) is not None:
                if result.status != pq.ExecStatus.COMMAND_OK:
                    raise LineBroken(_words(result.error_message))
                inserted = result.command_tuples or 0
        except psycopg.Error as fault:
            raise LineBroken(one_line(fault)) from fault
        if wire.status != pq.ConnStatus.OK:
            raise LineBroken(_words(wire.error_message))
        return inserted

    def close(self) -> None:
        self._connection.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _words(message: bytes) -> str:
    return one_line(RuntimeError(message.decode("utf-8", "replace")))


def _numbers(values: Sequence[int]) -> bytes:
    """An array of int8 as PostgreSQL sends it: dimensions, flags, type, length, first index, elements."""
    return pack("!iiIii", 1, 0, _INT8, len(values), 1) + b"".join([pack("!iq", 8, value) for value in values])


def _blobs(values: Sequence[bytes]) -> bytes:
    pieces = [pack("!iiIii", 1, 0, _BYTEA, len(values), 1)]
    for value in values:
        pieces += (len(value).to_bytes(4, "big"), value)
    return b"".join(pieces)


class PlainLine:
    """psycopg2 in its asynchronous mode: values as text."""

    def __init__(self, connection: Any, shard: int, epoch: int) -> None:
        """`connection` was made with `async_=1`, and is connected."""
        self._connection = connection
        self._cursor = connection.cursor()
        self._fd = os.dup(connection.fileno())
        self._under_way = False
        template = {"shard": shard, "epoch": epoch, "seq": "%s", "at": "%s", "mono": "%s", "events": "%s"}
        self._one = _ONE.format(**template)
        arrays = {"seq": "%s::int8[]", "at": "%s::int8[]", "mono": "%s::int8[]", "events": "%s::bytea[]"}
        self._many = _MANY.format(**(template | arrays))

    def fileno(self) -> int:
        return self._fd

    def insert(self, rows: Sequence[Row]) -> bool:
        try:
            if len(rows) == 1:
                seq, at_ms, mono_ms, events = rows[0]
                self._cursor.execute(self._one, (seq, at_ms, mono_ms, psycopg2.Binary(events)))
            else:
                seqs, ats, monos, bodies = zip(*rows, strict=True)
                blobs = [psycopg2.Binary(body) for body in bodies]
                self._cursor.execute(self._many, (list(seqs), list(ats), list(monos), blobs))
            self._under_way = True
            return True  # asked when the loop says so: an answer that is read here would wake nobody
        except psycopg2.Error as fault:
            raise LineBroken(one_line(fault)) from fault

    def go_on(self) -> bool:
        try:
            state = self._connection.poll()
        except psycopg2.Error as fault:
            raise LineBroken(one_line(fault)) from fault
        if self._under_way and state == POLL_OK:
            self._under_way = False
            self._done = int(self._cursor.rowcount)
        return bool(state == POLL_WRITE)

    _done: int | None = None

    def inserted(self) -> int | None:
        done, self._done = self._done, None
        return done

    def close(self) -> None:
        self._cursor = None
        self._connection.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
