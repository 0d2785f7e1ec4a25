"""What travels between our own processes: one ZeroMQ message for all that one tick has for one peer.

    message  = head, items; then, as parts of their own, the bodies of items that say APART
    head     = magic, version, parts that follow, sender's epoch, receiver's epoch, request bytes taken
    item     = HELLO | WELCOME | REQUEST | REPLY | REFUSAL | NOTICE, its kind in the first byte

Frames and replies travel as they came. Integers are little-endian. Both ends are of one version: processes
are forked from one image, and one of another version is refused with a clear text.
"""

from enum import IntEnum
from struct import Struct
from struct import error as struct_error
from typing import Final

from flashq.errors import MalformedFrame

MAGIC: Final = 0xF1
VERSION: Final = 1

HEAD: Final = Struct("<BBHQQQ")
"""magic, version, parts that follow, sender's epoch, receiver's epoch, request bytes taken so far."""

HELLO: Final = 1
WELCOME: Final = 2
REQUEST: Final = 3
REPLY: Final = 4
REFUSAL: Final = 5
NOTICE: Final = 6

HELLO_ITEM: Final = Struct("<BxHI")
"""kind, length of the name behind it, bytes of credit the sender works with."""
WELCOME_ITEM: Final = Struct("<B")
REQUEST_ITEM: Final = Struct("<BBHIQQQI")
"""kind, codec, length of the principal behind it, flags, correlation, gid, deadline (mono ms; 0: none), its length."""
REPLY_ITEM: Final = Struct("<BxxxIQ")
"""kind, body's length, correlation."""
REFUSAL_ITEM: Final = Struct("<BBHIQ")
"""kind, cause, 0, 0, correlation."""
NOTICE_ITEM: Final = Struct("<BBHI")
"""kind, what it is about, 0, payload's length."""

APART: Final = 0xFFFF_FFFF
"""As a length: the body is the next part of the message."""
APART_BYTES_MIN: Final = 16_384
"""Bodies from here on are parts of their own, so that they are copied neither into the batch nor out of it."""
BATCH_BYTES_MAX: Final = 4 << 20
"""What one tick has for one peer is cut into several messages past this."""
PARTS_MAX: Final = 1024

FREE_NOTICES: Final = 16
"""Notices from here to 255 mean what sender and receiver agree on."""


class Notice(IntEnum):
    """What a one-way message is about."""

    CONNECTION_GONE = 1
    """A client left: its gid, 8 bytes little-endian."""
    PROCESS_GONE = 2
    """A process died: its name."""
    UNDELIVERED = 3
    """A reply found nobody who waited: its body, back to who sent it."""


class Failure(str):
    """Why a request has no reply. It is the wire's error code, and says whether the request may be sent again."""

    __slots__ = ("may_have_happened",)
    may_have_happened: bool
    """False: nobody has seen or will see it; to send it again is safe without an idempotency key."""

    def __new__(cls, code: str, *, may_have_happened: bool) -> "Failure":
        """A code of `errors.py`."""
        failure = super().__new__(cls, code)
        failure.may_have_happened = may_have_happened
        return failure


UNAVAILABLE: Final = Failure("unavailable", may_have_happened=False)
"""It never left, or the peer refused it unseen."""
PEER_GONE: Final = Failure("unavailable", may_have_happened=True)
"""The peer died, or the connection broke, while it had the request."""
TIMED_OUT: Final = Failure("timeout", may_have_happened=True)
TIMED_OUT_UNSENT: Final = Failure("timeout", may_have_happened=False)
FAULTY: Final = Failure("internal", may_have_happened=True)
"""The peer's code failed on it."""

CAUSES: Final = (UNAVAILABLE, TIMED_OUT_UNSENT, FAULTY)
"""What a refusal can say, by its number on the wire."""


class Unread(MalformedFrame):
    """A message of a peer that this version cannot read."""


UNREADABLE: Final = (Unread, IndexError, struct_error, UnicodeDecodeError)
"""All that reading a message may raise."""


class Reader:
    """The head of a message, and the bodies that come as parts of their own."""

    __slots__ = ("data", "epoch", "parts", "receiver_epoch", "taken")

    def __init__(self, data: bytes, parts: list[bytes]) -> None:
        """Raises Unread when it is none of this version's."""
        if len(data) < HEAD.size or data[0] != MAGIC:
            raise Unread(f"Not an envelope: {data[:16]!r}")
        if data[1] != VERSION:
            raise Unread(f"Envelope of version {data[1]}, this process speaks {VERSION}")
        _, _, count, self.epoch, self.receiver_epoch, self.taken = HEAD.unpack_from(data)
        if count != len(parts):
            raise Unread(f"Envelope announces {count} parts, {len(parts)} came")
        parts.reverse()
        self.data = data
        self.parts = parts

    def part(self) -> bytes:
        """The next body that came apart. Raises Unread if there is none."""
        if not self.parts:
            raise Unread("Envelope lacks a part")
        return self.parts.pop()

    def body(self, at: int, size: int) -> tuple[bytes, int]:
        """The body of an item, `size` bytes at `at` or apart, and where the next item begins."""
        if size == APART:
            return self.part(), at
        return self.data[at : at + size], at + size

    def ends(self, at: int) -> None:
        """Raises Unread unless `at` is the end, and all parts were used."""
        if at != len(self.data) or self.parts:
            raise Unread(f"Envelope of {len(self.data)} bytes ends at {at}, {len(self.parts)} parts are left")
