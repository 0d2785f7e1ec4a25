"""Replies, rendered: bytes ready to be written, in either codec.

A text reply ends with LF; a binary one is the map's bytes, the connection puts the length before it. `reqId` is
echoed as it came, first of all keys. Every ok reply says `"success":true` too, which some clients ask for.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Raw, Struct, json, msgpack

from flashq.errors import FlashqError, MalformedFrame, RequestError
from flashq.protocol.dispatch import Codec

encode_text: Final = json.Encoder().encode
encode_binary: Final = msgpack.Encoder().encode
OK: Final = (b'{"ok":true,"success":true}\n', encode_binary({"ok": True, "success": True}))
NO_JOB: Final = (
    b'{"ok":true,"job":null,"success":true}\n', encode_binary({"ok": True, "job": None, "success": True}),
)  # fmt: skip
NO_JOBS: Final = (
    b'{"ok":true,"jobs":[],"success":true}\n', encode_binary({"ok": True, "jobs": [], "success": True}),
)  # fmt: skip
_REQ_ID: Final = encode_binary("reqId")


def ok(codec: int, fields: Mapping[str, Any]) -> bytes:
    """A reply with these keys, in this order."""
    whole = {"ok": True, **fields, "success": True}
    return encode_text(whole) + b"\n" if codec == Codec.TEXT else encode_binary(whole)


def failure(codec: int, error: FlashqError) -> bytes:
    """The reply to a request that was refused."""
    return failure_text(codec, worded(codec, error), error.code, error.details)


def failure_text(codec: int, text: str, code: str, details: Mapping[str, Any] | None = None) -> bytes:
    whole = {"ok": False, "error": text, "code": str(code)}  # a code may be a subclass, which encoders refuse
    if details:
        whole.update(details)
    return encode_text(whole) + b"\n" if codec == Codec.TEXT else encode_binary(whole)


_OK_STARTS: Final = (b'{"ok":true', b"\xa2ok\xc3")


def is_ok(codec: int, body: bytes) -> bool:
    """Whether a rendered reply, without its `reqId`, says that it was done."""
    start = 0 if codec == Codec.TEXT else 1 if body[0] != 0xDE else 3
    return body.startswith(_OK_STARTS[codec], start)


_UNPARSABLE: Final = ("Invalid: ", "MessagePack deserialize error: ")


def worded(codec: int, error: FlashqError) -> str:
    """The error's text, with the beginning that clients tell parse errors by."""
    text = str(error)
    if isinstance(error, RequestError) and (error.code == "invalid" or isinstance(error, MalformedFrame)):
        first = text.split(" ", 1)[0]
        if first not in _SPOKEN:
            return _UNPARSABLE[codec] + text
    return text


_SPOKEN: Final = frozenset(("Queue", "Job", "Must", "Cron", "Invalid", "Key", "Value", "Flow", "Too", "Message"))
"""Texts that clients know as they are, with no word before them."""


class _Said(Struct):
    ok: bool | None = None
    reqId: Raw = Raw()


_SAID: Final = (json.Decoder(_Said).decode, msgpack.Decoder(_Said).decode)


def outcome_unknown(codec: int, body: bytes, reason: str) -> bytes | None:
    """What is said instead of a reply that must not leave; None if it may: a refusal changed nothing, nor do events."""
    said = _SAID[codec](body)
    if not said.ok:
        return None
    return with_req_id(codec, failure_text(codec, reason, "unavailable"), said.reqId)


def with_req_id(codec: int, body: bytes, req_id: bytes | Raw) -> bytes:
    """The reply with the request's `reqId` before everything else; null counts as absent."""
    echo = bytes(req_id)
    if codec == Codec.TEXT:
        return body if not echo or echo == b"null" else b'{"reqId":' + echo + b"," + body[1:]
    if not echo or echo == b"\xc0":
        return body
    head = body[0]
    if head < 0x8F:
        return bytes((head + 1,)) + _REQ_ID + echo + body[1:]
    if head == 0x8F:
        return b"\xde\x00\x10" + _REQ_ID + echo + body[1:]
    n = int.from_bytes(body[1:3], "big") + 1
    return b"\xde" + n.to_bytes(2, "big") + _REQ_ID + echo + body[3:]
