"""Named tokens on a running cluster: made, rotated, revoked, at their end; and what guessing brings."""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator

import pytest
import websockets.exceptions
from websockets.sync.client import connect

from flashq.access.book import TokenBook
from flashq.testing.cluster import Cluster, flashq_command
from tests.integration.access_kit import ROOT, made, shown
from tests.integration.web import Web
from tests.integration.wire import BINARY, CODECS, Wire


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, settings={"AUTH_TOKENS": ROOT}) as one:
        yield one


def flashq(cluster: Cluster, *words: str) -> str:
    """`flashq auth …` on the cluster's data folder."""
    done = subprocess.run(
        [*flashq_command(), "auth", *words, "--data", str(cluster.data)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("codec", CODECS)
def test_revoked_token_cuts_what_is_open_by_it(cluster: Cluster, codec: str) -> None:
    """A pull that waits, a subscription, a stream, a WebSocket and a long poll end at once, each with a word."""
    secret = flashq(cluster, "create", "ci", "--role", "operator")
    with (
        shown(cluster, secret, codec) as puller, shown(cluster, secret, codec) as listener,
        Web(cluster, secret) as stream, Web(cluster, secret) as poll, shown(cluster, ROOT) as root,
        connect(f"ws://127.0.0.1:{cluster.http_port}/ws?token={secret}") as socket,
    ):  # fmt: skip
        for wire in (puller, listener):
            for _ in range(100):  # so that it lives at its shard
                wire.ok("COUNT", queue="q")
        puller.send("PULL", queue="q", timeout=60_000)
        listener.ok("SUBSCRIBE", queue="q")
        stream.send("GET", "/events/q")
        events = stream.http.getresponse()
        poll.send("GET", "/queues/q/jobs")
        root.ok("PING")
        flashq(cluster, "revoke", "ci")
        for wire in (puller, listener):
            reply = wire.read()
            assert (reply["code"], reply["error"]) == (
                "unauthenticated", "Authentication required: the token is not valid any more",
            )  # fmt: skip
            assert wire.closed()
        with pytest.raises(http.client.IncompleteRead) as cut:
            events.read()
        assert b"event:" not in cut.value.partial
        with pytest.raises((ConnectionError, OSError, EOFError)):
            poll.read()
        with pytest.raises(websockets.exceptions.ConnectionClosedError):
            socket.recv(timeout=10)
        pushed = root.ok("PUSH", queue="q", data=1)["id"]
        assert root.ok("PULL", queue="q", timeout=0)["job"]["id"] == pushed, "no job went to a dead token"
    with Wire(cluster.connect(), codec) as wire:
        assert wire.refused("AUTH", token=secret)["error"] == "Invalid token"


def test_revoked_token_opens_nothing_from_the_answer_on(cluster: Cluster) -> None:
    """Not a moment later: the next request of whoever holds a connection is refused, in every process."""
    for n in range(5):
        secret = made(cluster, f"t{n}", role="operator")
        with shown(cluster, secret) as wire, Web(cluster, secret) as web, Web(cluster, ROOT) as root:
            queue = next(cluster.queues_of(n % 2))
            for _ in range(100):
                wire.ok("COUNT", queue=queue)
            assert web.ok("GET", f"/queues/{queue}/count") == 0
            root.ok("DELETE", f"/api/v1/tokens/t{n}")
            assert wire.refused("COUNT", queue=queue)["code"] == "unauthenticated"
            assert web.ask("GET", f"/queues/{queue}/count").status == 401


def test_token_ends_at_its_time_on_live_connections_too(cluster: Cluster) -> None:
    secret = made(cluster, "short", role="operator", expires_in_ms=1_500)
    with shown(cluster, secret) as wire:
        wire.send("PULL", queue="q", timeout=60_000)
        started = time.monotonic()
        assert wire.read()["code"] == "unauthenticated"
        assert time.monotonic() - started < 10
        assert wire.closed()
    with Web(cluster, ROOT) as root:
        (token,) = root.ok("GET", "/api/v1/tokens")
    assert (token["name"], token["state"]) == ("short", "expired")


def test_rotation_keeps_connections_and_ends_the_old_secret_after_its_grace(cluster: Cluster) -> None:
    old = made(cluster, "ci", role="operator")
    with shown(cluster, old, BINARY) as wire, Web(cluster, ROOT) as root:
        new = root.ok("POST", "/api/v1/tokens/ci/rotate", {"grace_ms": 3_600_000})["secret"]
        for secret in (old, new):
            with shown(cluster, secret) as another:
                another.ok("PUSH", queue="q", data=1)
        newest = root.ok("POST", "/tokens/ci/rotate")["secret"]
        wire.ok("PUSH", queue="q", data=1)
        with Web(cluster, new) as web:
            assert web.ask("GET", "/queues").status == 401
        with Web(cluster, newest) as web:
            web.ok("GET", "/queues")


def test_tokens_survive_kill_of_everything(cluster: Cluster) -> None:
    secret = made(cluster, "ci", scopes=["push:mail"])
    cluster.kill_all()
    cluster.restart()
    with shown(cluster, secret) as wire:
        wire.ok("PUSH", queue="mail", data=1)
        assert wire.refused("PUSH", queue="post", data=1)["code"] == "forbidden"


def test_listing_shows_no_secret_and_when_a_token_was_shown(cluster: Cluster) -> None:
    secret = made(cluster, "ci", role="viewer", queues=["mail-*"])
    before = json.loads(flashq(cluster, "list", "--json"))
    with shown(cluster, secret):
        after = json.loads(flashq(cluster, "list", "--json"))
    assert before[0]["last_used_at"] is None
    assert abs(after[0]["last_used_at"] / 1_000 - time.time()) < 60
    assert after[0]["scopes"] == ["read:mail-*", "kv_read:mail-*"]
    assert secret not in str(after)
    assert secret not in flashq(cluster, "list")
    assert secret not in cluster.output()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422), ({"name": "x"}, 400), ({"name": "x", "role": "root"}, 400), ({"name": 5}, 422),
        ({"name": "x", "scopes": ["fly:*"]}, 400), ({"name": "../x", "role": "viewer"}, 400),
        ({"name": "taken", "role": "viewer"}, 409), ({"name": "x", "role": "viewer", "expires_in_ms": -1}, 400),
    ],
)  # fmt: skip
def test_wrong_token_is_refused(cluster: Cluster, body: object, status: int) -> None:
    made(cluster, "taken", role="viewer")
    with Web(cluster, ROOT) as root:
        assert root.ask("POST", "/api/v1/tokens", body).status == status
        assert root.ask("DELETE", "/api/v1/tokens/nobody").status == 404
        assert [token["name"] for token in root.ok("GET", "/tokens")] == ["taken"]


