"""The head of a request: what routing needs, found at the least cost and without judging.

Rules kept here
- No input raises, and none costs more than linear time: what cannot be read leaves its field empty.
- What is found is a hint. Whoever carries the request out decodes it again and decides: names may be escaped,
  keys repeated, payloads unsound.
- A `reqId` is found even in a request that does not parse, so that its error can be matched.

A whole frame goes through one msgspec struct that skips all other fields in C (0.3 us for a small PUSH). Where that
refuses (a wrong type, bad syntax), a struct of raw fields is tried, and then a walk over the top level that
takes what it can. The same walk reads the beginning of a frame that has not come in full: `queue` may stand
in front of 10 MiB of `data`, or behind them.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import msgpack
import msgspec
from msgspec import Raw, Struct

from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import SLOTS, slot_of_queue

ABSENT: Final = Raw(b"")
WALK_BYTES_MAX: Final = 64 * 1024
"""As far as a text that does not parse is walked, in Python: some 6 ms at worst (all brackets)."""
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
LENGTH_BYTES: Final = 4
"""The length in front of a binary frame."""


class Head(Struct, gc=False, rename={"req_id": "reqId"}):
    """Fields of a request by which it finds its way; empty or None where absent or of another type."""

    cmd: str = ""
    queue: str | None = None
    id: int | None = None
    ids: list[int] | None = None
    req_id: Raw = ABSENT
    """As it came, in the frame's codec: see `echo_of`."""
    name: str | None = None
    key: str | None = None
    parent_id: int | None = None
    job_id: str | int | None = None
    customId: str | None = None
    custom_id: str | None = None


class _RawHead(Struct, gc=False):
    """The same fields, of whatever type."""

    cmd: Raw = ABSENT
    queue: Raw = ABSENT
    id: Raw = ABSENT
    ids: Raw = ABSENT
    reqId: Raw = ABSENT
    name: Raw = ABSENT
    key: Raw = ABSENT
    parent_id: Raw = ABSENT
    job_id: Raw = ABSENT
    customId: Raw = ABSENT
    custom_id: Raw = ABSENT


_TYPES: Final[dict[str, Any]] = {f.encode_name: f.type for f in msgspec.structs.fields(Head)}
_text: Final = msgspec.json.Decoder(Head).decode
_binary: Final = msgspec.msgpack.Decoder(Head).decode
_raw_text: Final = msgspec.json.Decoder(_RawHead).decode
_raw_binary: Final = msgspec.msgpack.Decoder(_RawHead).decode
_FIELD_TEXT: Final = {name: msgspec.json.Decoder(kind).decode for name, kind in _TYPES.items()}
_FIELD_BINARY: Final = {name: msgspec.msgpack.Decoder(kind).decode for name, kind in _TYPES.items()}
# UnicodeDecodeError is a ValueError, as is msgspec's and msgpack's own; OverflowError is none.
_UNREADABLE: Final = (ValueError, RecursionError, OverflowError, msgspec.MsgspecError, msgpack.UnpackException)


# --- which slot ------------------------------------------------------------------------------------------------------

_BY_ID: Final = frozenset((
    *("ACK", "FAIL", "GETJOB", "GETSTATE", "GETRESULT", "CANCEL", "WAITJOB", "DISCARD", "PROMOTE", "MOVETODELAYED"),
    *("PROGRESS", "GETPROGRESS", "HEARTBEAT", "PARTIAL", "LOG", "GETLOGS", "CHANGEPRIORITY", "UPDATEJOB", "UPDATE"),
    "HISTORY",
))  # fmt: skip
_BY_IDS: Final = frozenset(("ACKB", "GETJOBSBATCH"))
_BY_NAME: Final = frozenset(("CRON", "CRONDELETE"))
_BY_KEY: Final = frozenset(("KVSET", "KVGET", "KVDEL", "KVEXISTS", "KVEXPIRE", "KVTTL", "KVINCR"))
_OF_CLUSTER: Final = frozenset(("WEBHOOK", "WEBHOOKDELETE"))
"""In slot 0, where what belongs to the cluster is decided."""
_NOT_BY_QUEUE: Final = _OF_CLUSTER | _BY_ID | _BY_IDS | _BY_NAME | _BY_KEY
"""All else goes by `queue`: were that one of several that may count, it would depend on which came first."""


