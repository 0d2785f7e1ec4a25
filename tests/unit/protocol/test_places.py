"""A fault in a list names the element, however deep."""

from typing import Any

import msgspec
import pytest

from flashq.protocol.commands import FULL
from flashq.protocol.dispatch import Codec
from flashq.protocol.places import explained_in

GOOD = {"data": 1}


@pytest.mark.parametrize("codec", [Codec.TEXT, Codec.BINARY])
@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"cmd": "PUSHB", "queue": "q", "jobs": [GOOD, {"priority": "x"}]},
         "invalid type: str, expected int | null in field `jobs[1].priority`"),
        ({"cmd": "PUSHB", "queue": "q", "jobs": [GOOD, GOOD, 5]},
         "invalid type: int, expected object in field `jobs[2]`"),
        ({"cmd": "PUSHB", "queue": "q", "jobs": [{"tags": ["a", 1]}]},
         "invalid type: int, expected str in field `jobs[0].tags[1]`"),
        ({"cmd": "FLOW", "queue": "q", "children": [{"queue": "a"}, {"queue": "b", "children": [{"queue": 1}]}]},
         "invalid type: int, expected str in field `children[1].children[0].queue`"),
        ({"cmd": "FLOW", "queue": "q", "children": [{"queue": "a"}, {"data": 1}]},
         "missing field `queue` in `children[1]`"),
        ({"cmd": "FLOW", "queue": "q", "children": [{"queue": "a", "delay": -1}]},
         "invalid value: expected int >= 0 in field `children[0].delay`"),
        ({"cmd": "ACKB", "ids": [1, 2, -3]}, "invalid value: expected int >= 0 in field `ids[2]`"),
        ({"cmd": "PUSH", "queue": 1, "data": 1}, "invalid type: int, expected str in field `queue`"),
    ],
)  # fmt: skip
def test_fault_in_a_list_is_numbered(codec: Codec, request_: dict[str, Any], text: str) -> None:
    frame = (msgspec.json if codec is Codec.TEXT else msgspec.msgpack).encode(request_)
    with pytest.raises(msgspec.ValidationError) as fault:
        FULL[codec](frame)
    told = str(explained_in(frame, codec, fault.value))
    assert told == text
