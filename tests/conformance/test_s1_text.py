"""§1.2, 1.3: text, one JSON object a line."""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.peer import TEXT, Peer
from tests.conformance.ways import Way

pytestmark = pytest.mark.codec(TEXT)
MIB = 1 << 20


def line(peer: Peer, text: str | bytes) -> dict[str, object]:
    """One line as it is, and its reply."""
    peer.frame(text if isinstance(text, bytes) else text.encode())
    return peer.read()


@pytest.mark.parametrize("first", [b"\n", b"\r\n", b"\r\r\n", b"{}\n", b'{"cmd":\n'])
def test_first_byte_makes_it_text(way: Way, first: bytes) -> None:
    """`{`, LF and CR: the blank line is answered, not skipped, and the connection is text from then on."""
    with way.bare() as peer:
        peer.raw(first)
        reply = peer.read()
        assert reply["ok"] is False
        assert str(reply["error"]).startswith("Invalid: ")
        way.open(peer)


def test_blank_line_is_answered_with_a_parse_error(c: Peer) -> None:
    reply = line(c, "")
    assert reply["ok"] is False
    assert str(reply["error"]).startswith("Invalid: ")
    c.ok("STATS")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n", b"\r\r\r\n"])
def test_any_run_of_cr_before_the_lf_is_stripped(c: Peer, q: str, end: bytes) -> None:
    c.raw(json.dumps({"cmd": "COUNT", "queue": q}).encode() + end)
    assert c.read()["count"] == 0
    c.ok("STATS")


@pytest.mark.parametrize("space", [" ", "\t", "  \t "])
def test_space_before_and_behind_a_later_line_is_fine(c: Peer, q: str, space: str) -> None:
    assert line(c, f'{space}{{"cmd":"COUNT","queue":"{q}"}}{space}')["count"] == 0


def test_order_of_keys_is_free_and_unknown_keys_are_ignored(c: Peer, q: str) -> None:
    reply = line(c, f'{{"data":{{"a":1}},"nobody":[1,{{"cmd":"STATS"}}],"queue":"{q}","cmd":"PUSH"}}')
    assert reply["ok"] is True
    assert c.pull(q)["data"] == {"a": 1}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"cmd":"STATS","cmd":"STATS"}', "cmd"),
        ('{"cmd":"PUSH","queue":"$q","queue":"$q","data":1}', "queue"),
        ('{"cmd":"PUSH","queue":"$q","data":1,"data":2}', "data"),
        ('{"cmd": "PUSH", "queue": "$q", "data": 1, "data": 2}', "data"),
        ('{"cmd":"PUSH","queue":"$q","data":1,"priority":1,"priority":2}', "priority"),
        ('{"cmd":"PUSH","queue":"$q","data":1,"reqId":"a","reqId":"b"}', "reqId"),
        ('{"cmd":"PUSH","queue":"$q","data":1,"nobody":1,"nobody":2}', "nobody"),
        ('{"cmd":"PUSHB","queue":"$q","jobs":[{"data":1}],"jobs":[]}', "jobs"),
        ('{"cmd":"PULL","queue":"$q","timeout":0,"timeout":0}', "timeout"),
        ('{"cmd":"PULLB","queue":"$q","count":1,"timeout":0,"count":2}', "count"),
        ('{"cmd":"ACK","id":$id,"id":$id}', "id"),
        ('{"cmd":"ACKB","ids":[$id],"ids":[$id]}', "ids"),
        ('{"cmd":"GETJOB","id":$id,"id":$id}', "id"),
    ],
)
def test_repeated_key_is_refused_and_nothing_applied(c: Peer, q: str, text: str, key: str) -> None:
    """Whoever wrote both meant something else than the last."""
    job_id = c.push(q)
    reply = line(c, text.replace("$q", q).replace("$id", str(job_id)))
    assert (reply["ok"], reply["code"]) == (False, "invalid")
    assert reply["error"] == f"Invalid: repeated key `{key}`"
    assert c.ok("COUNT", queue=q)["count"] == 1
    assert c.ok("GETSTATE", id=job_id)["state"] == "waiting"