def slot_of(head: Head) -> int | None:
    """The slot a request belongs to; None if it names none, or several."""
    cmd = head.cmd
    if cmd in _BY_ID:
        return _slot_of_id(head.id if head.id is not None else head.job_id)
    if head.queue is not None and cmd not in _NOT_BY_QUEUE:
        return slot_of_queue(head.queue)
    if cmd in _OF_CLUSTER:
        return 0
    if cmd in _BY_IDS:
        return _common_slot(head.ids or [])
    if cmd == "GETCHILDREN":
        return _slot_of_id(head.parent_id)
    return _slot_of_name(_name_in(head))


def _name_in(head: Head) -> str | int | None:
    if head.cmd in _BY_NAME:
        return head.name
    if head.cmd in _BY_KEY:
        return head.key
    if head.cmd == "GETJOBBYCUSTOMID":
        return head.job_id or head.customId or head.custom_id
    return None


def _slot_of_id(value: str | int | None) -> int | None:
    return value % SLOTS if isinstance(value, int) and value > 0 else None


def _slot_of_name(value: str | int | None) -> int | None:
    return slot_of_queue(value) if isinstance(value, str) else None


def _common_slot(ids: list[int]) -> int | None:
    slots = {job_id % SLOTS for job_id in ids}
    return slots.pop() if len(slots) == 1 else None


# --- whole frames ----------------------------------------------------------------------------------------------------


def decode_head_text(frame: bytes) -> Head:
    """The head of one line of text, with or without its LF."""
    try:
        return _text(frame)
    except _UNREADABLE:
        return _salvage(frame, _raw_text, _FIELD_TEXT, _walk_text, _guess_text)


def decode_head_binary(frame: bytes) -> Head:
    """The head of one MessagePack map, without its length."""
    try:
        return _binary(frame)
    except _UNREADABLE:
        return _salvage(frame, _raw_binary, _FIELD_BINARY, _walk_binary, _guess_binary)


def decode_head(frame: bytes, codec: Codec) -> Head:
    """The head of one whole frame."""
    return decode_head_text(frame) if codec is Codec.TEXT else decode_head_binary(frame)


def echo_of(head: Head, codec: Codec) -> bytes:
    """The `reqId` to put into a reply, encoded; empty if there is none, or it is neither string nor number."""
    raw = bytes(head.req_id)
    try:
        value = (msgspec.json if codec is Codec.TEXT else msgspec.msgpack).decode(raw, type=str | int | float | None)
    except _UNREADABLE:
        return b""
    return raw if value is not None else b""


_Decoders = dict[str, Callable[[Any], Any]]
_Walk = Callable[[bytes], Iterator[tuple[str, bytes]]]


def _salvage(
    frame: bytes,
    raw_decode: Callable[[bytes], _RawHead],
    fields: _Decoders,
    walk: _Walk,
    guess: Callable[[bytes], bytes],
) -> Head:
    """What can be had of a frame that the strict decoder refused."""
    head = Head()
    try:
        found = raw_decode(frame)
    except _UNREADABLE:
        for name, value in walk(frame):
            _assign(head, name, value, fields)
        if not bytes(head.req_id):
            head.req_id = Raw(guess(frame))
        return head
    for name in _TYPES:
        _assign(head, name, bytes(getattr(found, name)), fields)
    return head


