"""What every journal keeps to, whatever it is written in."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Literal, Protocol

import pytest

from flashq.database_url import parse
from flashq.errors import StorageError
from flashq.storage.contract import Files, Journal, Record
from flashq.storage.files import OsFiles
from flashq.storage.journal import SegmentJournal
from flashq.storage.journal_format import TOOK_MAX
from flashq.storage.memory import MemoryJournal
from flashq.storage.postgres import ownership
from flashq.storage.postgres.journal import DatabaseJournal
from flashq.storage.postgres.server import Server
from flashq.testing.files import SimulatedDisk
from flashq.testing.postgres import PostgresServer

BOOT = "6a1f0e9c-0000-4000-8000-000000000001"


class Home(Protocol):
    """Where the journals of one shard live, one owner after another."""

    recycles: bool
    """Whether space is given back only in whole segments, so that more may be replayed than was asked for."""

    def open(self, *, replay_from: int = 0) -> Journal: ...

    def kill(self, journal: Journal) -> None:
        """The owner's process is gone, without a word."""


class MemoryHome:
    recycles = False

    def __init__(self) -> None:
        self._epochs = count(1)
        self._last: MemoryJournal | None = None
        self._sealed = True

    def open(self, *, replay_from: int = 0) -> Journal:
        records = self._last.kept if self._last else ()
        self._last = MemoryJournal(epoch=next(self._epochs), boot=BOOT, keep=True, records=records, sealed=self._sealed)
        self._sealed = True
        return self._last

    def kill(self, journal: Journal) -> None:
        self._sealed = False
        journal.close(seal=False)


class SegmentHome:
    recycles = True

    def __init__(self, folder: str, durability: Literal["fsync", "commit"], files: Files) -> None:
        self._epochs = count(1)
        self._folder = folder
        self._durability: Literal["fsync", "commit"] = durability
        self._files = files

    def open(self, *, replay_from: int = 0) -> Journal:
        return SegmentJournal.open(
            self._folder,
            shard=0,
            epoch=next(self._epochs),
            durability=self._durability,
            files=self._files,
            boot=BOOT,
            segment_bytes=32 << 10,
            reserve_bytes=0,
            replay_from=replay_from,
        )

    def kill(self, journal: Journal) -> None:
        assert isinstance(journal, SegmentJournal)
        journal._lock.release()  # as the kernel does it; nothing else of the owner is ever run again
        journal._supply._background.shutdown(wait=True)


class DatabaseHome:
    recycles = True

    def __init__(self, url: str, folder: Path) -> None:
        self._epochs = count(1)
        self._server = Server(parse(url))
        self._folder = folder
        ownership.take(self._server, 1, (0,) * 1024)

    def open(self, *, replay_from: int = 0) -> Journal:
        return DatabaseJournal.open(
            self._server, self._folder, shard=0, epoch=next(self._epochs), boot=BOOT, replay_from=replay_from
        )

    def kill(self, journal: Journal) -> None:
        assert isinstance(journal, DatabaseJournal)
        assert journal._line is not None
        journal._line.close()  # as the kernel does it


@pytest.fixture(
    params=["memory", "commit", "fsync", "commit simulated", "fsync simulated", "psycopg", "psycopg2"],
)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    if request.param == "memory":
        return MemoryHome()
    if request.param.startswith("psycopg"):
        postgres: PostgresServer = request.getfixturevalue("postgres")
        return DatabaseHome(postgres.database(request.param), tmp_path)
    durability, simulated, _ = (*request.param.split(), "", "")[:3]
    files = SimulatedDisk() if simulated else OsFiles()
    return SegmentHome("/data/shard-00" if simulated else str(tmp_path / "shard-00"), durability, files)


@pytest.fixture
def opened(home: Home) -> Iterator[Callable[..., Journal]]:
    """Opens journals that are closed in the end."""
    journals: list[Journal] = []

    def start(*, replay_from: int = 0) -> Journal:
        journals.append(home.open(replay_from=replay_from))
        return journals[-1]

    yield start
    for journal in journals:
        journal.close(seal=False)


