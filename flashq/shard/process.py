"""The shard process: recovery, then gateway, engine and journal in one uvloop thread."""

import asyncio
import contextlib
import gc
import os
import socket
from pathlib import Path

import structlog
import uvloop

from flashq.access.access import Access
from flashq.clock import SystemClock, boot_id
from flashq.config import Settings
from flashq.database_url import parse
from flashq.engine import chosen, crons, webhooks
from flashq.engine.departure import left, slots_in
from flashq.engine.drafts import abandon
from flashq.engine.engine import Engine
from flashq.engine.events import SlotLeft
from flashq.engine.housekeeping import start_housekeeping
from flashq.engine.pages import PAGE_BITS
from flashq.engine.replay import Replayer
from flashq.engine.retry import start_grace, still_there
from flashq.engine.settings import Defaults, Limits
from flashq.errors import CheckpointTooNew, JournalCorrupt, StorageError
from flashq.protocol.dispatch import Codec, Link
from flashq.protocol.slots import SLOTS
from flashq.protocol.web_targets import Allowed
from flashq.shard import internal
from flashq.shard.checkpoints import CHECKPOINTER, FOLDED, Recycling
from flashq.shard.dispatcher import ShardDispatcher
from flashq.shard.gauges import Gauges
from flashq.shard.loop import ShardLoop
from flashq.shard.ports import Gateway, MakeGateway
from flashq.shard.showing import Showing
from flashq.shard.slot_moves import SlotMoves
from flashq.storage.contract import Journal
from flashq.storage.journal import SegmentJournal
from flashq.storage.memory import MemoryJournal
from flashq.storage.recovery import Tables
from flashq.storage.schema import FILE as TABLES_FILE
from flashq.storage.sites import FileSite
from flashq.transport.child import EXIT_REFUSED, EXIT_STOPPED, ChildContext, Order, PeerGone, PeerReady
from flashq.transport.envelope import Notice
from flashq.transport.event_desk import FEED
from flashq.transport.exchange import Exchange
from flashq.transport.forwarding import (
    GIVEN_BACK,
    INPUT_ENDED,
    INTERNAL,
    SHOW_JOB,
    STILL_THERE,
    Forwarder,
    RemoteLink,
    RemoteReplies,
    RemoteTicket,
    shard_name,
)
from flashq.transport.handover import Handed, HandoverReceiver, HandoverSender
from flashq.transport.hook_feed import SENDER
from flashq.transport.incoming import Incoming
from flashq.transport.shared_memory import SharedState
from flashq.transport.slot_orders import SlotOrder
from flashq.transport.totals import SharedTotals

EXIT_FAULT = 1
_EPOCH_SECONDS = 1_700_000_000
"""Where pages of ids start counting when nothing is kept on disk: sixteen pages a second since then."""
_ROOM_S = 1.0
STOP_S = 10.0
"""How long a stop waits for a database."""

log = structlog.get_logger()
_CODECS = {"text": Codec.TEXT, "binary": Codec.BINARY}


def run(ctx: ChildContext, make_gateway: MakeGateway) -> int:
    """The whole life of a shard; its exit code."""
    try:
        return uvloop.run(_live(ctx, make_gateway))
    except (JournalCorrupt, CheckpointTooNew) as e:
        ctx.control.refused(str(e))
        return EXIT_REFUSED
    except StorageError as e:
        ctx.control.failed(str(e))
        return EXIT_FAULT


async def _live(ctx: ChildContext, make_gateway: MakeGateway) -> int:
    shard = Shard(ctx, make_gateway)
    await shard.start()
    ctx.control.ready()
    await shard.stop_ordered.wait()
    return await shard.stop()


