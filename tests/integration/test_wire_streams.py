"""Bytes, frames and the order of replies: what a connection may do besides asking one thing after another."""

import socket
import struct

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import BINARY, CODECS, PLACES, TEXT, Place, Reply, Wire, counts, encoded


def test_replies_without_req_id_wait_behind_a_blocked_pull_but_effects_do_not(place: Place, wire: Wire) -> None:
    """Old clients match by position; a push behind their pull must still reach its worker."""
    queue, other = place.queue(), place.queue()
    wire.send("PULL", queue=queue, timeout=8_000)
    wire.send("PUSH", queue=other, data="behind")
    wire.send("PING")
    with place.connect() as peer:
        assert peer.ok("PULL", queue=other, timeout=5_000)["job"]["data"] == "behind"
        pushed = peer.ok("PUSH", queue=queue, data="found")["id"]
    in_order = [wire.read() for _ in range(3)]
    assert in_order[0]["job"]["id"] == pushed
    assert "id" in in_order[1]
    assert in_order[2]["pong"] is True


def test_replies_with_req_id_overtake_a_blocked_pull(place: Place, wire: Wire) -> None:
    queue = place.queue()
    wire.send("PULL", queue=queue, timeout=8_000, reqId="pull")
    wire.send("PULLB", queue=queue, count=2, timeout=8_000, reqId="pullb")
    first = wire.ask("PUSH", queue=queue, data=1, reqId="push")
    got = {first["reqId"]: first}
    for _ in range(3):
        if len(got) == 2 and "again" not in got:
            wire.send("PUSH", queue=queue, data=2, reqId="again")
        reply = wire.read()
        got[reply["reqId"]] = reply
    assert got["pull"]["job"]["id"] == got["push"]["id"]
    assert [job["id"] for job in got["pullb"]["jobs"]] == [got["again"]["id"]]


def test_frames_split_at_every_byte_and_joined_decode_alike(place: Place) -> None:
    queue = place.queue()
    with place.connect() as wire:
        request = wire.encode({"cmd": "PUSH", "queue": queue, "data": {"é": "\n"}, "reqId": "r"})
        for at in range(1, len(request)):
            wire.sock.sendall(request[:at])
            wire.sock.sendall(request[at:] + request[:at])
            wire.sock.sendall(request[at:])
            assert [wire.read()["reqId"], wire.read()["reqId"]] == ["r", "r"]
        for byte in request:
            wire.sock.sendall(bytes((byte,)))
        assert wire.read()["ok"] is True
        assert wire.ok("COUNT", queue=queue)["count"] == 2 * (len(request) - 1) + 1


@pytest.mark.parametrize("codec", CODECS)
def test_first_frame_split_at_every_byte_finds_its_shard(cluster: Cluster, codec: str) -> None:
    """The router reads the head and hands on what it has read."""
    place = Place(cluster, "own", codec)
    queue = place.queue()
    request = encoded(codec, {"cmd": "PUSH", "data": [1], "queue": queue})
    for at in range(1, len(request)):
        with Wire(cluster.connect(), codec) as wire:
            wire.sock.sendall(request[:at])
            wire.sock.sendall(request[at:])
            assert wire.read()["ok"] is True
    with place.connect() as wire:
        assert wire.ok("COUNT", queue=queue)["count"] == len(request) - 1


def test_pipelined_requests_are_answered_in_order(place: Place, wire: Wire) -> None:
    mine, foreign = place.queue(), place.foreign()
    requests = [{"cmd": "PUSH", "queue": (mine, foreign)[n % 2], "data": n} for n in range(400)]
    wire.sock.sendall(b"".join(map(wire.encode, requests)))
    ids = [wire.read()["id"] for _ in requests]
    for queue, which in ((mine, ids[::2]), (foreign, ids[1::2])):
        assert which == sorted(which)
        jobs = wire.ok("PULLB", queue=queue, count=200, timeout=0)["jobs"]
        assert [job["id"] for job in jobs] == which
    wire.sock.sendall(b"".join(wire.encode({"cmd": "ACK", "id": i}) for i in ids))
    assert all(wire.read()["ok"] for _ in ids)


