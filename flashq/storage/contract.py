"""The ports of storage: what a shard needs of a journal, and what a journal needs of the disk.

A journal is a log of records, one a tick. Its events are opaque bytes here: only the engine reads them.
All implementations (segment files, memory, PostgreSQL) pass one suite, tests/contract/test_journal.py.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from flashq.errors import StorageError


class Record(NamedTuple):
    """One tick, as it is read back."""

    seq: int
    """1, 2, 3 … without a gap, over all epochs of a shard."""
    epoch: int
    at_ms: int
    """Wall time of the tick: the time that all its events happened at."""
    mono_ms: int
    """Monotonic time of the tick; only comparable under the same `boot`."""
    boot: str
    events: bytes
    """The events' bytes, joined."""
    took_ms: int = 0
    """How long after `mono_ms` its tick ended, where the journal keeps that: nobody heard of any of it before."""


class Recovery(NamedTuple):
    """What opening a journal found."""

    last_seq: int
    """The last whole record; 0 for a new journal."""
    clean: bool
    """The last owner stopped in order and sealed its journal."""
    dropped_records: int
    """Whole records behind a legal gap that were cut (unsynced ones after a power cut)."""
    torn_bytes: int
    """Bytes of an unfinished record at the end that were cut."""
    note: str
    """One line for the log; empty if there is nothing to say."""


class Journal(Protocol):
    """The durable log of one shard. One owner, one thread."""

    @property
    def recovery(self) -> Recovery:
        """What opening found. Complete once `replay` has ended; asked for earlier, it reads the journal first."""

    durable_seq: int
    """All records up to this one are as durable as their promise asked for."""
    synced_seq: int
    """All records up to this one survive a power cut."""
    kept_bytes: int
    """Of events that may be folded, where no file says it."""
    backlog_bytes: int
    """Of events behind `durable_seq`, kept in memory until it has passed them."""
    on_durable: Callable[[int], None] | None
    """Called in the owner's thread with the new `durable_seq`, by a journal that writes behind `append`."""

    on_fault: Callable[[StorageError], None] | None
    """Called in the owner's thread by a journal that has failed outside of any call; `append` raises the same."""

    @property
    def room(self) -> bool:
        """False while space is short: refuse what fills the disk (pushes); a reserve is kept for acks."""

    def check_room(self) -> bool:
        """Look again whether there is room, and try to prepare space that is missing; the new `room`.

        Cheap and never blocks: for the owner's heartbeat, about once a second.
        """

    def replay(self, after_seq: int = 0) -> Iterator[Record]:
        """The records behind `after_seq`, in order. Only before the first `append`.

        Raises JournalCorrupt, with shard, file and offset, where promised bytes are damaged or missing.
        """

    def append(
        self, events: Sequence[bytes], *, at_ms: int, mono_ms: int, promise: bool, sync: bool = False, took_ms: int = 0
    ) -> int:  # fmt: skip
        """Write one record; its sequence number.

        `promise`: a reply depends on it, so it is made as durable as the cluster's durability says.
        Without it (leases, heartbeats) the record is written, but may be lost by a power cut until a
        later promise is synced. `sync`: survives a power cut whatever the durability (ids reserved ahead).
        `took_ms`: from `mono_ms` to the end of the tick; kept by a journal in files.
        Where `durable_seq` is behind the number returned, `on_durable` will tell.

        Raises DiskFull or StorageError. After any error the journal takes nothing more: its owner
        restarts from what is on disk.
        """

    def recycle(self, through_seq: int) -> None:
        """Records up to `through_seq` are safe elsewhere: their space may be used again."""

    def sealed(self) -> Sequence[tuple[int, int, str]]:
        """Closed segments not yet recycled, oldest first: (first seq, last seq, path or name)."""

    def close(self, *, seal: bool) -> None:
        """Sync and end. `seal`: an orderly stop, after which nothing may be missing."""


class Readable(Protocol):
    """Bytes that can be read anywhere: an open file, or what was read of one."""

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""

    def size(self) -> int: ...


class File(Readable, Protocol):
    """An open file of a `Files`. All of it raises OSError."""

    def pwritev(self, buffers: Sequence[bytes], offset: int, *, dsync: bool = False) -> int:
        """Write all of `buffers` at `offset`; with `dsync` that range is on disk when it returns. Their size."""

    def store(self, head: bytes, body: bytes, offset: int) -> None:
        """Write both, one behind the other, without a sync, inside the file's present size.

        In the page cache when it returns: survives a killed process, not a power cut.
        """

    def map(self) -> None:
        """Make `store` as cheap as it can be, for a file that is hardly ever synced."""

    def follow(self, at: int) -> None:
        """`store` goes on behind `at`: for a mapped file, to keep what is mapped ready for it and small."""

    def unmap(self) -> None:
        """Give back what `map` took. Without it, does nothing."""

    def fill(self, size: int) -> None:
        """Make the file `size` bytes long by writing zeros, so that later writes overwrite."""

    def allocate(self, size: int) -> None:
        """Make the file `size` bytes long with space for all of it: quicker than `fill`, slower to sync later."""

    def datasync(self) -> None:
        """All that was written to this file before is on disk when it returns."""

    def forget(self) -> None:
        """Reads from now on show what the disk has, not what a cache believes. For files synced before."""

    def close(self) -> None: ...


class Lock(Protocol):
    """A folder that is ours until it is given back or our process ends."""

    def release(self) -> None: ...


class Files(Protocol):
    """The few file operations that durability stands on, so that tests can lose, tear and fail them."""

    def open(self, path: str, *, create: bool = False) -> File: ...

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted."""

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, path: str) -> None: ...

    def make_folder(self, path: str) -> None: ...

    def sync_folder(self, path: str) -> None:
        """Names made, renamed or removed in it are on disk when it returns."""

    def lock(self, folder: str) -> Lock:
        """Take the folder for ourselves. Raises Fenced where another owner has it."""

    def free_bytes(self, folder: str) -> int:
        """What may still be written to the device of this folder."""
