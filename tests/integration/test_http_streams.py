"""Server-sent events: what happens is told to who listens, and to who comes back what it missed."""

import socket
from collections.abc import Iterator

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.live import EventSource
from tests.integration.web import Web
from tests.integration.wire import CODECS, Wire

TOKEN = "correct-horse-battery-staple-0123456789"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True) as one:
        yield one


def _queue(cluster: Cluster, shard: int, name: str) -> str:
    return next(cluster.queues_of(shard, f"{name}-"))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("form", ["/events/{}", "/queues/{}/events", "/api/v1/events/{}"])
def test_a_queues_stream_tells_of_each_of_its_jobs(cluster: Cluster, form: str, codec: str) -> None:
    queue, other = _queue(cluster, 1, f"one-{codec}"), _queue(cluster, 1, "two")
    with EventSource(cluster, form.format(queue)) as stream, Wire(cluster.connect(), codec) as wire:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        stream.opening()
        wire.ok("PUSH", queue=other, data=0)
        job_id = wire.ok("PUSH", queue=queue, data={"a": "é"})["id"]
        wire.ok("PULL", queue=queue, timeout=0)
        wire.ok("ACK", id=job_id, result=[7])
        pushed, active, completed = (stream.event() for _ in range(3))
    assert [e.event for e in (pushed, active, completed)] == ["pushed", "active", "completed"]
    assert set(pushed.data) == {"event_type", "queue", "job_id", "timestamp", "data"}
    assert (pushed.data["event_type"], pushed.data["queue"], pushed.data["job_id"]) == ("pushed", queue, job_id)
    assert (pushed.data["data"], completed.data["data"]) == ({"a": "é"}, [7])
    assert "data" not in active.data
    assert len({e.id for e in (pushed, active, completed)}) == 3


def test_the_stream_of_everything_hears_every_shard_and_only_the_kinds_it_asked_for(cluster: Cluster) -> None:
    with EventSource(cluster, "/events?events=completed,job.failed") as stream, Web(cluster) as web:
        stream.opening()
        ids = []
        for shard in (0, 1):
            queue = _queue(cluster, shard, "all")
            ids.append(web.ok("POST", f"/queues/{queue}/jobs", {"data": shard})["id"])
            web.ok("GET", f"/queues/{queue}/jobs?timeout=0")
            web.ok("POST", f"/jobs/{ids[-1]}/ack", {})
            assert stream.events(1) == [("completed", ids[-1])]


def test_a_jobs_stream_tells_of_this_job_alone(cluster: Cluster) -> None:
    queue = _queue(cluster, 0, "single")
    with Web(cluster) as web:
        job_id = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})["id"]
        with EventSource(cluster, f"/events/job/{job_id}?events=partial,completed") as stream:
            opened = stream.opening()
            web.ok("POST", f"/queues/{queue}/jobs", {"data": 2})
            web.ok("GET", f"/queues/{queue}/jobs?count=2&timeout=0")
            web.ok("POST", f"/jobs/{job_id}/partial", {"data": "x", "index": 0})
            web.ok("POST", f"/jobs/{job_id}/ack", {"result": 3})
            assert stream.events(2) == [("partial", job_id), ("completed", job_id)]
        with EventSource(cluster, f"/events/job/{job_id}", last_event_id=opened) as again:
            assert again.events(3) == [("active", job_id), ("partial", job_id), ("completed", job_id)]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/events/job/1024999", 404), ("/events/job/seven", 400), ("/events/a%20b", 400), ("/events?events=exploded", 400),
     ("/events/%ff", 400), ("/events/a/b", 404), ("/queues/q/events?events=pushed,nothing", 400)],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_a_stream_of_nothing_is_refused(cluster: Cluster, prefix: str, path: str, status: int) -> None:
    with Web(cluster) as web:
        answer = web.ask("GET", prefix + path)
        assert answer.status == status, answer
        if prefix:
            assert answer.json()["ok"] is False
        assert web.ask("POST", "/events").status == 405
        assert web.ask("HEAD", "/events").headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("everything", [False, True])
def test_who_comes_back_is_told_once_what_it_missed(cluster: Cluster, everything: bool) -> None:
    queues = [_queue(cluster, shard, f"back{everything}") for shard in (0, 1)]
    path = "/events?events=pushed" if everything else f"/events/{queues[0]}?events=pushed"
    mine = queues if everything else queues[:1]
    with Web(cluster) as web:

        def push(n: int) -> list[tuple[str, int]]:
            return [
                ("pushed", i) for queue in mine
                for i in web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": "x" * 9_000}] * n})
            ]  # fmt: skip

        with EventSource(cluster, path) as first:
            first.opening()
            seen = push(2)
            got = [first.event() for _ in seen]
            assert sorted((e.event, e.data["job_id"]) for e in got) == sorted(seen)
            last = got[-1].id
        missed = push(150)
        with EventSource(cluster, path, last_event_id=last) as second:
            told = second.events(len(missed))
            later = push(1)
            told += second.events(len(later))
        assert sorted(told) == sorted(missed + later)
        assert len(set(told)) == len(told)


