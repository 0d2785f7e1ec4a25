"""A key that stands twice is found, whatever the spacing, and a request without one is never refused for it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.errors import InvalidArgument
from flashq.protocol import commands as c
from flashq.protocol.dispatch import Codec
from flashq.protocol.repeated_keys import (
    PUSH_BYTES,
    SEARCHED_BYTES_MAX,
    batch_may_repeat,
    check_keys,
    ids_may_repeat,
)

NAMES = st.text(min_size=0, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
BLANKS = st.sampled_from(["", " ", "  ", "\t"])


def as_text(pairs: list[tuple[str, Any]], colon: str = ":", comma: str = ",", ascii_only: bool = True) -> bytes:
    members = (json.dumps(k) + colon + json.dumps(v, ensure_ascii=ascii_only) for k, v in pairs)
    return ("{" + comma.join(members) + "}").encode()


def as_binary(pairs: list[tuple[str, Any]]) -> bytes:
    head = bytes([0x80 + len(pairs)]) if len(pairs) < 16 else b"\xde" + len(pairs).to_bytes(2, "big")
    return head + b"".join(msgspec.msgpack.encode(one) for pair in pairs for one in pair)


@given(
    pairs=st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=20), blanks=st.tuples(BLANKS, BLANKS, BLANKS, BLANKS),
    end=st.sampled_from(["", "\n", "\r\n"]), ascii_only=st.booleans(),
)  # fmt: skip
def test_repeated_key_is_found_and_nothing_else_refused(
    pairs: list[tuple[str, Any]], blanks: tuple[str, str, str, str], end: str, ascii_only: bool
) -> None:
    names = [name for name, _ in pairs]
    text = as_text(pairs, f"{blanks[0]}:{blanks[1]}", f"{blanks[2]},{blanks[3]}", ascii_only) + end.encode()
    for frame, codec in ((text, Codec.TEXT), (as_binary(pairs), Codec.BINARY)):
        if len(set(names)) == len(names):
            check_keys(frame, codec)
        else:
            with pytest.raises(InvalidArgument, match=r"^repeated key `"):
                check_keys(frame, codec)


@pytest.mark.parametrize("data", [["x" * 50] * 200, {"a": "b" * 9_000}, "c" * 9_000, "d[}" * 3_000])
def test_long_text_is_searched_outside_of_its_brackets(data: Any) -> None:
    pairs = [("cmd", "PUSH"), ("queue", "q["), ("data", data), ("priority", 1)]
    assert len(as_text(pairs)) > SEARCHED_BYTES_MAX
    check_keys(as_text(pairs), Codec.TEXT)
    with pytest.raises(InvalidArgument, match="repeated key `priority`"):
        check_keys(as_text([*pairs, ("priority", 2)]), Codec.TEXT)
    with pytest.raises(InvalidArgument, match="repeated key `cmd`"):
        check_keys(as_text([pairs[0], *pairs]), Codec.TEXT)


def test_frequent_commands_as_they_are_mostly_written_are_not_searched() -> None:
    """The lengths are those of the commands: what every client sends must not cost a search."""
    for colon, comma in ((":", ","), (": ", ", ")):
        push = as_text([("cmd", "PUSH"), ("queue", "mail"), ("data", 1)], colon, comma) + b"\n"
        assert len(push) - len("mail") - len("1") <= PUSH_BYTES
        ids = as_text([("cmd", "ACKB"), ("ids", list(range(2_000)))], colon, comma) + b"\n"
        assert not ids_may_repeat(ids)
        jobs = [{"data": {"n": n, "words": ["a", "b"]}} for n in range(2_000)]
        batch = as_text([("cmd", "PUSHB"), ("queue", "mail"), ("jobs", jobs)], colon, comma) + b"\n"
        assert not batch_may_repeat(batch, "mail")


@pytest.mark.parametrize("repeated", ["cmd", "queue", "data"])
@pytest.mark.parametrize(("colon", "comma"), [(":", ","), (": ", ", ")])
def test_plain_push_with_a_key_twice_is_longer_than_one_without(repeated: str, colon: str, comma: str) -> None:
    pairs = [("cmd", "PUSH"), ("queue", ""), ("data", 0)]
    frame = as_text([*pairs, *(pair for pair in pairs if pair[0] == repeated)], colon, comma)
    command = c.fast_text(frame)
    assert isinstance(command, c.PlainPush)
    assert len(frame) - len(bytes(command.data)) - len(command.queue) > PUSH_BYTES


@pytest.mark.parametrize("repeated", ["cmd", "ids"])
def test_plain_ackb_with_a_key_twice_is_searched(repeated: str) -> None:
    pairs: list[tuple[str, Any]] = [("cmd", "ACKB"), ("ids", [1])]
    assert ids_may_repeat(as_text([*pairs, *(pair for pair in pairs if pair[0] == repeated)]))