Start = Callable[..., Journal]


def write(journal: Journal, count: int, size: int = 10) -> list[bytes]:
    """`count` records of every kind, each with several events; what they hold."""
    random = Random(count)
    written = []
    for number in range(count):
        events = [random.randbytes(random.randrange(size)) for _ in range(random.randrange(4))]
        before = journal.durable_seq
        seq = journal.append(events, at_ms=1_000 + number, mono_ms=number, promise=number % 3 > 0, sync=number % 7 == 0)
        assert seq == before + 1 == journal.durable_seq
        written.append(b"".join(events))
    return written


def events_of(records: Iterator[Record]) -> list[bytes]:
    return [record.events for record in records]


def test_new_journal_has_no_records_and_is_clean(opened: Start) -> None:
    journal = opened()
    assert list(journal.replay()) == []
    assert journal.recovery == (0, True, 0, 0, "")
    assert (journal.durable_seq, journal.synced_seq) == (0, 0)
    assert journal.room
    assert journal.check_room()
    assert list(journal.sealed()) == []


def test_records_are_numbered_from_one_without_a_gap(opened: Start) -> None:
    """The engine counts on it: a number is a position."""
    journal = opened()
    assert [journal.append([b"x"], at_ms=0, mono_ms=0, promise=True) for _ in range(3)] == [1, 2, 3]


def test_sealed_journal_replays_all_it_was_given(home: Home, opened: Start) -> None:
    """An orderly stop loses nothing, and the next owner knows that it was one."""
    journal = opened()
    written = write(journal, 200, 900)
    journal.close(seal=True)
    journal = opened()
    records = list(journal.replay())
    assert [record.events for record in records] == written
    assert [record.seq for record in records] == list(range(1, 201))
    assert records[5] == Record(6, 1, 1_005, 5, BOOT, written[5])
    assert journal.recovery == (200, True, 0, 0, "")


@pytest.mark.parametrize("durability", ["fsync", "commit"])
def test_files_keep_how_long_a_tick_took(tmp_path: Path, durability: Literal["fsync", "commit"]) -> None:
    """From a moment to the longest that there is room for; a cut of several journals stands on it."""
    home = SegmentHome(str(tmp_path / "shard-00"), durability, OsFiles())
    journal = home.open()
    for took_ms in (0, 1, 255, 256, TOOK_MAX):
        journal.append([b"x"], at_ms=1, mono_ms=2, promise=True, took_ms=took_ms)
    journal.close(seal=True)
    records = list(home.open().replay())
    assert [record.took_ms for record in records] == [0, 1, 255, 256, TOOK_MAX]
    assert {(record.at_ms, record.mono_ms) for record in records} == {(1, 2)}


def test_killed_owner_loses_nothing_it_wrote(home: Home, opened: Start) -> None:
    """`kill -9` takes no record whose `append` returned, promised or not, and is told from an orderly stop."""
    journal = opened()
    written = write(journal, 200, 900)
    home.kill(journal)
    journal = opened()
    assert events_of(journal.replay()) == written
    assert journal.recovery[:4] == (200, False, 0, 0)


def test_owners_write_one_sequence_after_another(home: Home, opened: Start) -> None:
    """Each owner goes on where the last one stopped, in an epoch of its own."""
    written: list[bytes] = []
    for owner in range(5):
        journal = opened()
        assert events_of(journal.replay()) == written
        written += write(journal, 20 * owner, 3_000)
        if owner % 2:
            home.kill(journal)
        else:
            journal.close(seal=True)
    records = list(opened().replay())
    assert [record.seq for record in records] == list(range(1, len(written) + 1))
    assert sorted({record.epoch for record in records}) == [2, 3, 4, 5]


def test_starts_and_stops_without_a_record_leave_no_trace(home: Home, opened: Start) -> None:
    """An idle shard that is restarted every night does not fill a disk, and what it wrote before is still there."""
    journal = opened()
    written = write(journal, 5)
    for number in range(12):
        if number % 3:
            journal.close(seal=True)
        else:
            home.kill(journal)
        journal = opened()
        assert events_of(journal.replay()) == written
        assert journal.recovery.clean == bool(number % 3)
        assert sum(last - first + 1 for first, last, _ in journal.sealed()) in (0, 5)
    written += write(journal, 5)
    home.kill(journal)
    assert events_of(opened().replay()) == written


