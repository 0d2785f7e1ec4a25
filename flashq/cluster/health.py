"""How a cluster is, from outside: read from its shared memory, without a word to any of its processes."""

import os
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from flashq.clock import SystemClock
from flashq.cluster.folders import ClusterRecord, owner_of, read_record
from flashq.cluster.linux import start_ticks
from flashq.cluster.slot_map import SlotMap, rebalanced
from flashq.cluster.slot_moves import write_wanted
from flashq.errors import ConfigError, DeadlineExceeded, Unavailable
from flashq.transport.shard_region import REFUSING
from flashq.transport.shared_memory import SharedState

State = Literal["starting", "serving", "draining", "down", "refused"]


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process."""

    name: str
    pid: int
    """0 while it has none."""
    state: State
    restarts: int
    since_ms: int
    """Wall time since when it is in this state."""
    reason: str
    """Why it is down or refused; empty else."""


class ShardStatus(msgspec.Struct, frozen=True):
    """One shard, with the counters of `ShardCounters`."""

    index: int
    name: str
    slots: int
    queues: int
    """Those with a record of their own in shared memory."""
    heartbeat_age_ms: int | None
    """None until it has given any."""
    epoch: int
    counters: dict[str, int]
    refusing: str
    """Why it refuses pushes for now; empty: it does not."""


class QueueStatus(msgspec.Struct, frozen=True):
    """One queue; -1 as limit is none."""

    name: str
    shard: int
    waiting: int
    active: int
    delayed: int
    dead: int
    completed: int
    paused: bool
    rate_limit: int
    concurrency_limit: int


class ClusterStatus(msgspec.Struct, frozen=True):
    """The whole cluster."""

    run: str
    data: str
    pid: int
    """The supervisor's."""
    addresses: list[str]
    durability: str
    started_ms: int
    """Wall time."""
    slots_version: int
    processes: list[ProcessStatus]
    shards: list[ShardStatus]
    queues: list[QueueStatus]

    @property
    def serving(self) -> bool:
        """Everything that there is to be serves."""
        return all(process.state == "serving" for process in self.processes)


def read_status(run: str | Path) -> ClusterStatus:
    """How the cluster of a run folder is. Raises Unavailable if none runs there, ConfigError for another version's."""
    record = _live_record(Path(run))
    try:
        state = SharedState.attach(run)
    except ConfigError as error:
        # Between its lock and its shared state it is starting; a state that is there and cannot be read is worse.
        if read_record(Path(run)) is None:
            raise Unavailable(str(error)) from error
        raise
    try:
        return _status(str(run), record, state)
    finally:
        state.close()


def _live_record(run: Path) -> ClusterRecord:
    record = read_record(run)
    if record is None:
        raise Unavailable(f"no cluster runs with run folder {run}")
    if not record.alive():
        raise Unavailable(f"the cluster of run folder {run} (pid {record.pid}) is dead; start it again")
    return record


def _status(run: str, record: ClusterRecord, state: SharedState) -> ClusterStatus:
    queues = [QueueStatus(*view) for view in state.queues()]
    slots = state.slots()
    return ClusterStatus(
        run=run,
        data=record.data,
        pid=record.pid,
        addresses=record.addresses,
        durability=state.header.durability,
        started_ms=state.header.started_wall_ms,
        slots_version=slots.version,
        processes=[
            ProcessStatus(row.name, row.pid, _STATES[row.state], row.restarts, row.since_ms, row.reason)
            for row in state.processes()
        ],
        shards=_shards(state, Counter(slots.owners), Counter(queue.shard for queue in queues)),
        queues=queues,
    )


_STATES: tuple[State, ...] = ("starting", "serving", "draining", "down", "refused")


