"""Frames: whatever pieces a reply comes in, it is the same reply."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.client.wire import FRAME_BYTES_MAX, BinaryWire, CodecName, Head, wire_for
from flashq.errors import InvalidArgument, LimitExceeded, MalformedFrame

CODECS: list[CodecName] = ["msgpack", "json"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def _cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("codec", CODECS)
@given(replies=st.lists(VALUES, max_size=5), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_replies_cut_anywhere_are_read_alike(codec: CodecName, replies: list[Any], cuts: list[int]) -> None:
    stream = b"".join(wire_for(codec).frame({"cmd": "X", "data": reply}) for reply in replies)
    reading = wire_for(codec)
    bodies = [body for piece in _cut(stream, cuts) for body in reading.feed(piece)]
    assert [reading.decode(body, dict[str, Any])["data"] for body in bodies] == replies


@pytest.mark.parametrize("codec", CODECS)
def test_reply_that_says_nothing_wrong_is_ok(codec: CodecName) -> None:
    wire = wire_for(codec)
    (body,) = wire.feed(wire.frame({"cmd": "x", "reqId": "7"}))
    assert wire.decode(body, Head) == Head(reqId="7", ok=True)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [object(), {"a": [object()]}, "\ud800"])
def test_what_json_cannot_express_is_refused_before_it_is_sent(codec: CodecName, value: object) -> None:
    with pytest.raises(InvalidArgument, match="PUSH: this cannot be expressed"):
        wire_for(codec).frame({"cmd": "PUSH", "data": value})


def test_integer_beyond_64_bits_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidArgument, match="PUSH: this cannot be expressed"):
        BinaryWire().frame({"cmd": "PUSH", "data": 1 << 64})


@pytest.mark.parametrize("codec", CODECS)
def test_request_that_would_cost_the_connection_is_refused_here(codec: CodecName) -> None:
    with pytest.raises(LimitExceeded, match=str(FRAME_BYTES_MAX)):
        wire_for(codec).frame({"cmd": "PUSH", "data": "x" * FRAME_BYTES_MAX})


def test_length_beyond_reason_is_no_reply() -> None:
    """An HTTP server's "HTTP" reads as a length of 1.2 GB: waiting for it would be for ever."""
    with pytest.raises(MalformedFrame, match="no flashq server"):
        list(BinaryWire().feed(b"HTTP/1.1 400 Bad Request\r\n"))


@pytest.mark.parametrize("codec", CODECS)
def test_reply_of_another_shape_is_told_not_guessed(codec: CodecName) -> None:
    with pytest.raises(MalformedFrame, match="cannot be read"):
        wire_for(codec).decode(msgspec.json.encode([1, 2]), Head)
