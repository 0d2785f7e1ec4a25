"""Payloads and faults, in both codecs.

A payload (`data`, `result`, a KV value) stays the bytes it came as. What the decoders' `Raw` lets pass
without looking (hard to see, harmful later) is checked here: invalid UTF-8, lone surrogates, and in MessagePack bin
and ext values and keys that are no strings. Numbers in JSON stay as they were written.
"""

import json
import math
import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from flashq.errors import InvalidArgument, MalformedFrame, RequestError, UnknownCommand
from flashq.protocol.dispatch import Codec

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_decode_text: Final = msgspec.json.decode
_decode_binary: Final = msgspec.msgpack.decode
_encode_text: Final = msgspec.json.Encoder().encode
_encode_binary: Final = msgspec.msgpack.Encoder().encode


def check_text(frame: bytes) -> None:
    """Raise MalformedFrame unless the whole text frame is sound UTF-8, its escapes and numbers included.

    Cheap when there is nothing to find: two scans in C, a decode only where something suspicious stands.
    """
    if not frame.isascii():
        try:
            frame.decode()
        except UnicodeDecodeError as e:
            raise MalformedFrame(f"not valid UTF-8 (byte {e.start})") from None
    if 92 in frame and _SURROGATE.search(frame):
        try:
            _decode_text(frame)
        except msgspec.DecodeError as e:
            raise MalformedFrame(f"lone surrogate in a string: {e}") from None


def check_binary(payload: bytes, field: str) -> bytes:
    """A MessagePack payload that JSON can express too; NaN and infinities become nil, as clients know it.

    Raises InvalidArgument naming `field` for bin, ext, keys that are no strings and strings that are no UTF-8.
    """
    try:
        value = _decode_binary(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise InvalidArgument(f"invalid value: {explained(e)} in field `{field}`") from None
    if type(value) in _SCALARS:
        return payload
    changed, value = _sound(value, field)
    return _encode_binary(value) if changed else payload


_NIL: Final = b"\xc0"
_SCALARS: Final = frozenset((str, int, bool, type(None)))


def _sound(value: Any, field: str) -> tuple[bool, Any]:
    kind = type(value)
    if kind in _SCALARS:
        return False, value
    if kind is float:
        return (False, value) if math.isfinite(value) else (True, None)
    if kind is list:
        pairs = [_sound(v, field) for v in value]
        return any(c for c, _ in pairs), [v for _, v in pairs]
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise InvalidArgument(f"invalid type: map key {type(key).__name__}, expected str in field `{field}`")
        triples = [(k, _sound(v, field)) for k, v in value.items()]
        return any(c for _, (c, _) in triples), {k: v for k, (_, v) in triples}
    name = "bin" if kind is bytes else "ext"
    raise InvalidArgument(f"invalid type: {name}, expected a JSON value in field `{field}`")


def payload_of(data: Raw, codec: int) -> bytes:
    """A job's payload as it is kept, copied out of its frame. Replay does just the same."""
    payload = bytes(data)
    if codec == Codec.TEXT:
        return payload
    # The default of an entry without data is JSON's null; no MessagePack value has these four bytes.
    return _NIL if payload == b"null" else check_binary(payload, "data")


def transcoded(payload: bytes, came_in: int, wanted: int) -> bytes:
    """The payload in the codec that is wanted.

    JSON has numbers that MessagePack lacks. Integers beyond 64 bits become floats; what no float can hold becomes nil,
    as infinities do on their way in. A job must never be one that no worker can be given.
    """
    if came_in == wanted:
        return payload
    if wanted == Codec.TEXT:
        return _encode_text(_decode_binary(payload))
    try:
        return _encode_binary(_decode_text(payload))
    except (OverflowError, msgspec.ValidationError):
        return _encode_binary(json.loads(payload, parse_int=_integer, parse_float=_finite))


def _integer(digits: str) -> int | float | None:
    if len(digits) <= _DIGITS_OF_64_BITS and -(1 << 63) <= (value := int(digits)) < 1 << 64:
        return value
    return _finite(digits)


def _finite(digits: str) -> float | None:
    return value if math.isfinite(value := float(digits)) else None


_DIGITS_OF_64_BITS: Final = 20


def raw(payload: bytes, came_in: int, wanted: int) -> Raw:
    """As `transcoded`, ready to stand in a struct that is encoded."""
    return Raw(transcoded(payload, came_in, wanted))


_UNKNOWN: Final = re.compile(r"Invalid value '?(.*?)'? - at `\$\.cmd`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`(.*)", re.DOTALL)
_TYPE: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_BOUND: Final = re.compile(r"Expected `([^`]*)` ([^`]*?) - at `\$\.?([^`]*)`")


def explained(error: Exception) -> RequestError:
    """A decoder's error in the words that existing clients search for (docs/protocol.md, "Error shapes")."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, UnicodeDecodeError):
        return MalformedFrame(f"not valid UTF-8 (byte {error.start})")
    if isinstance(error, RecursionError):
        return MalformedFrame("nested too deep (at most about 990 levels)")
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return MalformedFrame("nested too deep" if "recursion" in text else text)
    if m := _UNKNOWN.match(text):
        return UnknownCommand(f"unknown variant `{m[1][:64]}`")
    if m := _MISSING.match(text):
        where = re.search(r"`\$\.([^`]*)`", m[2])
        return InvalidArgument(f"missing field `{m[1]}`" + (f" in `{where[1]}`" if where else ""))
    if m := _TYPE.match(text):
        field = f" in field `{m[3]}`" if m[3] else ""
        return InvalidArgument(f"invalid type: {m[2]}, expected {m[1]}{field}")
    if m := _BOUND.match(text):
        return InvalidArgument(f"invalid value: expected {m[1]} {m[2]} in field `{m[3]}`")
    return InvalidArgument(text)