def test_push_pull_ack_in_one_write(place: Place, wire: Wire) -> None:
    queue = place.queue()
    requests: list[Reply] = [
        {"cmd": "PUSH", "queue": queue, "data": 1}, {"cmd": "PULL", "queue": queue},
        {"cmd": "PULL", "queue": queue, "timeout": 0},
    ]  # fmt: skip
    wire.sock.sendall(b"".join(map(wire.encode, requests)))
    pushed, found, nothing = wire.read(), wire.read(), wire.read()
    assert found["job"]["id"] == pushed["id"]
    assert nothing["job"] is None


def test_half_close_carries_out_the_last_line_and_ends(place: Place) -> None:
    """Half a shell's clients end like this: printf … | nc."""
    queue = place.queue()
    with place.connect() as wire:
        wire.ok("PUSH", queue=queue, data=1)
        request = wire.encode({"cmd": "PULL", "queue": queue})
        wire.sock.sendall(request[:-1] if place.codec == TEXT else request)
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.read()["job"]["data"] == 1
        assert wire.closed()


@pytest.mark.parametrize("cmd", ["PULL", "PULLB"])
def test_half_close_ends_a_blocked_pull_as_with_timeout_0(place: Place, cmd: str) -> None:
    queue = place.queue()
    with place.connect() as wire:
        wire.send(cmd, queue=queue, **({"count": 2} if cmd == "PULLB" else {}))
        wire.send("PING")
        wire.sock.shutdown(socket.SHUT_WR)
        reply = wire.read()
        assert reply.get("job", reply.get("jobs")) in (None, [])
        assert wire.read()["pong"] is True
        assert wire.closed()
    with place.connect() as peer:
        peer.ok("PUSH", queue=queue, data=1)
        assert counts(peer, queue)["waiting"] == 1


@pytest.mark.parametrize("reset", [False, True])
def test_pull_of_a_vanished_client_takes_no_job(place: Place, reset: bool) -> None:
    queue = place.queue()
    gone = place.connect()
    gone.send("PULL", queue=queue, reqId="w")
    gone.send("PULLB", queue=queue, count=5, reqId="w")
    assert gone.ask("PUSH", queue=place.queue(), data=1, reqId="p")["reqId"] == "p"
    if reset:
        gone.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.sock.close()
    with place.connect() as wire:
        for _ in range(200):
            pushed = wire.ok("PUSH", queue=queue, data=1)["id"]
            job = wire.ok("PULL", queue=queue, timeout=0)["job"]
            if job is not None:
                break  # whoever pushes in the very moment of the close may still be before it
        assert job["id"] == pushed
        pushed = wire.ok("PUSH", queue=queue, data=2)["id"]
        assert wire.ok("PULL", queue=queue, timeout=0)["job"]["id"] == pushed


def test_jobs_of_a_closed_connection_return_at_once_if_asked_to(place: Place) -> None:
    queue = place.queue()
    with place.connect() as wire:
        ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(3)])["ids"]
        worker = place.connect()
        first = worker.ok("PULL", queue=queue, timeout=0, release_on_disconnect=True)["job"]
        rest = worker.ok("PULLB", queue=queue, count=2, timeout=0, release_on_disconnect=True)["jobs"]
        assert [first["id"], *(job["id"] for job in rest)] == ids
        worker.sock.close()
        back: list[Reply] = []
        while len(back) < 3:
            back += wire.ok("PULLB", queue=queue, count=3, timeout=8_000)["jobs"]
        assert sorted(job["id"] for job in back) == ids
        assert all(job["attempts"] == 0 for job in back)
        assert wire.refused("ACK", id=ids[0], lease=first["lease"])["code"] == "lease_lost"
        assert wire.ok("ACKB", ids=ids)["count"] == 3


