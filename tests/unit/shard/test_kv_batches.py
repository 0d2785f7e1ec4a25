"""Parts of a KVMGET are put together in the order of its keys, whatever the shards said."""

import msgspec
import pytest
from msgspec import Raw

from flashq.protocol.dispatch import Codec
from flashq.shard.gathering import Part
from flashq.shard.kv_batches import _merged

OWNERS = [1, 0, 1, 1, 0]


def part(shard: int, *values: object) -> Part:
    return Part(shard, Codec.TEXT, {"values": Raw(msgspec.json.encode(values))})


def merged(parts: list[Part], silent: list[int], bound: int = 100) -> object:
    return msgspec.json.decode(msgspec.json.encode(_merged(OWNERS, parts, silent, bound)))


def test_values_come_in_the_order_of_their_keys() -> None:
    whole = {"values": [10, 1, None, 30, 2]}
    assert merged([part(0, 1, 2), part(1, 10, None, 30)], []) == whole


def test_keys_of_a_silent_shard_are_null() -> None:
    assert merged([part(0, 1, 2)], [1]) == {"values": [None, 1, None, None, 2]}


@pytest.mark.parametrize(
    ("parts", "bound", "values"),
    [
        ([part(0, 1, 2), part(1, 10, 20)], 100, [10, 1, 20]),
        ([part(0), part(1, 10, 20, 30)], 100, [10]),
        ([part(0, 1, 2), part(1, "x" * 90, "y" * 90, 3)], 100, ["x" * 90, 1]),
        ([part(0, 1, 2), part(1, "x" * 500, 2, 3)], 100, ["x" * 500]),
    ],
    ids=["a part ended early", "at once", "no room for the next", "the first always has room"],
)
def test_reply_ends_where_a_part_ends_or_its_room_does(parts: list[Part], bound: int, values: list[object]) -> None:
    assert merged(parts, [], bound) == {"values": values, "truncated": True}
