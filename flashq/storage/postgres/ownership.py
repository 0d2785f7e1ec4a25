"""Who owns the database, and each shard in it.

- `flashq.cluster`, one row: which cluster this is, its shards and slots, and the run (one life of a supervisor) that
  has it now. A run takes it while nobody else's shards live: each holds a shared advisory lock on its session.
- `flashq.shards`, a row a shard: the epoch that may write its journal. Every insert takes the row FOR SHARE and names
  the epoch, a successor raises it before it reads (which waits for inserts under way), so that a process that was
  replaced never writes behind what its successor has read.
"""

import os
import platform
import time
import uuid
from typing import Any, Final, NamedTuple

from flashq.errors import CheckpointTooNew, ConfigError, Fenced, JournalCorrupt, StorageError
from flashq.storage.postgres.server import DRIVER_ERRORS, Server, first, one_line, rows, run

FORMAT: Final = 1
MOVING: Final = 0
"""A format that nothing is read in."""
_LIVE_LOCK: Final = 0x666C617368710001
"""Held shared by the session of every shard that may write."""
_SETUP_LOCK: Final = 0x666C617368710002
WAIT_S: Final = 6.0
"""How long the sessions of a killed cluster may take to end."""
_LOOK_S: Final = 0.1
_TABLES: Final = """
CREATE SCHEMA IF NOT EXISTS flashq;
CREATE TABLE flashq.cluster (one boolean PRIMARY KEY DEFAULT true CHECK (one), id text NOT NULL, format int NOT NULL,
    shards int NOT NULL, slots_version int NOT NULL, owners int[] NOT NULL, run text NOT NULL, owner text NOT NULL,
    since timestamptz NOT NULL);
CREATE TABLE flashq.shards (shard int PRIMARY KEY, epoch bigint NOT NULL, sealed boolean NOT NULL)
    WITH (fillfactor = 10);
-- Apart from `shards`: a checkpoint that writes it must not hold up inserts, which take the shard's row.
CREATE TABLE flashq.gone (shard int PRIMARY KEY, through_seq bigint NOT NULL);
CREATE TABLE flashq.boots (shard int, epoch bigint, boot text NOT NULL, PRIMARY KEY (shard, epoch));
-- Rows come and go at one end: vacuum early and fast.
CREATE TABLE flashq.journal (shard int, seq bigint, epoch bigint NOT NULL, at_ms bigint NOT NULL,
    mono_ms bigint NOT NULL, events bytea NOT NULL, PRIMARY KEY (shard, seq))
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_cost_delay = 0);
-- What a client sent is rarely worth the time to compress it.
ALTER TABLE flashq.journal ALTER COLUMN events SET STORAGE EXTERNAL;
"""


class Taken(NamedTuple):
    """A database that this run owns."""

    cluster: str
    run: str
    slots_version: int
    owners: tuple[int, ...]
    epoch: int
    """The highest of all that ever wrote here."""


