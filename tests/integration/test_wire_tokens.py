"""Tokens: what a stranger may do, and what happens after AUTH."""

from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.wire import BINARY, CODECS, TEXT, Wire

TOKEN = "correct-horse-battery-staple-0123456789"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", settings={"AUTH_TOKENS": TOKEN}) as one:
        yield one


@pytest.fixture(params=CODECS)
def wire(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Wire]:
    with Wire(cluster.connect(), request.param) as one:
        yield one


def test_stranger_is_answered_the_same_whatever_he_asks(wire: Wire) -> None:
    for cmd, fields in (("PUSH", {"queue": "q", "data": 1}), ("STATS", {}), ("NOPE", {}), ("PUSH", {"queue": 1})):
        reply = wire.refused(cmd, **fields, reqId="r")
        assert (reply["error"], reply["code"]) == ("Authentication required", "unauthenticated")
        assert reply["reqId"] == "r"
    assert wire.ok("PING")["pong"] is True
    assert wire.ok("AUTH", token=TOKEN)["success"] is True
    job_id = wire.ok("PUSH", queue="q", data=1)["id"]
    assert wire.refused("AUTH", token="nonsense")["error"] == "Invalid token"
    assert wire.ok("GETSTATE", id=job_id)["state"] == "waiting"


def test_five_wrong_tokens_close_the_connection(wire: Wire) -> None:
    for n in range(5):
        reply = wire.refused("AUTH", token=f"{TOKEN}{n}")
        assert (reply["error"], reply["code"]) == ("Invalid token", "unauthenticated")
    assert wire.closed()


def test_authenticated_client_reaches_every_shard(cluster: Cluster, wire: Wire) -> None:
    wire.ok("AUTH", token=TOKEN, reqId="a")
    for shard in (0, 1):
        queue = next(cluster.queues_of(shard, f"t{wire.codec}{shard}-"))
        pushed = wire.ok("PUSH", queue=queue, data=shard)["id"]
        job = wire.ok("PULL", queue=queue, timeout=0)["job"]
        assert job["id"] == pushed
        wire.ok("ACK", id=pushed, lease=job["lease"])


@pytest.mark.parametrize("codec", CODECS)
def test_frame_of_a_stranger_is_at_most_64_kib(cluster: Cluster, codec: str) -> None:
    with Wire(cluster.connect(), codec) as wire:
        wire.ok("PING")
        if codec == TEXT:
            wire.sock.sendall(b"{" + b"x" * (65 * 1024))
        else:
            wire.sock.sendall((65 * 1024).to_bytes(4, "big"))
        assert wire.read()["code"] == "too_large"
        assert wire.closed()
    with Wire(cluster.connect(), BINARY) as wire:
        wire.ok("AUTH", token=TOKEN)
        wire.ok("PUSH", queue="big", data="x" * 100_000)
