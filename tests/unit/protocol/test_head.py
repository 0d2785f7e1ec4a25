"""What routing reads of a request: found wherever it stands, at any split of the bytes, and never with an exception."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashq.protocol.dispatch import Codec
from flashq.protocol.head import (
    Head,
    HeadSeeker,
    codec_of,
    decode_head,
    decode_head_binary,
    decode_head_text,
    echo_of,
    find_head,
    slot_of,
)
from flashq.protocol.slots import job_id, slot_of_queue

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {"cmd": st.sampled_from(["PUSH", "PULL", "ACK", "STATS", "GETJOB"])},
    optional={
        "queue": st.text(min_size=1, max_size=12),
        "id": st.integers(1, 2**53 - 1),
        "ids": st.lists(st.integers(1, 2**53 - 1), max_size=5),
        "reqId": st.text(max_size=6),
        "data": JSON,
        "name": st.text(max_size=4),
    },
)
REQUEST = FIELDS.flatmap(lambda d: st.permutations(list(d.items()))).map(dict)


def text_frame(request: dict[str, Any]) -> bytes:
    return json.dumps(request, ensure_ascii=True).encode() + b"\n"


def binary_frame(request: dict[str, Any]) -> bytes:
    body = msgspec.msgpack.encode(request)
    return len(body).to_bytes(4, "big") + body


FRAMES = pytest.mark.parametrize(
    ("frame_of", "codec"), [(text_frame, Codec.TEXT), (binary_frame, Codec.BINARY)], ids=["text", "binary"]
)
FrameOf = Callable[[dict[str, Any]], bytes]


def body_of(frame: bytes, codec: Codec) -> bytes:
    return frame.rstrip(b"\n") if codec is Codec.TEXT else frame[4:]


def seek(pieces: list[bytes]) -> tuple[Head | None, int]:
    """The head, and after how many bytes it was known."""
    seeker = HeadSeeker()
    for piece in pieces:
        head = seeker.feed(piece)
        if head is not None:
            return head, len(seeker.buffer)
    return None, len(seeker.buffer)


@FRAMES
@given(request=REQUEST)
def test_whole_frame_gives_every_field(frame_of: FrameOf, codec: Codec, request: dict[str, Any]) -> None:
    head = decode_head(body_of(frame_of(request), codec), codec)
    assert (head.cmd, head.queue, head.id, head.ids, head.name) == (
        request["cmd"],
        request.get("queue"),
        request.get("id"),
        request.get("ids"),
        request.get("name"),
    )
    decode = msgspec.json.decode if codec is Codec.TEXT else msgspec.msgpack.decode
    echo = echo_of(head, codec)
    assert (decode(echo) if echo else None) == request.get("reqId")


@FRAMES
@given(request=REQUEST)
@settings(max_examples=60)
def test_head_is_found_alike_at_every_split(frame_of: FrameOf, codec: Codec, request: dict[str, Any]) -> None:
    """A connection may be read in any two pieces: its shard is the same, and known at the last byte."""
    frame = frame_of(request)
    wanted = slot_of(decode_head(body_of(frame, codec), codec))
    for split in range(1, len(frame)):
        head, _ = seek([frame[:split], frame[split:]])
        assert head is not None
        assert slot_of(head) == wanted


@FRAMES
@given(request=REQUEST)
@settings(max_examples=60)
def test_part_of_a_frame_never_names_another_slot(frame_of: FrameOf, codec: Codec, request: dict[str, Any]) -> None:
    frame = frame_of(request)
    wanted = slot_of(decode_head(body_of(frame, codec), codec))
    for end in range(len(frame)):
        head = find_head(frame[:end])
        assert head is None or slot_of(head) == wanted


@FRAMES
def test_queue_in_front_of_big_data_is_known_from_the_first_piece(frame_of: FrameOf, codec: Codec) -> None:
    frame = frame_of({"cmd": "PUSH", "queue": "mail", "data": "x" * 1_000_000})
    head = find_head(frame[:100])
    assert head is not None
    assert slot_of(head) == slot_of_queue("mail")


@FRAMES
def test_queue_behind_data_is_known_when_it_is_there(frame_of: FrameOf, codec: Codec) -> None:
    frame = frame_of({"cmd": "PUSH", "data": ["]}", {"queue": "no"}, "x" * 50_000], "queue": "mail"})
    assert find_head(frame[: len(frame) // 2]) is None
    head = find_head(frame)
    assert head is not None
    assert head.queue == "mail"


@FRAMES
@pytest.mark.parametrize("filler", ["x" * 60_000, [[[1]]] * 5_000, {"a": {"b": '\\"'}}])
def test_byte_by_byte_costs_no_more_than_a_few_looks(frame_of: FrameOf, codec: Codec, filler: object) -> None:
    """A peer that sends single bytes must not make us scan all again for each: 64 KiB would be 2 GB of scanning."""
    frame = frame_of({"cmd": "PUSH", "data": filler, "queue": "mail"})
    started = time.process_time()
    head, known_at = seek([frame[i : i + 1] for i in range(len(frame))])
    assert time.process_time() - started < 2
    assert head is not None
    assert (head.queue, known_at) == ("mail", len(frame))


@given(st.binary(max_size=300), st.sampled_from(Codec))
@settings(max_examples=1_000)
def test_any_bytes_decode_to_some_head(junk: bytes, codec: Codec) -> None:
    head = decode_head(junk, codec)
    assert isinstance(head, Head)
    slot_of(head)
    echo_of(head, codec)
    find_head(junk)


@FRAMES
@given(request=REQUEST, at=st.integers(0, 400), byte=st.integers(0, 255))
@settings(max_examples=500)
def test_damaged_frame_raises_nothing(
    frame_of: FrameOf, codec: Codec, request: dict[str, Any], at: int, byte: int
) -> None:
    body = bytearray(body_of(frame_of(request), codec))
    body[at % len(body)] = byte
    head = decode_head(bytes(body), codec)
    slot_of(head)
    echo_of(head, codec)


HOSTILE_TEXT = {
    "deep": b'{"cmd":"PUSH","queue":"q","data":' + b"[" * 200_000,
    "deep, closed": b'{"cmd":"PUSH","queue":"q","data":' + b"[" * 200_000 + b"]" * 200_000 + b',"reqId":"9"}',
    "brackets": b'{"cmd":"PUSH","queue":"q","x":' + b"[]," * 5_000_000,
    "huge integer": b'{"cmd":"ACK","queue":"q","id":' + b"9" * 5_000_000 + b"}",
    "many reqIds": b'{"cmd":"PUSH","queue":"q",,' + b'"reqId":"' * 1_000_000,
    "open string": b'{"cmd":"PUSH","queue":"q","x":"' + b"\\" * 5_000_001,
    "blanks": b'{"cmd":"PUSH","queue":"q"' + b" " * 5_000_000 + b"x",
}
HOSTILE_BINARY = {
    "deep": b"\x83\xa3cmd\xa4PUSH\xa5queue\xa1q\xa1x" + b"\x91" * 200_000,
    "array of 2^32": b"\x83\xa3cmd\xa4PUSH\xa5queue\xa1q\xa3ids\xdd\xff\xff\xff\xff",
    "map of 2^32": b"\xdf\xff\xff\xff\xff\xa3cmd\xa4PUSH\xa5queue\xa1q",
    "key of 2^24 items in each other": b"\x83\xa3cmd\xa4PUSH\xa5queue\xa1q" + b"\xdd\x00\xff\xff\xff" * 3_000_000,
    "many reqIds": b"\x83\xa3cmd\xa4PUSH\xa5queue\xa1q\xc1" + b"\xa5reqId" * 1_000_000,
}


@pytest.mark.parametrize("frame", HOSTILE_TEXT.values(), ids=HOSTILE_TEXT)
def test_hostile_text_is_read_quickly(frame: bytes) -> None:
    started = time.process_time()
    head = decode_head_text(frame)
    assert time.process_time() - started < 1
    assert (head.cmd != "", head.queue, head.id) == (True, "q", None)


@pytest.mark.parametrize("frame", HOSTILE_BINARY.values(), ids=HOSTILE_BINARY)
def test_hostile_binary_is_read_quickly(frame: bytes) -> None:
    started = time.process_time()
    head = decode_head_binary(frame)
    assert time.process_time() - started < 1
    assert (head.cmd, head.queue, head.ids) == ("PUSH", "q", None)


@pytest.mark.parametrize(
    ("frame", "echo"),
    [
        (b'{"cmd":"PUSH","queue":7,"reqId":"a"}', b'"a"'),
        (b'{"reqId":"a","cmd":"PUSH","queue":"q","data":{nonsense}}', b'"a"'),
        (b'{"cmd":"PUSH","data":[1,,2],"reqId":"a"}', b'"a"'),
        (b'{"cmd":"PUSH",,"reqId": "a"', b'"a"'),
        (b'{"cmd":"PUSH",,"data":{"reqId":"mine"},"reqId":"a"}', b'"a"'),
        (b'{"cmd":"PUSH";"data":{"reqId":"mine"},"reqId":"a"}', b""),
        (b'{"cmd":"X","reqId":12}', b"12"),
        (b'{"cmd":"X","reqId":1.50}', b"1.50"),
        (b'{"cmd":"X","reqId":""}', b'""'),
        (b'{"cmd":"X","reqId":null}', b""),
        (b'{"cmd":"X","reqId":{"a":1}}', b""),
        (b'{"cmd":"X","reqId":"\xff"}', b""),
        (b'{"cmd":"X"}', b""),
        (b"[1,2]", b""),
        (b"", b""),
    ],
)
def test_req_id_is_echoed_as_it_came_also_from_text_that_does_not_parse(frame: bytes, echo: bytes) -> None:
    """Clients that match by id would wait out their time for an error without it; a guess that may be wrong is none."""
    assert echo_of(decode_head_text(frame), Codec.TEXT) == echo


@pytest.mark.parametrize(
    ("frame", "echo"),
    [
        (b"\x83\xa3cmd\xa4PUSH\xa5queue\x07\xa5reqId\xa1a", b"\xa1a"),
        (b"\x83\xa3cmd\xa4PUSH\x01\x02\xa5reqId\xa1a", b"\xa1a"),
        (b"\x83\xa3cmd\xa4PUSH\xa4data\xc1\xa5reqId\xa1a", b"\xa1a"),
        (b"\x84\xa3cmd\xa4PUSH\xc1\xa5reqId\xa1a\xa5reqId\xa1b", b""),
        (b"\x82\xa3cmd\xa1X\xa5reqId\x0c", b"\x0c"),
        (b"\x82\xa3cmd\xa1X\xa5reqId\xc0", b""),
        (b"\x82\xa3cmd\xa1X\xa5reqId\xc4\x01a", b""),
        (b"\x91\x01", b""),
        (b"", b""),
    ],
)
def test_req_id_is_echoed_also_from_a_map_that_does_not_parse(frame: bytes, echo: bytes) -> None:
    assert echo_of(decode_head_binary(frame), Codec.BINARY) == echo


@pytest.mark.parametrize(
    ("first", "codec"),
    [
        (b"{", Codec.TEXT),
        (b"\n", Codec.TEXT),
        (b"\r\n", Codec.TEXT),
        (b'  {"cmd', Codec.TEXT),
        (b"\t{", Codec.TEXT),
        (b" \n", Codec.TEXT),
        (b" ", None),
        (b"\t \t", None),
        (b"", None),
        (b" \x00", Codec.BINARY),
        (b"[", Codec.BINARY),
        (b"\x00\x00\x00\x20{", Codec.BINARY),
        (b"\x00", Codec.BINARY),
        (b"\xff\xff\xff\xff", Codec.BINARY),
    ],
)
def test_first_bytes_choose_the_protocol(first: bytes, codec: Codec | None) -> None:
    assert codec_of(first) is codec


@pytest.mark.parametrize(
    ("request_", "slot"),
    [
        ({"cmd": "PUSH", "queue": "é中", "id": 5}, slot_of_queue("é中")),
        ({"cmd": "PULLB", "queue": "mail", "count": 3}, slot_of_queue("mail")),
        ({"cmd": "RETRYDLQ", "queue": "mail", "id": 9}, slot_of_queue("mail")),
        ({"cmd": "ACK", "id": job_id(7, 33)}, 33),
        ({"cmd": "FAIL", "id": job_id(7, 33), "queue": "mail"}, 33),
        ({"cmd": "LOG", "job_id": job_id(7, 33)}, 33),
        ({"cmd": "ACKB", "ids": [job_id(1, 5), job_id(2, 5)]}, 5),
        ({"cmd": "ACKB", "ids": [job_id(1, 5), job_id(1, 6)]}, None),
        ({"cmd": "ACKB", "ids": []}, None),
        ({"cmd": "ACK", "id": 0}, None),
        ({"cmd": "ACK", "id": "7"}, None),
        ({"cmd": "ACK"}, None),
        ({"cmd": "GETCHILDREN", "parent_id": job_id(7, 33)}, 33),
        ({"cmd": "GETJOBBYCUSTOMID", "customId": "order-1"}, slot_of_queue("order-1")),
        ({"cmd": "CRON", "queue": "mail", "name": "nightly"}, slot_of_queue("nightly")),
        ({"cmd": "KVGET", "key": "k"}, slot_of_queue("k")),
        ({"cmd": "STATS"}, None),
        ({"cmd": "AUTH", "token": "t"}, None),
        ({"cmd": "PING"}, None),
        ({}, None),
    ],
)
def test_request_belongs_to_the_slot_of_what_it_names(request_: dict[str, Any], slot: int | None) -> None:
    assert slot_of(decode_head_text(text_frame(request_))) == slot
    assert slot_of(decode_head_binary(msgspec.msgpack.encode(request_))) == slot


def test_escaped_names_are_understood() -> None:
    frame = b'{"\\u0063md":"PUSH","qu\\u0065ue":"m\\u00e4il","data":1'
    head = find_head(frame)
    assert head is not None
    assert head.queue == "mäil"


@pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", b"\x01\x00\x00\x01", b"\x00\x00\x00\x00", b"\n", b"\r\n"])
def test_frame_that_can_only_be_refused_is_not_waited_for(frame: bytes) -> None:
    """Its sender waits for our answer."""
    assert find_head(frame) == Head()


@pytest.mark.parametrize("rest", [b"", b" ", b"\x00\x00", b"\x00\x00\x00\x09\x81", b'{"cmd"', b'{"cmd":"ACK","id":12'])
def test_unfinished_frame_has_no_head_yet(rest: bytes) -> None:
    assert find_head(rest) is None


def test_last_line_without_its_end_counts_when_no_more_comes() -> None:
    seeker = HeadSeeker()
    assert seeker.feed(b'{"cmd":"STATS"}') is None
    assert seeker.finish().cmd == "STATS"
    assert HeadSeeker().finish() == Head()
