"""TLS on TCP and HTTP: who gets in, who does not, and certificates that are changed while clients are there."""

import http.client
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from flashq import SyncClient
from flashq.errors import FlashqError
from flashq.testing.cluster import Cluster
from tests.integration.access_kit import ROOT
from tests.integration.wire import BINARY, CODECS, TEXT, Wire

OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]


class Papers:
    """An authority, the server's certificate, and a client's."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.cert, self.key, self.authority = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        self.client = folder / "client.pem"
        self.ca.cert_pem.write_to_path(str(self.authority))
        self.ca.issue_cert("worker@example.org").private_key_and_cert_chain_pem.write_to_path(str(self.client))
        self.issue()

    def issue(self) -> None:
        """A certificate anew."""
        cert = self.ca.issue_cert("127.0.0.1", "localhost")
        cert.private_key_pem.write_to_path(str(self.key))
        cert.cert_chain_pems[0].write_to_path(str(self.cert))

    def settings(self) -> dict[str, str]:
        return {"FLASHQ_TLS_CERT": str(self.cert), "FLASHQ_TLS_KEY": str(self.key), "AUTH_TOKENS": ROOT}

    def context(self, *, certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        if certificate:
            context.load_cert_chain(self.client)
        return context


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def cluster(papers: Papers) -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, unix=True, settings=papers.settings()) as one:
        yield one


def sealed(cluster: Cluster, context: ssl.SSLContext, port: int = 0) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port or cluster.port), 10)
    try:
        return context.wrap_socket(sock, server_hostname="127.0.0.1")
    except BaseException:
        sock.close()
        raise


@pytest.mark.parametrize("codec", CODECS)
def test_everything_goes_over_tls_to_every_shard(cluster: Cluster, papers: Papers, codec: str) -> None:
    """Also what would have wandered: hundreds of requests for one shard, and frames of megabytes."""
    with Wire(sealed(cluster, papers.context()), codec) as wire:
        assert wire.refused("STATS")["code"] == "unauthenticated"
        wire.ok("AUTH", token=ROOT)
        for shard in (0, 1):
            queue = next(cluster.queues_of(shard, f"tls{codec}"))
            ids = [wire.ok("PUSH", queue=queue, data=n)["id"] for n in range(200)]
            assert wire.ok("COUNT", queue=queue)["count"] == 200
            job = wire.ok("PULL", queue=queue, timeout=0)["job"]
            assert job["id"] == ids[0]
            wire.ok("ACK", id=job["id"], lease=job["lease"])
            big = wire.ok("PUSH", queue=queue, data="x" * 5_000_000)["id"]
            assert wire.ok("GETJOB", id=big)["job"]["data"] == "x" * 5_000_000
        wire.ok("SUBSCRIBE", queue=queue)
        wire.send("PUSH", queue=queue, data=1)
        assert {"event" in wire.read(), "event" in wire.read()} == {True, False}


def test_five_wrong_tokens_are_answered_and_close_it(cluster: Cluster, papers: Papers) -> None:
    with Wire(sealed(cluster, papers.context())) as wire:
        for _ in range(5):
            assert wire.refused("AUTH", token="the same wrong one")["error"] == "Invalid token"
        assert wire.closed()


def test_http_speaks_tls_too(cluster: Cluster, papers: Papers) -> None:
    web = http.client.HTTPSConnection("127.0.0.1", cluster.http_port, timeout=10, context=papers.context())
    for _ in range(2):
        web.request("GET", "/queues", headers={"authorization": f"Bearer {ROOT}"})
        answer = web.getresponse()
        assert (answer.status, json.loads(answer.read())["ok"]) == (200, True)
    web.close()


def test_unix_socket_stays_as_it_is(cluster: Cluster) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(cluster.unix_path))
    with Wire(sock) as wire:
        wire.ok("AUTH", token=ROOT)


@pytest.mark.parametrize("door", ["tcp", "http"])
@pytest.mark.parametrize("version", OLD, ids=lambda version: version.name)
def test_old_protocols_are_refused(cluster: Cluster, papers: Papers, door: str, version: ssl.TLSVersion) -> None:
    """By a client that would speak nothing else, and is willing to take weak ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(papers.authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    port = cluster.http_port if door == "http" else cluster.port
    sealed(cluster, context, port).close()  # so that it is the version alone that is in the way
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        sealed(cluster, context, port)
    if door == "tcp":
        cluster.wait_output("UNSUPPORTED_PROTOCOL")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_new_protocols_are_spoken(cluster: Cluster, papers: Papers, version: ssl.TLSVersion) -> None:
    context = papers.context()
    context.minimum_version = context.maximum_version = version
    with Wire(sealed(cluster, context)) as wire:
        wire.ok("AUTH", token=ROOT)


@pytest.mark.parametrize("door", ["tcp", "http"])
@pytest.mark.parametrize(
    "said", [b'{"cmd":"PING"}\n', b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n", b"\x16\x03\x01\xff\xff"]
)
def test_whoever_does_not_speak_it_gets_no_word(cluster: Cluster, door: str, said: bytes) -> None:
    port = cluster.http_port if door == "http" else cluster.port
    with socket.create_connection(("127.0.0.1", port), 15) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while part := client.recv(4096):
                got += part
        except ConnectionResetError:
            got += b""
    # An alert of TLS at most: record type 21.
    assert not got or got[0] == 21


def test_half_open_handshakes_end_in_their_time_and_hold_up_nobody(cluster: Cluster, papers: Papers) -> None:
    idle = [socket.create_connection(("127.0.0.1", cluster.port), 15) for _ in range(50)]
    for sock in idle[::2]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a hello
    started = time.monotonic()
    with Wire(sealed(cluster, papers.context())) as wire:
        wire.ok("AUTH", token=ROOT)
    assert time.monotonic() - started < 4
    for sock in idle:
        try:
            assert sock.recv(4096)[:1] in (b"", b"\x15")
        except ConnectionResetError:
            assert time.monotonic() - started >= 4
        sock.close()
    assert 4 <= time.monotonic() - started < 14


def test_certificate_is_changed_while_clients_are_there(papers: Papers) -> None:
    with Cluster(shards=2, durability="memory", http=True, settings=papers.settings()) as cluster:
        with Wire(sealed(cluster, papers.context())) as wire:
            wire.ok("AUTH", token=ROOT)
            first = {port: _certificate(cluster, papers, port) for port in (cluster.port, cluster.http_port)}
            papers.issue()
            os.kill(cluster.pids()["supervisor"], signal.SIGHUP)
            for port, before in first.items():
                cluster.wait_until(
                    lambda port=port, before=before: _certificate(cluster, papers, port) != before,  # type: ignore[misc]
                    "the new certificate",
                )
            wire.ok("PUSH", queue="q", data=1)
            papers.cert.write_text("no certificate")
            os.kill(cluster.pids()["supervisor"], signal.SIGHUP)
            cluster.wait_output("certificates stay as they were")
            assert _certificate(cluster, papers, cluster.port)
            wire.ok("PUSH", queue="q", data=2)
        papers.issue()


def _certificate(cluster: Cluster, papers: Papers, port: int) -> bytes:
    with sealed(cluster, papers.context(), port) as sock:
        return sock.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("codec", [TEXT, BINARY])
def test_client_certificate_is_asked_for_where_that_is_wanted(papers: Papers, codec: str) -> None:
    settings = papers.settings() | {"FLASHQ_TLS_CLIENT_CA": str(papers.authority)}
    with Cluster(shards=1, durability="memory", http=True, settings=settings) as cluster:
        with Wire(sealed(cluster, papers.context(certificate=True)), codec) as wire:
            wire.ok("AUTH", token=ROOT)
        other = trustme.CA().issue_cert("worker@example.org")
        stranger = papers.context()
        other.configure_cert(stranger)
        for context in (papers.context(), stranger):
            for port in (cluster.port, cluster.http_port):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    _asked(cluster, context, port)


def _asked(cluster: Cluster, context: ssl.SSLContext, port: int) -> bytes:
    """With TLS 1.3 a client learns of its refusal only when it reads."""
    with sealed(cluster, context, port) as sock:
        sock.sendall(b'{"cmd":"PING"}\n')
        if not (said := sock.recv(100)):
            raise ConnectionError
        return said


def test_own_client_speaks_it(cluster: Cluster, papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHQ_CA", str(papers.authority))
    with SyncClient(f"flashqs://127.0.0.1:{cluster.port}", token=ROOT) as client:
        client.push("own", {"a": 1})
        assert client.count("own") == 1
    monkeypatch.delenv("FLASHQ_CA")
    with pytest.raises(FlashqError, match=r"self-signed|unable to get"):  # noqa: SIM117
        with SyncClient(f"flashqs://127.0.0.1:{cluster.port}", token=ROOT) as client:
            client.ping()
