"""Webhooks that come in: jobs from other services, which have to prove who they are."""

import time
from collections.abc import Iterator

import pytest

from flashq.api.webhooks.signing import signature_of, timed_signature_of
from flashq.testing.cluster import Cluster
from tests.integration.receiver import Receiver
from tests.integration.web import Web

SECRET, TOKEN = "0123456789abcdef", "token-of-the-server"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    settings = {
        "AUTH_TOKENS": TOKEN, "FLASHQ_INCOMING_BYTES_MAX": "1000", "FLASHQ_WEBHOOK_ALLOW": "127.0.0.1",
    }  # fmt: skip
    with Cluster(shards=2, durability="commit", http=True, settings=settings) as one:
        yield one


@pytest.fixture
def web(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster, TOKEN) as one:
        yield one


@pytest.fixture
def stranger(cluster: Cluster) -> Iterator[Web]:
    with Web(cluster) as one:
        yield one


def _timed(body: bytes, at_s: float) -> dict[str, str]:
    return {"x_flashq_signature_timed": timed_signature_of(SECRET, body, int(at_s))}


def test_signed_request_becomes_a_job_once(cluster: Cluster, web: Web, stranger: Web) -> None:
    for shard in range(2):
        queue = next(cluster.queues_of(shard, "signed"))
        web.ok("PUT", f"/queues/{queue}/incoming", {"secret": SECRET})
        body = b'{\n "a": 1\n}'
        proof = _timed(body, time.time())
        job = stranger.ok("POST", f"/webhooks/incoming/{queue}", body, **proof)
        assert (job["queue"], job["data"]) == (queue, {"a": 1})
        again = stranger.ok("POST", f"/webhooks/incoming/{queue}", body, **proof)
        assert again["id"] == job["id"]
        assert web.ok("GET", f"/queues/{queue}/count") == 1


@pytest.mark.parametrize("path", ["resend", "deliveries", "incoming"])
def test_queue_may_be_named_as_a_word_of_other_routes(web: Web, stranger: Web, path: str) -> None:
    web.ok("PUT", f"/queues/{path}/incoming", {"secret": SECRET, "scheme": "github"})
    proof = {"x_hub_signature_256": "sha256=" + signature_of(SECRET, b"1")}
    assert stranger.ok("POST", f"/webhooks/incoming/{path}", b"1", **proof)["queue"] == path


def test_what_is_not_proven_is_refused_and_pushes_nothing(web: Web, stranger: Web) -> None:
    web.ok("PUT", "/queues/shut/incoming", {"secret": SECRET})
    body = b"1"
    for proof in (
        {}, _timed(b"2", time.time()), _timed(body, time.time() - 400), {"authorization": f"Bearer {TOKEN}"},
        {"x_flashq_signature": signature_of(SECRET, body)},
    ):  # fmt: skip
        assert stranger.ask("POST", "/webhooks/incoming/shut", body, **proof).status == 401
        assert stranger.ask("POST", "/webhooks/incoming/never-set", body, **proof).status == 401
    assert web.ok("GET", "/queues/shut/count") == 0
    assert web.ok("GET", "/queues/never-set/count") == 0


def test_too_large_and_broken_bodies_are_refused(web: Web, stranger: Web) -> None:
    web.ok("PUT", "/queues/bounds/incoming", {"secret": SECRET, "scheme": "body"})
    for body, status in ((b'"' + b"x" * 1_000 + b'"', 413), (b"{", 400), (b"", 400), (b'"\xff"', 400)):
        proof = {"x_flashq_signature": signature_of(SECRET, body)}
        assert stranger.ask("POST", "/webhooks/incoming/bounds", body, **proof).status == status, body[:10]
        stranger.http.close()
    assert web.ok("GET", "/queues/bounds/count") == 0


def test_settings_are_checked_masked_kept_and_removed(cluster: Cluster, web: Web, stranger: Web) -> None:
    for body, words in (
        ({"secret": "short"}, "`secret` has 5 bytes, allowed are 16 to 512"),
        ({"secret": SECRET, "scheme": "rot13"}, "`scheme` is 'rot13', allowed are flashq, github"),
    ):
        assert words in web.ask("PUT", "/queues/kept/incoming", body).body.decode()
    web.ok("PUT", "/queues/kept/incoming", {"secret": SECRET, "scheme": "token"})
    assert stranger.ask("GET", "/webhooks/incoming").status == 401
    cluster.wait_serving("shard-00", other_than=cluster.kill("shard-00"))
    cluster.wait_serving("shard-01", other_than=cluster.kill("shard-01"))
    listed = [one for one in web.ok("GET", "/webhooks/incoming") if one["queue"] == "kept"]
    assert [(one["scheme"], one["secret"]) for one in listed] == [("token", "********")]
    assert stranger.ok("POST", "/webhooks/incoming/kept", b"1", authorization=f"Bearer {SECRET}")["data"] == 1
    assert web.ok("DELETE", "/queues/kept/incoming") is True
    assert web.ok("DELETE", "/queues/kept/incoming") is False
    assert stranger.ask("POST", "/webhooks/incoming/kept", b"1", authorization=f"Bearer {SECRET}").status == 401
    assert SECRET not in cluster.output()


def test_our_own_webhooks_are_taken_by_the_scheme_of_their_signature(web: Web, stranger: Web) -> None:
    """What a receiver got of one cluster proves itself to another."""
    with Receiver() as receiver:
        web.ok("POST", "/webhooks", {"url": receiver.url, "events": ["pushed"], "queue": "from", "secret": SECRET})
        web.ok("POST", "/queues/from/jobs", {"data": 1})
        (got,) = receiver.wait(bool)
    web.ok("PUT", "/queues/into/incoming", {"secret": SECRET})
    proof = {"x_flashq_signature_timed": got.headers["x-flashq-signature-timed"]}
    job = stranger.ok("POST", "/webhooks/incoming/into", got.body, **proof)
    assert job["data"]["event"] == "pushed"