def test_repeated_key_inside_of_a_payload_is_the_payloads_own(c: Peer, q: str) -> None:
    assert line(c, f'{{"cmd":"PUSH","queue":"{q}","data":{{"cmd":1,"a":2,"a":3}}}}')["ok"] is True
    assert c.pull(q)["data"] == {"cmd": 1, "a": 3}


@pytest.mark.parametrize("cmd", ["push", "Push", "PUSH ", " PUSH", "", "PUSHX"])
def test_names_of_commands_are_exact(c: Peer, q: str, cmd: str) -> None:
    text = c.no(cmd, queue=q, data=1)
    assert text.startswith("Invalid: ")
    assert f"unknown variant `{cmd}`" in text
    assert c.ok("COUNT", queue=q)["count"] == 0


@pytest.mark.parametrize(
    "text",
    ["[]", '["PUSH"]', "1", '"PUSH"', "null", "true", "nonsense", "{", "}", '{"cmd"}', '{"cmd":"STATS"',
    '{"cmd":"STATS"}x',
     '{"cmd":"STATS",}', "{'cmd':'STATS'}", '{"cmd":1}', '{"cmd":null}', '{"cmd":["STATS"]}', '{"queue":"q"}', "{}",
     '{"PUSH":{"queue":"q"}}', "\x00", '{"cmd":"STATS"}\x00', '{"cmd":"PUSH","queue":"q","data":NaN}',
     '{"cmd":"PUSH","queue":"q","data":Infinity}', '{"cmd":"PUSH","queue":"q","data":"\\ud800"}',
     '{"cmd":"PUSH","queue":"q","data":01}', '{"cmd":"PUSH","queue":"q","data":"\x01"}',
     '{"cmd":"PUSH","queue":"q","data":tru}'],
)  # fmt: skip
def test_line_that_is_no_request_is_answered_and_the_connection_goes_on(c: Peer, text: str) -> None:
    reply = line(c, text)
    assert reply["ok"] is False
    assert str(reply["error"]).startswith("Invalid: ")
    assert reply["code"] == "invalid"
    c.ok("STATS")


@pytest.mark.parametrize("bad", [b"\xff", b'{"cmd":"PUSH","queue":"q","data":"\xc3\x28"}', b'{"cmd":"\xed\xa0\x80"}'])
def test_line_that_is_not_utf8_closes_or_is_refused(c: Peer, way: Way, bad: bytes) -> None:
    """Old servers close in silence; an answer and an open connection serve a client better. Nothing is applied."""
    c.frame(bad)
    try:
        reply = c.read()
    except ConnectionError:
        pass
    else:
        assert reply["ok"] is False
        assert reply["code"] == "invalid"
    with way.connect() as other:
        other.ok("STATS")


def test_last_line_without_lf_is_executed_at_half_close_and_answered(c: Peer, d: Peer, q: str) -> None:
    c.raw(json.dumps({"cmd": "PUSH", "queue": q, "data": "last"}).encode())
    c.sock.shutdown(1)
    assert c.read()["ok"] is True
    assert c.closed()
    assert d.pull(q, 1000)["data"] == "last"


def test_reply_is_one_compact_line(c: Peer, q: str) -> None:
    c.push(q, {"a b": ["c , d", {"e": 1}]}, tags=["t : u"])
    c.send("PULL", queue=q, timeout=0)
    body = c.read_bytes()
    reply = json.loads(body)
    assert len(body) == len(json.dumps(reply, separators=(",", ":"), ensure_ascii=False).encode())
    assert list(reply)[:2] == ["ok", "job"]


