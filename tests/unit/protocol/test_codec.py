"""Payloads on their way from one codec to the other."""

import msgspec
import pytest

from flashq.protocol.codec import transcoded
from flashq.protocol.dispatch import Codec


def in_msgpack(payload: bytes) -> object:
    return msgspec.msgpack.decode(transcoded(payload, Codec.TEXT, Codec.BINARY))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"[123456789012345678901234567890,1]", [123456789012345678901234567890.0, 1]),
        (b'{"a":1e999,"b":-1e400,"c":2.5}', {"a": None, "b": None, "c": 2.5}),
        (b"[1e999,18446744073709551615,-9223372036854775808]", [None, 2**64 - 1, -(2**63)]),
        (b"1" * 5_000, None),
    ],
)
def test_number_that_msgpack_lacks_becomes_what_it_has(text: bytes, value: object) -> None:
    """Such a job once failed every pull in MessagePack, and was pulled again and again."""
    assert in_msgpack(text) == value


@pytest.mark.parametrize("payload", [b"null", b'"\\u00e9"', b'{"a":[1,2.5,true,{}]}', b"[]"])
def test_payload_there_and_back_is_equal(payload: bytes) -> None:
    there = transcoded(payload, Codec.TEXT, Codec.BINARY)
    assert msgspec.json.decode(transcoded(there, Codec.BINARY, Codec.TEXT)) == msgspec.json.decode(payload)
