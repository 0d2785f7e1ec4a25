"""What a checkpointer folds where there is a database: rows of the journal, into tables beside it."""

from collections.abc import Iterator, Sequence

from flashq.database_url import parse
from flashq.errors import StorageError
from flashq.storage.contract import Record
from flashq.storage.postgres.ownership import delete_folded
from flashq.storage.postgres.reading import read_records
from flashq.storage.postgres.server import DRIVER_ERRORS, Server, one_line
from flashq.storage.postgres.site import DatabaseSite


class DatabaseSources:
    """All shards' journals in one database."""

    def __init__(self, url: str, run: str) -> None:
        """`run`: the cluster's life that may write."""
        self._server = Server(parse(url))
        self._run = run

    def site(self, shard: int) -> DatabaseSite:
        """The shard's tables."""
        return DatabaseSite(self._server, shard, self._run)

    def records(self, shard: int, segments: Sequence[tuple[int, int, str]], position: int) -> Iterator[Record]:
        """The records behind `position`. Those before the first that the shard still keeps are deleted.

        A shard begins with what its tables had at some moment, and reads on in the journal: so rows go when it says
        that it has no use for them, not when they are folded.
        """
        first = segments[0][0]
        if first > 1:
            self._delete(shard, first - 1)
        return read_records(self._server, shard, after_seq=max(position, first - 1), through_seq=segments[-1][1])

    def _delete(self, shard: int, through_seq: int) -> None:
        connection = self._server.connect(f"checkpointer {shard}")
        try:
            delete_folded(connection, shard, through_seq)
        except DRIVER_ERRORS as fault:
            raise StorageError(f"{self._server.url.shown}: {one_line(fault)}") from fault
        finally:
            connection.close()
