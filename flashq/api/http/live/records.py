"""How an event is written: as a record of an event stream, or as a message of a WebSocket.

What is made of an event is made once, whoever hears it.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from flashq.transport.following import Batch, Position

Positions = Mapping[int, Position]
COMMENT: Final = b":\n\n"
_encode: Final = msgspec.json.Encoder().encode


class Form(Protocol):
    """One of the two."""

    def shared(self, batch: Batch, i: int, positions: Positions) -> bytes:
        """The i-th event of a batch, for all who hear it at these positions."""

    def own(self, batch: Batch, i: int, positions: Positions) -> bytes:
        """As `shared`, for one who is at positions of his own."""

    def lagged(self, missed: int | None) -> bytes:
        """So many events were missed; None: nobody knows how many."""


def ids(positions: Positions, shard: int, position: Position) -> str:
    """The id of an event: `<shard>-<epoch>-<number>`, and where a stream is of several shards, one for each of them."""
    whole = {**positions, shard: position}
    return ",".join(f"{one}-{epoch}-{number}" for one, (epoch, number) in sorted(whole.items()))


def lagged_text(missed: int | None) -> bytes:
    """As JSON."""
    return _encode({"event_type": "lagged", "missed": missed})


class Stream:
    """Server-sent events."""

    def shared(self, batch: Batch, i: int, positions: Positions) -> bytes:
        """As `Form.shared`."""
        note = ("sse", i, len(positions))
        found = batch.notes.get(note)
        if found is None:
            found = batch.notes[note] = self.own(batch, i, positions)
        return found

    def own(self, batch: Batch, i: int, positions: Positions) -> bytes:
        """As `Form.own`."""
        name = ids(positions, batch.shard, (batch.epoch, batch.numbers[i])).encode()
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (name, batch.happenings[i].kind.encode(), batch.text(i))

    def lagged(self, missed: int | None) -> bytes:
        """As `Form.lagged`. It has no id: who is cut off here comes back to before what he missed."""
        return b"event: lagged\ndata: %b\n\n" % lagged_text(missed)


class Messages:
    """Text messages of a WebSocket."""

    def shared(self, batch: Batch, i: int, positions: Positions) -> bytes:
        """As `Form.shared`."""
        return batch.text(i)

    own = shared

    def lagged(self, missed: int | None) -> bytes:
        """As `Form.lagged`."""
        return lagged_text(missed)
