"""Nothing that a client sends may harm others: it is refused in words, changes nothing, and memory stays bounded."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final, get_args

import msgspec
import pytest

from flashq.protocol import commands
from flashq.testing.cluster import Cluster
from tests.integration.wire import BINARY, CODECS, PLACES, TEXT, Place, Reply, Wire

SAMPLES: Final[Reply] = {
    "data": 1, "id": 1, "ids": [1], "jobs": [{"data": 1}], "count": 1, "token": "t", "priority": 1, "delay": 1,
    "message": "m", "progress": 1, "grace": 1, "limit": 1, "name": "n", "key": "k", "value": 1, "keys": ["k"],
    "entries": [{"key": "k", "value": 1}], "ttl": 1, "parent_id": 1, "children": [{"queue": "c"}],
}  # fmt: skip
FREE: Final = frozenset(("data", "result", "reqId", "value"))
"""May be of any type."""
OTHER_TYPES: Final[dict[str, tuple[Any, ...]]] = {
    "int": ("1", 1.5, True, [1], {"a": 1}, -(2**31) - 1, 2**63 + 5),
    "number": ("1", True, [1], {"a": 1}),
    "str": (1, 1.5, True, ["a"], {"a": 1}),
    "bool": (1, "true", [True], {"a": 1}),
    "struct": (1, "a", True, [1]),
    "list": (1, "a", True, {"a": 1}, [{"nope": []}, 1.5]),
}


def kind_of(annotation: Any) -> str:
    text = str(annotation)
    if "float" in text:
        return "number"
    if "commands_" in text and "list[" not in text:
        return "struct"
    return "list" if "list[" in text else next(kind for kind in ("bool", "str", "int") if kind in text)


def tag_of(struct: type[Any]) -> str:
    tag = struct.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def wrong_requests(queue: str) -> Iterator[tuple[str, Reply, str]]:
    """Command, fields and the field at fault, from the structs themselves; tests/conformance has the others."""
    for struct in commands.ALL:
        fields = msgspec.structs.fields(struct)
        if not {f.name for f in fields if f.required} <= {"queue", *SAMPLES}:
            continue
        good = {f.name: queue if f.name == "queue" else SAMPLES[f.name] for f in fields if f.required}
        for field in fields:
            if field.name in FREE:
                if field.required:
                    yield tag_of(struct), {k: v for k, v in good.items() if k != field.name}, field.name
                continue
            bad: tuple[Any, ...] = OTHER_TYPES[kind_of(field.type)]
            if field.name == "by":  # the one of 64 bits with a sign
                bad = tuple(value for value in bad if value != -(2**31) - 1)
            if field.required:
                yield tag_of(struct), {k: v for k, v in good.items() if k != field.name}, field.name
            if type(None) not in get_args(field.type):
                bad = (*bad, None)
            for value in bad:
                yield tag_of(struct), {**good, field.name: value}, field.name


def test_every_field_with_every_wrong_value_is_refused_by_name(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.ok("PUSH", queue=queue, data=1)
    before = wire.ok("STATS")
    tried = 0
    for cmd, fields, name in wrong_requests(queue):
        reply = wire.refused(cmd, **fields, reqId=str(tried))
        assert reply["code"] == "invalid", (cmd, fields, reply)
        assert reply["reqId"] == str(tried), (cmd, fields, reply)
        assert name in reply["error"], (cmd, fields, reply)
        start = ("Invalid: ", "MessagePack deserialize error: ")[wire.codec == BINARY]
        assert reply["error"].startswith(start), (cmd, fields, reply)
        tried += 1
    assert tried > 300
    assert wire.ok("STATS") == before


def test_every_wrong_option_of_an_entry_is_refused_with_the_whole_batch(place: Place, wire: Wire) -> None:
    queue = place.queue()
    for field in msgspec.structs.fields(commands.JobEntry):
        if field.name in FREE:
            continue
        for value in OTHER_TYPES[kind_of(field.type)]:
            reply = wire.refused("PUSHB", queue=queue, jobs=[{"data": 1}, {"data": 2, field.name: value}])
            assert reply["code"] == "invalid", (field.name, value, reply)
            assert field.name in reply["error"], (field.name, value, reply)
    assert wire.ok("COUNT", queue=queue)["count"] == 0


LIMITS: Final[tuple[tuple[Reply, str, str], ...]] = (
    *(({name: 10 * 366 * 86_400_000}, "invalid", name) for name in ("delay", "ttl", "timeout", "backoff")),
    *(({name: "x" * 513}, "too_large", name) for name in ("unique_key", "group_id", "job_id", "debounce_id")),
    *(({name: ""}, "invalid", name) for name in ("unique_key", "group_id")),
    ({"tags": ["x"] * 65}, "too_large", "tags"),
    ({"tags": ["x" * 513]}, "too_large", "tags"),
    ({"depends_on": [1] * 1001}, "too_large", "depends_on"),
    ({"priority": 2**31}, "invalid", "priority"),
    ({"max_attempts": 2**32}, "invalid", "max_attempts"),
)


@pytest.mark.parametrize(("options", "code", "name"), LIMITS)
def test_what_exceeds_a_limit_is_refused_with_the_limit(
    place: Place, wire: Wire, options: Reply, code: str, name: str
) -> None:
    queue = place.queue()
    for reply in (
        wire.refused("PUSH", queue=queue, data=1, **options),
        wire.refused("PUSHB", queue=queue, jobs=[{"data": 1}, {"data": 1, **options}]),
    ):
        assert (reply["code"], name in reply["error"]) == (code, True), reply
    assert wire.ok("COUNT", queue=queue)["count"] == 0


def test_too_many_entries_are_refused(place: Place, wire: Wire) -> None:
    queue = place.queue()
    assert wire.refused("PUSHB", queue=queue, jobs=[{"data": 1}] * 1001)["code"] == "too_large"
    assert wire.refused("PUSHB", queue=queue, jobs=[{"data": 1, "priority": 1}] * 1001)["code"] == "too_large"
    assert wire.ok("COUNT", queue=queue)["count"] == 0


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b'"PUSH"', b"null", b"{}", b'{"cmd":1}', b'{"cmd":"push"}', b'{"cmd":"PING"}}', b'{"cmd":"PI\nNG"}',
     b'{"cmd":"PUSH","queue":"q","data":NaN}', b'{"cmd":"PUSH","queue":"q","data":01}',
     b'{"cmd":"PUSH","queue":"q","data":"\\ud800"}', b'{"cmd":"PUSH","queue":"q","data":"\xff"}',
     b'{"cmd":"PUSH","queue":"\xff","data":1}', b'{"cmd":"PUSH","queue":"q","data":{"a":}}',
     b'{"cmd":"PUSH","queue":"q","data":' + b"[" * 200_000],
)  # fmt: skip
@pytest.mark.parametrize("where", PLACES)
def test_broken_text_is_answered_and_the_connection_lives(cluster: Cluster, where: str, line: bytes) -> None:
    with Place(cluster, where, TEXT).connect() as wire:
        wire.frame(line)
        for _ in range(1 + line.count(b"\n")):
            reply = wire.read()
            assert reply["ok"] is False
            assert reply["code"] == "invalid"
            assert reply["error"].startswith("Invalid: ")
        assert wire.ok("PING")["pong"] is True
        assert wire.ok("COUNT", queue="q")["count"] == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x91\x01", b"\x81\xa3cmd", b"\x81\xa3cmd\xa4NOPE", b"\xc0", b"\x91" * 200_000,
     b"\x81\xa3cmd\xc4\x04PING"],
)  # fmt: skip
@pytest.mark.parametrize("where", PLACES)
def test_broken_binary_is_answered_and_the_connection_lives(cluster: Cluster, where: str, body: bytes) -> None:
    with Place(cluster, where, BINARY).connect() as wire:
        wire.frame(body)
        reply = wire.read()
        assert (reply["ok"], reply["code"]) == (False, "invalid")
        assert reply["error"].startswith("MessagePack deserialize error: ")
        assert wire.ok("PING")["pong"] is True


@pytest.mark.parametrize(
    "value", [b"\xc4\x01x", b"\xd4\x01x", b"\xd6\xff\0\0\0\0", b"\x81\x01\x02", b"\x91\xc4\x01x", b"\xa1\xff"]
)
@pytest.mark.parametrize("where", PLACES)
def test_payload_that_json_cannot_express_is_refused(cluster: Cluster, where: str, value: bytes) -> None:
    place = Place(cluster, where, BINARY)
    queue = place.queue()
    with place.connect() as wire:
        name = bytes((0xA0 + len(queue),)) + queue.encode()
        wire.frame(b"\x83\xa3cmd\xa4PUSH\xa5queue" + name + b"\xa4data" + value)
        reply = wire.read()
        assert (reply["ok"], reply["code"]) == (False, "invalid"), reply
        assert wire.ok("COUNT", queue=queue)["count"] == 0


@pytest.mark.parametrize("where", PLACES)
def test_not_a_number_becomes_null(cluster: Cluster, where: str) -> None:
    place = Place(cluster, where, BINARY)
    with place.connect() as wire:
        queue = place.queue()
        wire.ok("PUSH", queue=queue, data=[float("nan"), float("inf"), 1.5])
        assert wire.ok("PULL", queue=queue, timeout=0)["job"]["data"] == [None, None, 1.5]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("first", [False, True])
def test_frame_over_16_mib_is_told_and_closed(cluster: Cluster, codec: str, first: bool) -> None:
    """The words arrive although the client was still talking."""
    with Wire(cluster.connect(), codec) as wire:
        if not first:
            wire.ok("COUNT", queue="q")
        if codec == BINARY:
            wire.sock.sendall(b"\xff\xff\xff\xff" + b"x" * 1000)
        else:
            wire.sock.sendall(b'{"cmd":"PUSH","queue":"q","data":"' + b"x" * (16 * 1024 * 1024) + b'"}\n')
        reply = wire.read()
        assert (reply["ok"], reply["code"]) == (False, "too_large")
        assert reply["error"].startswith("Message too large")
        assert wire.closed()


def test_half_sent_frames_do_not_disturb_others(cluster: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        for n in range(100):
            wire = stack.enter_context(Wire(cluster.connect()))
            if n % 2:
                wire.ok("COUNT", queue=f"q{n}")
            wire.sock.sendall(b'{"cmd":"PUSH","queue":"q%d","data":"' % n + b"x" * 1000)
        with Wire(cluster.connect()) as other:
            for n in range(100):
                other.ok("PUSH", queue=f"half-{n}", data=n)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("size", [100_000, 4_000_000])
def test_client_that_never_reads_costs_bounded_memory_and_disturbs_nobody(
    cluster: Cluster, size: int, where: str
) -> None:
    """10,000 replies of 100 kB each would be a gigabyte, wherever they are made and wherever they would wait."""
    place = Place(cluster, where, TEXT)
    queue = place.queue()
    with place.connect() as wire, place.connect() as deaf:
        for _ in range(3):
            wire.ok("PUSHB", queue=queue, jobs=[{"data": "x" * 1000}] * 1000)
        job_id = wire.ok("PUSH", queue=queue, data="y" * size, priority=1)["id"]
        before = resident_bytes(cluster)
        deaf.sock.settimeout(0.3)
        requests = deaf.encode({"cmd": "GETJOB", "id": job_id}) * 10_000
        sender = threading.Thread(target=send_what_it_takes, args=(deaf, requests))
        sender.start()
        for n in range(100):
            wire.ok("PUSH", queue=place.queue(), data=n)
        sender.join(10)
        wire.ok("PUSH", queue=place.queue(), data="after")
        assert resident_bytes(cluster) - before < 200 << 20


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("codec", CODECS)
def test_large_replies_to_pipelined_requests_come_all_and_in_order(cluster: Cluster, codec: str, where: str) -> None:
    """Requests that wait until there is room for their replies are not forgotten, and the last one is cut anywhere."""
    place = Place(cluster, where, codec)
    queue = place.queue()
    with place.connect() as wire:
        ids = [wire.ok("PUSH", queue=queue, data=str(n) * 3_000_000)["id"] for n in range(3)]
        requests = b"".join(wire.encode({"cmd": "GETJOB", "id": ids[n % 3]}) for n in range(30))
        wire.sock.sendall(requests[:-3])
        wire.sock.sendall(requests[-3:] + wire.encode({"cmd": "PING"}))
        assert [wire.read()["job"]["data"][0] for _ in range(30)] == ["0", "1", "2"] * 10
        assert wire.read()["pong"] is True


def send_what_it_takes(wire: Wire, data: bytes) -> None:
    with contextlib.suppress(TimeoutError):
        wire.sock.sendall(data)


def resident_bytes(cluster: Cluster) -> int:
    """Of all its processes together."""
    total = 0
    for pid in cluster.pids().values():
        with open(f"/proc/{pid}/statm") as file:
            total += int(file.read().split()[1]) * 4096
    return total
