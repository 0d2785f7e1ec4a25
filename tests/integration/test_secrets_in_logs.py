"""Secrets are planted at every door; the log of the whole cluster, at its most talkative, has none of them."""

import contextlib
import signal

import pytest
import websockets.exceptions
from websockets.sync.client import connect

from flashq.access.book import BOOK
from flashq.testing.cluster import Cluster
from tests.integration.access_kit import ROOT, made, shown
from tests.integration.web import Web
from tests.integration.wire import BINARY, CODECS, Wire

WRONG = "a-wrong-token-that-somebody-typed"


@pytest.mark.parametrize("form", ["console", "json"])
def test_planted_secrets_are_in_no_line_of_the_log(form: str) -> None:
    settings = {"AUTH_TOKENS": ROOT, "FLASHQ_LOG_LEVEL": "debug", "FLASHQ_LOG_FORMAT": form}
    with Cluster(shards=2, durability="commit", http=True, settings=settings) as cluster:
        named = made(cluster, "ci", role="viewer")
        for token in (ROOT, named, WRONG):
            for codec in CODECS:
                with Wire(cluster.connect(), codec) as wire:
                    wire.ask("AUTH", token=token)
                    wire.ask("PUSH", queue="q", data={"token": token}, nonsense=token)
                    wire.frame(token.encode())
                    wire.read()
            with Web(cluster, token) as web:
                web.ask("GET", f"/queues?token={token}")
                web.ask("POST", "/api/command", f'{{"cmd":"AUTH","token":"{token}"'.encode())
                web.ask("GET", f"/nothing/{token}")
            with Web(cluster) as web:
                web.send("GET", f"/events/q?token={token}")
                web.http.getresponse()
            with (
                contextlib.suppress(websockets.exceptions.WebSocketException),
                connect(f"ws://127.0.0.1:{cluster.http_port}/ws?token={token}"),
            ):
                pass
        with Web(cluster, ROOT) as root:
            rotated = root.ok("POST", "/tokens/ci/rotate", {"grace_ms": 1000})["secret"]
        with shown(cluster, rotated, BINARY) as wire:
            wire.ok("COUNT", queue="q")
        (cluster.data / "tokens" / BOOK).write_text(f'{{"version":1,"serial":"{rotated}"}}')
        cluster.kill("http-0", signal.SIGHUP)  # ignored: only the supervisor's counts
        cluster.kill("supervisor", signal.SIGHUP)
        cluster.wait_output("tokens stay as they were")
        cluster.stop()
        said = cluster.output()
    assert "a token was refused" in said
    for secret in (ROOT, named, rotated, WRONG):
        assert secret not in said