def _assign(head: Head, name: str, value: bytes, fields: _Decoders) -> None:
    """Set a field if its value is of the right type; another leaves what there was."""
    if not value:
        return
    try:
        setattr(head, _ATTRIBUTES.get(name, name), fields[name](value))
    except _UNREADABLE:
        return  # A hint that is not there: whoever decodes in full will say what is wrong.


_ATTRIBUTES: Final = {"reqId": "req_id"}


# --- text that does not parse, or has not come in full ---------------------------------------------------------------
# Possessive quantifiers: none of these goes back over what it has taken, so time is linear.

_BLANK: Final = rb"[ \t\r\n]*+"
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_open: Final = re.compile(_BLANK + rb"\{").match
_member: Final = re.compile(rb"[ \t\r\n,]*+(" + _STRING + rb")" + _BLANK + rb":" + _BLANK, re.DOTALL).match
_string: Final = re.compile(_STRING, re.DOTALL).match
_scalar: Final = re.compile(rb'[^,{}\[\]"\s]++(?=[,}\s])').match
_bracket: Final = re.compile(rb"(?:[^\"\[\]{}]++|" + _STRING + rb")*+([\[\]{}])", re.DOTALL).match


def _walk_text(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Members of the object that `text` begins with, as far as they are whole: (name, encoded value)."""
    start = _open(text)
    at = start.end() if start else len(text)
    while (member := _member(text, at)) is not None:
        at, end = member.end(), _end_of_value(text, member.end())
        if end < 0:
            return
        name = _name_of(member[1])
        if name in _TYPES:
            yield name, bytes(text[at:end])
        at = end


def _name_of(quoted: bytes) -> str:
    try:
        return _FIELD_TEXT["cmd"](quoted)  # type: ignore[no-any-return]
    except _UNREADABLE:
        return ""


def _end_of_value(text: bytes, at: int) -> int:
    """Where the value at `at` ends; -1 if its end has not come, or lies further than we walk."""
    first = text[at : at + 1]
    if first == b'"':
        found = _string(text, at)
    elif first in (b"[", b"{"):
        return _end_of_brackets(text, at)
    else:
        found = _scalar(text, at)
    return found.end() if found else -1


def _end_of_brackets(text: bytes, at: int) -> int:
    limit = at + WALK_BYTES_MAX
    depth = 0
    while at < limit and (found := _bracket(text, at)) is not None:
        at = found.end()
        depth += 1 if found[1] in b"[{" else -1
        if depth == 0:
            return at
    return -1


_req_ids: Final = re.compile(rb'"reqId"\s*+:\s*+(' + _STRING + rb"|-?[0-9][0-9.eE+-]*+)", re.DOTALL).finditer


def _guess_text(text: bytes) -> bytes:
    """The `reqId` of broken text; empty unless exactly one stands there (a payload may have one of its own)."""
    found = list(islice(_req_ids(text), 2))
    return found[0][1] if len(found) == 1 else b""


# --- binary that does not parse, or has not come in full -------------------------------------------------------------


def _walk_binary(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Entries of the map that `data` begins with, as far as they are whole: (key, encoded value)."""
    reader = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=max(len(data), 1))
    reader.feed(data)
    try:
        for _ in range(reader.read_map_header()):
            name = _next_key(reader, data)
            start = reader.tell()
            reader.skip()
            if name in _TYPES:
                yield name, bytes(data[start : reader.tell()])
    except _UNREADABLE:
        return  # Here the bytes end, or make no sense.


def _next_key(reader: Any, data: bytes) -> str:
    """The next key if it is a string. Another is skipped, not built: an array may announce 2^24 items."""
    first = data[reader.tell() : reader.tell() + 1]
    if b"\xa0" <= first <= b"\xbf" or first in (b"\xd9", b"\xda", b"\xdb"):
        return bytes(reader.unpack()).decode("utf-8", "replace")
    reader.skip()
    return ""


_REQ_ID_BINARY: Final = b"\xa5reqId"


