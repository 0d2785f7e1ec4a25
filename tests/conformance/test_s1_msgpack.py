"""§1.4: frames of four bytes of length and a MessagePack map."""

import itertools
import struct

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.peer import MSGPACK, Peer, encoded, framed
from tests.conformance.ways import Way

pytestmark = pytest.mark.codec(MSGPACK)
MIB = 1 << 20
PREFIX = "MessagePack deserialize error: "


def raw_push(queue: str, data: bytes) -> bytes:
    """A PUSH whose data is these bytes of MessagePack."""
    return b"\x83" + b"".join(msgpack.packb(x) for x in ("cmd", "PUSH", "queue", queue, "data")) + data


def test_reply_is_a_flat_map_with_string_keys(c: Peer, q: str) -> None:
    c.frame(msgpack.packb({"cmd": "PUSH", "queue": q, "data": {"a": 1}, "reqId": "7"}))
    reply = msgpack.unpackb(c.read_bytes())
    assert reply["reqId"] == "7"
    assert reply["ok"] is True
    assert isinstance(reply["id"], int)
    assert c.pull(q)["data"] == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x80", b"\x81\xa3cmd", b"\xa5STATS", b"\x2a", b"\xc0", b"\x91\xa5STATS", b"\xff" * 9,
     b"\x82\xa3cmd\xa5STATS", b'{"cmd":"STATS"}', b"\xdf\xff\xff\xff\xff\xa3cmd", b"\x81\xa3cmd\xdb\xff\xff\xff\xff"],
)  # fmt: skip
def test_frame_that_is_no_request_is_answered_and_the_connection_goes_on(c: Peer, body: bytes) -> None:
    c.frame(body)
    reply = c.read()
    assert reply["ok"] is False
    assert str(reply["error"]).startswith(PREFIX)
    assert reply["code"] == "invalid"
    c.ok("STATS")


def test_arrays_and_nested_maps_are_no_commands(c: Peer, q: str) -> None:
    for body in (["PUSH", q, 1], {"PUSH": {"queue": q, "data": 1}}, {"PUSH": [q, 1]}, {"cmd": {"PUSH": {"queue": q}}}):
        c.frame(msgpack.packb(body))
        assert str(c.read()["error"]).startswith(PREFIX)
    assert c.ok("COUNT", queue=q)["count"] == 0


def test_bytes_behind_the_map_are_refused(c: Peer, q: str) -> None:
    c.frame(msgpack.packb({"cmd": "PUSH", "queue": q, "data": 1}) + b"\x01")
    assert c.read()["ok"] is False
    assert c.ok("COUNT", queue=q)["count"] == 0


