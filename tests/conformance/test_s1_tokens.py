"""§1.6: AUTH, on a server with tokens and one without."""

from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.conformance.peer import CODECS, Peer, encoded
from tests.conformance.ways import SHARDS, Address, Way

TOKEN = "tok-éé-1"
OTHER_TOKEN = "tok-2"


def test_without_tokens_any_token_is_ok(c: Peer) -> None:
    for token in ("", "anything", "é" * 500):
        assert c.ok("AUTH", token=token)["success"] is True
    c.ok("STATS")


def test_token_must_be_said(c: Peer) -> None:
    assert "missing field `token`" in c.no("AUTH")
    assert "token" in c.no("AUTH", token=5)


@pytest.fixture(scope="module")
def locked(own_store: dict[str, str]) -> Iterator[Address]:
    """A server with tokens, and with a data folder like any (F46)."""
    settings = {"AUTH_TOKENS": f"{TOKEN},{OTHER_TOKEN}"}
    with Cluster(shards=SHARDS, durability="commit", settings=settings | own_store) as cluster:
        yield Address("127.0.0.1", cluster.port, SHARDS)


@pytest.fixture(params=CODECS)
def guarded(request: pytest.FixtureRequest, locked: Address) -> Way:
    return Way(locked, request.param, "router")


@pytest.fixture
def stranger(guarded: Way) -> Iterator[Peer]:
    with guarded.bare() as peer:
        yield peer


@pytest.mark.own_server
@pytest.mark.parametrize("token", [TOKEN, OTHER_TOKEN])
def test_right_token_opens(stranger: Peer, guarded: Way, token: str) -> None:
    assert stranger.ok("AUTH", token=token, reqId="1") == {"reqId": "1", "ok": True, "success": True}
    queue = guarded.queue()
    stranger.push(queue, 1)
    stranger.pull(queue)
    stranger.push(guarded.far(), 1)


@pytest.mark.own_server
def test_everything_else_waits_for_it_and_the_connection_stays_open(stranger: Peer, guarded: Way) -> None:
    queue = guarded.queue()
    for n in range(20):
        reply = stranger.refusal("PUSH", queue=queue, data=1, reqId=str(n))
        assert (reply["error"], reply["code"], reply["reqId"]) == ("Authentication required", "unauthenticated", str(n))
    stranger.ok("AUTH", token=TOKEN)
    assert stranger.ok("COUNT", queue=queue)["count"] == 0


@pytest.mark.own_server
def test_ping_is_allowed_before(stranger: Peer) -> None:
    assert stranger.ok("PING")["pong"] is True


@pytest.mark.own_server
@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], f"{TOKEN},{OTHER_TOKEN}", f" {TOKEN}"])
def test_wrong_token_is_refused(stranger: Peer, token: str) -> None:
    reply = stranger.refusal("AUTH", token=token)
    assert (reply["error"], reply["code"]) == ("Invalid token", "unauthenticated")
    assert stranger.no("STATS") == "Authentication required"
    stranger.ok("AUTH", token=TOKEN)


@pytest.mark.own_server
def test_later_failure_does_not_revoke(stranger: Peer) -> None:
    stranger.ok("AUTH", token=TOKEN)
    assert stranger.no("AUTH", token="wrong") == "Invalid token"
    stranger.ok("STATS")


@pytest.mark.own_server
def test_five_wrong_tokens_close(stranger: Peer) -> None:
    for _ in range(5):
        stranger.send("AUTH", token="wrong")
    assert [stranger.read()["error"] for _ in range(4)] == ["Invalid token"] * 4
    assert stranger.read()["ok"] is False
    assert stranger.closed()


@pytest.mark.own_server
def test_f42_strangers_learn_nothing_from_parse_errors(stranger: Peer) -> None:
    for request in ({"cmd": "NOSUCH"}, {"cmd": "PUSH"}, {"cmd": "PUSH", "queue": 1}, {"cmd": 5}, {}, [1], None):
        stranger.raw(encoded(stranger.codec, request))
        assert stranger.read()["error"] == "Authentication required"


@pytest.mark.own_server
def test_strangers_may_not_send_much(stranger: Peer, guarded: Way) -> None:
    """64 KiB a frame before a token was shown."""
    with guarded.bare() as other:
        try:
            other.send("PUSH", queue=guarded.queue(), data="x" * 200_000)
            reply = other.read()
            assert reply["ok"] is False
            assert other.closed()
        except ConnectionError:
            pass
    stranger.ok("AUTH", token=TOKEN)
