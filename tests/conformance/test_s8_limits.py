"""§8: limits and validation; each error names value and limit, and nothing is applied."""

import pytest

from tests.conformance.peer import MSGPACK, Peer
from tests.conformance.ways import Way

LIMIT = 10_485_760
TEN_YEARS_MS = 10 * 366 * 86_400_000


def payload(way: Way, size: int) -> str:
    """A string whose serialised form has `size` bytes."""
    return "x" * (size - (5 if way.codec == MSGPACK else 2))


@pytest.mark.parametrize("name", ["a", "é中", "A-Z_0.9", "x" * 256, "é" * 128, "१२", "-", ".", "_a"])
def test_queue_names_that_pass(c: Peer, way: Way, name: str) -> None:
    tag = "" if len(name.encode()) > 200 else way.queue()
    job_id = c.push(name + tag, 1)
    assert c.job(job_id)["queue"] == name + tag
    c.ok("OBLITERATE", queue=name + tag)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Queue name cannot be empty"),
        ("x" * 257, "Queue name too long (max 256 chars)"),
        ("é" * 129, "Queue name too long (max 256 chars)"),
        *((f"a{bad}b", "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots")
          for bad in (" ", "/", "\x00", "\n", ":", "*", "€", "\U0001f600", "@", "+")),
    ],
)  # fmt: skip
def test_queue_names_that_do_not(c: Peer, way: Way, name: str, text: str) -> None:
    far = way.far()
    for fields in (
        {"cmd": "PUSH", "data": 1},
        {"cmd": "PUSH", "data": 1, "priority": 1},
        {"cmd": "PUSHB", "jobs": [{"data": 1}]},
        {"cmd": "FLOW", "data": 1, "children": [{"queue": far, "data": 1}]},
    ):
        reply = c.refusal(**fields, queue=name)
        assert (reply["error"], reply["code"]) == (text, "invalid")
    assert c.ok("COUNT", queue=far)["count"] == 0


def test_names_with_two_underscores_first_are_reserved(c: Peer) -> None:
    reply = c.refusal("PUSH", queue="__others", data=1)
    assert "reserved" in reply["error"]
    assert reply["code"] == "invalid"


def test_data_of_exactly_10_mib_passes_and_one_byte_more_does_not(c: Peer, way: Way, q: str) -> None:
    job_id = c.push(q, payload(way, LIMIT))
    reply = c.refusal("PUSH", queue=q, data=payload(way, LIMIT + 1))
    assert reply["error"] == f"Job data too large ({LIMIT + 1} bytes, max {LIMIT} bytes)"
    assert reply["code"] == "too_large"
    assert c.ok("COUNT", queue=q)["count"] == 1
    reply = c.refusal("UPDATEJOB", id=job_id, data=payload(way, LIMIT + 1))
    assert reply["code"] == "too_large"
    assert c.pull(q)["id"] == job_id
    reply = c.refusal("ACK", id=job_id, result=payload(way, LIMIT + 1))
    assert reply["code"] == "too_large"
    assert c.state(job_id) == "active"
    c.ok("ACK", id=job_id, result=payload(way, LIMIT))
    c.ok("OBLITERATE", queue=q)


@pytest.mark.parametrize("field", ["unique_key", "group_id", "debounce_id", "job_id"])
def test_names_of_512_bytes_pass_and_more_do_not(c: Peer, way: Way, q: str, field: str) -> None:
    name = way.name()
    long = name + "é" * ((512 - len(name)) // 2)
    long += "x" * (512 - len(long.encode()))
    c.push(q, 1, **{field: long})
    reply = c.refusal("PUSH", queue=q, data=1, **{field: long + "x"})
    assert field in reply["error"]
    assert "513" in reply["error"]
    assert "512" in reply["error"]
    assert reply["code"] == "too_large"
    assert c.ok("COUNT", queue=q)["count"] == 1


def test_tags(c: Peer, q: str) -> None:
    c.push(q, 1, tags=["t" * 512] * 64)
    for tags, number in ((["t"] * 65, "64"), (["t" * 513], "512")):
        reply = c.refusal("PUSH", queue=q, data=1, tags=tags)
        assert "tags" in reply["error"]
        assert number in reply["error"]
    assert c.ok("COUNT", queue=q)["count"] == 1


def test_dependencies(c: Peer, q: str) -> None:
    first = c.push(q)
    reply = c.refusal("PUSH", queue=q, data=1, depends_on=[first] * 1001)
    assert "depends_on" in reply["error"]
    assert "1000" in reply["error"]
    assert c.ok("GETJOBS", queue=q)["total"] == 1


@pytest.mark.parametrize("field", ["delay", "ttl", "timeout"])
def test_durations_of_more_than_ten_years(c: Peer, q: str, field: str) -> None:
    c.push(q, 1, **{field: 9 * 365 * 86_400_000})
    for value in (TEN_YEARS_MS, 2**53, 2**63 - 1):
        reply = c.refusal("PUSH", queue=q, data=1, **{field: value})
        assert field in reply["error"]
        assert reply["code"] == "invalid"
    assert c.ok("GETJOBS", queue=q)["total"] == 1


@pytest.mark.parametrize(
    ("cmd", "fields"),
    [("PUSHB", {"queue": "Q", "jobs": [{"data": 1}] * 1001}), ("ACKB", {"ids": list(range(1, 1002))}),
     ("GETJOBSBATCH", {"ids": list(range(1, 1002))}), ("KVMGET", {"keys": ["k"] * 1001}),
     ("KVMSET", {"entries": [{"key": "k", "value": 1}] * 1001})],
)  # fmt: skip
def test_batches_of_more_than_1000(c: Peer, q: str, cmd: str, fields: dict[str, object]) -> None:
    reply = c.refusal(cmd, **{key: q if value == "Q" else value for key, value in fields.items()})
    assert "1001" in reply["error"]
    assert "1000" in reply["error"]


def test_connection_lives_on_after_a_hundred_refusals(c: Peer, q: str) -> None:
    for _ in range(100):
        c.send("PUSH", queue="", data=1)
    for _ in range(100):
        assert c.read()["error"] == "Queue name cannot be empty"
    c.push(q)


def test_ten_thousand_requests_in_flight_are_all_answered(c: Peer, d: Peer, q: str) -> None:
    """Past its bound the server stops reading from that client; nobody else notices, nothing is dropped."""
    sent = 0
    c.send("PULL", queue=q, timeout=15_000)
    c.sock.settimeout(1.0)
    try:
        while sent < 12_000:
            c.send("COUNT", queue=q)
            sent += 1
    except TimeoutError:
        raise AssertionError(
            f"reading stopped after {sent} small requests, with nothing to read for the client"
        ) from None
    finally:
        c.sock.settimeout(20.0)
    d.push(q, 1)
    assert c.read()["job"]["data"] == 1
    assert all(c.read()["count"] in (0, 1) for _ in range(sent))
