"""The supervisor: opens the doors, forks every process, restarts what dies, and stops all in order.

Rules kept here
- It runs no thread, event loop or ZeroMQ context, only this `select` loop: it forks at any time, and what those
  keep in memory does not survive a fork.
- It never waits for a child: what a child cannot take now is sent when it can.
- A death is told to all others before anything else is done about it, so that what was asked of the dead
  fails at once instead of at its deadline.
- Nothing is polled but heartbeats, at most once a second: shards write theirs into shared memory, processes with
  another loop are asked for one. Deaths, words and signals wake it by descriptor.

A stop goes by stages (`Role.stage`): routers first, so that nothing new comes in, then shards, then what reads
behind them. What has not ended after `stop_timeout_ms` is killed; so is everything at a second signal.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from flashq.access.book import TokenBook
from flashq.api.spans import check_spans
from flashq.cluster import roles
from flashq.cluster.children import SUPERVISED, Child, how_it_ended, mono_ms, preload, spawn
from flashq.cluster.console import Console
from flashq.cluster.database import take_database
from flashq.cluster.folders import RunFolder, lock_data
from flashq.cluster.layout import open_layout
from flashq.cluster.linux import raise_descriptor_limit
from flashq.cluster.listeners import GRPC, HTTP, address_of, close_listeners, open_doors
from flashq.cluster.log_level import follow_level, forget_level
from flashq.cluster.logs import configure_logs
from flashq.cluster.roles import Component
from flashq.cluster.slot_map import SlotMap, find_map, first_map, write_map
from flashq.cluster.slot_moves import Cluster, SlotMoves, read_wanted
from flashq.cluster.timers import Timers
from flashq.config import Settings, is_open_to_others
from flashq.errors import ConfigError, StorageError
from flashq.storage.journal_epoch import next_epoch
from flashq.transport.child import (
    EXIT_REFUSED,
    EXIT_STOPPED,
    Alive,
    Changed,
    ChildContext,
    Control,
    Failed,
    Order,
    PeerGone,
    PeerReady,
    Probe,
    Ready,
    Refused,
    Reload,
    Report,
    Restart,
    Sent,
    Stop,
)
from flashq.transport.shared_memory import ProcessState, SharedState
from flashq.transport.slot_orders import SlotOrder, SlotReport
from flashq.transport.tls import server_context

log = structlog.get_logger()
LOOK_MS_MIN: Final = 1_000
EXIT_RESTART: Final = 100
"""Everything has ended in order, and is to start anew."""


def run(settings: Settings, components: Sequence[Component] | None = None) -> int:
    """Run a cluster in the foreground until it is told to stop; the exit code.

    0 after an orderly stop, 100 after one that is a restart (the caller starts anew), 1 if something had to be
    killed for it or nothing could serve, 128 + n after a second signal n. Raises ConfigError, before anything is
    started, when it cannot be: a door is taken, a folder is another cluster's, slots of the data cannot be moved
    to another number of shards.
    """
    started_ms = mono_ms()
    parts = roles.components(settings) if components is None else components
    configure_logs(settings)
    server_context(settings)  # raises before anything is started; so does the next
    check_spans(settings)
    if is_open_to_others(settings):
        log.warning("without TLS tokens and jobs can be read on the way: see tls_cert", host=settings.host)
    with contextlib.ExitStack() as stack:
        lock = lock_data(settings.data)
        stack.callback(os.close, lock)
        book = TokenBook(settings.data)
        book.prepare()
        book.read()
        folder = RunFolder.open(settings.run)
        stack.callback(folder.close)
        slots, database_run = _slots(settings)
        forget_level(settings.run)
        raise_descriptor_limit()
        doors = open_doors(settings, dict.fromkeys(part.role.doors for part in parts if part.role.doors))
        stack.callback(_close_doors, doors)
        state = _create_state(settings, slots, len(parts))
        stack.callback(state.close)
        folder.write_record(settings.data, _addresses(doors, tls=settings.tls_cert is not None))
        preload(sorted({module for part in parts for module in part.role.modules}))
        return Supervisor(settings, parts, slots, doors, state, lock, started_ms, database_run).run()


def _slots(settings: Settings) -> tuple[SlotMap, str]:
    """Who owns each slot, and the name under which we own the database, if there is one."""
    if settings.database_url:
        return take_database(settings)
    if settings.durability == "memory":  # there is nothing that lies in slots of old
        return first_map(settings.shards), ""
    return open_layout(settings), ""


Doors = dict[str, list[socket.socket]]
"""Listeners by kind."""


def _close_doors(doors: Doors) -> None:
    for listeners in doors.values():
        close_listeners(listeners)


def _addresses(doors: Doors, kind: str | None = None, *, tls: bool) -> list[str]:
    """Where clients knock, at all doors or those of a kind."""
    kinds = doors if kind is None else (kind,)
    return [_prefix(one, sock, tls=tls) + address_of(sock) for one in kinds for sock in doors[one]]


def _prefix(kind: str, sock: socket.socket, *, tls: bool) -> str:
    if kind == HTTP:
        return "https://" if tls else "http://"
    if kind == GRPC:
        return "grpcs://" if tls else "grpc://"
    return "flashqs://" if tls and sock.family != socket.AF_UNIX else ""


def _create_state(settings: Settings, slots: SlotMap, rows: int) -> SharedState:
    return SharedState.create(
        settings.run,
        shards=settings.shards,
        owners=slots.owners,
        slots_version=slots.version,
        durability=settings.durability,
        records=settings.queues_shown_max,
        rows=rows,
        timed=settings.timed_queues + 1,
    )


class Supervisor:
    """The loop and what it knows. Everything it needs has been opened by `run`."""

    def __init__(
        self,
        settings: Settings,
        components: Sequence[Component],
        slots: SlotMap,
        doors: Doors,
        state: SharedState,
        lock: int,
        started_ms: int,
        database_run: str = "",
    ) -> None:
        self._settings = settings
        self._database_run = database_run
        self._slots = slots
        self._doors = doors
        tls = settings.tls_cert is not None
        self._words_of = {kind: " and ".join(_addresses(doors, kind, tls=tls)) for kind in doors}
        self._addresses = _addresses(doors, tls=tls)
        self._state = state
        self._lock = lock
        self._started_ms = started_ms
        self._children = [Child(component, row) for row, component in enumerate(components)]
        self._console = Console(settings)
        self._timers = Timers()
        self._moves = SlotMoves(slots, Cluster(self._tell_shard, self._publish, self._timers.after, self._serves))
        self._selector = selectors.DefaultSelector()
        self._look_due_ms = 0
        self._announced = False
        self._stopping = False
        self._exit_code = 0
        self._again = False
        """What ends is to start anew."""

    def run(self) -> int:
        """Start everything and stay until it has all been stopped; the exit code."""
        with _signals(self._selector, self._on_signal):
            self._console.starting(self._addresses)
            for child in self._children:
                self._start(child)
            self._plan_look()
            while not self._stopping or any(child.alive for child in self._children):
                for key, mask in self._selector.select(self._timers.wait_s()):
                    key.data(mask)
                self._timers.run_due()
        self._selector.close()
        return EXIT_RESTART if self._again else self._exit_code

    # -- births

    def _start(self, child: Child) -> None:
        def context(control: Control) -> ChildContext:
            doors = tuple(self._doors_of(child))
            control.on_reload.append(lambda: follow_level(self._settings.run))
            number = child.component.number
            return ChildContext(
                self._settings, child.name, number, incarnation, self._settings.run, control, doors, self._database_run
            )

        try:
            incarnation = next_epoch(self._settings.data)
            pid, control = spawn(child.component, context, self._kept_by(child))
        except (OSError, StorageError) as error:
            self._mourn(child, f"cannot be started: {error}")
            return
        child.born(pid, incarnation, control, mono_ms())

        def on_event(call: Callable[[Child, int], None]) -> Callable[[int], None]:
            # An event that was fetched together with a death is stale: the child may be another process by now.
            return lambda mask: call(child, mask) if child.incarnation == incarnation and child.alive else None

        self._selector.register(child.pidfd, selectors.EVENT_READ, on_event(self._on_death))
        self._selector.register(control, selectors.EVENT_READ, on_event(self._on_control))
        self._set(child, ProcessState.STARTING)
        up = [c for c in self._children if c.state is ProcessState.SERVING]
        self._tell(child, *(PeerReady(c.name, c.incarnation) for c in up))

    def _kept_by(self, child: Child) -> set[int]:
        """Descriptors a child inherits. The lock: the data is in use for as long as anybody lives who may write."""
        return {self._lock} | {sock.fileno() for sock in self._doors_of(child)}

    def _doors_of(self, child: Child) -> list[socket.socket]:
        return self._doors.get(child.component.role.doors, [])

    def _set(self, child: Child, state: ProcessState) -> None:
        """Change a state, for everybody to see."""
        child.state, child.since_ms = state, time.time_ns() // 1_000_000
        self._state.set_process(
            child.row,
            child.name,
            pid=child.pid,
            state=state,
            restarts=child.restarts,
            since_ms=child.since_ms,
            reason=child.reason,
        )

    # -- words

    def _tell(self, child: Child, *orders: Sent) -> None:
        waits = child.tell(orders)
        if child.control is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
            key = self._selector.get_map().get(child.control)
            if key is not None and key.events != events:
                self._selector.modify(child.control, events, key.data)

    def _reload(self) -> None:
        for child in self._children:
            if child.alive:
                self._tell(child, Reload())

    def _tell_shard(self, shard: int, order: SlotOrder) -> bool:
        """An order for a shard; False if it does not serve."""
        child = self._shard(shard)
        if child is not None:
            self._tell(child, order)
        return child is not None

    def _serves(self, shard: int) -> bool:
        return self._shard(shard) is not None

    def _shard(self, shard: int) -> Child | None:
        """The process of a shard, if it serves."""
        for child in self._children:
            if child.component.role.has_heartbeat and child.component.number == shard:
                return child if child.alive and child.state is ProcessState.SERVING else None
        return None

    def _publish(self, slots: SlotMap, shard: int) -> None:
        """A slot has another owner: on disk, then for everybody to see. Who listens to `shard` listens anew.

        Raises OSError, with nothing changed, if the map cannot be written.
        """
        if self._settings.durability != "memory":
            try:
                write_map(self._settings.data, slots)
            except OSError:
                # It may have its name already, and only that not be synced: then there is no way back.
                found = find_map(self._settings.data)
                if found is None or found.version != slots.version:
                    raise
                log.exception("the map of slots is in place, but may not be on disk")
        self._slots = slots
        self._state.set_slots(slots.owners, slots.version)
        child = self._shard(shard)
        if child is not None:
            self._tell_others(child, PeerReady(child.name, child.incarnation))

    def _move_slots(self) -> None:
        """Somebody asks for slots to be moved."""
        try:
            wanted = read_wanted(self._settings.run, self._settings.shards)
            if wanted and self._settings.database_url:
                raise ConfigError("slots move to other shards only while the data is in files")
        except ConfigError as error:
            log.error("slots are not moved", reason=str(error))
            return
        self._moves.want(wanted)

    def _tell_others(self, child: Child, order: Order) -> None:
        for other in self._children:
            if other is not child and other.alive:
                self._tell(other, order)

    def _on_control(self, child: Child, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._tell(child)
        if mask & selectors.EVENT_READ and not self._hear(child):
            # It will say no more; what became of it, its death will tell.
            assert child.control is not None
            self._selector.unregister(child.control)

    def _hear(self, child: Child) -> bool:
        """Take what a child has said; False if it can say no more."""
        reports, more = child.reports()
        for report in reports:
            self._on_report(child, report)
        return more

    def _on_report(self, child: Child, report: Report) -> None:
        if isinstance(report, Ready):
            self._on_ready(child)
        elif isinstance(report, Changed):
            self._reload()
        elif isinstance(report, Restart):
            self._on_restart(child)
        elif isinstance(report, Alive):
            child.probed_mono_ms = 0
        elif isinstance(report, Refused | Failed):
            child.reason = report.reason
        elif isinstance(report, SlotReport):
            self._moves.on_report(child.component.number, report)
        elif child.ready_mono_ms or child.restarts:
            log.info("note", component=child.name, text=report.text)
        else:
            child.note = report.text

    def _on_ready(self, child: Child) -> None:
        if child.state is not ProcessState.STARTING:
            return  # It was told to stop before it had come up.
        child.ready_mono_ms = mono_ms()
        self._set(child, ProcessState.SERVING)
        self._tell_others(child, PeerReady(child.name, child.incarnation))
        if child.restarts:
            took_ms = child.ready_mono_ms - child.started_mono_ms
            log.info("serves again", component=child.name, pid=child.pid, took_ms=took_ms)
        else:
            self._console.serves(child.name, child.pid, child.note or self._words(child))
        self._announce()

    def _words(self, child: Child) -> str:
        role, number = child.component.role, child.component.number
        if role.doors:
            return self._words_of[role.doors]
        return f"{self._slots.slots_of_shard[number]} slots" if role.has_heartbeat else ""

    def _announce(self) -> None:
        """Say that the cluster is ready, once, when all that can serve does."""
        refused = [child.name for child in self._children if child.state is ProcessState.REFUSED]
        serving = [child for child in self._children if child.state is ProcessState.SERVING]
        if self._announced or self._stopping or len(refused) + len(serving) < len(self._children):
            return
        self._announced = True
        self._console.ready((mono_ms() - self._started_ms) / 1_000, self._addresses, refused)

    # -- deaths

    def _on_death(self, child: Child, _mask: int) -> None:
        self._hear(child)
        self._selector.unregister(child.pidfd)
        if child.control is not None and child.control in self._selector.get_map():
            self._selector.unregister(child.control)
        was_ready, incarnation = child.ready_mono_ms, child.incarnation
        code = child.buried()
        self._tell_others(child, PeerGone(child.name, incarnation))
        if child.component.role.has_heartbeat:
            self._moves.on_gone(child.component.number)
        if self._stopping:
            self._on_stopped(child, code)
        elif code == EXIT_REFUSED:
            self._refuse(child)
        else:
            self._mourn(child, child.reason or how_it_ended(code), mono_ms() - was_ready if was_ready else 0)

    def _refuse(self, child: Child) -> None:
        child.reason = child.reason or "refused to serve, without a reason"
        self._set(child, ProcessState.REFUSED)
        log.error("refuses to serve and stays down", component=child.name, reason=child.reason)
        self._console.refused(child.name, child.reason)
        if all(
            one.state is ProcessState.REFUSED for one in self._children if one.component.role is child.component.role
        ):
            log.error("nothing is left that could serve", kind=child.component.role.kind)
            self._exit_code = 1
            self._stop()
        self._announce()

    def _mourn(self, child: Child, reason: str, served_ms: int = 0) -> None:
        """Have a component that is down started again, when its back-off says so."""
        child.reason = reason
        child.restarts += 1
        self._set(child, ProcessState.DOWN)
        delay_ms = child.backoff.next_delay_ms(served_ms)
        log.warning("died", component=child.name, reason=reason, restart_in_ms=delay_ms)
        if delay_ms:
            self._timers.after(delay_ms, lambda: self._restart(child))
        else:
            self._restart(child)

    def _restart(self, child: Child) -> None:
        if not self._stopping:
            self._start(child)

    # -- heartbeats

    def _plan_look(self) -> None:
        every_ms = max(self._settings.heartbeat_limit_ms // 4, LOOK_MS_MIN)
        self._look_due_ms = mono_ms() + every_ms
        self._timers.after(every_ms, self._look)

    def _look(self) -> None:
        """Kill what is hung. Not if we are late ourselves: whoever stopped us may have stopped all."""
        now = mono_ms()
        if now - self._look_due_ms < LOOK_MS_MIN:
            for child in self._children:
                if not child.ready_mono_ms or not child.alive:
                    continue
                if child.component.role.has_heartbeat:
                    self._check(child, now)
                elif child.component.role.is_probed and child.state is ProcessState.SERVING:
                    self._probe(child, now)
        self._plan_look()

    def _check(self, child: Child, now_ms: int) -> None:
        view = self._state.shard(child.component.number)
        self._kill_if_silent(child, max(view.heartbeat_ms if view else 0, child.ready_mono_ms), now_ms)

    def _probe(self, child: Child, now_ms: int) -> None:
        """Ask whether its loop turns, unless the answer to the last time is still due."""
        if child.probed_mono_ms:
            self._kill_if_silent(child, child.probed_mono_ms, now_ms)
        else:
            child.probed_mono_ms = now_ms
            self._tell(child, Probe())

    def _kill_if_silent(self, child: Child, since_ms: int, now_ms: int) -> None:
        if now_ms - since_ms > self._settings.heartbeat_limit_ms:
            child.reason = f"hung: no heartbeat for {(now_ms - since_ms) / 1_000:.1f} s"
            child.kill()

    # -- the end

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._move_slots()
        elif number == signal.SIGHUP:
            follow_level(self._settings.run)
            log.info("reading tokens and certificates again, and how much is to be written here")
            self._reload()
        elif self._again:
            log.info("stopping for good", signal=signal.Signals(number).name)
            self._again = False
        elif self._stopping:
            log.warning("second signal: killing what still runs", signal=signal.Signals(number).name)
            self._exit_code = 128 + number
            self._kill_all()
        else:
            log.info("stopping", signal=signal.Signals(number).name)
            self._stop()

    def _on_restart(self, child: Child) -> None:
        if not self._stopping:
            log.info("restarting: stopping in order first", asked_by=child.name)
            self._again = True
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        _close_doors(self._doors)
        self._timers.after(self._settings.stop_timeout_ms, self._on_stop_timeout)
        self._stop_next_stage()

    def _stop_next_stage(self) -> None:
        alive = [child for child in self._children if child.alive]
        stage = min((child.component.role.stage for child in alive), default=0)
        for child in alive:
            if child.component.role.stage == stage and child.state is not ProcessState.DRAINING:
                self._set(child, ProcessState.DRAINING)
                self._tell(child, Stop())

    def _on_stopped(self, child: Child, code: int) -> None:
        self._set(child, ProcessState.DOWN)
        if code != EXIT_STOPPED:
            log.error("did not stop in order", component=child.name, reason=child.reason or how_it_ended(code))
            self._exit_code = self._exit_code or 1
        self._stop_next_stage()

    def _on_stop_timeout(self) -> None:
        late = [child.name for child in self._children if child.alive]
        log.error(
            "stop takes too long: killing what still runs", after_ms=self._settings.stop_timeout_ms, components=late
        )
        self._kill_all()

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()


@contextlib.contextmanager
def _signals(selector: selectors.BaseSelector, on_signal: Callable[[int], None]) -> Iterator[None]:
    """Have signals arrive as events of the loop; as they were before, afterwards."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)

    def hear(_: int) -> None:
        for number in ours.recv(64):
            on_signal(number)

    selector.register(ours, selectors.EVENT_READ, hear)
    old_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    # The handlers do nothing: the wake-up descriptor carries the number.
    old = {number: signal.signal(number, lambda *_: None) for number in SUPERVISED}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_fd)
        selector.unregister(ours)
        ours.close()
        theirs.close()