def test_line_of_16_mib_is_taken_and_a_longer_one_is_refused_and_closes(way: Way, q: str) -> None:
    """F41: lines are bounded, but not under the largest job and its envelope."""
    with way.connect() as peer:
        head = f'{{"cmd":"COUNT","queue":"{q}","pad":"'.encode()
        peer.raw(head + b"x" * (16 * MIB - len(head) - 3) + b'"}\n')
        assert peer.read()["count"] == 0
    with way.connect() as peer:
        try:
            peer.raw(head + b"x" * (17 * MIB) + b'"}\n')
        except ConnectionError:  # it may close before it has read all, when it knows enough
            pass
        else:
            reply = peer.read()
            assert reply["ok"] is False
            assert "too large" in str(reply["error"])
            assert peer.closed()


@pytest.mark.parametrize("deep", [5_000, 200_000])
@pytest.mark.parametrize("what", ["data", "pad"])
def test_nesting_is_bounded_and_ends_no_process(c: Peer, way: Way, q: str, deep: int, what: str) -> None:
    """F40."""
    filler = "" if what == "data" else '"data":1,'
    reply = line(c, f'{{"cmd":"PUSH","queue":"{q}",{filler}"{what}":' + "[" * deep + "]" * deep + "}")
    assert reply["ok"] is False
    with way.connect() as other:
        assert other.ok("COUNT", queue=q)["count"] == 0


def test_nesting_of_900_is_taken(c: Peer, q: str) -> None:
    value: object = 1
    for _ in range(900):
        value = [value]
    c.push(q, value)
    assert c.pull(q)["data"] == value


def test_queue_may_stand_behind_10_mib_of_data(way: Way, q: str) -> None:
    data = "x" * (10 * MIB - 2)
    with way.bare() as peer:
        peer.raw(f'{{"cmd":"PUSH","data":"{data}","queue":"{q}"}}\n'.encode())
        assert peer.read()["ok"] is True
        assert peer.pull(q, 1000)["data"] == data


def test_what_a_payload_says_is_not_taken_for_the_request(way: Way, q: str) -> None:
    """A queue named inside `data` or by an escape is found for what it is."""
    far = way.far()
    with way.bare() as peer:
        peer.raw(f'{{"data":{{"queue":"{far}","cmd":"COUNT"}},"cmd":"PUSH","queue":"{q}"}}\n'.encode())
        assert peer.read()["ok"] is True
        escaped = "".join(f"\\u{ord(x):04x}" for x in q)
        peer.raw(f'{{"cmd":"PUSH","queue":"{escaped}","data":2}}\n'.encode())
        assert peer.read()["ok"] is True
        assert [job["data"] for job in peer.drain(q)] == [{"queue": far, "cmd": "COUNT"}, 2]
        assert peer.ok("COUNT", queue=far)["count"] == 0


REQUESTS = ('{"cmd":"PUSH","queue":"%s","data":"é\\n"}\n', '\t{"cmd":"COUNT","queue":"%s","reqId":"r"}\r\n')


def test_line_split_at_any_byte_is_read_alike(way: Way, q: str) -> None:
    """As the first bytes of a connection, which is where it may still move to another process."""
    data = "".join(text % q for text in REQUESTS).encode()
    with way.connect() as barrier:
        for cut in range(1, len(data)):
            with way.bare() as peer:
                peer.raw(data[:cut])
                barrier.ok("PING")
                peer.raw(data[cut:])
                assert peer.read()["ok"] is True
                assert peer.read() == {"reqId": "r", "ok": True, "count": cut, "success": True}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, 400), max_size=12))
def test_pipelined_lines_in_pieces_of_any_size_are_read_alike(c: Peer, d: Peer, way: Way, cuts: set[int]) -> None:
    queue = way.queue()
    data = "".join(text % queue for text in REQUESTS * 3).encode()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in itertools.pairwise(edges):
        c.raw(data[start:end])
        d.ok("PING")
    replies = [c.read() for _ in range(6)]
    assert [reply["count"] for reply in replies[1::2]] == [1, 2, 3]
    assert [job["data"] for job in d.drain(queue)] == ["é\n"] * 3
