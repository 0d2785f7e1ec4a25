"""A slot moves to or from this shard while it serves: one at a time, as the supervisor orders.

    supervisor        source                                    target
    MoveSlot ───────> holds requests for the slot
                      packs it, takes it out of its engine
                      sends it, part by part ─────────────────> journals each part; holds requests for the slot
                      <──────────────────────────────────────── all of it is on disk
    <── SlotShipped
    writes slots.json: from here on it is the target's
    SlotMoved ──────> journals that it left; sends on what waited
    TakeSlot ───────────────────────────────────────────────────> puts it into its engine; carries out what waited

Rules kept here
- The map of slots alone says whose a slot is. Before it is written the target has the slot in its journal, but serves
  nothing of it; after it the source has nothing of it but its journal. A shard that starts lets go of every slot that
  is not its own by the map. So a death of anybody at any point leaves the slot with one owner, and all of it there.
- Nothing of the slot falls due or is decided while it is on its way: it is in no engine.
- Requests for the slot wait, and are carried out in the order in which they came; so do those of which it is not known
  which slots they concern. All others go on. If the move comes to nothing (`KeepSlot`), what was packed is put back.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.engine.departure import Departed, depart, is_busy
from flashq.engine.events import SlotArrived, SlotLeft, SlotPart
from flashq.engine.replay import APPLY
from flashq.engine.retry import connection_gone
from flashq.errors import LimitExceeded, Unavailable
from flashq.protocol.dispatch import Link
from flashq.protocol.head import decode_head, slot_of
from flashq.protocol.slots import SLOTS
from flashq.shard import internal
from flashq.shard.asked_again import asked_again
from flashq.shard.gate import GatedLink
from flashq.storage.parcels import Parcel, unpack
from flashq.transport.slot_orders import KeepSlot, MoveSlot, SlotMoved, SlotOrder, TakeSlot

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

LOOK_S: Final = 0.002
BUSY_S_MAX: Final = 5.0
"""A push over several slots is decided within this."""
NOWHERE: Final = frozenset(("PING", "AUTH", "STATS", "LISTQUEUES", "METRICS", "SUBSCRIBE", "UNSUBSCRIBE"))
"""Commands that concern no slot."""
_NO_REQ_ID: Final = (b"", b"null", b"\xc0")


class SlotMoves:
    """The moves of one shard."""

    def __init__(
        self, here: "ShardDispatcher", loop: asyncio.AbstractEventLoop, begin_tick: Callable[[], None],
        broken: Callable[[Exception], Any], shipped: Callable[[int], Any], stuck: Callable[[int, str], Any],
        tied_elsewhere: Callable[[set[int], int], Any],
    ) -> None:  # fmt: skip
        """`begin_tick`: ends the tick that is open, if one is, and begins another. `broken` ends the process, for its
        successor to begin with what is on disk. `shipped` and `stuck` tell the supervisor of a move by its number.
        `tied_elsewhere(gids, shard)`: a shard has leases of these connections.
        """
        self._here = here
        self._loop = loop
        self._begin_tick = begin_tick
        self._broken = broken
        self._shipped = shipped
        self._stuck = stuck
        self._tied_elsewhere = tied_elsewhere
        self._move = 0
        """The number of the move under way; 0: none."""
        self._over = 0
        """Moves up to this number are: what still comes of one is refused."""
        self._slot = -1
        self._to = -1
        self._parcel: Parcel | None = None
        """Of the source, once the slot has left its engine."""
        self._parts: list[bytes] = []
        self._rest: Iterator[bytes] = iter(())
        self._departed: Departed | None = None
        self._held: list[tuple[GatedLink, bytes]] = []
        self._questions: list[Callable[[], Any]] = []
        self._gone: set[int] = set()
        """Connections that ended meanwhile: what is tied to them may be on its way."""
        here.moves = self

    def connection_gone(self, gid: int) -> None:
        """A connection ended, here or elsewhere."""
        if self._move:
            self._gone.add(gid)

    # -- orders

    def order(self, order: SlotOrder) -> None:
        """The supervisor says what is to be done."""
        if isinstance(order, MoveSlot):
            self._hold(order.move, order.slot)
            self._to = order.to
            self._leave_when_idle(order.move, self._loop.time() + BUSY_S_MAX)
            return
        self._over = max(self._over, order.move)
        if order.move != self._move:
            return
        self._begin_tick()
        try:
            if isinstance(order, TakeSlot):
                self._take()
            elif isinstance(order, SlotMoved):
                self._let_go()
            else:
                assert isinstance(order, KeepSlot)
                self._undo()
        except Exception as fault:  # a bug of ours: half a slot may be in the engine, but what is on disk is whole
            self._broken(fault)

    def _hold(self, move: int, slot: int) -> None:
        """From here on what concerns the slot waits."""
        self._move, self._slot = move, slot
        self._here.gates.sift(self._sifted)

    def _release(self) -> None:
        """What waited is carried out, here or elsewhere."""
        self._here.gates.sift(None)
        self._here.questions_wait = None
        self._move, self._slot, self._to = 0, -1, -1
        self._parcel, self._parts, self._rest = None, [], iter(())
        self._gone.clear()
        departed, self._departed = self._departed, None
        questions, self._questions = self._questions, []
        held, self._held = self._held, []
        for question in questions:
            question()
        if departed is not None:
            for link, frame in asked_again(departed, self._here.engine.mono_ms):
                self._here.submit(link, frame)
        for gated, frame in held:
            self._here.submit(gated, frame)

    def _sifted(self, link: Link, frame: bytes) -> bool:
        """Hold a request that concerns the slot, or may; whether it is held."""
        head = decode_head(frame, link.codec)
        slot = slot_of(head)
        if slot is None and (head.cmd in NOWHERE or not self._may_concern(head.ids)):
            return False
        if slot is not None and slot != self._slot:
            return False
        req_id = bytes(self._here.elsewhere.req_id_of(frame, link.codec))
        self._held.append((GatedLink(link, link.hold(ordered=req_id in _NO_REQ_ID)), frame))
        return True

    def _may_concern(self, ids: list[int] | None) -> bool:
        return not ids or any(job_id % SLOTS == self._slot for job_id in ids)

    # -- the source

    def _leave_when_idle(self, move: int, until: float) -> None:
        if move != self._move:
            return
        here = self._here
        if is_busy(here.engine, self._slot) or here.has_keyed(self._slot):
            if self._loop.time() < until:
                self._loop.call_later(LOOK_S, self._leave_when_idle, move, until)
            else:
                self._fail("a push in it does not end")
            return
        self._begin_tick()
        self._here.questions_wait = self._questions.append
        engine = here.engine
        self._parcel = Parcel(engine, self._slot)
        self._departed = depart(engine, self._slot)
        engine.owns[self._slot] = 0
        self._rest = self._parcel.parts()
        self._send_next()

    def _send_next(self) -> None:
        """One part at a time, each packed when the one before it is on disk there: others are served between."""
        move = self._move
        try:
            part = next(self._rest, None)
        except Exception as fault:  # a bug of ours: what is packed is not whole, but what is on disk is
            self._broken(fault)
            return
        if part is None:
            assert self._parcel is not None
            body: Any = (move, self._slot, self._parcel.mono_ms, len(self._parts))
            internal.ask(
                self._here, self._to, "slot-here", body, lambda _: self._arrived(move), lambda e: self._failed(move, e)
            )  # fmt: skip
            return
        self._parts.append(part)
        body = (move, self._slot, len(self._parts) - 1, part)
        internal.ask(
            self._here, self._to, "slot-part", body, lambda _: self._sent(move), lambda e: self._failed(move, e)
        )  # fmt: skip

    def _sent(self, move: int) -> None:
        if move == self._move:
            self._send_next()

    def _arrived(self, move: int) -> None:
        if move == self._move:
            self._shipped(move)

    def _failed(self, move: int, error: Exception) -> None:
        if move == self._move:
            self._fail(str(error))

    def _fail(self, reason: str) -> None:
        """It is put back when the supervisor says so: it may have decided otherwise already."""
        self._stuck(self._move, reason)

    def _let_go(self) -> None:
        """The map says that it is theirs."""
        self._here.engine.record(SlotLeft(self._slot))
        if self._departed is not None:
            self._tied_elsewhere(self._departed.tied, self._to)
            for gid in self._departed.tied & self._gone:
                self._here.elsewhere.gone(gid)
        self._release()

    # -- the target

    def part_came(self, move: int, slot: int, no: int, body: bytes) -> None:
        """A part, to be kept: the sender hears of it when it is on disk. Raises Unavailable while another one moves."""
        engine = self._here.engine
        if move != self._move:
            if self._move or engine.owns[slot] or move <= self._over or no:
                raise Unavailable(f"slot {slot} is not awaited here")
            self._hold(move, slot)
            if slot in engine.arriving:
                self._forget(slot)
        event = SlotPart(slot, no, body)
        APPLY[SlotPart](engine, event)
        engine.record(event)

    def all_came(self, move: int, slot: int, mono_ms: int, parts: int) -> None:
        """All of it is here. On disk before the sender hears of it, whatever the durability: the map follows."""
        engine = self._here.engine
        if move != self._move or len(engine.arriving.get(slot, ())) != parts:
            raise Unavailable("the slot has not come as a whole")
        if len(engine.queues) >= engine.limits.queues_max:
            raise LimitExceeded(f"Too many queues ({len(engine.queues)}, max {engine.limits.queues_max})")
        self._here.questions_wait = self._questions.append
        engine.record(SlotArrived(slot, mono_ms))
        engine.sync = True

    def _take(self) -> None:
        """The map says that it is ours."""
        engine, slot = self._here.engine, self._slot
        unpack(engine, slot, engine.arriving.pop(slot), 0)
        self._came()
        self._release()

    # -- either, when it comes to nothing

    def _undo(self) -> None:
        engine, slot = self._here.engine, self._slot
        if self._parcel is not None:
            unpack(engine, slot, [*self._parts, *self._rest], 0)
            self._came()
        elif self._to < 0:
            self._forget(slot)
        self._release()

    def _came(self) -> None:
        """The slot is in the engine."""
        engine = self._here.engine
        engine.owns[self._slot] = 1
        for gid in self._gone:
            connection_gone(engine, gid)
        self._here.slot_came()

    def _forget(self, slot: int) -> None:
        self._here.engine.arriving.pop(slot, None)
        self._here.engine.record(SlotLeft(slot))


def _part(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    move, slot, no, body = msgspec.convert(value, tuple[int, int, int, bytes])
    moves_of(here).part_came(move, slot, no, body)
    return True


def _here_now(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    move, slot, mono_ms, parts = msgspec.convert(value, tuple[int, int, int, int])
    moves_of(here).all_came(move, slot, mono_ms, parts)
    return True


def moves_of(here: "ShardDispatcher") -> SlotMoves:
    """Raises Unavailable where no slots move."""
    if here.moves is None:
        raise Unavailable("slots do not move here")
    return here.moves


internal.WORDS["slot-part"] = _part
internal.WORDS["slot-here"] = _here_now
