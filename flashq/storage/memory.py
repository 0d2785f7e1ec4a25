"""A journal that writes no files: for durability "memory", and for tests that want to see the records."""

from collections.abc import Callable, Iterator, Sequence

from flashq.errors import StorageError
from flashq.storage.contract import Record, Recovery


class MemoryJournal:
    """Counts records, and keeps them only if `keep`. `records`: what an earlier one kept, to be replayed."""

    def __init__(
        self, *, epoch: int = 1, boot: str = "", keep: bool = False, records: Sequence[Record] = (), sealed: bool = True
    ) -> None:
        self.kept: list[Record] = list(records)
        """The records so far, oldest first, less those recycled; empty unless `keep`."""
        self.on_durable: Callable[[int], None] | None = None
        self.on_fault: Callable[[StorageError], None] | None = None
        self.backlog_bytes = self.kept_bytes = 0
        self.room = True
        self._epoch = epoch
        self._boot = boot
        self._keep = keep
        self._open = True
        self._appended = False
        last = self.kept[-1].seq if self.kept else 0
        self.durable_seq = self.synced_seq = last
        self._recovery = Recovery(last, clean=sealed or not last, dropped_records=0, torn_bytes=0, note="")

    @property
    def recovery(self) -> Recovery:
        return self._recovery

    def replay(self, after_seq: int = 0) -> Iterator[Record]:
        if self._appended:
            raise StorageError("replay comes before the first append")
        return iter([record for record in self.kept if record.seq > after_seq])

    def append(
        self, events: Sequence[bytes], *, at_ms: int, mono_ms: int, promise: bool, sync: bool = False, took_ms: int = 0
    ) -> int:  # fmt: skip
        if not self._open:
            raise StorageError("the journal is closed")
        self._appended = True
        seq = self.durable_seq + 1
        if self._keep:
            self.kept.append(Record(seq, self._epoch, at_ms, mono_ms, self._boot, b"".join(events), took_ms))
        self.durable_seq = self.synced_seq = seq
        return seq

    def check_room(self) -> bool:
        return True

    def recycle(self, through_seq: int) -> None:
        self.kept = [record for record in self.kept if record.seq > through_seq]

    def sealed(self) -> Sequence[tuple[int, int, str]]:
        return ()

    def close(self, *, seal: bool) -> None:
        self._open = False