def test_lease_outlives_its_connection_by_default(place: Place, wire: Wire) -> None:
    """Old clients pull on one connection and ack on another."""
    queue = place.queue()
    with place.connect() as worker:
        worker.ok("PUSH", queue=queue, data=1)
        job = worker.ok("PULL", queue=queue, timeout=0)["job"]
    assert wire.ok("PULL", queue=queue, timeout=50)["job"] is None
    assert wire.ok("GETSTATE", id=job["id"])["state"] == "active"
    wire.ok("ACK", id=job["id"], lease=job["lease"])


def test_waiting_pulls_are_served_first_come_first(place: Place) -> None:
    queue = place.queue()
    workers = [place.connect() for _ in range(5)]
    for worker in workers:
        worker.send("PULL", queue=queue, timeout=8_000, reqId="w")
        assert worker.ask("COUNT", queue=queue, reqId="b")["reqId"] == "b"
    with place.connect() as wire:
        ids = [wire.ok("PUSH", queue=queue, data=n)["id"] for n in range(5)]
        assert [worker.read()["job"]["id"] for worker in workers] == ids
    for worker in workers:
        worker.sock.close()


# -- the codec


@pytest.mark.parametrize("start", [b"", b"\n", b"\r\n", b"\n\n"])
def test_text_is_chosen_by_its_first_byte_and_blank_lines_are_answered(cluster: Cluster, start: bytes) -> None:
    with Wire(cluster.connect()) as wire:
        wire.sock.sendall(start + b'{"cmd":"PING"}\r\n')
        for _ in range(start.count(b"\n")):
            reply = wire.read()
            assert reply["ok"] is False
            assert reply["error"].startswith("Invalid: ")
        assert wire.read()["pong"] is True


def test_whitespace_before_a_later_request_is_fine(cluster: Cluster) -> None:
    with Wire(cluster.connect()) as wire:
        wire.ok("PING")
        wire.sock.sendall(b' \t {"cmd" : "PING" } \r\r\n')
        assert wire.read()["pong"] is True


def test_key_order_is_free_and_unknown_keys_are_ignored(cluster: Cluster) -> None:
    for where in PLACES:
        place = Place(cluster, where, TEXT)
        with place.connect() as wire:
            queue = place.queue()
            wire.frame(b'{"x":{"cmd":"STATS"},"data":{"queue":"b","cmd":"PULL"},"queue":"%b","cmd":"PUSH"}'
                       % queue.encode())  # fmt: skip
            assert wire.read()["ok"] is True
            job = wire.ok("PULL", queue=queue, timeout=0, _compressed="x")["job"]
            assert job["data"] == {"queue": "b", "cmd": "PULL"}


def test_escaped_names_are_the_names_they_spell(cluster: Cluster) -> None:
    for where in PLACES:
        place = Place(cluster, where, TEXT)
        with place.connect() as wire:
            queue = place.queue()
            spelled = "".join(f"\\u{ord(c):04x}" for c in queue).encode()
            wire.frame(b'{"cm\\u0064":"PUSH","queu\\u0065":"%b","data":1}' % spelled)
            assert wire.read()["ok"] is True
            assert wire.ok("COUNT", queue=queue)["count"] == 1


def test_queue_may_stand_behind_10_mib_of_data(cluster: Cluster) -> None:
    """Nobody can know where the command belongs before all of it is there."""
    for codec in CODECS:
        place = Place(cluster, "own", codec)
        queue = place.foreign()
        with Wire(cluster.connect(), codec) as wire:
            data = "x" * (10 * 1024 * 1024 - 2 - (3 if codec == BINARY else 0))
            wire.send("PUSH", data=data, queue=queue)
            assert wire.read()["ok"] is True
            assert len(wire.ok("PULL", queue=queue, timeout=0)["job"]["data"]) == len(data)
            wire.send("PUSH", data=data + "xxxx", queue=queue)
            reply = wire.read()
            assert (reply["ok"], reply["code"]) == (False, "too_large")
            assert "max 10485760 bytes" in reply["error"]
