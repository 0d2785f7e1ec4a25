"""Webhooks against a real receiver: what happens is told, signed, in order, and whoever is killed meanwhile."""

import hashlib
import hmac
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from flashq.testing.cluster import Cluster
from tests.integration.receiver import Got, Receiver
from tests.integration.web import Web
from tests.integration.wire import Wire

SETTINGS = {
    "FLASHQ_WEBHOOK_ALLOW": "127.0.0.0/8", "FLASHQ_WEBHOOK_RETRY_MS": "50", "FLASHQ_WEBHOOK_RETRY_MAX_MS": "200",
    "FLASHQ_WEBHOOK_GIVE_UP_MS": "1500", "FLASHQ_WEBHOOK_BREAKER_MS": "200",
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(shards=2, durability="commit", http=True, settings=SETTINGS) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster) as one:
        for hook in one.ok("GET", "/webhooks"):
            one.ok("DELETE", f"/webhooks/{hook['id']}")
        yield one


def _hook(web: Web, receiver: Receiver, *events: str, **more: Any) -> str:
    found: str = web.ok("POST", "/webhooks", {"url": receiver.url, "events": list(events or ("*",)), **more})
    return found


def _finish(web: Web, queue: str, result: Any = None) -> int:
    job_id: int = web.ok("POST", f"/queues/{queue}/jobs", {"data": {"n": 1}})["id"]
    (job,) = web.ok("GET", f"/queues/{queue}/jobs?timeout=5000")
    assert job["id"] == job_id
    web.ok("POST", f"/jobs/{job_id}/ack", {"result": result})
    return job_id


def test_job_is_told_of_from_push_to_end_on_every_shard(cluster: Cluster, web: Web) -> None:
    """The first push after the webhook was made is told of, whatever shard its queue is on."""
    with Receiver() as receiver:
        _hook(web, receiver)
        for shard in range(2):
            queue = next(cluster.queues_of(shard))
            job_id = _finish(web, queue, {"sent": True})
            got = receiver.wait(lambda got, job_id=job_id: sum(one.event["job_id"] == job_id for one in got) == 3)  # type: ignore[misc]
            events = [one.event for one in got if one.event["job_id"] == job_id]
            assert [event["event"] for event in events] == ["pushed", "active", "completed"]
            assert list(events[0]) == ["data", "error", "event", "job_id", "queue", "timestamp"]
            assert [event["data"] for event in events] == [{"n": 1}, None, {"sent": True}]
            assert all(event["queue"] == queue and event["error"] is None for event in events)


def test_only_its_events_and_queue(web: Web) -> None:
    with Receiver() as receiver:
        _hook(web, receiver, "job.completed", queue="only")
        _finish(web, "other")
        _finish(web, "only")
        got = receiver.wait(bool)
        assert [(one.event["event"], one.event["queue"]) for one in got] == [("completed", "only")]


def test_signatures_are_those_of_the_body(web: Web) -> None:
    with Receiver() as receiver:
        _hook(web, receiver, "pushed", secret="geheim-ü")
        web.ok("POST", "/queues/signed/jobs", {"data": 1})
        (one,) = receiver.wait(bool)
        key = "geheim-ü".encode()
        assert one.headers["x-flashq-signature"] == hmac.new(key, one.body, hashlib.sha256).hexdigest()
        at, _, digest = one.headers["x-flashq-signature-timed"].partition(",")
        message = at.removeprefix("t=").encode() + b"." + one.body
        assert digest == "v1=" + hmac.new(key, message, hashlib.sha256).hexdigest()


def test_secret_is_shown_nowhere(cluster: Cluster, web: Web, tmp_path: Any) -> None:
    with Receiver() as receiver:
        _hook(web, receiver, "pushed", secret="planted-secret")
        web.ok("POST", "/queues/hidden/jobs", {"data": 1})
        receiver.wait(bool)
    listed = web.ask("GET", "/webhooks").body + web.ask("GET", "/webhooks/wh_1/deliveries").body
    assert b"planted-secret" not in listed
    assert b'"secret":"********"' in listed
    assert "planted-secret" not in cluster.output()


def test_failed_attempt_is_repeated_under_its_number_and_what_follows_waits(web: Web) -> None:
    answers = iter((500, 503))
    with Receiver(lambda got: next(answers, 200)) as receiver:
        _hook(web, receiver, "pushed", "completed", queue="retried")
        _finish(web, "retried")
        got = receiver.wait(lambda got: len(got) == 4)
        assert [one.event["event"] for one in got] == ["pushed"] * 3 + ["completed"]
        assert len({one.delivery for one in got}) == 2
        assert [one.headers["x-flashq-attempt"] for one in got] == ["1", "2", "3", "1"]