def take(server: Server, shards: int, owners: tuple[int, ...]) -> Taken:
    """Make the database ours, and its tables if there are none; `owners`: the map of slots of a new cluster.

    Raises ConfigError, in one line, if it cannot be ours; StorageError if the server is not reached.
    """
    connection = server.connect("supervisor", autocommit=False)
    try:
        server.check_version(connection)
        run(connection, "SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
        if first(connection, "SELECT to_regclass('flashq.cluster')")[0] is None:
            run(connection, _TABLES)
        _wait_until_free(server, connection)
        taken = _take(server, connection, shards, owners)
        connection.commit()
    except DRIVER_ERRORS as fault:
        raise ConfigError(f"database_url = {server.url.shown}: {one_line(fault)}") from fault
    finally:
        connection.close()
    return taken


def shards_of(server: Server) -> int:
    """How many shards the database is laid out for. Raises ConfigError if no cluster has kept anything in it."""
    shards = _shards(server)
    if shards is None:
        raise ConfigError(f"database_url = {server.url.shown}: no cluster has kept anything here")
    return shards


def check_empty(server: Server) -> None:
    """Raises ConfigError if the database is a cluster's."""
    if _shards(server) is not None:
        raise ConfigError(f"migrate: {server.url.shown} is not empty: it has a schema flashq; name a new database")


def _shards(server: Server) -> int | None:
    try:
        connection = server.connect("look")
    except StorageError as fault:
        raise ConfigError(f"database_url = {fault}") from fault
    try:
        if first(connection, "SELECT to_regclass('flashq.cluster')")[0] is None:
            return None
        return int(first(connection, "SELECT shards FROM flashq.cluster")[0])
    finally:
        connection.close()


def set_moving(server: Server, *, moving: bool) -> None:
    """While it moves, what is in the database is part of a migration, and no cluster starts on it."""
    connection = server.connect("migrate")
    try:
        run(connection, "UPDATE flashq.cluster SET format = %s", (MOVING if moving else FORMAT,))
    finally:
        connection.close()


def _wait_until_free(server: Server, connection: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not first(connection, "SELECT pg_try_advisory_xact_lock(%s)", (_LIVE_LOCK,))[0]:
        if time.monotonic() > deadline:
            owner = first(connection, "SELECT owner, since FROM flashq.cluster")
            who = f" ({owner[0]}, since {owner[1]:%Y-%m-%d %H:%M:%S %Z})" if owner else ""
            raise ConfigError(f"database_url = {server.url.shown}: another cluster{who} uses this database")
        time.sleep(_LOOK_S)  # at start, before any loop or child; a lock that is waited for would hold up the others


def _take(server: Server, connection: Any, shards: int, owners: tuple[int, ...]) -> Taken:
    name = uuid.uuid4().hex
    run(
        connection,
        "INSERT INTO flashq.cluster (id, format, shards, slots_version, owners, run, owner, since)"
        " VALUES (%s, %s, %s, 1, %s, '', '', now()) ON CONFLICT DO NOTHING",
        (uuid.uuid4().hex, FORMAT, shards, list(owners)),
    )
    cluster, form, has, version, found = first(
        connection, "SELECT id, format, shards, slots_version, owners FROM flashq.cluster FOR UPDATE"
    )
    if form == MOVING:
        raise ConfigError(
            f"database_url = {server.url.shown}: a migration into it was broken off: drop it, and migrate again"
        )
    if form > FORMAT:
        raise CheckpointTooNew(f"database_url = {server.url.shown}: written by a later flashq (format {form})")
    if has != shards:
        raise ConfigError(
            f"shards = {shards}: the data in {server.url.shown} is laid out for {has}; start with that number"
        )
    owner = f"host {platform.node()}, pid {os.getpid()}"
    run(connection, "UPDATE flashq.cluster SET run = %s, owner = %s, since = now()", (name, owner))
    run(
        connection,
        "INSERT INTO flashq.shards SELECT n, 0, true FROM generate_series(0, %s) n ON CONFLICT DO NOTHING",
        (shards - 1,),
    )
    (epoch,) = first(connection, "SELECT max(epoch) FROM flashq.shards")
    return Taken(cluster, name, version, tuple(found), epoch)


def hold_live_lock() -> str:
    """What a session that writes says first."""
    return f"SELECT pg_advisory_lock_shared({_LIVE_LOCK})"


class Claim(NamedTuple):
    """A shard of the database that is ours to write."""

    cluster: str
    sealed: bool
    """The last owner stopped in order."""
    last_seq: int
    """The last record that is here, or was folded and deleted."""
    gone_through: int
    """Records up to this one are deleted."""
    bytes: int
    """Of events that are here."""
    boots: dict[int, str]
    """Epoch -> the boot of the machine that wrote under it."""


def claim(server: Server, connection: Any, shard: int, epoch: int, boot: str, run_id: str) -> Claim:
    """Have the shard under `epoch`, on this session; all earlier owners are fenced when it returns.

    Raises Fenced if a later owner has it, ConfigError if another cluster took the database meanwhile.
    """
    run(connection, hold_live_lock())
    with _Transaction(connection):
        owner = first(connection, "SELECT id, run, owner FROM flashq.cluster FOR SHARE")
        if owner is None or (run_id and owner[1] != run_id):
            raise ConfigError(
                f"database_url = {server.url.shown}: another cluster ({owner[2] if owner else 'unknown'}) has taken it"
            )
        query = "SELECT epoch, sealed FROM flashq.shards WHERE shard = %s FOR UPDATE"
        found = first(connection, query, (shard,))
        if found is None:
            raise JournalCorrupt(f"shard {shard}: {server.url.shown} has no such shard")
        before, sealed = found
        if before >= epoch:
            raise Fenced(f"shard {shard}: epoch {epoch} is not above {before}, which has written here")
        run(connection, "UPDATE flashq.shards SET epoch = %s, sealed = false WHERE shard = %s", (epoch, shard))
        run(connection, "INSERT INTO flashq.boots VALUES (%s, %s, %s)", (shard, epoch, boot))
        query = "SELECT max(seq), coalesce(sum(octet_length(events)), 0)::bigint FROM flashq.journal WHERE shard = %s"
        last, size = first(connection, query, (shard,))
        gone_through = _gone_through(connection, shard)
        boots = dict(rows(connection, "SELECT epoch, boot FROM flashq.boots WHERE shard = %s", (shard,)))
    return Claim(owner[0], sealed, max(last or 0, gone_through), gone_through, size, boots)


def settle(connection: Any, shard: int, epoch: int) -> tuple[int, str] | None:
    """After a lost connection: the last record that is here, and which cluster this is. None: we are fenced.

    It waits for an insert of ours that the server still carries out: both take the shard's row.
    """
    run(connection, hold_live_lock())
    with _Transaction(connection):
        query = "SELECT epoch FROM flashq.shards WHERE shard = %s FOR UPDATE"
        found = first(connection, query, (shard,))
        if found is None or found[0] != epoch:
            return None
        (last,) = first(connection, "SELECT max(seq) FROM flashq.journal WHERE shard = %s", (shard,))
        (cluster,) = first(connection, "SELECT id FROM flashq.cluster")
        gone_through = _gone_through(connection, shard)
    return max(last or 0, gone_through), cluster


def _gone_through(connection: Any, shard: int) -> int:
    found = first(connection, "SELECT through_seq FROM flashq.gone WHERE shard = %s", (shard,))
    return int(found[0]) if found else 0


def seal(connection: Any, shard: int, epoch: int) -> bool:
    """An orderly end. False if another owner has the shard."""
    query = "UPDATE flashq.shards SET sealed = true WHERE shard = %s AND epoch = %s"
    return run(connection, query, (shard, epoch)) == 1


def delete_folded(connection: Any, shard: int, through_seq: int) -> None:
    """Records up to `through_seq` are in the tables, and no process reads them any more."""
    query = (
        "INSERT INTO flashq.gone VALUES (%s, %s) ON CONFLICT (shard) DO UPDATE"
        " SET through_seq = greatest(flashq.gone.through_seq, excluded.through_seq)"
    )
    run(connection, query, (shard, through_seq))
    run(connection, "DELETE FROM flashq.journal WHERE shard = %s AND seq <= %s", (shard, through_seq))


class _Transaction:
    """BEGIN and COMMIT on a connection in autocommit, of either driver."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        run(self._connection, "BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            run(self._connection, "COMMIT")
        elif not self._connection.closed:
            run(self._connection, "ROLLBACK")