def _guess_binary(data: bytes) -> bytes:
    """The `reqId` of a broken map; empty unless exactly one stands there."""
    if data.count(_REQ_ID_BINARY) != 1:
        return b""
    rest = data[data.index(_REQ_ID_BINARY) + len(_REQ_ID_BINARY) :]
    # A frame of one entry, so that the walk finds where the value ends.
    for _, value in _walk_binary(b"\x81" + _REQ_ID_BINARY + rest):
        return value
    return b""


# --- the beginning of a connection -----------------------------------------------------------------------------------

_indent: Final = re.compile(rb"[ \t]*+([^ \t])?").match


def codec_of(first: bytes | bytearray) -> Codec | None:
    """The protocol of a connection, from its first bytes; None while they do not tell.

    A brace or an empty line is text, all else binary, chosen once (docs/protocol.md, "Choosing the protocol").
    Blanks in front of the brace are text too: as a length they would be over 150 MB.
    """
    if first[:1] in (b"{", b"\n", b"\r"):
        return Codec.TEXT
    found = _indent(first)
    if found is None or found[1] is None:
        return None
    return Codec.TEXT if found.end() > 1 and found[1] in b"{\r\n" else Codec.BINARY


def find_head(buffer: bytes | bytearray, frame_bytes_max: int = FRAME_BYTES_MAX) -> Head | None:
    """The head of the first request in `buffer`; None while it is not there.

    A frame that is there in full always has one, be it empty, and so has one that announces more than
    `frame_bytes_max`: that is refused without waiting for it. Of a part, only a head that names a slot counts.
    """
    codec = codec_of(buffer)
    if codec is Codec.TEXT:
        end = buffer.find(b"\n")
        if end >= 0:
            return decode_head_text(bytes(buffer[:end]))
        return _from_part(_walk_text(bytes(buffer)), _FIELD_TEXT)
    if codec is None or len(buffer) < LENGTH_BYTES:
        return None
    end = _end_of_frame(buffer)
    if end > frame_bytes_max + LENGTH_BYTES:
        return Head()
    body = bytes(buffer[LENGTH_BYTES:end])
    return decode_head_binary(body) if len(buffer) >= end else _from_part(_walk_binary(body), _FIELD_BINARY)


def _end_of_frame(buffer: bytes | bytearray) -> int:
    return LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")


def _from_part(members: Iterator[tuple[str, bytes]], fields: _Decoders) -> Head | None:
    head = Head()
    for name, value in members:
        _assign(head, name, value, fields)
        # `cmd` says which field counts, so it has to be there.
        if head.cmd and slot_of(head) is not None:
            return head
    return None


class HeadSeeker:
    """Collects what a connection sends until its first head is known, in time linear in the bytes.

    While a frame is not complete, its part is looked at again only when it has doubled: nothing is lost by
    that, for before a frame is complete nothing can be answered.
    """

    __slots__ = ("_frame_bytes_max", "_look_at", "buffer")

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.buffer = bytearray()
        """Everything received so far."""
        self._frame_bytes_max = frame_bytes_max
        self._look_at = 1

    def feed(self, data: bytes) -> Head | None:
        """Add what was received; the head, once known."""
        self.buffer += data
        if len(self.buffer) < self._look_at and not self._completed_by(data):
            return None
        self._look_at = 2 * len(self.buffer)
        return find_head(self.buffer, self._frame_bytes_max)

    def _completed_by(self, data: bytes) -> bool:
        codec = codec_of(self.buffer)
        if codec is Codec.TEXT:
            return b"\n" in data
        return codec is Codec.BINARY and len(self.buffer) >= _end_of_frame(self.buffer)

    def finish(self) -> Head:
        """The head of what there is, when no more will come: a last line may lack its LF."""
        found = find_head(self.buffer, self._frame_bytes_max)
        if found is None and codec_of(self.buffer) is Codec.TEXT:
            found = decode_head_text(bytes(self.buffer))
        return found or Head()
