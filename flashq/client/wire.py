"""The two forms in which requests and replies travel, as a client writes and reads them.

A `Wire` belongs to one connection: it keeps the part of a reply that has come so far.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, Protocol, TypeVar

import msgspec

from flashq.errors import InvalidArgument, LimitExceeded, MalformedFrame

T = TypeVar("T")
CodecName = Literal["msgpack", "json"]
FRAME_BYTES_MAX: Final = 16 << 20
"""What servers take as one request."""
REPLY_BYTES_MAX: Final = 256 << 20
"""A longer reply is taken for what it is: not one of our servers."""
_LENGTH_BYTES: Final = 4


class Head(msgspec.Struct, frozen=True, gc=False):
    """What every reply has; the rest is read by whoever asked."""

    reqId: str | None = None
    ok: bool = True
    error: str | None = None
    code: str | None = None
    event: str | None = None
    """Its kind, in what is no reply but an event."""


class Wire(Protocol):
    """One connection's form."""

    def frame(self, request: Mapping[str, object]) -> bytes:
        """A request's bytes.

        Raises InvalidArgument for what cannot be expressed, LimitExceeded where the server would close the connection.
        """

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The replies that are whole with `data`. Raises MalformedFrame when the other side is no server of ours."""

    def decode(self, body: bytes, kind: type[T]) -> T:
        """A reply, or what of it `kind` names. Raises MalformedFrame."""


class BinaryWire:
    """MessagePack maps behind a length of four bytes."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._pending = bytearray()

    def frame(self, request: Mapping[str, object]) -> bytes:
        body = _encoded(self._encode, request)
        return len(body).to_bytes(_LENGTH_BYTES, "big") + body

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._pending += data
        start = 0
        while (end := start + _LENGTH_BYTES) <= len(self._pending):
            length = int.from_bytes(self._pending[start:end], "big")
            if length > REPLY_BYTES_MAX:
                raise MalformedFrame(f"a reply of {length} bytes: this is no flashq server", fatal=True)
            if end + length > len(self._pending):
                break
            yield bytes(self._pending[end : end + length])
            start = end + length
        del self._pending[:start]

    def decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.msgpack.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise MalformedFrame(f"a reply that cannot be read: {error}") from error


class TextWire:
    """JSON, one line each."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def frame(self, request: Mapping[str, object]) -> bytes:
        return _encoded(self._encode, request) + b"\n"

    def feed(self, data: bytes) -> Iterator[bytes]:
        *whole, rest = data.split(b"\n")
        for line in whole:
            body = b"".join((*self._pending, line))
            self._pending, self._pending_bytes = [], 0
            yield body
        if rest:
            self._pending.append(rest)
            self._pending_bytes += len(rest)
        if self._pending_bytes > REPLY_BYTES_MAX:
            raise MalformedFrame("a reply without an end: this is no flashq server", fatal=True)

    def decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise MalformedFrame(f"a reply that cannot be read: {error}") from error


def wire_for(codec: CodecName) -> Wire:
    """A new wire of that form."""
    return BinaryWire() if codec == "msgpack" else TextWire()


def _encoded(encode: Callable[[object], bytes], request: Mapping[str, object]) -> bytes:
    try:
        body = encode(request)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidArgument(f"{request['cmd']}: this cannot be expressed in JSON: {error}") from error
    if len(body) > FRAME_BYTES_MAX:
        raise LimitExceeded(f"the request has {len(body)} bytes; servers take {FRAME_BYTES_MAX}")
    return body