def test_who_was_away_too_long_is_told_that_it_missed_something(cluster: Cluster) -> None:
    queue = _queue(cluster, 0, "long")
    with Web(cluster) as web, EventSource(cluster, f"/events/{queue}?events=pushed") as first:
        opened = first.opening()
        for _ in range(5):
            web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": 1}] * 1_000})
        with EventSource(cluster, f"/events/{queue}?events=pushed", last_event_id=opened) as second:
            lagged = second.event()
            assert (lagged.event, lagged.data) == ("lagged", {"event_type": "lagged", "missed": None})
            assert [second.event().event for _ in range(100)] == ["pushed"] * 100
        for nonsense in ("7", f"{opened}x", "0-1-1", opened.replace("-", "--")):
            with EventSource(cluster, f"/events/{queue}", last_event_id=nonsense) as third:
                assert third.event().event == "lagged"


def test_a_slow_listener_is_told_how_many_it_missed_and_holds_up_nobody(cluster: Cluster) -> None:
    queue = _queue(cluster, 1, "slow")
    with EventSource(cluster, f"/events/{queue}?events=pushed") as slow, Web(cluster) as web:
        slow.opening()
        with EventSource(cluster, f"/events/{queue}?events=pushed") as quick:
            quick.opening()
            n = 0
            for _ in range(60):
                n += len(web.ok("POST", f"/queues/{queue}/jobs/batch", {"jobs": [{"data": "x" * 100_000}] * 5}))
                assert [e for e, _ in quick.events(5)] == ["pushed"] * 5
        seen = missed = 0
        while seen + missed < n:
            event = slow.event()
            if event.event == "lagged":
                assert event.id == ""
                missed += event.data["missed"]
            else:
                seen += 1
        assert missed > 0
        assert seen + missed == n
        web.ok("DELETE", f"/queues/{queue}/obliterate")


def test_a_client_that_sends_nothing_more_or_asks_something_else_is_let_go(cluster: Cluster) -> None:
    queue = _queue(cluster, 0, "leave")
    with EventSource(cluster, f"/events/{queue}") as stream:
        stream.opening()
        stream.sock.shutdown(socket.SHUT_WR)
        with pytest.raises((EOFError, ConnectionError)):
            stream.event()
    with EventSource(cluster, f"/events/{queue}") as stream:
        stream.opening()
        stream.sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert stream.record() is None, "a request behind a stream ends it, or would never be answered"


def test_a_shard_that_was_killed_goes_on_telling_and_says_that_something_may_be_missing() -> None:
    with Cluster(shards=2, durability="commit", http=True) as cluster, Web(cluster) as web:
        queue = _queue(cluster, 1, "killed")
        with EventSource(cluster, f"/events/{queue}?events=pushed") as stream:
            opened = stream.opening()
            cluster.wait_serving("shard-01", other_than=cluster.kill("shard-01"))
            assert stream.event().event == "lagged"
            job_id = web.ok("POST", f"/queues/{queue}/jobs", {"data": 1})["id"]
            assert stream.events(1) == [("pushed", job_id)]
        with EventSource(cluster, f"/events/{queue}?events=pushed", last_event_id=opened) as again:
            assert again.event().event == "lagged"
            assert again.events(1) == [("pushed", job_id)]


def test_a_stop_ends_a_stream_in_order_after_what_was_told() -> None:
    with (
        Cluster(shards=2, durability="commit", http=True) as cluster,
        Web(cluster) as web,
        EventSource(cluster, "/events") as stream,
    ):
        stream.opening()
        job_id = web.ok("POST", "/queues/q/jobs", {"data": 1})["id"]
        assert stream.events(1) == [("pushed", job_id)]
        assert cluster.stop() == 0
        assert stream.record() is None


def test_a_token_is_shown_by_header_or_in_the_address() -> None:
    settings = {"AUTH_TOKENS": TOKEN}
    with Cluster(shards=1, durability="commit", http=True, settings=settings) as cluster:
        for path in ("/events", "/events/q", "/queues/q/events", "/events/job/1", "/events/a%20b"):
            for query, headers in [("", {}), ("?token=no", {}), ("", {"authorization": "Bearer no"}),
                                   (f"?token={TOKEN}", {"authorization": "Bearer no"})]:  # fmt: skip
                with EventSource(cluster, path + query, **headers) as stream:
                    assert stream.status == 401
                    assert stream.headers["www-authenticate"] == "Bearer"
        with EventSource(cluster, f"/events/q?token={TOKEN}") as one:
            one.opening()
            with EventSource(cluster, "/events/q", authorization=f"Bearer {TOKEN}") as two, Web(cluster, TOKEN) as web:
                two.opening()
                job_id = web.ok("POST", "/queues/q/jobs", {"data": 1})["id"]
                assert one.events(1) == two.events(1) == [("pushed", job_id)]
        assert TOKEN not in cluster.output()
