"""What the supervisor and shards say of slots that move: flashq/shard/slot_moves.py has the order of it all.

Every move has a number; what is said of one that is over means nothing any more.
"""

import msgspec


class MoveSlot(msgspec.Struct, frozen=True, tag="move-slot"):
    """Supervisor, to the shard that has a slot: send it to another one. Answered by `SlotShipped` or `SlotStuck`."""

    move: int
    slot: int
    to: int


class TakeSlot(msgspec.Struct, frozen=True, tag="take-slot"):
    """Supervisor, to the shard that a slot was sent to: it is yours."""

    move: int


class SlotMoved(msgspec.Struct, frozen=True, tag="slot-moved"):
    """Supervisor, to the shard that sent a slot: it is theirs."""

    move: int


class KeepSlot(msgspec.Struct, frozen=True, tag="keep-slot"):
    """Supervisor, to either: the move came to nothing."""

    move: int


class SlotShipped(msgspec.Struct, frozen=True, tag="slot-shipped"):
    """Shard: all of the slot is on the other shard's disk, and I serve nothing of it."""

    move: int


class SlotStuck(msgspec.Struct, frozen=True, tag="slot-stuck"):
    """Shard: the slot cannot be sent now. I hold it back until I am told what becomes of it."""

    move: int
    reason: str


SlotOrder = MoveSlot | TakeSlot | SlotMoved | KeepSlot
SlotReport = SlotShipped | SlotStuck