def test_given_up_delivery_is_listed_and_sent_again(cluster: Cluster, web: Web) -> None:
    well = threading.Event()
    with Receiver(lambda got: 200 if well.is_set() else 500) as receiver:
        hook = _hook(web, receiver, "pushed", queue="lost")
        web.ok("POST", "/queues/lost/jobs", {"data": 1})
        listed: list[Any] = []
        cluster.wait_until(
            lambda: bool(listed.extend(web.ok("GET", f"/webhooks/{hook}/deliveries")) or listed), "a failed delivery"
        )
        assert listed[0]["error"] == "HTTP 500"
        assert listed[0]["attempts"] > 1
        assert listed[0]["event"] == "pushed"
        well.set()
        before = len(receiver.got)
        assert web.ok("POST", f"/webhooks/{hook}/resend", {"delivery_id": listed[0]["delivery_id"]}) == 1
        got = receiver.wait(lambda got: len(got) > before, timeout_s=45)
        assert got[-1].delivery == listed[0]["delivery_id"]
        cluster.wait_until(lambda: web.ok("GET", "/webhooks")[0]["delivered"] == 1, "the word that it was delivered")
        assert web.ok("GET", f"/webhooks/{hook}/deliveries") == []
        web.refused("POST", f"/webhooks/{hook}/resend", {"delivery_id": listed[0]["delivery_id"]})


def test_bad_requests_name_the_field(web: Web) -> None:
    ok = {"url": "https://example.com/", "events": ["pushed"]}
    for change, words in (
        ({"url": "http://[::1]/"}, "Private/internal IP addresses are not allowed: ::1"),
        ({"url": "http://10.0.0.1/"}, "Private/internal IP addresses are not allowed: 10.0.0.1"),
        ({"url": "ftp://example.com/"}, "Invalid scheme 'ftp': only http/https allowed"),
        ({"url": "http://localhost/"}, "Localhost URLs are not allowed for webhooks"),
        ({"events": []}, "`events` has 0 names, allowed are 1 to 32"),
        ({"events": ["exploded"]}, "`events` has 'exploded', allowed are pushed"),
        ({"queue": "a b"}, "Queue name must contain only"),
        ({"secret": "x" * 513}, "`secret` too long (513 bytes, max 512 bytes)"),
    ):
        answer = web.ask("POST", "/api/v1/webhooks", {**ok, **change})
        assert answer.status in (400, 413, 422), answer
        assert words in answer.body.decode(), change
    assert web.ok("GET", "/webhooks") == []
    assert web.ok("DELETE", "/webhooks/wh_999") is False
    assert web.ok("DELETE", "/webhooks/999") is False
    web.refused("GET", "/api/v1/webhooks/wh_999/deliveries", status=404)
    sent = web.ask("GET", "/api/v1/webhooks/x/deliveries?state=sent")
    assert (sent.status, b"allowed are 'failed' and 'waiting'" in sent.body) == (422, True)


def test_removed_webhook_is_told_of_nothing(web: Web) -> None:
    with Receiver() as receiver, Receiver() as other:
        hook = _hook(web, receiver, queue="gone")
        _hook(web, other, queue="gone")
        assert web.ok("DELETE", f"/webhooks/{hook}") is True
        web.ok("POST", "/queues/gone/jobs", {"data": 1})
        other.wait(bool)
        assert receiver.got == []


@pytest.mark.parametrize("victim", ["webhooks", "shard"])
def test_kills_lose_no_delivery_and_keep_the_order(victim: str) -> None:
    """Kill -9 of the sender, or of the shard that has the deliveries, in the midst of them."""
    settings = {**SETTINGS, "FLASHQ_WEBHOOK_GIVE_UP_MS": "60000"}
    with Cluster(shards=2, durability="commit", http=True, settings=settings) as cluster:
        queue = next(cluster.queues_of(1))
        name = victim if victim == "webhooks" else "shard-01"
        killed = threading.Event()

        def slow(got: Got) -> int:
            """Holds the first answers until the victim is dead."""
            if not killed.is_set():
                killed.wait(20)
            return 200

        with Receiver(slow) as receiver, Web(cluster) as web, Wire(cluster.connect()) as wire:
            _hook(web, receiver, "pushed", "completed", queue=queue)
            ids = wire.ok("PUSHB", queue=queue, jobs=[{"data": n} for n in range(40)])["ids"]
            assert len(wire.ok("PULLB", queue=queue, count=40, timeout=5_000)["jobs"]) == 40
            wire.ok("ACKB", ids=ids)
            receiver.wait(lambda got: len(got) >= 4)
            old = cluster.kill(name)
            killed.set()
            cluster.wait_serving(name, other_than=old)
            got = receiver.wait(lambda got: len({one.delivery for one in got}) == 80)
            told: dict[int, list[str]] = defaultdict(list)
            for one in got:
                event = one.event
                if told[event["job_id"]][-1:] != [event["event"]]:
                    told[event["job_id"]].append(event["event"])
            assert told == {job_id: ["pushed", "completed"] for job_id in ids}

            def settled() -> bool:
                (hook,) = web.ok("GET", "/webhooks")
                return (hook["waiting"], hook["delivered"], hook["failed"]) == (0, 80, 0)

            cluster.wait_until(settled, "all to be noted as delivered")
