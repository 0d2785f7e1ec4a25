"""The shared state file: what is written by one process is what any other reads, whole, or not yet."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flashq.errors import ConfigError
from flashq.transport import layout
from flashq.transport.shard_region import COUNTERS, NO_LIMIT
from flashq.transport.shared_memory import ProcessState, QueueView, SharedState

OWNERS = [slot % 2 for slot in range(1024)]


def create(run: Path, *, records: int = 1024) -> SharedState:
    return SharedState.create(run, shards=2, owners=OWNERS, slots_version=1, durability="fsync", records=records)


@pytest.fixture
def state(run_folder: Path) -> Iterator[SharedState]:
    with closing(create(run_folder)) as one:
        yield one


@pytest.fixture
def reader(run_folder: Path, state: SharedState) -> Iterator[SharedState]:
    with closing(SharedState.attach(run_folder)) as one:
        yield one


def figures(view: QueueView) -> tuple[int, ...]:
    return view.waiting, view.active, view.delayed, view.dead, view.completed


def test_header_says_which_cluster_it_is(state: SharedState, reader: SharedState) -> None:
    assert reader.header == state.header
    assert reader.header.durability == "fsync"
    assert reader.header.pid == os.getpid()
    assert len(reader.header.boot) == 36
    assert reader.layout.shards == 2


def test_file_is_for_its_owner_only(run_folder: Path, state: SharedState) -> None:
    assert stat.S_IMODE((run_folder / "state").stat().st_mode) == 0o600
    assert [path.name for path in run_folder.iterdir()] == ["state"]


def test_slots_change_for_readers_at_once(state: SharedState, reader: SharedState) -> None:
    assert reader.owner(3) == 1
    assert reader.slots() == (1, tuple(OWNERS))
    state.set_slots([1] * 1024, 2)
    assert reader.owner(2) == 1
    assert reader.slots() == (2, (1,) * 1024)


@pytest.mark.parametrize("owners", [[0] * 1023, [2] * 1024, [-1] * 1024])
def test_slot_map_that_cannot_be_right_is_refused(state: SharedState, owners: list[int]) -> None:
    with pytest.raises(ValueError, match="each below 2"):
        state.set_slots(owners, 2)
    assert state.slots().version == 1


def test_processes_are_read_as_written(state: SharedState, reader: SharedState) -> None:
    state.set_process(0, "router-0", pid=11, state=ProcessState.SERVING, restarts=0, since_ms=5)
    state.set_process(2, "shard-01", pid=0, state=ProcessState.REFUSED, restarts=3, since_ms=6, reason="a torn ß" * 200)
    router, shard = reader.processes()
    assert router == ("router-0", 11, ProcessState.SERVING, 0, 5, "")
    assert shard[:5] == ("shard-01", 0, ProcessState.REFUSED, 3, 6)
    assert shard.reason == ("a torn ß" * 200).encode()[:512].decode("utf-8", "ignore")
    with pytest.raises(ValueError, match="34 rows"):
        state.set_process(34, "x", pid=0, state=ProcessState.DOWN, restarts=0, since_ms=0)


def test_counters_are_read_as_written(run_folder: Path, state: SharedState, reader: SharedState) -> None:
    assert reader.shard(1) is None
    with closing(SharedState.attach(run_folder, writable=True)) as shard:
        shard.writer(1, epoch=7).write(1234, *range(len(COUNTERS)))
    view = reader.shard(1)
    assert view is not None
    assert (view.heartbeat_ms, view.epoch) == (1234, 7)
    assert view.counters._asdict() == {name: index for index, name in enumerate(COUNTERS)}
    assert reader.shard(0) is None


def test_gauges_are_read_as_written(state: SharedState, reader: SharedState) -> None:
    writer = state.writer(0, epoch=1)
    mail, music = writer.gauge("mail"), writer.gauge("é中.music")
    assert reader.queues() == []
    mail.write_gate(1, 10, NO_LIMIT)
    mail.write(1, 2, 3, 4, 5)
    music.write(9, 0, 0, 0, 0)
    music.write_gate(0, NO_LIMIT, 2)
    assert reader.queues() == [
        QueueView("mail", 0, 1, 2, 3, 4, 5, True, 10, NO_LIMIT),
        QueueView("é中.music", 0, 9, 0, 0, 0, 0, False, NO_LIMIT, 2),
    ]
    assert reader.queues(1) == []


def test_forgotten_queues_record_shows_nothing_of_it_to_the_next(state: SharedState, reader: SharedState) -> None:
    writer = state.writer(0, epoch=1)
    mail = writer.gauge("mail")
    mail.write(1, 2, 3, 4, 5)
    mail.close()
    assert reader.queues() == []
    film = writer.gauge("film")
    assert reader.queues() == []
    film.write(8, 0, 0, 0, 0)
    assert [(view.name, figures(view)) for view in reader.queues()] == [("film", (8, 0, 0, 0, 0))]


def test_successor_of_a_shard_begins_without_queues(state: SharedState, reader: SharedState) -> None:
    """What a dead process last said of its queues must not stand beside what its successor says."""
    state.writer(0, epoch=1).gauge("mail").write(1, 0, 0, 0, 0)
    successor = state.writer(0, epoch=2)
    assert reader.queues() == []
    successor.gauge("film").write(3, 0, 0, 0, 0)
    assert [(view.name, view.waiting) for view in reader.queues()] == [("film", 3)]


def test_queues_beyond_the_region_are_summed(run_folder: Path) -> None:
    with closing(create(run_folder, records=3)) as state:  # one is for the sum
        writer = state.writer(0, epoch=1)
        gauges = [writer.gauge(f"q{index}") for index in range(4)]
        for index, gauge in enumerate(gauges):
            gauge.write(10 + index, 1, 0, 0, 0)
        gauges[3].write(20, 0, 1, 0, 0)
        views = {view.name: figures(view) for view in state.queues()}
        assert views == {
            "__other__": (12 + 20, 1, 1, 0, 0),
            "q0": (10, 1, 0, 0, 0),
            "q1": (11, 1, 0, 0, 0),
        }
        gauges[2].close()
        assert {view.name: view.waiting for view in state.queues()} == {"__other__": 20, "q0": 10, "q1": 11}
        gauges[0].close()
        gauges[3].write(21, 0, 0, 0, 0)  # takes the free record
        assert {view.name: view.waiting for view in state.queues()} == {"q3": 21, "q1": 11}


def test_name_too_long_for_a_record_is_summed(state: SharedState) -> None:
    writer = state.writer(0, epoch=1)
    writer.gauge("x" * 256).write(1, 0, 0, 0, 0)
    writer.gauge("y" * 257).write(2, 0, 0, 0, 0)
    assert {view.name: view.waiting for view in state.queues()} == {"x" * 256: 1, "__other__": 2}


def test_full_device_costs_detail_and_no_figure(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store into a hole of a full file system would be SIGBUS, the end of the shard."""
    with closing(create(run_folder)) as state:
        writer = state.writer(0, epoch=1)
        gauges = [writer.gauge(f"q{index}") for index in range(layout.RECORDS_A_CHUNK - 1)]

        def full(fd: int, offset: int, size: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        gauges += [writer.gauge(f"more{index}") for index in range(3)]
        for gauge in gauges:
            gauge.write(1, 0, 0, 0, 0)
        views = {view.name: view.waiting for view in state.queues()}
        assert len(views) == layout.RECORDS_A_CHUNK
        assert views["__other__"] == 3
        assert sum(views.values()) == layout.RECORDS_A_CHUNK + 2


def test_no_room_for_the_file_is_said_with_figures(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match=r"needs \d+ bytes, \d+ are free \(No space left on device\)"):
        create(run_folder)
    assert list(run_folder.iterdir()) == []


def test_file_takes_room_only_for_queues_that_exist(run_folder: Path, state: SharedState) -> None:
    status = (run_folder / "state").stat()
    assert status.st_size == state.layout.file_bytes
    assert status.st_blocks * 512 <= state.layout.fixed_bytes + 65_536


def test_new_cluster_replaces_the_file_of_a_dead_one(run_folder: Path, state: SharedState, reader: SharedState) -> None:
    with closing(SharedState.create(run_folder, shards=1, owners=[0] * 1024, slots_version=9, durability="commit")):
        assert reader.slots().version == 1
        with closing(SharedState.attach(run_folder)) as fresh:
            assert (fresh.slots().version, fresh.header.durability) == (9, "commit")


def test_attaching_to_nothing_says_so(run_folder: Path) -> None:
    with pytest.raises(ConfigError, match="No cluster in"):
        SharedState.attach(run_folder)


def test_attaching_to_another_version_says_which(run_folder: Path, state: SharedState) -> None:
    with (run_folder / "state").open("r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))
    with pytest.raises(ConfigError, match=f"layout version 99, this flashq reads {layout.VERSION}"):
        SharedState.attach(run_folder)


@pytest.mark.parametrize("offset", range(12, layout.HEADER.size))
def test_damaged_header_is_refused(run_folder: Path, state: SharedState, offset: int) -> None:
    raw = bytearray((run_folder / "state").read_bytes()[: layout.HEADER.size])
    raw[offset] ^= 1
    with (run_folder / "state").open("r+b") as file:
        file.write(raw)
    with pytest.raises(ConfigError, match="damaged"):
        SharedState.attach(run_folder)


@pytest.mark.parametrize("content", [b"", b"something else entirely" * 100])
def test_other_files_are_refused(run_folder: Path, content: bytes) -> None:
    (run_folder / "state").write_bytes(content)
    with pytest.raises(ConfigError, match="no state file"):
        SharedState.attach(run_folder)


def test_file_that_was_cut_is_refused(run_folder: Path, state: SharedState) -> None:
    os.truncate(run_folder / "state", 8192)
    with pytest.raises(ConfigError, match="8192 bytes, its header says"):
        SharedState.attach(run_folder)


def hammer(run: Path) -> None:
    """A shard, and a supervisor, that write figures which are alike within each record, as fast as they can."""
    state = SharedState.attach(run, writable=True)
    writer = state.writer(0, epoch=1)
    gauges = [writer.gauge(f"q{index}") for index in range(4)]
    for n in range(1, 150_000):
        writer.write(n, *(n,) * len(COUNTERS))
        gauges[n % 4].write(n, n, n, n, n)
        gauges[n % 4].write_gate(0, n, n)
        if n % 64 == 0:
            state.set_slots([n // 64 % 2] * 1024, n)
            gauges[0].close()
            gauges[0] = writer.gauge(f"again{n}")
    writer.write(0, *(0,) * len(COUNTERS))


def test_readers_never_see_half_a_record(run_folder: Path) -> None:
    with closing(create(run_folder)) as state:
        state.set_slots([0] * 1024, 0)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                hammer(run_folder)
                status = 0
            finally:
                os._exit(status)
        seen = look_until_done(state)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert seen > 100


def look_until_done(state: SharedState) -> int:
    """Check every record over and over until the writer says that it ends; how often something had changed."""
    changes, last = 0, -1
    while True:
        view = state.shard(0)
        if view is not None:
            flow, rest = view.counters[: layout.FLOW_NUM], view.counters[layout.FLOW_NUM :]
            assert set(flow) == {view.heartbeat_ms}
            assert len(set(rest)) == 1
            if view.heartbeat_ms == 0:
                return changes
            changes += view.heartbeat_ms != last
            last = view.heartbeat_ms
        for queue in state.queues(0):
            assert len(set(figures(queue))) == 1
            assert queue.rate_limit == queue.concurrency_limit
        version, owners = state.slots()
        assert set(owners) == {version // 64 % 2}
