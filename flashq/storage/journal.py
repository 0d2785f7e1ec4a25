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

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, NoReturn

from flashq.clock import boot_id
from flashq.errors import DiskFull, Fenced, StorageError
from flashq.storage.contract import Files, Lock, Record, Recovery
from flashq.storage.files import OsFiles
from flashq.storage.journal_epoch import next_epoch
from flashq.storage.journal_format import BODY, HEADER_BYTES, PREFIX, RECORD_HEAD, SEAL, WRITTEN, aligned, crc32c
from flashq.storage.journal_reader import read_segment
from flashq.storage.journal_recovery import Walk, first_needed
from flashq.storage.journal_segments import FIRST_BYTES, Segment, SegmentFolder, draw_salt

__all__ = ["SegmentJournal", "next_epoch", "read_segment"]

SEGMENT_BYTES: Final = 16 << 20
RESERVE_BYTES: Final = 64 << 20

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_pack_prefix: Final = PREFIX.pack
_pack_body: Final = BODY.pack


class SegmentJournal:
    """A `Journal` in `<folder>/journal/`. Made by `open`; one owner, one thread."""

    def __init__(
        self,
        segments: SegmentFolder,
        lock: Lock,
        background: Executor,
        *,
        shard: int,
        epoch: int,
        boot: str,
        durability: Literal["fsync", "commit"],
        reserve_bytes: int,
        replay_from: int,
    ) -> None:
        self.on_durable: Callable[[int], None] | None = None
        self.durable_seq = self.synced_seq = 0
        self.room = True
        self._folder = segments
        self._lock = lock
        self._background = background
        """All that is done to the folder is done here, one thing at a time."""
        self._shard = shard
        self._epoch = epoch
        self._boot = boot
        self._promises_sync = durability == "fsync"
        self._flags = 0 if self._promises_sync else WRITTEN
        self._reserve_bytes = reserve_bytes
        self._replay_from = replay_from
        self._recovery: Recovery | None = None
        self._found: list[Segment] = []
        """What the last owners left, behind it the first segment of ours."""
        self._closed: list[Segment] = []
        """Segments behind which the journal has gone on, oldest first."""
        self._syncing: list[tuple[Segment, Future[None]]] = []
        """Of those, the ones whose sync in the background is not known to have ended, oldest first."""
        self._retiring: list[Future[None]] = []
        self._next: Future[Segment] | None = None
        self._segment: Segment
        self._fault: StorageError | None = None
        self._loose = False
        """Records of the current segment were written without a sync."""
        self._crc = self._at = 0
        self._salt = b""
        self._mark = -1
        """Where `append` has something to think of: to prepare the next segment, or to go on to it."""

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
        `room` is False. `background`: runs one thing at a time; by default a thread of the journal's own.

        Raises Fenced if another process has the folder or `epoch` is not above every epoch in it; JournalCorrupt,
        CheckpointTooNew and DiskFull as they say; StorageError if files cannot be read.
        """
        files = files or OsFiles()
        home = str(folder)
        try:
            files.make_folder(home)
            lock = files.lock(home)
        except OSError as fault:
            raise StorageError(f"shard {shard}: the folder {home} cannot be used: {fault.strerror}") from fault
        journal = cls(
            SegmentFolder(
                os.path.join(home, "journal"), shard, files, segment_bytes, overwrite=durability == "fsync", salt=salt
            ),
            lock,
            background or ThreadPoolExecutor(1, f"journal-{shard:02}"),
            shard=shard,
            epoch=epoch,
            boot=boot_id() if boot is None else boot,
            durability=durability,
            reserve_bytes=reserve_bytes,
            replay_from=replay_from,
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
        for segment in (*unneeded, *walk.blank[1:]):
            self._folder.retire(segment)
        gone = {*unneeded, *walk.blank}
        self._closed = [segment for segment in self._found if segment not in gone]
        first_seq = walk.last_seq + 1
        if walk.blank:
            segment = walk.blank[0]
            self._folder.reuse_blank(segment, epoch=self._epoch, boot=self._boot, first_seq=first_seq, chain=walk.chain)
        else:
            number = self._closed[-1].header.number + 1 if self._closed else 1
            segment = self._folder.make(
                number, FIRST_BYTES, epoch=self._epoch, boot=self._boot, first_seq=first_seq, chain=walk.chain
            )
        if not self._promises_sync:
            segment.file.map()
        self._found = [*self._closed, segment]
        self._crc = walk.chain
        self.durable_seq = self.synced_seq = walk.last_seq
        self._take(segment)
        self._recovery = walk.recovery()
        self.room = self._folder.free_bytes() >= self._reserve_bytes

    # Writing

    def append(self, events: Sequence[bytes], *, at_ms: int, mono_ms: int, promise: bool, sync: bool = False) -> int:
        """Write one record, and sync it if it has to be; its sequence number."""
        body = b"".join(events)
        size = len(body)
        if self._at + RECORD_HEAD + size > self._mark:
            self._make_way(size)
        at = self._at
        seq = self.durable_seq + 1
        fields = _pack_body(size, self._crc, self._flags, seq, self._epoch, at_ms, mono_ms, self.synced_seq)
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
        file = self._segment.file
        if not (self._loose or self._syncing):
            file.pwritev((head, body), at, dsync=True)
            return
        file.pwritev((head, body), at)
        self._sync_all()

    def _sync_all(self) -> None:
        for segment, _ in self._syncing:
            segment.file.datasync()
        self._segment.file.datasync()
        self._loose = False

    def _make_way(self, size: int) -> None:
        """Let a record with `size` bytes of events fit at `_at`, and see to it that there will be a next segment."""
        if self._fault is not None:
            raise type(self._fault)(str(self._fault))
        if self._recovery is None:
            _ = self.recovery
        self._collect()
        if self._next is None:
            self._prepare()
        limit = self._segment.size - RECORD_HEAD  # a seal always fits
        if aligned(self._at + RECORD_HEAD + size) <= limit:
            self._mark = limit
            return
        try:
            self._go_on(size)
        except OSError as fault:
            self._die(fault)

    def _go_on(self, size: int) -> None:
        """Close the current segment and take the next, with room for a record of `size`."""
        segment = self._wait_next()
        if not segment.fits(size):
            self._background.submit(self._folder.grow, segment, size).result()
            if not self._promises_sync:
                segment.file.map()
        self._close_segment()
        self._next = None
        self._take(segment)

    def _close_segment(self) -> None:
        """The current segment is full. What is loose in it is synced: at once if promises wait for syncs, else soon."""
        segment = self._segment
        segment.last_seq = self.durable_seq
        if self._loose and self._promises_sync:
            segment.file.datasync()
        elif self._loose:
            self._syncing.append((segment, self._background.submit(_sync_closed, segment)))
        self._loose = False
        self._closed.append(segment)

    def _take(self, segment: Segment) -> None:
        """Go on in `segment`."""
        segment.first_seq = self.durable_seq + 1
        segment.last_seq = self.durable_seq
        self._segment = segment
        self._salt = segment.header.salt
        self._store = segment.file.store
        self._at = HEADER_BYTES
        self._mark = segment.size // 4  # early, so that a full disk shows while acks still fit

    # The next segment

    def _prepare(self) -> None:
        self._next = self._background.submit(
            self._make_next, self._segment.header.number + 1, self._folder.size_after(self._segment.size)
        )
        self._next.add_done_callback(self._note_room)

    def _make_next(self, number: int, size: int) -> Segment:
        segment = self._folder.make(number, size, epoch=self._epoch, boot=self._boot)
        if not self._promises_sync:
            segment.file.map()
        if self._folder.free_bytes() < self._reserve_bytes:
            self.room = False
        return segment

    def _note_room(self, made: Future[Segment]) -> None:
        """In the background: the loop sees it with its next push."""
        if made.exception() is not None:
            self.room = False

    def _wait_next(self) -> Segment:
        """The next segment. If there was no space when it was first tried, it is tried once more."""
        assert self._next is not None
        if isinstance(self._next.exception(), OSError):
            self._prepare()
        return self._next.result()

    def check_room(self) -> bool:
        """See `Journal.check_room`. Raises StorageError if what was done in the background has failed."""
        if self._fault is not None or self._recovery is None:
            return False
        self._collect()
        made = self._next
        try:
            if made is not None and made.done() and made.exception() is not None:
                self._prepare()
            elif made is None or made.done():
                self.room = self._folder.free_bytes() >= self._reserve_bytes
        except OSError as fault:
            self._die(fault)
        return self.room

    # What became safe, and the end

    def sealed(self) -> Sequence[tuple[int, int, str]]:
        """Segments that are closed and on disk, oldest first: (first seq, last seq, path)."""
        self._collect()
        syncing = {segment for segment, _ in self._syncing}
        return [
            (segment.first_seq, segment.last_seq, segment.path)
            for segment in self._closed
            if segment not in syncing and segment.last_seq >= segment.first_seq
        ]

    def recycle(self, through_seq: int) -> None:
        """Records up to `through_seq` are safe elsewhere: whole segments of them are reused."""
        self._collect()
        syncing = self._syncing[0][0] if self._syncing else None
        while self._closed and self._closed[0].last_seq <= through_seq and self._closed[0] is not syncing:
            segment = self._closed.pop(0)
            if segment in self._found:
                self._found.remove(segment)
                self._replay_from = max(self._replay_from, segment.last_seq)
            self._retiring.append(self._background.submit(self._folder.retire, segment))

    def _collect(self) -> None:
        """Take note of what has ended in the background."""
        try:
            while self._retiring and self._retiring[0].done():
                self._retiring.pop(0).result()
            while self._syncing and self._syncing[0][1].done():
                segment, synced = self._syncing.pop(0)
                synced.result()
                self.synced_seq = max(self.synced_seq, segment.last_seq)
        except OSError as fault:
            self._die(fault)

    def close(self, *, seal: bool) -> None:
        """Sync and end; with `seal`, say that nothing may be missing. Twice does no harm.

        Raises StorageError if that fails; the files and the folder are given back all the same.
        """
        try:
            if self._fault is None and self._recovery is not None:
                self._finish(seal)
        except OSError as fault:
            self._die(fault)
        finally:
            self._fault = self._fault or StorageError(f"shard {self._shard}: the journal is closed")
            self._mark = -1
            self._background.shutdown(wait=True)
            self._close_files()
            self._lock.release()

    def _finish(self, seal: bool) -> None:
        if self._loose or self._syncing:
            self._sync_all()
        self.synced_seq = seq = self.durable_seq
        if seal:
            fields = _pack_body(0, self._crc, self._flags | SEAL, seq, self._epoch, 0, 0, seq)
            head = _pack_prefix(self._salt, crc32c(0, fields)) + fields
            self._segment.file.pwritev((head,), self._at, dsync=True)

    def _close_files(self) -> None:
        made = self._next
        if made is not None and not made.cancelled() and made.exception() is None:
            self._found.append(made.result())
        self._next = None
        ours = () if self._recovery is None else (self._segment,)
        for segment in {*self._found, *self._closed, *ours}:
            segment.file.close()
        self._found, self._closed, self._syncing = [], [], []

    def _die(self, fault: OSError) -> NoReturn:
        """Nothing is written from here on."""
        self._fault = self._error(fault)
        self._mark = -1
        self.room = False
        raise self._fault from fault

    def _error(self, fault: OSError) -> StorageError:
        kind = DiskFull if fault.errno in _FULL else StorageError
        return kind(f"shard {self._shard}: the journal in {self._folder.path} failed: {fault.strerror or fault}")


def _sync_closed(segment: Segment) -> None:
    segment.file.datasync()
    segment.file.unmap()


def _last_run(segments: Sequence[Segment]) -> Sequence[Segment]:
    """The segments that the last owner may have left unsynced: from the last one that opens a run."""
    for index in range(len(segments) - 1, -1, -1):
        if segments[index].header.first_seq:
            return segments[index:]
    return segments
