"""The answering side of the exchange: who asks, what they ask, and the way back."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from flashq.errors import LimitExceeded
from flashq.transport.envelope import (
    CAUSES,
    REFUSAL,
    REFUSAL_ITEM,
    REPLY,
    REPLY_ITEM,
    Failure,
)
from flashq.transport.outbox import Outbox, sized

REPLY_BACKLOG_BYTES_MAX: Final = 16 << 20
"""While more than this waits for a peer that does not read, its requests earn it no new credit."""

_pack_reply: Final = REPLY_ITEM.pack


class Caller:
    """One incarnation of a process that sends us requests."""

    __slots__ = (
        "body_bytes_max",
        "credit_step",
        "epoch",
        "gone",
        "identity",
        "name",
        "outbox",
        "taken",
        "told",
        "touch",
        "touched",
    )

    def __init__(self, identity: bytes, touch: Callable[["Caller"], None], body_bytes_max: int) -> None:
        self.identity = identity
        self.name = ""
        self.epoch = 0
        self.gone = False
        self.taken = 0
        """Request bytes taken from the socket on this connection, as the sender counts them."""
        self.told = 0
        self.credit_step = 1 << 20
        self.outbox = Outbox()
        self.touch = touch
        self.touched = False
        self.body_bytes_max = body_bytes_max

    def put(self, correlation: int, head: bytes, body: bytes) -> None:
        """Send an item with the others of this tick."""
        self.outbox.items.append((correlation, head, body))
        if not self.touched:
            self.touch(self)

    def refuse(self, correlation: int, failure: Failure) -> None:
        """Tell it that a request has no reply and why."""
        self.put(correlation, REFUSAL_ITEM.pack(REFUSAL, CAUSES.index(failure), 0, 0, correlation), b"")

    def owes_credit(self) -> bool:
        """Whether so much was taken since the last message that the sender may be waiting to hear of it."""
        return self.taken - self.told >= self.credit_step

    def tell_taken(self) -> int:
        """What the next message says was taken: nothing new while it does not read its replies."""
        if not self.outbox.messages or self.outbox.backlog_bytes() < REPLY_BACKLOG_BYTES_MAX:
            self.told = self.taken
        return self.told


class Incoming(Struct, gc=False):
    """A request of another process. Answer it once, now or later, in the loop's thread."""

    caller: Caller
    correlation: int
    codec: int
    gid: int
    """The client connection that it came from; it lives in the caller's process."""
    principal: str
    flags: int
    deadline_ms: int
    """Monotonic moment at which the caller gives up; 0: never."""
    frame: bytes
    answered: bool = False

    @property
    def peer(self) -> str:
        """The name of the process that asks."""
        return self.caller.name

    def reply(self, body: bytes) -> bool:
        """Send the reply. False if that process is known to have died: nobody will read it.

        Raises LimitExceeded if it is too large for the exchange; the request then still wants an answer.
        """
        caller = self.caller
        if len(body) > caller.body_bytes_max:
            raise LimitExceeded(f"Reply of {len(body)} bytes, the exchange carries {caller.body_bytes_max}")
        self._answer()
        if caller.gone:
            return False
        # Written out, not by `put`: this is the hot way back.
        head = _pack_reply(REPLY, sized(body), self.correlation)
        caller.outbox.items.append((self.correlation, head, body))
        if not caller.touched:
            caller.touch(caller)
        return True

    def refuse(self, failure: Failure) -> None:
        """Do without a reply: nothing was done (one of `envelope.CAUSES`)."""
        self._answer()
        if not self.caller.gone:
            self.caller.refuse(self.correlation, failure)

    def _answer(self) -> None:
        assert not self.answered, "a request is answered once"
        self.answered = True