def open_storage(
    settings: Settings, shard: int, epoch: int, run: str = "", loop: asyncio.AbstractEventLoop | None = None
) -> tuple[Journal, Tables | None]:
    """The journal that the settings ask for, and the tables that it goes on from, if there are any.

    `run`: the cluster's life that has the database, where there is one.

    Raises JournalCorrupt where records are in neither.
    """
    if settings.durability == "memory":
        return MemoryJournal(epoch=epoch, boot=boot_id()), None
    folder = settings.data / f"shard-{shard:02}"
    if settings.database_url:
        return open_database(settings, shard, epoch, folder, run, loop)
    tables = Tables.find(FileSite(folder, shard))
    journal = SegmentJournal.open(
        folder, shard=shard, epoch=epoch, durability=settings.durability, segment_bytes=settings.segment_bytes,
        replay_from=tables.position if tables is not None else 0,
    )  # fmt: skip
    if tables is None and journal.first_kept > 1:
        raise JournalCorrupt(
            f"shard {shard}: {folder / TABLES_FILE} is missing, and records 1 to {journal.first_kept - 1} "
            "were nowhere else"
        )
    return journal, tables


def open_database(
    settings: Settings, shard: int, epoch: int, folder: Path, run: str, loop: asyncio.AbstractEventLoop | None
) -> tuple[Journal, Tables | None]:
    """As `open_storage`, in PostgreSQL. The driver is only imported where there is a database."""
    from flashq.storage.postgres.journal import DatabaseJournal
    from flashq.storage.postgres.server import Server
    from flashq.storage.postgres.site import DatabaseSite

    server = Server(parse(settings.database_url))
    tables = Tables.find(DatabaseSite(server, shard))
    try:
        journal = DatabaseJournal.open(
            server, folder, shard=shard, epoch=epoch, boot=boot_id(), run=run, loop=loop,
            replay_from=tables.position if tables is not None else 0,
        )  # fmt: skip
    except BaseException:
        if tables is not None:
            tables.close()
        raise
    return journal, tables


def limits_of(settings: Settings) -> Limits:
    """The engine's bounds, from the configuration."""
    return Limits(
        lease_ms=settings.default_lease_ms, crash_limit=settings.crash_limit,
        reconnect_grace_ms=settings.reconnect_grace_ms, disconnect_grace_ms=settings.disconnect_grace_ms,
        keep_completed_count=settings.keep_completed_count, keep_completed_age_ms=settings.keep_completed_age_ms,
        keep_completed_bytes=settings.keep_completed_bytes, data_bytes_max=settings.data_bytes_max,
        max_batch=settings.max_batch, reply_bytes_max=settings.reply_bytes_max, name_bytes_max=settings.name_bytes_max,
        text_bytes_max=settings.text_bytes_max, tags_max=settings.tags_max,
        depends_on_max=settings.depends_on_max, duration_ms_max=settings.duration_ms_max,
        idempotency_window_ms=settings.idempotency_window_ms, idempotency_keys_max=settings.idempotency_keys_max,
        idempotency_bytes_max=settings.idempotency_bytes_max, queues_max=settings.queues_max,
        queue_forget_ms=settings.queue_forget_ms, timed_queues_max=settings.timed_queues,
        webhooks_max=settings.webhooks_max, webhook_waiting_max=settings.webhook_waiting_max,
        webhook_waiting_bytes_max=settings.webhook_waiting_bytes_max, webhook_failed_max=settings.webhook_failed_max,
        webhook_retry_ms=settings.webhook_retry_ms, webhook_retry_max_ms=settings.webhook_retry_max_ms,
        webhook_give_up_ms=settings.webhook_give_up_ms,
        memory_bytes_max=settings.max_memory // settings.shards, backoff_jitter=settings.backoff_jitter,
    )  # fmt: skip