def _shards(state: SharedState, slots: Counter[int], queues: Counter[int]) -> list[ShardStatus]:
    now_ms = SystemClock().mono_ms()
    found = []
    for index in range(state.layout.shards):
        view = state.shard(index)
        age_ms = None if view is None else now_ms - view.heartbeat_ms
        counters = {} if view is None else view.counters._asdict()
        epoch = 0 if view is None else view.epoch
        refusing = "" if view is None else REFUSING[view.counters.refusing]
        found.append(
            ShardStatus(index, f"shard-{index:02}", slots[index], queues[index], age_ms, epoch, counters, refusing),
        )
    return found


def stop(run: str | Path, *, timeout_ms: int = 60_000) -> None:
    """Stop the cluster of a run folder in order, and wait until it has ended.

    Raises Unavailable if none runs there, DeadlineExceeded if it still runs after the time.
    """
    record = _live_record(Path(run))
    try:
        fd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return  # It ended by itself, just now.
    try:
        # Looked at again now that the descriptor holds it: the number may have gone to another process before.
        if not record.alive():
            return
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        readable, _, _ = select.select([fd], [], [], timeout_ms / 1_000)
    finally:
        os.close(fd)
    if not readable:
        raise DeadlineExceeded(f"the cluster (pid {record.pid}) has not stopped within {timeout_ms} ms")


LOOK_S: Final = 0.01


def move_slots(
    run: str | Path, moves: list[tuple[int, int]], *, timeout_ms: int = 60_000,
    progress: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Have the cluster of a run folder give slots to other shards, and wait until they are theirs.

    `progress(done, all)` is called as it goes on. Raises Unavailable if no cluster runs there, ConfigError for a shard
    that it has not, DeadlineExceeded if for so long none has moved.
    """
    record = _live_record(Path(run))
    state = SharedState.attach(run)
    try:
        shards = state.layout.shards
        for _, to in moves:
            if not 0 <= to < shards:
                raise ConfigError(f"shard {to}: the cluster has {shards} shards, 0 to {shards - 1}")
        write_wanted(Path(run), moves)
        os.kill(record.pid, signal.SIGUSR1)
        done, deadline = -1, 0.0
        while (now_done := sum(state.owner(slot) == to for slot, to in moves)) < len(moves):
            if now_done != done:
                done, deadline = now_done, time.monotonic() + timeout_ms / 1_000
                if progress is not None:
                    progress(done, len(moves))
            if not record.alive():
                raise Unavailable("the cluster has ended")
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"{len(moves) - done} slots have not moved within {timeout_ms} ms: see the log")
            time.sleep(LOOK_S)  # a command's wait: shared memory tells nobody of a change
        if progress is not None:
            progress(len(moves), len(moves))
    finally:
        state.close()


def spread(
    run: str | Path, shards: int, *, timeout_ms: int = 60_000, progress: Callable[[int, int], None] | None = None
) -> int:  # fmt: skip
    """Spread all slots evenly over the first `shards` shards of a running cluster; how many had to move for it.

    As `move_slots`; what an earlier call left undone is found in the map.
    """
    state = SharedState.attach(run)
    try:
        there, slots = state.layout.shards, state.slots()
    finally:
        state.close()
    if not 1 <= shards <= there:
        raise ConfigError(
            f"shards = {shards}: the cluster runs {there}, allowed is 1 to {there}; more are had by a restart with them"
        )
    wanted = rebalanced(SlotMap(slots.version, there, slots.owners), shards).owners
    moves = [(slot, to) for slot, (owner, to) in enumerate(zip(slots.owners, wanted, strict=True)) if owner != to]
    move_slots(run, moves, timeout_ms=timeout_ms, progress=progress)
    return len(moves)


def reload(data: Path) -> bool:
    """Have the cluster of a data folder, if one runs, read its tokens and certificates again; whether one does."""
    pid, ticks = owner_of(data)
    try:
        fd = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        fd = -1
    if fd < 0:
        return False
    try:
        # Looked at now that the descriptor holds it: the number may have gone to another process before.
        if start_ticks(pid) != ticks:
            return False
        signal.pidfd_send_signal(fd, signal.SIGHUP)
    finally:
        os.close(fd)
    return True
