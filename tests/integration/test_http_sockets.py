"""WebSockets: events as messages, the dashboard's snapshots, and who may listen."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from flashq.testing.cluster import Cluster
from tests.integration.web import Web
from tests.integration.wire import CODECS, Wire

TOKEN = "correct-horse-battery-staple-0123456789"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, settings={"DASHBOARD_INTERVAL_MS": "200"}) as one:
        yield one


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    settings = {"AUTH_TOKENS": TOKEN, "CORS_ALLOW_ORIGIN": "https://a.example", "FLASHQ_PREAUTH_TIMEOUT_MS": "1000"}
    with Cluster(shards=1, durability="commit", http=True, settings=settings) as one:
        yield one


def ws(cluster: Cluster, path: str, **more: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{cluster.http_port}{path}", proxy=None, max_size=None, **more)


def read(socket: ClientConnection, n: int = 1) -> list[dict[str, Any]]:
    found = []
    for _ in range(n):
        message = socket.recv(timeout=15)
        assert isinstance(message, str)
        found.append(json.loads(message))
    return found


def told(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(e["event_type"], e["job_id"]) for e in events]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_messages_are_the_events_of_a_queue_or_of_all(cluster: Cluster, prefix: str, codec: str) -> None:
    queue = next(cluster.queues_of(1, f"ws{codec}"))
    with (
        ws(cluster, f"{prefix}/ws/{queue}") as one,
        ws(cluster, f"{prefix}/ws?events=pushed,completed") as all_,
        Wire(cluster.connect(), codec) as wire,
    ):
        one.send("whatever")
        one.send(b"\x00")
        job_id = wire.ok("PUSH", queue=queue, data={"a": 1})["id"]
        wire.ok("PULL", queue=queue, timeout=0)
        wire.ok("ACK", id=job_id)
        events = read(one, 3)
        assert told(events) == [("pushed", job_id), ("active", job_id), ("completed", job_id)]
        assert (events[0]["queue"], events[0]["data"]) == (queue, {"a": 1})
        assert told(read(all_, 2)) == [("pushed", job_id), ("completed", job_id)]


@pytest.mark.parametrize(
    ("path", "status"), [("/ws?events=exploded", 400), ("/ws/a%20b", 400), ("/wsx", 404), ("/queues", 404)]
)
def test_a_socket_to_nothing_is_refused_before_it_is_one(cluster: Cluster, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        ws(cluster, path)
    assert refused.value.response.status_code == status


def test_the_dashboard_is_sent_at_once_and_again(cluster: Cluster) -> None:
    with Web(cluster) as web, ws(cluster, "/ws/dashboard") as board, ws(cluster, "/api/v1/ws/dashboard") as other:
        first = read(board)[0]
        assert set(first) == {
            "stats", "metrics", "queues", "workers", "crons", "metrics_history", "system_metrics", "sqlite_stats",
            "timestamp",
        }  # fmt: skip
        assert first["sqlite_stats"] is None
        web.ok("POST", "/crons/nightly", {"queue": "board", "data": 1, "schedule": "0 7 * * *"})
        web.ok("POST", "/workers/w1/heartbeat", {"queues": ["board"]})
        web.ok("POST", "/queues/board/jobs", {"data": 1})
        while True:
            later = read(board)[0]
            assert later["timestamp"] > first["timestamp"]
            if later["crons"] and later["workers"] and [q for q in later["queues"] if q["name"] == "board"]:
                break
        assert later["crons"][0]["name"] == "nightly"
        assert later["workers"][0]["id"] == "w1"
        assert set(later["stats"]) == {"queued", "processing", "delayed", "dlq", "completed"}
        assert later["metrics"]["total_pushed"] >= 1
        assert later["system_metrics"]["memory_rss_mb"] > 0
        assert read(other)[0]["sqlite_stats"] is None


def test_a_slow_socket_is_told_how_many_it_missed(cluster: Cluster) -> None:
    with ws(cluster, "/ws/slow?events=pushed", max_queue=1) as slow, Web(cluster) as web:
        n = 0
        for _ in range(60):
            n += len(web.ok("POST", "/queues/slow/jobs/batch", {"jobs": [{"data": "x" * 100_000}] * 5}))
        seen = missed = 0
        while seen + missed < n:
            event = read(slow)[0]
            if event["event_type"] == "lagged":
                missed += event["missed"]
            else:
                seen += 1
        assert missed > 0
        assert seen + missed == n
        web.ok("DELETE", "/queues/slow/obliterate")


def test_a_stop_closes_sockets_as_a_restart() -> None:
    with (
        Cluster(shards=1, durability="commit", http=True) as cluster,
        ws(cluster, "/ws") as one,
        ws(cluster, "/ws/dashboard") as board,
    ):
        read(board)
        assert cluster.stop() == 0
        for socket in (one, board):
            with pytest.raises(ConnectionClosed) as closed:
                read(socket, 1_000)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012


@pytest.mark.parametrize("path", ["/ws", "/ws/q", "/ws/dashboard", "/ws/a%20b", "/nothing"])
def test_a_wrong_token_is_refused_before_the_socket_is_one(guarded: Cluster, path: str) -> None:
    for query, header in [("?token=no", None), ("", "Bearer no"), (f"?token={TOKEN}", "Bearer no"), ("?token=", None)]:
        with pytest.raises(InvalidStatus) as refused:
            ws(guarded, path + query, additional_headers={"authorization": header} if header else None)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in guarded.output()


def test_a_token_comes_by_header_by_address_or_as_first_message(guarded: Cluster) -> None:
    with (
        ws(guarded, "/ws/q", additional_headers={"authorization": f"Bearer {TOKEN}"}) as header,
        ws(guarded, f"/ws/q?token={TOKEN}") as address,
        ws(guarded, "/ws/q") as message,
        ws(guarded, "/ws/dashboard") as board,
        Web(guarded, TOKEN) as web,
    ):
        for one in (message, board):
            one.send(json.dumps({"type": "auth", "token": TOKEN}))
        assert read(board)[0]["sqlite_stats"] is None
        heard: list[tuple[str, int]] = []
        while not heard:  # nobody says when the message was heard: from some push on it is
            job_id = web.ok("POST", "/queues/q/jobs", {"data": 1})["id"]
            assert told(read(header)) == told(read(address)) == [("pushed", job_id)]
            try:
                heard = told([json.loads(message.recv(timeout=0.2))])
            except TimeoutError:
                continue
        assert heard == [("pushed", job_id)]


@pytest.mark.parametrize(
    "first", ['{"type":"auth","token":"no"}', '{"type":"auth"}', "no JSON", b"\xff", f'{{"token":"{TOKEN}"}}', None]
)
def test_a_first_message_that_shows_no_token_closes(guarded: Cluster, first: str | bytes | None) -> None:
    with ws(guarded, "/ws") as one:
        if first is not None:
            one.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_a_page_of_another_origin_gets_no_socket(guarded: Cluster) -> None:
    path = f"/ws/q?token={TOKEN}"
    with pytest.raises(InvalidStatus) as refused:
        ws(guarded, path, origin="https://evil.example")
    assert refused.value.response.status_code == 403
    for origin in ("https://a.example", f"http://127.0.0.1:{guarded.http_port}"):
        with ws(guarded, path, origin=origin) as one:
            one.ping().wait(5)
