"""Slots that move while the cluster serves: the supervisor's part, which is to decide whose a slot is.

One at a time. The shard that has the slot sends it to the other; when all of it is on disk there, `slots.json` is
written, and that is the moment, and the only one, at which the slot changes its owner. A death of either before it,
and the move came to nothing: it is tried again when both serve. flashq/shard/slot_moves.py has the shards' part.
"""

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from flashq.cluster.slot_map import SlotMap
from flashq.errors import ConfigError
from flashq.protocol.slots import SLOTS
from flashq.transport.slot_orders import KeepSlot, MoveSlot, SlotMoved, SlotOrder, SlotShipped, SlotStuck, TakeSlot

WANTED: Final = "state.moves"
"""In the run folder: the moves that somebody asks for, a list of [slot, shard]."""
TRIES: Final = 20
RETRY_MS: Final = 250
log = structlog.get_logger()


class Move(NamedTuple):
    """One slot that is to be another shard's."""

    slot: int
    to: int
    tries: int = 0


class Cluster:
    """What moving slots asks of the supervisor."""

    def __init__(
        self, tell: Callable[[int, SlotOrder], bool], publish: Callable[[SlotMap, int], None],
        after: Callable[[int, Callable[[], None]], None], serves: Callable[[int], bool],
    ) -> None:  # fmt: skip
        """`tell(shard, order)`: False if it does not serve. `publish(map, shard)`: makes a map the durable one, then
        shows it to everybody, that `shard` has something new. `after(ms, call)`: calls it then.
        """
        self.tell = tell
        self.publish = publish
        self.after = after
        self.serves = serves


class SlotMoves:
    """The moves that are to be made."""

    def __init__(self, slots: SlotMap, cluster: Cluster) -> None:
        self.slots = slots
        """As it is on disk."""
        self._cluster = cluster
        self._wanted: deque[Move] = deque()
        self._number = 0
        self._active: Move | None = None

    def want(self, moves: Iterable[tuple[int, int]]) -> None:
        """Move these slots to these shards, as soon as it can be."""
        self._wanted.extend(Move(slot, to) for slot, to in moves)
        if self._wanted and self.slots.version == 1:
            # A shard that starts looks for slots that are not its own if any has ever begun to move.
            try:
                self._publish(self.slots.owners, -1)
            except OSError as error:
                log.error("slots are not moved: their map cannot be written", reason=str(error))
                self._wanted.clear()
        self._next()

    def on_report(self, shard: int, report: SlotShipped | SlotStuck) -> None:
        """The shard that has the slot says how it went."""
        move = self._active
        if move is None or report.move != self._number or shard != self.slots.owners[move.slot]:
            return
        if isinstance(report, SlotStuck):
            self._give_up(report.reason)
            return
        owners = list(self.slots.owners)
        owners[move.slot] = move.to
        try:
            self._publish(tuple(owners), move.to)
        except OSError as error:  # a full disk: the map is what it was
            self._give_up(f"the map of slots cannot be written: {error}")
            return
        self._active = None
        self._cluster.tell(move.to, TakeSlot(report.move))
        self._cluster.tell(shard, SlotMoved(report.move))
        log.info("slot moved", slot=move.slot, source=shard, target=move.to, left=len(self._wanted))
        self._next()

    def on_gone(self, shard: int) -> None:
        """A shard died. What it was sending, or being sent, is still whose it was."""
        move = self._active
        if move is not None and shard in (move.to, self.slots.owners[move.slot]):
            self._give_up(f"shard {shard} died")

    def _publish(self, owners: tuple[int, ...], shard: int) -> None:
        """Raises OSError, with the map on disk as it was."""
        slots = SlotMap(self.slots.version + 1, self.slots.shards, owners)
        self._cluster.publish(slots, shard)
        self.slots = slots

    def _give_up(self, reason: str) -> None:
        """It came to nothing this time: both go on as before, and it is tried again in a while."""
        move, self._active = self._active, None
        assert move is not None
        for shard in (self.slots.owners[move.slot], move.to):
            self._cluster.tell(shard, KeepSlot(self._number))
        self._again(move, reason)

    def _again(self, move: Move, reason: str) -> None:
        if move.tries < TRIES:
            log.info("slot is not moved yet", slot=move.slot, target=move.to, reason=reason)
            self._wanted.appendleft(move._replace(tries=move.tries + 1))
            self._cluster.after(RETRY_MS, self._next)
        else:
            log.error("slot stays where it is", slot=move.slot, target=move.to, reason=reason)
            self._next()

    def _next(self) -> None:
        while self._active is None and self._wanted:
            move = self._wanted.popleft()
            source = self.slots.owners[move.slot]
            if source == move.to:
                continue
            self._number += 1
            # The target hears of it by the first part.
            order = MoveSlot(self._number, move.slot, move.to)
            if not self._cluster.serves(move.to) or not self._cluster.tell(source, order):
                self._again(move, "a shard does not serve")
                return
            self._active = move


def read_wanted(run: Path, shards: int) -> list[tuple[int, int]]:
    """The moves that somebody asks for, once. Raises ConfigError if they make no sense."""
    path = run / WANTED
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[tuple[int, int]])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is no list of slots and shards: {error}") from error
    finally:
        path.unlink(missing_ok=True)
    for slot, to in found:
        if not 0 <= slot < SLOTS or not 0 <= to < shards:
            raise ConfigError(f"{path}: slot {slot} to shard {to}: there are {SLOTS} slots and {shards} shards")
    return found


def write_wanted(run: Path, moves: list[tuple[int, int]]) -> None:
    """Ask for moves: the supervisor reads them when it is told to."""
    draft = run / (WANTED + ".new")
    draft.write_bytes(msgspec.json.encode(moves))
    draft.rename(run / WANTED)
