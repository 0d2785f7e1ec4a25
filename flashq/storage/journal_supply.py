"""What a journal has done behind its back: the next segment made, closed ones synced, retired ones kept for reuse.

One thread does it all, one thing after another; what comes of it is seen when the owner asks. The owner's loop waits
only where it has filled a segment before the next one was ready.
"""

from concurrent.futures import Executor, Future

from flashq.storage.journal_segments import FIRST_BYTES, FULL, Segment, SegmentFolder


class SegmentSupply:
    """Serves one journal. All methods raise OSError, also for what failed in the background since the last call."""

    def __init__(
        self,
        folder: SegmentFolder,
        background: Executor,
        *,
        epoch: int,
        boot: str,
        mapped: bool,
        reserve_bytes: int,
    ) -> None:
        """`mapped`: segments are mapped for quick stores. `reserve_bytes` of free space are left for other things."""
        self.room = True
        """See `Journal.room`. Turns False in the background, True only in `check_room`."""
        self._folder = folder
        self._background = background
        self._epoch = epoch
        self._boot = boot
        self._mapped = mapped
        self._reserve_bytes = reserve_bytes
        self._next: Future[Segment] | None = None
        self._asked = (0, 0)
        self._syncing: list[tuple[Segment, Future[None]]] = []
        self._chores: list[Future[None]] = []
        """Of which nothing is to be known but that they failed."""

    @property
    def unsynced(self) -> list[Segment]:
        """Closed segments whose sync is not known to have ended, oldest first."""
        return [segment for segment, _ in self._syncing]

    def open_run(self, blank: Segment | None, number: int, first_seq: int, chain: int) -> Segment:
        """The first segment of a run: one that was made ahead and never used, or a new one."""
        if blank is not None:
            self._folder.reuse_blank(blank, epoch=self._epoch, boot=self._boot, first_seq=first_seq, chain=chain)
        else:
            size = self._folder.size_after(0)
            blank = self._folder.make(
                number, size, epoch=self._epoch, boot=self._boot, first_seq=first_seq, chain=chain
            )
        self.room = self._folder.free_bytes() >= self._reserve_bytes
        return self._map(blank)

    def prepare_after(self, segment: Segment) -> None:
        """See to it that there is a segment behind this one. Returns at once."""
        if self._next is None:
            self._ask(segment.header.number + 1, self._folder.size_after(segment.size))

    def _ask(self, number: int, size: int) -> None:
        self._asked = number, size
        self._next = self._background.submit(self._make, number, size)

    def _make(self, number: int, size: int) -> Segment:
        try:
            if self._folder.free_bytes() < self._reserve_bytes:
                size = FIRST_BYTES  # what is left is for many acks
            segment = self._map(self._folder.make(number, size, epoch=self._epoch, boot=self._boot))
        except OSError:
            self.room = False
            raise
        if self._folder.free_bytes() < self._reserve_bytes:
            self.room = False
        return segment

    def ready(self) -> bool:
        """Whether `take_next` has a segment at once."""
        return self._next is not None and self._next.done() and self._next.exception() is None

    def take_next(self, events_bytes: int) -> Segment:
        """The segment that was prepared, large enough for a record of `events_bytes`.

        Where there was no space for it when it was asked for, it is tried once more.
        """
        assert self._next is not None
        if _is_full(self._next.exception()):
            self._ask(*self._asked)
        segment = self._next.result()
        if not segment.fits(events_bytes):
            self._background.submit(self._folder.grow, segment, events_bytes).result()
            self._map(segment)
        self._next = None
        return segment

    def _map(self, segment: Segment) -> Segment:
        if self._mapped:
            segment.file.map()
        return segment

    def sync_soon(self, segment: Segment) -> None:
        """Sync a closed segment and close its file."""
        self._syncing.append((segment, self._background.submit(_sync_and_close, segment)))

    def retire_soon(self, segment: Segment) -> None:
        """Nobody needs the segment: its file is for reuse, or gives its space back while that is short."""
        self._chores.append(self._background.submit(self._retire, segment))

    def _retire(self, segment: Segment) -> None:
        self._folder.retire(segment, keep=self._folder.free_bytes() >= self._reserve_bytes)

    def follow(self, segment: Segment, at: int) -> None:
        """Records go on behind `at`, in a segment that `take_next` gave. Returns at once."""
        if self._mapped:
            self._chores.append(self._background.submit(segment.file.follow, at))

    def collect(self) -> int:
        """The last sequence of the segments whose sync has ended since the last call, 0 if there is none."""
        last_seq = 0
        if self._next is not None and self._next.done() and not _is_full(self._next.exception()):
            self._next.result()
        while self._chores and self._chores[0].done():
            self._chores.pop(0).result()
        while self._syncing and self._syncing[0][1].done():
            segment, synced = self._syncing.pop(0)
            synced.result()
            last_seq = segment.last_seq
        return last_seq

    def sync_now(self) -> None:
        """Have all closed segments on disk. Waits for the background, which syncs and then closes their files."""
        while self._syncing:
            self._syncing[0][1].result()
            self._syncing.pop(0)

    def check_room(self) -> bool:
        """See `Journal.check_room`. To be called after `collect`."""
        made = self._next
        if made is not None and not made.done():
            return self.room
        if made is not None and made.exception() is not None:
            self._ask(*self._asked)
        else:
            self.room = self._folder.free_bytes() >= self._reserve_bytes
        return self.room

    def end(self) -> None:
        """Wait for what is being done, and close the segment that was made ahead, which the next owner uses.

        Where making it failed there is nothing to close: nothing that was written is concerned.
        """
        self._background.shutdown(wait=True)
        made = self._next
        if made is not None and made.exception() is None:
            made.result().file.close()
        self._next = None


def _is_full(fault: BaseException | None) -> bool:
    """Whether trying again may help: any other error of a disk is the end."""
    return isinstance(fault, OSError) and fault.errno in FULL


def _sync_and_close(segment: Segment) -> None:
    segment.file.datasync()
    segment.file.close()