def test_replay_starts_behind_what_is_known(opened: Start) -> None:
    journal = opened()
    written = write(journal, 50)
    journal.close(seal=True)
    assert events_of(opened().replay(after_seq=30)) == written[30:]


def test_replay_twice_reads_the_same(opened: Start) -> None:
    journal = opened()
    written = write(journal, 50, 2_000)
    journal.close(seal=True)
    journal = opened()
    assert events_of(journal.replay()) == events_of(journal.replay()) == written


def test_replay_given_up_halfway_does_not_spoil_the_journal(opened: Start) -> None:
    """Whoever looks at the first record only may still write behind the last."""
    journal = opened()
    write(journal, 50)
    journal.close(seal=True)
    journal = opened()
    assert next(iter(journal.replay())).seq == 1
    assert journal.append([b"more"], at_ms=0, mono_ms=0, promise=True) == 51


def test_replay_after_append_is_refused(opened: Start) -> None:
    journal = opened()
    write(journal, 1)
    with pytest.raises(StorageError, match="before the first append"):
        list(journal.replay())


def test_append_goes_on_without_replay(opened: Start) -> None:
    """A shard whose tables hold everything has nothing to replay."""
    journal = opened()
    write(journal, 3)
    journal.close(seal=True)
    journal = opened()
    assert journal.append([], at_ms=0, mono_ms=0, promise=False) == 4


def test_synced_record_survives_power_loss_with_all_before_it(opened: Start) -> None:
    journal = opened()
    journal.append([b"lease"], at_ms=0, mono_ms=0, promise=False)
    seq = journal.append([b"ids"], at_ms=0, mono_ms=0, promise=False, sync=True)
    assert journal.synced_seq == journal.durable_seq == seq


@pytest.mark.parametrize("size", [0, 1, 4_095, 32 << 10, (17 << 20) + 3])
def test_record_of_any_size_is_read_back(opened: Start, size: int) -> None:
    """A frame may have 16 MiB, whatever the size of a segment."""
    journal = opened()
    events = Random(size).randbytes(size)
    for piece in (b"before", events, b"behind"):
        journal.append([piece], at_ms=0, mono_ms=0, promise=True)
    journal.close(seal=True)
    assert events_of(opened().replay()) == [b"before", events, b"behind"]


def test_recycled_records_are_not_replayed(home: Home, opened: Start) -> None:
    """What the tables hold is not applied a second time, and its space is used again."""
    journal = opened()
    written = write(journal, 300, 1_000)
    journal.recycle(200)
    assert all(last > 200 for _, last, _ in journal.sealed())
    written += write(journal, 300, 1_000)
    home.kill(journal)
    assert events_of(opened(replay_from=200).replay(after_seq=200)) == written[200:]


def test_recycling_before_the_first_append_keeps_what_is_behind(opened: Start) -> None:
    """A checkpoint may end between a start and the first command."""
    journal = opened()
    written = write(journal, 300, 1_000)
    journal.close(seal=True)
    journal = opened()
    list(journal.replay())
    journal.recycle(200)
    assert events_of(journal.replay(after_seq=200)) == written[200:]
    assert journal.append([b"more"], at_ms=0, mono_ms=0, promise=True) == 301


def test_recycling_nothing_gives_nothing_away(home: Home, opened: Start) -> None:
    journal = opened()
    written = write(journal, 100, 3_000)
    journal.recycle(0)
    home.kill(journal)
    assert events_of(opened().replay()) == written


def test_closed_journal_takes_nothing(opened: Start) -> None:
    journal = opened()
    write(journal, 2)
    journal.close(seal=True)
    journal.close(seal=True)
    with pytest.raises(StorageError, match="closed"):
        journal.append([b"x"], at_ms=0, mono_ms=0, promise=True)
