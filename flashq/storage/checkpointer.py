"""The checkpointer of one shard: folds closed segments of its journal into its tables.

Records are applied to a thin engine first, many at a time, so that a job that is pushed and acked in between costs no
row. Then what is left of them is written in one transaction, together with the number of the last record, so that a
fold that is torn, or fails, is simply done again. A transaction is kept small (`FLUSH_BYTES`), in the middle of a
segment if need be: a large one would hold up the journal's syncs on the same disk.

What is in memory here is only worth something while it agrees with the tables: after any failure it is dropped and
read again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from flashq.engine.events import parsed
from flashq.engine.replay import Replayer
from flashq.engine.settings import Limits
from flashq.errors import StorageError
from flashq.storage import schema as s
from flashq.storage.contract import Record
from flashq.storage.folds import FOLDS, Changes
from flashq.storage.journal_reader import read_segment
from flashq.storage.recovery import Tables
from flashq.storage.resuming import resume
from flashq.storage.rows import encode
from flashq.storage.saving import Saver
from flashq.storage.sites import Site, close
from flashq.storage.thin import ThinEngine

FLUSH_BYTES: Final = 2 << 20
"""New rows that are written in one transaction, about: a few milliseconds of the disk's time."""
LOOK_BYTES: Final = 1 << 20
"""After so many bytes of events it is looked at how much there is to write."""
Segment = tuple[int, int, str]
"""(first record, last record, path), as `Journal.sealed` has it."""


def segment_records(segments: Sequence[Segment], position: int) -> Iterator[Record]:
    """The records of closed segments, but for segments that are in the tables as a whole."""
    for _, last, path in segments:
        if last > position:
            yield from read_segment(path, last_seq=last)


class NoFold(StorageError):
    """The journal has an event that this version cannot put into tables. The journal is kept, and grows."""


class Checkpointer:
    """One shard's. Not for several threads."""

    def __init__(self, site: Site, limits: Limits) -> None:
        """Nothing is opened before the first fold."""
        self.position = 0
        """The last record that is in the tables, for sure."""
        self._site = site
        self._shard = site.shard
        self._limits = limits
        self._connection: Connection | None = None
        self._state: _State | None = None

    def fold(self, segments: Sequence[Segment], *, stopped: Callable[[], bool] = bool) -> int:
        """Fold what is new in these segments, which are in order; the position then. See `fold_records`."""
        return self.fold_records(segment_records(segments, self.position), stopped=stopped)

    def fold_records(self, records: Iterable[Record], *, stopped: Callable[[], bool] = bool) -> int:
        """Fold what is new in these records, which are in order; the position then.

        `stopped` is asked between records; then it ends early. Raises NoFold, when all before is folded, and
        StorageError, JournalCorrupt or CheckpointTooNew: what was not folded will be, by another call.
        """
        try:
            state = self._state or self._open()
            self._fold(state, records, stopped)
            self._give_back(stopped)
        except BaseException as fault:
            if not isinstance(fault, NoFold):
                self.close()
            if isinstance(fault, DBAPIError):
                raise self._error(fault) from fault
            raise
        return self.position

    def close(self) -> None:
        """Give the tables back, and forget what is in memory. A later fold opens them again."""
        if self._connection is not None:
            close(self._connection)
        self._connection = self._state = None

    def _error(self, fault: DBAPIError) -> StorageError:
        if self._site.damaged(fault):
            return s.corrupt(self._site.name, self._shard, str(fault.orig))
        return StorageError(f"shard {self._shard}: {self._site.name} cannot be written: {fault.orig}")

    # -- the tables

    def _open(self) -> "_State":
        self._site.make()
        tables = Tables.find(self._site)
        assert tables is not None
        state = _State(self._limits)
        try:
            resume(tables, state.replayer, state.saver)
            self.position = state.seq = tables.position
        finally:
            tables.close()
        self._state = state
        self._connection = self._site.write()
        return state

    # -- folding

    def _fold(self, state: "_State", records: Iterable[Record], stopped: Callable[[], bool]) -> None:
        fault: NoFold | None = None
        applied = 0
        for record in records:
            if record.seq <= state.seq:
                continue
            if record.seq != state.seq + 1:
                raise StorageError(f"shard {self._shard}: record {state.seq + 1} is not there, but {record.seq}")
            try:
                applied += state.apply(record, self._shard)
            except NoFold as no_fold:
                fault = no_fold
                break
            if applied >= LOOK_BYTES:
                applied = 0
                if state.saver.pending_bytes() >= FLUSH_BYTES:
                    self._flush(state)
            if stopped():
                break
        if state.seq > self.position:
            self._flush(state)
        if fault is not None:
            raise fault

    def _give_back(self, stopped: Callable[[], bool]) -> None:
        """Let the file shrink where most of it is free, a piece at a time so that an order to stop is heard."""
        assert self._connection is not None
        more = True
        while more and not stopped():
            more = self._site.give_back(self._connection)

    def _flush(self, state: "_State") -> None:
        """One transaction: what changed, and the position."""
        connection = self._connection
        assert connection is not None
        meta = {"position": state.seq, "clock": encode(state.replayer.clock), "at_ms": state.saver.engine.now_ms}
        self._site.begin(connection, self.position)
        state.saver.save(connection, meta)
        self._site.commit(connection)
        state.saver.saved()
        self.position = state.seq


class _State:
    """What is in memory of a shard."""

    def __init__(self, limits: Limits) -> None:
        self.engine = ThinEngine(limits)
        self.replayer = Replayer(self.engine)
        self.changes = Changes()
        self.saver = Saver(self.engine, self.changes)
        self.seq = 0
        """The last record applied."""

    def apply(self, record: Record, shard: int) -> int:
        """Apply a record; how many bytes of events it has. Raises NoFold, having changed nothing."""
        try:
            events = list(parsed(record.events))
        except (ValueError, msgspec.DecodeError) as e:
            raise NoFold(f"shard {shard}: record {record.seq} cannot be read by this version: {e}") from e
        for event in events:
            if type(event) not in FOLDS:
                raise NoFold(f"shard {shard}: record {record.seq} has an event without a fold: {type(event).__name__}")
        self.replayer.begin(record.at_ms, record.mono_ms, record.boot)
        try:
            for event in events:
                FOLDS[type(event)](self.engine, self.changes, event)
        except (ValueError, KeyError, IndexError) as e:
            raise StorageError(f"shard {shard}: record {record.seq} cannot be folded: {type(e).__name__}: {e}") from e
        self.replayer.end()
        self.seq = record.seq
        return len(record.events)