@pytest.mark.parametrize("fields", [("cmd", "PULL", "queue", "$q"), ("cmd", "STATS"), ("cmd", "PUSH", "queue", "$q")])
def test_repeated_key_is_refused(c: Peer, q: str, fields: tuple[str, ...]) -> None:
    """Whoever wrote both meant something else than the last."""
    words = [word.replace("$q", q) for word in fields]
    entries = [*words, *(("data", 1) if "PUSH" in fields else ()), *words[-2:]]
    c.frame(bytes([0x80 + len(entries) // 2]) + b"".join(msgpack.packb(one) for one in entries))
    assert c.read()["error"] == f"{PREFIX}repeated key `{fields[-2]}`"
    assert c.ok("COUNT", queue=q)["count"] == 0


def test_nil_counts_as_absent(c: Peer, q: str) -> None:
    names = ("priority", "delay", "ttl", "timeout", "max_attempts", "backoff", "unique_key", "depends_on", "tags",
    "lifo",
             "remove_on_complete", "remove_on_fail", "stall_timeout", "debounce_id", "debounce_ttl", "job_id",
             "keep_completed_age", "keep_completed_count", "group_id", "reqId")  # fmt: skip
    c.push(q, 1, **dict.fromkeys(names))
    job = c.pull(q)
    assert (job["priority"], job["lifo"], job["tags"], job["unique_key"]) == (0, False, [], None)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"\xc4\x01a", "bin"), (b"\x81\xa1a\xc4\x01b", "bin inside"), (b"\xd4\x01\x00", "ext"),
     (b"\xd6\xff\x00\x00\x00\x01", "timestamp"), (b"\x81\x01\x02", "integer key"), (b"\x91\x81\xc0\x01", "nil key"),
     (b"\xa1\xff", "not UTF-8"), (b"\xc1", "never used")],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_json_cannot_say_is_refused_in_payloads(c: Peer, q: str, data: bytes, why: str) -> None:
    c.frame(raw_push(q, data))
    reply = c.read()
    assert reply["ok"] is False, why
    assert reply["code"] == "invalid"
    c.push(q, "good")
    job = c.pull(q)
    assert job["data"] == "good"
    c.frame(b"\x83" + b"".join(msgpack.packb(x) for x in ("cmd", "ACK", "id", job["id"], "result")) + data)
    assert c.read()["ok"] is False, why
    assert c.state(job["id"]) == "active"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinities_become_null(c: Peer, q: str, number: float) -> None:
    c.push(q, {"a": number, "b": [number, 1.5]})
    assert c.pull(q)["data"] == {"a": None, "b": [None, 1.5]}


def test_integers_up_to_64_bits_pass(c: Peer, q: str) -> None:
    numbers = [2**64 - 1, 2**63, 2**53 + 1, -(2**63), 127, 128, -32, -33]
    c.push(q, numbers)
    assert c.pull(q)["data"] == numbers


@pytest.mark.parametrize("value", [1.0, 0.0, 1e3])
@pytest.mark.parametrize("field", ["priority", "delay", "max_attempts"])
def test_floats_are_refused_where_an_integer_is_due(c: Peer, q: str, field: str, value: float) -> None:
    text = c.no("PUSH", queue=q, data=1, **{field: value})
    assert text.startswith(PREFIX)
    assert field in text
    assert c.ok("COUNT", queue=q)["count"] == 0


@pytest.mark.parametrize("size", [16 * MIB + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_frame_over_16_mib_is_refused_and_closes(way: Way, size: int) -> None:
    with way.connect() as peer:
        peer.raw(struct.pack(">I", size))
        reply = peer.read()
        assert reply["ok"] is False
        assert "Message too large" in str(reply["error"])
        assert peer.closed()
    with way.connect() as other:
        other.ok("STATS")


def test_frame_of_nearly_16_mib_is_taken(c: Peer, q: str) -> None:
    body = msgpack.packb({"cmd": "COUNT", "queue": q, "pad": ""})[:-1]
    pad = 16_777_176 - len(body) - 5
    c.raw(framed(MSGPACK, body + b"\xdb" + pad.to_bytes(4, "big") + b"x" * pad))
    assert c.read()["count"] == 0


@pytest.mark.parametrize("deep", [5_000, 200_000])
def test_nesting_is_bounded_and_ends_no_process(c: Peer, way: Way, q: str, deep: int) -> None:
    c.frame(raw_push(q, b"\x91" * deep + b"\xc0"))
    assert c.read()["ok"] is False
    with way.connect() as other:
        assert other.ok("COUNT", queue=q)["count"] == 0


def test_half_a_frame_holds_nobody_else_up(way: Way, q: str) -> None:
    with way.bare() as half, way.connect() as peer:
        half.raw(encoded(MSGPACK, {"cmd": "PUSH", "queue": q, "data": 1})[:-3])
        peer.push(q, "whole")
        assert peer.pull(q)["data"] == "whole"


def requests(queue: str) -> bytes:
    return encoded(MSGPACK, {"cmd": "PUSH", "queue": queue, "data": "é"}) + encoded(
        MSGPACK, {"cmd": "COUNT", "queue": queue, "reqId": "r"}
    )


def test_frame_split_at_any_byte_is_read_alike(way: Way, q: str) -> None:
    data = requests(q)
    with way.connect() as barrier:
        for cut in range(1, len(data)):
            with way.bare() as peer:
                peer.raw(data[:cut])
                barrier.ok("PING")
                peer.raw(data[cut:])
                assert peer.read()["ok"] is True
                assert peer.read() == {"reqId": "r", "ok": True, "count": cut, "success": True}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, 300), max_size=12))
def test_pipelined_frames_in_pieces_of_any_size_are_read_alike(c: Peer, d: Peer, way: Way, cuts: set[int]) -> None:
    queue = way.queue()
    data = requests(queue) * 3
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in itertools.pairwise(edges):
        c.raw(data[start:end])
        d.ok("PING")
    replies = [c.read() for _ in range(6)]
    assert [reply["count"] for reply in replies[1::2]] == [1, 2, 3]
    assert [job["data"] for job in d.drain(queue)] == ["é"] * 3
