"""§4.14: JSON values, in `data`, results and the store."""

import pytest

from tests.conformance.peer import MSGPACK, TEXT, Peer
from tests.conformance.ways import Way

VALUES = ["2.50", "1e3", "-0", "0.1", "1E-7", "9007199254740993", "18446744073709551615", "-9223372036854775808",
          '"\\u00e9\\ud83d\\ude00\\u0000\\/"', '{"b":1,"a":{"z":[],"y":{}}}', "[[[]]]", '"\u2028"']  # fmt: skip


@pytest.mark.codec(TEXT)
@pytest.mark.parametrize("value", VALUES)
def test_values_are_equal_whatever_way_they_take(c: Peer, way: Way, q: str, value: str) -> None:
    """Pushed in text, pulled in either codec; as data, as a result and in the store."""
    import json

    expected = json.loads(value)
    key = way.name()
    for request in (f'"cmd":"PUSH","queue":"{q}","data":{value}', f'"cmd":"PUSH","queue":"{q}","data":{value}',
                    f'"cmd":"KVSET","key":"{key}","value":{value}'):  # fmt: skip
        c.frame(f"{{{request}}}".encode())
        assert c.read()["ok"] is True
    assert c.pull(q)["data"] == expected
    with way.address.connect(MSGPACK) as binary:
        job = binary.pull(q)
        assert job["data"] == expected
        c.frame(f'{{"cmd":"ACK","id":{job["id"]},"result":{value}}}'.encode())
        assert c.read()["ok"] is True
        assert binary.ok("GETRESULT", id=job["id"])["result"] == expected
        assert binary.ok("KVGET", key=key)["value"] == expected
    c.ok("KVDEL", key=key)


@pytest.mark.codec(TEXT)
def test_repeated_key_in_data_the_last_wins(c: Peer, way: Way, q: str) -> None:
    for _ in range(2):
        c.frame(f'{{"cmd":"PUSH","queue":"{q}","data":{{"a":1,"a":2}}}}'.encode())
        assert c.read()["ok"] is True
    assert c.pull(q)["data"] == {"a": 2}
    with way.address.connect(MSGPACK) as binary:
        assert binary.pull(q)["data"] == {"a": 2}


@pytest.mark.codec(TEXT)
def test_integer_beyond_64_bits_is_a_number_like_it(c: Peer, way: Way, q: str) -> None:
    for _ in range(2):
        c.frame(f'{{"cmd":"PUSH","queue":"{q}","data":123456789012345678901234567890}}'.encode())
        assert c.read()["ok"] is True
    assert float(c.pull(q)["data"]) == 123456789012345678901234567890.0
    with way.address.connect(MSGPACK) as binary:
        assert float(binary.pull(q)["data"]) == 123456789012345678901234567890.0


@pytest.mark.codec(TEXT)
@pytest.mark.parametrize("value", ["1e999", "[-1e400]", "1" * 5_000])
def test_number_that_nothing_can_hold_blocks_no_worker(c: Peer, way: Way, q: str, value: str) -> None:
    """Refused, or delivered in either codec; never a job that fails each pull."""
    c.frame(f'{{"cmd":"PUSH","queue":"{q}","data":{value}}}'.encode())
    accepted = c.read()["ok"]
    c.push(q, "behind")
    with way.address.connect(MSGPACK) as binary:
        assert len(binary.ok("PULLB", queue=q, count=5, timeout=0)["jobs"]) == 1 + accepted


@pytest.mark.codec(MSGPACK)
def test_pushed_in_msgpack_pulled_in_text(c: Peer, way: Way, q: str) -> None:
    value = {"b": [1, -1, 2.5, None, True, "é\u2028\x00", 2**64 - 1, {}], "a": {"x" * 300: list(range(300))}}
    c.push(q, value)
    with way.address.connect(TEXT) as text:
        job = text.pull(q)
        assert job["data"] == value
        text.ok("ACK", id=job["id"], result=value)
    assert c.ok("GETRESULT", id=job["id"])["result"] == value
