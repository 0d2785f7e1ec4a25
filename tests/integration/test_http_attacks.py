"""What a stranger may cost: slow heads, half bodies, floods of headers, odd framing. Others are served meanwhile."""

import socket
from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.web import Web, raw_connection


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, settings={"FLASHQ_PREAUTH_TIMEOUT_MS": "300"}) as one:
        yield one


def to_the_end(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    seen = b""
    try:
        while data := client.recv(65536):
            seen += data
    except ConnectionResetError:
        return seen
    return seen


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET /health HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: "], ids=len
)
def test_head_that_does_not_come_is_not_waited_for(cluster: Cluster, sent: bytes) -> None:
    clients = [raw_connection(cluster) for _ in range(20)]
    for client in clients:
        client.sendall(sent)
    with Web(cluster) as web:
        assert web.ok("GET", "/ready")["ready"] is True
    for client in clients:
        assert to_the_end(client).startswith(b"HTTP/1.1 408 ")
        client.close()


def test_body_that_stops_coming_is_not_waited_for(cluster: Cluster) -> None:
    with raw_connection(cluster) as client:
        client.sendall(
            b"POST /queues/slow/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b'content-length: 1000\r\n\r\n{"data":'
        )
        assert to_the_end(client).startswith(b"HTTP/1.1 408 ")
    with Web(cluster) as web:
        assert web.ok("GET", "/queues/slow/count") == 0


def test_kept_connection_may_be_silent_for_longer_than_a_head(cluster: Cluster) -> None:
    with Web(cluster) as web:
        web.ok("GET", "/health")
        with raw_connection(cluster) as slow:
            assert to_the_end(slow).startswith(b"HTTP/1.1 408 ")  # so long has the other been silent
        assert web.ok("GET", "/ready")["ready"] is True


def test_flood_of_headers_is_refused(cluster: Cluster) -> None:
    with raw_connection(cluster) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n")
        try:
            for n in range(40_000):
                client.sendall(b"x-%d: %b\r\n" % (n, b"y" * 100))
        except (BrokenPipeError, ConnectionResetError):
            pass
        seen = to_the_end(client)
    assert seen == b"" or seen.startswith(b"HTTP/1.1 431 ")
    with Web(cluster) as web:
        assert web.ok("GET", "/ready")["ready"] is True


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GARBAGE\r\n\r\n",
        b"GET /health HTTP/9.9\r\nhost: x\r\n\r\n",
        b"POST /queues/q/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
        b"POST /queues/q/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{}",
        b"POST /queues/q/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"POST /queues/q/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n{}",
        b'{"cmd":"PUSH","queue":"q","data":1}\n',
    ],
    ids=["tls", "garbage", "version", "two-lengths", "negative", "chunk-size", "two-framings", "tcp"],
)
def test_what_is_no_http_is_answered_400_and_closed(cluster: Cluster, sent: bytes) -> None:
    """Two framings of one body are how requests are smuggled past a proxy."""
    with raw_connection(cluster) as client:
        client.sendall(sent)
        assert to_the_end(client).startswith(b"HTTP/1.1 4")
    with Web(cluster) as web:
        assert web.ok("GET", "/queues/q/count") == 0


@pytest.mark.parametrize(
    "path",
    ["/queues/..%2f..%2fetc%2fpasswd/jobs", "/queues/%00/jobs", "/queues/%ff/count", "/queues/a;b/jobs",
     "/docs/..%2fapp.py", "/docs/../app.py", "//queues//q//jobs", "/queues/%F0%9F%98%80/jobs"],
)  # fmt: skip
def test_odd_paths_reach_no_queue_and_no_file(cluster: Cluster, path: str) -> None:
    with Web(cluster) as web:
        answer = web.ask("POST", path, {"data": 1})
        assert answer.status in (400, 404, 405) or answer.json()["ok"] is False, (path, answer)
        assert web.ask("GET", path).status in (200, 400, 404, 405)
        assert b"import" not in web.ask("GET", path.replace("/jobs", "/count")).body


@pytest.mark.parametrize("count", [10**18, 2**63, 10**30])
def test_huge_count_gets_what_there_is_or_is_refused(cluster: Cluster, count: int) -> None:
    with Web(cluster) as web:
        answer = web.ask("GET", f"/queues/huge/jobs?count={count}&timeout=0")
        assert (answer.status, answer.body[:6]) in ((200, b'{"ok":'), (400, b"Invali"))
        assert web.ok("GET", "/ready")["ready"] is True


def test_deep_nesting_is_refused(cluster: Cluster) -> None:
    with Web(cluster) as web:
        for depth in (2_000, 200_000):
            for path in ("/queues/deep/jobs", "/api/command", "/workers/w/heartbeat"):
                body = b'{"cmd":"PUSH","queue":"deep","queues":[],"data":' + b"[" * depth + b"]" * depth + b"}"
                assert web.ask("POST", path, body).status in (200, 400, 422)
        assert web.ok("GET", "/queues/deep/count") == 0
