"""Keys that stand twice in a request: refused, for decoders take the last of them in silence, and whoever wrote both
meant something else.

Only the request's own keys are looked at, not those inside of payloads. A frame is rarely searched: lengths tell. What
the decoder found has a shortest way to be written, and a frame that is hardly longer, or has no more colons than keys
were found, has no room for another. The dispatch of the frequent commands compares in place; where a frame has room, or
is of another command, `check_keys` looks.

In a text of more than `SEARCHED_BYTES_MAX` what lies between its first and its last bracket is not looked at: to walk
through a batch once more took as long as half its decoding.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from flashq.errors import InvalidArgument
from flashq.protocol.dispatch import Codec

SEARCHED_BYTES_MAX: Final = 4_096
PUSH_BYTES: Final = len('{"cmd":"PUSH","queue":"","data":}') + len(',"data":0') - 1
"""A plain PUSH without `reqId` is at most so long, beside queue and payload, unless a key stands twice."""
_fields_text: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_fields_binary: Final = msgspec.msgpack.Decoder(dict[str, Raw]).decode
_bracket: Final = re.compile(rb"[\[{]").search
_SPACED: Final = re.compile(rb'\{"(?:[^"\\]|\\.)*": ').match


class _Key:
    """Equal to no other, so that a dictionary keeps all."""

    __slots__ = ("name",)

    def __init__(self, name: Any) -> None:
        self.name = name


def _as_key(kind: type[Any], name: Any) -> _Key:
    return _Key(name)


_every_text: Final = msgspec.json.Decoder(dict[_Key, Raw], dec_hook=_as_key).decode
_every_binary: Final = msgspec.msgpack.Decoder(dict[_Key, Raw], dec_hook=_as_key).decode


def check_keys(frame: bytes, codec: int) -> None:
    """Raise InvalidArgument, naming it, for a key that stands twice in a request that decodes."""
    if codec == Codec.BINARY:
        if _entries(frame) != len(_fields_binary(frame)):
            _refuse(_every_binary(frame))
        return
    if len(frame) > SEARCHED_BYTES_MAX:
        frame = _outline(frame)
    fields = _fields_text(frame)
    if frame.count(b":") == len(fields):
        return
    # 4: quotes, colon, and comma or brace; the opening brace; a line's end.
    spare = len(frame) - 1 - sum([len(name) + len(bytes(value)) + 4 for name, value in fields.items()])
    if spare > _SPARE_MAX and (spare > 2 * len(fields) + 1 or _SPACED(frame) is None):
        _refuse(_every_text(frame))


_SPARE_MAX: Final = len(',"":0') - 1


def _entries(frame: bytes) -> int:
    """How many entries a MessagePack map says that it has."""
    first = frame[0]
    if first < 0x90:
        return first - 0x80
    return int.from_bytes(frame[1 : 3 if first == 0xDE else 5], "big")


def _outline(text: bytes) -> bytes:
    """The text without what its brackets hold; as it is, where that cannot be told so easily."""
    start = _bracket(text, text.index(b"{") + 1)
    end = max(text.rfind(b"}", 0, text.rindex(b"}")), text.rfind(b"]"))
    if start is None or end < start.start():
        return text
    short = b"%b0%b" % (text[: start.start()], text[end + 1 :])
    try:
        _fields_text(short)
    except msgspec.MsgspecError:  # a bracket in a string
        return text
    return short


def _refuse(entries: dict[_Key, Raw]) -> None:
    seen: set[Any] = set()
    for key in entries:
        if key.name in seen:
            raise InvalidArgument(f"repeated key `{str(key.name)[:64]}`")
        seen.add(key.name)


def batch_may_repeat(frame: bytes, queue: str) -> bool:
    """Whether a plain PUSHB in text has room for a key more outside of its list, or is short enough to be searched."""
    if len(frame) <= SEARCHED_BYTES_MAX:
        return True
    return frame.find(b"[") + len(frame) - frame.rfind(b"]") - len(queue) > _BATCH_BYTES


_BATCH_BYTES: Final = len('{"cmd":"PUSHB","queue":"","jobs":]}') + len(',"queue":""') - 1


def ids_may_repeat(frame: bytes) -> bool:
    """As `batch_may_repeat`, for a plain ACKB."""
    return frame.count(b"[") != 1 or frame.find(b"[") + len(frame) - frame.rfind(b"]") > _IDS_BYTES


_IDS_BYTES: Final = len('{"cmd":"ACKB","ids":]}') + len(',"cmd":"ACKB"') - 1