def test_first_token_closes_the_doors_of_an_open_cluster() -> None:
    with Cluster(shards=2, durability="memory", http=True) as cluster:
        with Wire(cluster.connect()) as before, Web(cluster) as web:
            before.ok("PUSH", queue="q", data=1)
            secret = web.ok("POST", "/tokens", {"name": "first", "role": "admin"})["secret"]
            assert before.read()["code"] == "unauthenticated"
            assert before.closed()
        with Wire(cluster.connect()) as wire, Web(cluster) as web:
            assert wire.refused("COUNT", queue="q")["error"] == "Authentication required"
            assert web.ask("GET", "/queues").status == 401
        with shown(cluster, secret) as wire:
            assert wire.ok("COUNT", queue="q")["count"] == 1
        assert TokenBook(cluster.data).exists


def test_page_of_another_origin_makes_no_token_on_an_open_cluster() -> None:
    with Cluster(shards=1, durability="memory", http=True) as cluster, Web(cluster) as web:
        body = {"name": "evil", "role": "admin"}
        refused = web.refused("POST", "/tokens", body, status=403, origin="https://evil.example")
        assert "may not do this" in refused["error"]
        assert web.ok("GET", "/tokens") == []


@pytest.mark.parametrize("door", ["tcp", "http"])
def test_guessing_is_locked_out_and_holds_up_no_connection(cluster: Cluster, door: str) -> None:
    """Twenty different guesses, then each costs time; what is open goes on."""
    with shown(cluster, ROOT) as honest:
        answers = [_guess(cluster, door, n) for n in range(30)]
        assert answers[0] == ("Invalid", 401)
        assert answers[-1] == ("Too many", 429)
        assert _guess(cluster, door, -1) == ("Too many", 429), "the right one is not looked at either"
        honest.ok("PUSH", queue="q", data=1)
    log = [line for line in cluster.output().splitlines() if "a token was" in line]
    assert len(log) == 31, "one line for each that was refused"
    assert not any("guess-" in line or ROOT in line for line in log)


def _guess(cluster: Cluster, door: str, n: int) -> tuple[str, int]:
    token = f"guess-{n}" if n >= 0 else ROOT
    if door == "http":
        with Web(cluster, token) as web:
            answer = web.ask("GET", "/api/v1/queues")
        return answer.json()["error"][:8].replace("Invalid ", "Invalid").strip(), answer.status
    with Wire(cluster.connect()) as wire:
        reply = wire.refused("AUTH", token=token)
    return ("Too many", 429) if reply["code"] == "unavailable" else (reply["error"][:7], 401)


def test_program_with_an_old_token_locks_nobody_out(cluster: Cluster) -> None:
    for _ in range(40):
        with Web(cluster, "the-same-old-token") as web:
            assert web.ask("GET", "/queues").status == 401
    with Web(cluster, ROOT) as web:
        web.ok("GET", "/queues")


def test_half_open_stranger_is_cut_in_his_time(cluster: Cluster) -> None:
    """A stranger who has said something, be it a PING, still has to show a token."""
    with Cluster(
        shards=1, durability="memory", settings={"AUTH_TOKENS": ROOT, "FLASHQ_PREAUTH_TIMEOUT_MS": "300"}
    ) as quick, Wire(quick.connect()) as wire, shown(quick, ROOT) as honest:  # fmt: skip
        wire.ok("PING")
        assert wire.read()["code"] == "unauthenticated"
        assert wire.closed()
        honest.ok("PING")


def test_another_token_on_a_connection_ends_what_the_first_had_begun(cluster: Cluster) -> None:
    first, second = made(cluster, "a", role="viewer"), made(cluster, "b", scopes=["push:mail"])
    with shown(cluster, first) as wire, shown(cluster, ROOT) as root:
        wire.ok("SUBSCRIBE", queue="q")
        wire.ok("AUTH", token=second)
        root.ok("PUSH", queue="q", data=1)
        assert wire.ok("PING")["pong"] is True, "no event came before it"
        assert wire.refused("COUNT", queue="q")["code"] == "forbidden"