class Shard:
    """One shard, put together."""

    def __init__(self, ctx: ChildContext, make_gateway: MakeGateway) -> None:
        settings = ctx.settings
        self._ctx = ctx
        self._loop = asyncio.get_running_loop()
        self._clock = SystemClock()
        self._state = SharedState.attach(ctx.run, writable=True)
        first_page = 0
        if settings.durability == "memory":
            first_page = max(0, self._clock.wall_ms() // 1000 - _EPOCH_SECONDS) * 16
        self._defaults = Defaults(
            settings.default_max_attempts, settings.default_backoff_ms, settings.default_ttl_ms,
            settings.default_timeout_ms,
        )  # fmt: skip
        assert first_page << PAGE_BITS < 1 << 43
        self.engine = Engine(epoch=ctx.incarnation, limits=limits_of(settings), first_page=first_page)
        for slot in range(SLOTS):
            self.engine.owns[slot] = self._state.owner(slot) == ctx.index
        self._journal, tables = open_storage(settings, ctx.index, ctx.incarnation, ctx.database_run, self._loop)
        self._recover(tables)
        self._exchange = Exchange(
            ctx.name, ctx.run, epoch=ctx.incarnation, loop=self._loop, on_request=self._on_request,
            on_peer_gone=self._on_peer_gone, on_notice=self._on_notice, on_undelivered=self._on_undelivered,
        )  # fmt: skip
        self._forwarder = Forwarder(
            self._exchange, self._state.owner, deadline_ms=settings.request_deadline_ms, mono_ms=self._clock.mono_ms
        )
        self._access = Access(settings.auth_tokens, settings.data)
        ctx.control.on_reload.append(self._access.reload)
        self._journal.on_fault = self._on_fault
        self._gauges = Gauges(self._state, ctx.index, ctx.incarnation)
        self.dispatcher = ShardDispatcher(
            self.engine, shard=ctx.index, shards=settings.shards, owner_of=self._state.owner,
            elsewhere=self._forwarder, totals=SharedTotals(self._state, settings.shards),
            access=self._access, notify=self._exchange.notify, allowed=Allowed.of(settings.webhook_allow),
        )  # fmt: skip
        self.loop = ShardLoop(
            self._loop, self._clock, self.engine, self._journal, self.dispatcher, self._gauges, self._on_fault,
            settings.request_deadline_ms, settings.slow_tick_ms,
        )  # fmt: skip
        self._gateway: Gateway = make_gateway(
            self._loop, self._clock, settings, self.dispatcher, self._access, on_begin=self.engine.begin,
            on_end=self.loop.end, inline=settings.durability != "fsync" and not settings.database_url,
        )  # fmt: skip
        self._ticks = self._gateway.ticks
        self.loop.holding.hold_input = self._gateway.hold_input
        self._sender = HandoverSender(ctx.run)
        self._gateway.let_wander(self._sender, self._on_leaving, self._forwarder.let_go)
        self.loop.wake = self.dispatcher.wake = self._ticks.wake
        self._replies = RemoteReplies(self._keep_back, lambda body: self._on_undelivered("", body))
        self._front: HandoverReceiver | None = None
        self._remote: dict[str, set[int]] = {}
        """Connections of other processes that something here may be tied to, by process."""
        self._moves = SlotMoves(
            self.dispatcher, self._loop, self._begin_tick, self._on_broken_move, ctx.control.slot_shipped,
            ctx.control.slot_stuck, self._tied,
        )  # fmt: skip
        self._recycling = Recycling(
            self._journal, self._exchange.notify, bytes_min=settings.checkpoint_bytes, size_of=self._size_of
        )
        self.stop_ordered = asyncio.Event()
        self._room_timer: asyncio.TimerHandle | None = None

    def _recover(self, tables: Tables | None) -> None:
        """The state again, from the tables and what is behind them in the journal."""
        engine, clock = self.engine, self._clock
        replayer = Replayer(engine)
        gc.disable()
        try:
            if tables is not None:
                tables.restore(replayer)
                tables.close()
            for record in self._journal.replay():
                try:
                    replayer.apply(record.at_ms, record.mono_ms, record.boot, record.events)
                except (ValueError, KeyError, IndexError) as e:
                    raise JournalCorrupt(
                        f"shard {self._ctx.index}: record {record.seq} cannot be applied: {type(e).__name__}: {e}"
                    ) from e
        finally:
            gc.enable()
        recovery = self._journal.recovery
        replayer.finish(boot_id(), clock.mono_ms(), clean=recovery.clean)
        if recovery.note:
            self._ctx.control.note(recovery.note)
        engine.begin(clock.wall_ms(), clock.mono_ms())
        self._let_go_of_others()
        chosen.start(engine, self._defaults)
        start_grace(engine)
        crons.start(engine)
        webhooks.start(engine)
        abandon(engine)
        start_housekeeping(engine)

    def _let_go_of_others(self) -> None:
        """Slots that the map does not give us were on their way when some process died: they are another shard's."""
        if self._state.slots().version == 1:
            return  # none has ever moved
        engine = self.engine
        for slot in sorted(slots_in(engine)):
            if not engine.owns[slot]:
                event = SlotLeft(slot)
                left(engine, event)
                engine.record(event, promise=False)

    async def start(self) -> None:
        """Returns when the shard serves."""
        self._ctx.control.attach(self._loop, self._on_order)
        self._front = HandoverReceiver(self._ctx.run, self._ctx.index, self._loop, self._on_connection)
        gc.collect()
        gc.freeze()
        gc.disable()  # nothing on the hot path makes cycles; what does is collected once a second, when it is little
        self._ticks.begin()
        self._ticks.end()
        self.loop.beat()
        self._look_for_room()
        if isinstance(self._journal, SegmentJournal):
            # In a second the whole reserve may be written: each new segment is a moment to look, too.
            self._journal.on_segment = lambda: self._loop.call_soon(self._refuse_or_not)

    async def stop(self) -> int:
        """Finish what is begun, then end; the exit code."""
        if self._front is not None:
            self._front.close()
        if self.loop.faulty:
            return EXIT_FAULT
        self._ticks.end()
        try:
            async with asyncio.timeout(STOP_S):
                await self.loop.holding.emptied()
        except TimeoutError:
            log.error("stopping without the database: requests that wait are not answered", shard=self._ctx.index)
        await self._gateway.stop()
        self._sender.close()
        await self._exchange.stop()
        self._ticks.end()
        self.loop.stop()
        if self._room_timer is not None:
            self._room_timer.cancel()
        self._journal.close(seal=True)
        self._state.close()
        return EXIT_STOPPED

    def _size_of(self, path: str) -> int:
        """Of a closed part of the journal."""
        return Path(path).stat().st_size if not self._ctx.settings.database_url else self._journal.kept_bytes

    def _on_fault(self, fault: StorageError) -> None:
        """The journal cannot be trusted any more: not another word to anybody."""
        with contextlib.suppress(OSError):
            self._ctx.control.failed(str(fault))
        log.error("journal failed, restarting from what it has", shard=self._ctx.index, reason=str(fault))
        os._exit(EXIT_FAULT)

    def _look_for_room(self) -> None:
        """Once a second: whether pushes are to be refused, and what else is done so often."""
        self._refuse_or_not()
        self._recycling.look()
        self._gauges.connections = len(self._gateway)
        self._gauges.forwarded_out = self._forwarder.forwarded
        gc.collect(1)
        self._room_timer = self._loop.call_later(_ROOM_S, self._look_for_room)

    def _refuse_or_not(self) -> None:
        """Refuse pushes while disk or memory is short; acks go on."""
        refusal, why = "", 0
        if not self._journal.check_room():
            refusal, why = "Disk is nearly full: pushes are refused until there is room", 1
        else:
            limit = self.engine.limits.memory_bytes_max
            used = self._gauges.memory_bytes = memory_used()
            if limit and used > limit * 9 // 10:
                refusal = f"Memory is nearly used up ({used} of {limit} bytes): pushes are refused until jobs are done"
                why = 2
        if refusal != self.dispatcher.refusal:
            log.warning(refusal or "pushes are accepted again", shard=self._ctx.index)
        self.dispatcher.refusal = refusal
        if why != self._gauges.refusing:
            self._gauges.refusing = why
            self._gauges.write_rest(self.engine)

    def _begin_tick(self) -> None:
        """Another tick than the one that may be open."""
        if self._ticks.is_open:
            self._ticks.end()
        self._ticks.wake()

    def _on_broken_move(self, fault: Exception) -> None:
        log.exception("a slot cannot be moved", shard=self._ctx.index)
        self._on_fault(StorageError(f"a slot cannot be moved: {type(fault).__name__}: {fault}"))

    def _tied(self, gids: set[int], shard: int) -> None:
        """Another shard has leases now that end with these connections: it is told when they do."""
        for gid in gids:
            self._forwarder.take_over(gid, [shard])

    # -- what comes in

    def _on_connection(self, sock: socket.socket, handed: Handed) -> None:
        codec = _CODECS.get(handed.protocol) if not handed.head else None
        self._gateway.adopt(sock, handed.gid, handed.head, handed.principal, codec)
        self._forwarder.take_over(handed.gid, [shard for shard in handed.holders if shard != self._ctx.index])

    def _on_leaving(self, gid: int, shard: int) -> list[int] | None:
        """A connection is about to move to another shard; what of it is here is told of its end from there."""
        if self.dispatcher.desk.listens(gid):
            return None
        holders = self._forwarder.holders(gid)
        if gid in self.engine.tied or gid in self.engine.waits_of:
            holders.append(self._ctx.index)
            self._remote.setdefault(shard_name(shard), set()).add(gid)
        return holders

    def _on_request(self, incoming: Incoming) -> None:
        ticks = self._ticks
        if not ticks.is_open:
            ticks.begin()
        self._gauges.forwarded_in += 1
        self.engine.totals.rare_changed = True
        if self.engine.in_grace:
            still_there(self.engine, incoming.gid)
        if incoming.gid:
            self._remote.setdefault(incoming.peer, set()).add(incoming.gid)
        if incoming.flags & INTERNAL:
            internal.answer(self.dispatcher, incoming.frame, RemoteTicket(incoming, self._replies))
        else:
            link: Link = RemoteLink(incoming, self._replies)
            self.dispatcher.submit(
                Showing(link, self.engine, self._access.may) if incoming.flags & SHOW_JOB else link, incoming.frame
            )
        ticks.arrived(len(incoming.frame))

    def _keep_back(self, replies: RemoteReplies) -> None:
        self._ticks.wake()  # the answer of a third process comes outside of any tick
        self._ticks.dirty.append(replies)

    def _on_notice(self, peer: str, kind: int, payload: bytes) -> None:
        if kind == FOLDED:
            self._recycling.folded(payload)
            return
        gid = int.from_bytes(payload[:8], "little")
        self._ticks.wake()
        if kind == Notice.CONNECTION_GONE:
            self._remote.get(peer, set()).discard(gid)
            self.dispatcher.remote_gone(gid)
        elif kind == INPUT_ENDED:
            self.dispatcher.remote_ended(gid)
        elif kind == STILL_THERE:
            for at in range(0, len(payload), 8):
                gid = int.from_bytes(payload[at : at + 8], "little")
                self._remote.setdefault(peer, set()).add(gid)
                still_there(self.engine, gid)
        elif kind == GIVEN_BACK:
            words = [int.from_bytes(payload[at : at + 8], "little") for at in range(0, len(payload), 8)]
            self.dispatcher.given_back(words[0], words[1:])
        elif kind == FEED:
            self.dispatcher.desk.came(payload)

    def _on_undelivered(self, peer: str, body: bytes) -> None:
        self._ticks.wake()
        self.dispatcher.undelivered_body(body)

    def _on_peer_gone(self, name: str, epoch: int) -> None:
        """A process died, and with it the connections that it held."""
        self._ticks.wake()
        for gid in self._remote.pop(name, ()):
            self.dispatcher.holder_gone(gid)
        self.dispatcher.feed.peer_gone(name)
        if name == SENDER:
            self.dispatcher.hook_desk.sender_gone()

    def _on_order(self, order: Order) -> None:
        if isinstance(order, SlotOrder):
            self._moves.order(order)
        elif isinstance(order, PeerGone):
            self._exchange.peer_gone(order.name, order.incarnation)
            if order.name == CHECKPOINTER:
                self._recycling.gone()
        elif not isinstance(order, PeerReady):
            self.stop_ordered.set()
        elif order.name == CHECKPOINTER:
            self._recycling.came()
        elif order.name.startswith("shard-") and order.name != self._ctx.name:
            other = int(order.name.removeprefix("shard-"))
            self._forwarder.announce(other)
            self.dispatcher.desk.shard_serves(other)
            self.loop.postman.again()


def memory_used() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm", "rb") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
