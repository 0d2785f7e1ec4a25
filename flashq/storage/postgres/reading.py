"""Reading records back, a few MiB at a time: for the replay of a start, and for checkpoints."""

from collections.abc import Iterator, Mapping
from typing import Final

from flashq.errors import JournalCorrupt, StorageError
from flashq.storage.contract import Record
from flashq.storage.postgres.server import DRIVER_ERRORS, Server, one_line, rows

_READ_BYTES: Final = 8 << 20
_ROWS: Final = 4_096
# octet_length reads no more than the head of a large value, so what is behind the bound is not fetched.
_QUERY: Final = (
    "SELECT seq, epoch, at_ms, mono_ms, events FROM (SELECT early.*, sum(octet_length(events)) OVER (ORDER BY seq)"
    " - octet_length(events) AS before FROM (SELECT * FROM flashq.journal WHERE shard = %s AND seq > %s AND seq <= %s"
    " ORDER BY seq LIMIT %s) early) few WHERE before < %s ORDER BY seq"
)


def read_records(
    server: Server, shard: int, *, after_seq: int, through_seq: int, boots: Mapping[int, str] | None = None
) -> Iterator[Record]:
    """The records behind `after_seq` up to `through_seq`, in order. `boots` by epoch, if they are known already.

    Raises JournalCorrupt where one is missing, StorageError if the server is not reached.
    """
    if after_seq >= through_seq:
        return
    connection = server.connect(f"shard {shard} reading")
    try:
        if boots is None:
            boots = dict(rows(connection, "SELECT epoch, boot FROM flashq.boots WHERE shard = %s", (shard,)))
        while after_seq < through_seq:
            found = rows(connection, _QUERY, (shard, after_seq, through_seq, _ROWS, _READ_BYTES))
            for seq, epoch, at_ms, mono_ms, events in found:
                if seq != after_seq + 1:
                    break
                yield Record(seq, epoch, at_ms, mono_ms, boots.get(epoch, ""), bytes(events))
                after_seq = seq
            if not found or found[-1][0] != after_seq:
                raise JournalCorrupt(
                    f"shard {shard}: {server.url.shown}: record {after_seq + 1} is missing from flashq.journal"
                )
    except DRIVER_ERRORS as fault:
        raise StorageError(f"{server.url.shown}: {one_line(fault)}") from fault
    finally:
        connection.close()
