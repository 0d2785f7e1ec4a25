"""The journal of one shard in segment files: one record a tick, made durable in the tick's own thread.

Rules kept here
- A record is written before anyone hears of it; with durability "fsync" a promise is on disk when `append` returns,
  and with it every record before it.
- `RWF_DSYNC` syncs its own range only, so it is used only where everything before is on disk already.
- Nothing is appended to what an earlier owner wrote: each owner begins a run of its own in a new segment
  (`journal_recovery.py` says why), after what it found was synced.
- After the first failed write or sync nothing is written any more, and no sync is tried again: what the kernel
  believes of the file is not what the disk has. The owner restarts from disk.
- The next segment is there before it is needed: a thread makes it, so that the loop never writes 16 MiB of zeros.

The layout is in `journal_format.py`, the files' lives in `journal_segments.py`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, NoReturn

from flashq.clock import boot_id
from flashq.errors import DiskFull, Fenced, StorageError
from flashq.storage.contract import Files, Lock, Record, Recovery
from flashq.storage.files import OsFiles
from flashq.storage.journal_epoch import next_epoch
from flashq.storage.journal_format import (
    BODY,
    HEADER_BYTES,
    PREFIX,
    RECORD_HEAD,
    SEAL,
    TOOK_SHIFT,
    WRITTEN,
    aligned,
    crc32c,
)
from flashq.storage.journal_reader import read_segment
from flashq.storage.journal_recovery import Walk, first_needed, first_seq
from flashq.storage.journal_segments import FULL, Segment, SegmentFolder, draw_salt
from flashq.storage.journal_supply import SegmentSupply

__all__ = ["SegmentJournal", "next_epoch", "read_segment"]

SEGMENT_BYTES: Final = 16 << 20
RESERVE_BYTES: Final = 64 << 20
FOLLOW_BYTES: Final = 1 << 20
"""What is mapped of a segment moves on in such steps."""
ROLL_LOOKS: Final = 5
"""While there is no room, every so many looks a segment that was begun is closed."""

_pack_prefix: Final = PREFIX.pack
_pack_body: Final = BODY.pack


class SegmentJournal:
    """A `Journal` in `<folder>/journal/`. Made by `open`; one owner, one thread."""

    def __init__(
        self,
        segments: SegmentFolder,
        supply: SegmentSupply,
        lock: Lock,
        *,
        shard: int,
        epoch: int,
        boot: str,
        durability: Literal["fsync", "commit"],
        replay_from: int,
    ) -> None:
        self.on_durable: Callable[[int], None] | None = None
        self.on_fault: Callable[[StorageError], None] | None = None
        self.backlog_bytes = self.kept_bytes = 0
        self.durable_seq = self.synced_seq = 0
        self._folder = segments
        self._supply = supply
        self._lock = lock
        self._shard = shard
        self._epoch = epoch
        self._boot = boot
        self._promises_sync = durability == "fsync"
        self._flags = 0 if self._promises_sync else WRITTEN
        self._replay_from = replay_from
        self._recovery: Recovery | None = None
        self._found: list[Segment] = []
        """What the last owners left, behind it the first segment of ours; empty once that is full."""
        self._closed: list[Segment] = []
        """Segments behind which the journal has gone on, oldest first."""
        self._segment: Segment
        self._fault: StorageError | None = None
        self._ended = False
        self._loose = False
        """Some records are written, but not yet synced."""
        self.on_segment: Callable[[], object] = bool
        """Called when the journal has gone on to another segment: a moment to look at `room`."""
        self._short_looks = 0
        """How often in a row there was no room."""
        self._crc = self._at = 0
        self._salt = b""
        self._mark = -1
        """Where `append` has something to think of: what is mapped, the next segment, or to go on to it."""
        self._follow_at = 0

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        shard: int,
        epoch: int,
        durability: Literal["fsync", "commit"],
        files: Files | None = None,
        boot: str | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        replay_from: int = 0,
        background: Executor | None = None,
        salt: Callable[[], bytes] = draw_salt,
    ) -> "SegmentJournal":
        """Take the shard's folder (`data/shard-NN`) and look at its journal; `replay` then reads it.

        `replay_from`: records up to this one are in the tables. `reserve_bytes`: with less free space on the device
        `room` is False. `background`: runs one thing at a time, ends with the journal; by default a thread.

        Raises Fenced if another process has the folder or `epoch` is not above every epoch in it; JournalCorrupt,
        CheckpointTooNew and DiskFull as they say; StorageError if files cannot be read.
        """
        files = files or OsFiles()
        home = str(folder)
        synced = durability == "fsync"
        boot = boot_id() if boot is None else boot
        try:
            files.make_folder(home)
            files.sync_folder(str(Path(home).parent))
            lock = files.lock(home)
        except OSError as fault:
            raise StorageError(f"shard {shard}: the folder {home} cannot be used: {fault.strerror}") from fault
        segments = SegmentFolder(
            os.path.join(home, "journal"), shard, files, segment_bytes, overwrite=synced, salt=salt
        )
        supply = SegmentSupply(
            segments,
            background or ThreadPoolExecutor(1, f"journal-{shard:02}"),
            epoch=epoch,
            boot=boot,
            mapped=not synced,
            reserve_bytes=reserve_bytes,
        )
        journal = cls(
            segments, supply, lock, shard=shard, epoch=epoch, boot=boot, durability=durability, replay_from=replay_from
        )
        try:
            journal._look()
        except BaseException:
            journal.close(seal=False)
            raise
        return journal

    @property
    def recovery(self) -> Recovery:
        """What the last owner left. Complete once `replay` has ended; asked for earlier, it reads the journal first."""
        if self._recovery is None:
            for _ in self.replay():
                pass
        assert self._recovery is not None
        return self._recovery

    @property
    def first_kept(self) -> int:
        """The first record that is still here, or that will be; those before are recycled."""
        found = self._found or self._closed
        return (first_seq(found[0]) if found else None) or 1

    # Reading what is there

    def _look(self) -> None:
        """Open all segments. What the last owner wrote is synced, then forgotten, so that the disk itself is read."""
        try:
            self._found = self._folder.scan()
            for segment in _last_run(self._found):
                segment.file.datasync()
                segment.file.forget()
        except OSError as fault:
            raise self._error(fault) from fault
        newest = max((segment.header.epoch for segment in self._found), default=0)
        if newest >= self._epoch:
            raise Fenced(f"shard {self._shard}: epoch {self._epoch} is not above {newest}, which has written here")

    def replay(self, after_seq: int = 0) -> Iterator[Record]:
        """The records behind `after_seq` and behind what was said to be in the tables, in order.

        Only before the first `append`. With the end of the first pass the journal is ready to be written.
        """
        if self._recovery is not None and self.durable_seq > self._recovery.last_seq:
            raise StorageError(f"shard {self._shard}: replay comes before the first append")
        after_seq = max(after_seq, self._replay_from)
        try:
            start = first_needed(self._found, self._replay_from)
            walk = Walk(self._found[start:], shard=self._shard, boot=self._boot, after_seq=self._replay_from)
            for record in walk.records():
                if record.seq > after_seq:
                    yield record
            if self._recovery is None:
                self._begin_run(walk, self._found[:start])
        except OSError as fault:
            self._die(fault)

    def _begin_run(self, walk: Walk, unneeded: Sequence[Segment]) -> None:
        """Open a run of ours behind what was read."""
        for segment in (
            *unneeded,
            *reversed(walk.blank[1:]),
        ):  # from the ends, so that no number is ever missing between
            self._folder.retire(segment)
        gone = {*unneeded, *walk.blank}
        self._closed = [segment for segment in self._found if segment not in gone]
        number = self._closed[-1].header.number + 1 if self._closed else 1
        ours = self._supply.open_run(walk.blank[0] if walk.blank else None, number, walk.last_seq + 1, walk.chain)
        self._found = [*self._closed, ours]
        self._crc = walk.chain
        self.durable_seq = self.synced_seq = walk.last_seq
        self._take(ours)
        self._recovery = walk.recovery()

    # Writing

    def append(
        self, events: Sequence[bytes], *, at_ms: int, mono_ms: int, promise: bool, sync: bool = False, took_ms: int = 0
    ) -> int:  # fmt: skip
        """Write one record, and sync it if it has to be; its sequence number."""
        body = events[0] if len(events) == 1 else b"".join(events)
        size = len(body)
        if self._at + RECORD_HEAD + size > self._mark:
            self._make_way(size)
        at = self._at
        seq = self.durable_seq + 1
        flags = self._flags
        if took_ms:
            flags |= took_ms << TOOK_SHIFT
        fields = _pack_body(size, self._crc, flags, seq, self._epoch, at_ms, mono_ms, self.synced_seq)
        crc = crc32c(crc32c(0, fields), body)
        head = _pack_prefix(self._salt, crc) + fields
        try:
            if sync or (promise and self._promises_sync):
                self._write_synced(head, body, at)
                self.synced_seq = seq
            else:
                self._store(head, body, at)
                self._loose = True
        except OSError as fault:
            self._die(fault)
        self._crc = crc
        self._at = (at + RECORD_HEAD + size + 7) & -8
        self.durable_seq = seq
        return seq

    def _write_synced(self, head: bytes, body: bytes, at: int) -> None:
        """Write, and have all records up to this one on disk."""
        if self._loose:
            self._segment.file.pwritev((head, body), at)
            self._sync()
        else:
            self._segment.file.pwritev((head, body), at, dsync=True)

    def _sync(self) -> None:
        """Have on disk all that was written."""
        self._supply.sync_now()
        self._segment.file.datasync()
        self._loose = False
        self.synced_seq = self.durable_seq

    def _make_way(self, size: int) -> None:
        """Let a record with `size` bytes of events fit at `_at`, and see to it that there will be a next segment."""
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        if self._recovery is None:
            _ = self.recovery  # reads the journal and opens a run
        try:
            self._collect()
            self._supply.prepare_after(self._segment)
            if aligned(self._at + RECORD_HEAD + size) > self._segment.size - RECORD_HEAD:
                self._go_on(size)
                self._supply.prepare_after(self._segment)
            if self._at >= self._follow_at:
                self._supply.follow(self._segment, self._at)
                self._follow_at = self._at + FOLLOW_BYTES
            self._mark = min(self._segment.size - RECORD_HEAD, self._follow_at)  # a seal always fits
        except OSError as fault:
            self._die(fault)

    def _go_on(self, size: int) -> None:
        """Close the current segment and take the next, with room for a record of `size`.

        What is loose in the old one is synced: now if promises wait for syncs, as they will not reach back into
        another file; else soon, by the thread.
        """
        segment = self._supply.take_next(size)
        full = self._segment
        full.last_seq = self.durable_seq
        if not self._promises_sync:
            self._supply.sync_soon(full)  # also if nothing is loose: the background may be at what is mapped of it
        else:
            if self._loose:
                self._sync()
            full.file.close()
        self._closed.append(full)
        for found in self._found:
            if found is not full:
                found.file.close()
        self._found = []
        self._take(segment)
        self.on_segment()

    def _take(self, segment: Segment) -> None:
        """Go on in `segment`. The next one is asked for with its first record, so that a full disk shows early."""
        segment.first_seq = self.durable_seq + 1
        segment.last_seq = self.durable_seq
        self._segment = segment
        self._salt = segment.header.salt
        self._store = segment.file.store
        self._at = self._mark = HEADER_BYTES
        self._follow_at = FOLLOW_BYTES

    # Room, and what became safe

    @property
    def room(self) -> bool:
        """See `Journal.room`."""
        return self._supply.room and self._fault is None

    def check_room(self) -> bool:
        """See `Journal.check_room`. Raises StorageError if what was done in the background has failed."""
        if self._fault is not None or self._recovery is None:
            return False
        try:
            self._collect()
            if self._supply.check_room():
                self._short_looks = 0
                return True
            self._short_looks += 1
            if self._short_looks % ROLL_LOOKS == 1:
                self._roll()
            return False
        except OSError as fault:
            self._die(fault)

    def _roll(self) -> None:
        """Close the current segment before it is full, so that what has ended in it is folded and gives space back.

        Not before those closed are folded: one segment more than usual is all that this takes.
        """
        if not self._closed and self.durable_seq >= self._segment.first_seq and self._supply.ready():
            self._go_on(0)

    def sealed(self) -> Sequence[tuple[int, int, str]]:
        """Segments that are closed and on disk, oldest first: (first seq, last seq, path)."""
        unsynced = set(self._supply.unsynced)
        return [
            (segment.first_seq, segment.last_seq, segment.path)
            for segment in self._closed
            if segment not in unsynced and segment.last_seq >= segment.first_seq
        ]

    def recycle(self, through_seq: int) -> None:
        """Records up to `through_seq` are safe elsewhere: whole segments of them are reused."""
        unsynced = self._supply.unsynced if through_seq > 0 else self._closed  # 0: nothing is safe elsewhere
        while self._closed and self._closed[0].last_seq <= through_seq and self._closed[0] not in unsynced:
            segment = self._closed.pop(0)
            if segment in self._found:
                self._found.remove(segment)
                self._replay_from = max(self._replay_from, segment.last_seq)
            self._supply.retire_soon(segment)

    def _collect(self) -> None:
        """Take note of what has ended in the background."""
        self.synced_seq = max(self.synced_seq, self._supply.collect())

    # The end

    def close(self, *, seal: bool) -> None:
        """Sync and end; with `seal`, say that nothing may be missing. Twice does no harm.

        Raises StorageError if that fails; the files and the folder are given back all the same.
        """
        if self._ended:
            return
        self._ended = True
        try:
            if self._fault is None and self._recovery is not None:
                self._finish(seal)
        except OSError as fault:
            self._die(fault)
        finally:
            self._fault = self._fault or StorageError(f"shard {self._shard}: the journal is closed")
            self._mark = -1
            self._supply.end()
            ours = () if self._recovery is None else (self._segment,)
            for segment in {*self._found, *self._closed, *ours}:
                segment.file.close()
            self._lock.release()

    def _finish(self, seal: bool) -> None:
        if self._loose:
            self._sync()
        self._collect()
        self.synced_seq = seq = self.durable_seq
        if seal:
            fields = _pack_body(0, self._crc, self._flags | SEAL, seq, self._epoch, 0, 0, seq)
            head = _pack_prefix(self._salt, crc32c(0, fields)) + fields
            self._segment.file.pwritev((head,), self._at, dsync=True)

    def _die(self, fault: OSError) -> NoReturn:
        """Nothing is written from here on."""
        self._fault = self._error(fault)
        self._mark = -1
        raise self._fault from fault

    def _error(self, fault: OSError) -> StorageError:
        kind = DiskFull if fault.errno in FULL else StorageError
        return kind(f"shard {self._shard}: the journal in {self._folder.path} failed: {fault.strerror or fault}")


def _last_run(segments: Sequence[Segment]) -> Sequence[Segment]:
    """The segments that the last owner may have left unsynced: from the last one that opens a run."""
    for index in range(len(segments) - 1, -1, -1):
        if segments[index].header.first_seq:
            return segments[index:]
    return segments
