"""Small parts of the door."""

import gzip

import pytest

from flashq.access.access import Access
from flashq.api.http.compression import INLINE_BYTES, accepts_gzip, compressed
from flashq.api.http.cors import Cors
from flashq.api.http.failures import HttpFailure
from flashq.api.http.headers import Seen
from flashq.api.http.workers import AGE_MS_MAX, Worker, Workers, decode_worker


@pytest.mark.parametrize(
    ("header", "takes"),
    [(b"gzip", True), (b"br, GZIP;q=0.5", True), (b"*", True), (b"", False), (b"br", False), (b"gzip;q=0", False)],
)
def test_gzip_is_for_who_says_so(header: bytes, takes: bool) -> None:
    assert accepts_gzip(header) is takes


@pytest.mark.parametrize("size", [100, 10_000, INLINE_BYTES + 1])
async def test_compressed_body_is_the_same_body(size: int) -> None:
    headers: list[tuple[bytes, bytes]] = []
    body = await compressed(b"x" * size, headers, b"gzip")
    if (b"content-encoding", b"gzip") in headers:
        body = gzip.decompress(body)
    assert body == b"x" * size
    assert ((b"content-encoding", b"gzip") in headers) is (size > 4096)


def test_listed_origins_only_may_read_and_act() -> None:
    cors = Cors("https://a.example, https://b.example")
    assert cors.allowed(b"https://a.example")[0] == (b"access-control-allow-origin", b"https://a.example")
    assert cors.allowed(b"https://c.example") == []
    assert cors.preflight(b"https://c.example") == []
    assert cors.may_act(b"https://b.example", [])
    assert not cors.may_act(b"https://c.example", [(b"host", b"q.example:6790")])
    assert cors.may_act(b"http://q.example:6790", [(b"host", b"q.example:6790")])
    assert Cors("*").may_act(b"https://c.example", [])
    assert not Cors("").may_act(b"null", [(b"host", b"q.example")])


@pytest.mark.parametrize("key", [b"x" * 513, b"\xc3\xa9"])
def test_key_that_cannot_be_is_refused(key: bytes) -> None:
    with pytest.raises(HttpFailure, match="Idempotency-Key"):
        Seen([(b"idempotency-key", key)]).key()


@pytest.mark.parametrize("shown", [b"", b"Bearer ", b"Bearer other", b"bearer token", b"token"])
def test_only_a_bearer_of_a_token_is_somebody(shown: bytes) -> None:
    access = Access(["token"])
    with pytest.raises(HttpFailure) as caught:
        Seen([(b"authorization", shown)]).principal(access, "a")
    assert caught.value.status == 401
    assert Seen([(b"authorization", b"Bearer token")]).principal(access, "a") == "token-1"
    assert Seen([]).principal(Access(), "a") == "anyone"


@pytest.mark.parametrize(
    ("kind", "is_json"),
    [(b"application/json", True), (b"Application/JSON; charset=utf-8", True), (b"application/vnd.a+json", True),
     (b"text/plain", False), (b"", False), (b"application/x-www-form-urlencoded", False)],
)  # fmt: skip
def test_json_is_what_says_so(kind: bytes, is_json: bool) -> None:
    assert Seen([(b"content-type", kind)]).is_json() is is_json


def test_worker_is_listed_until_it_has_been_silent_for_half_a_minute() -> None:
    told: list[bytes] = []
    workers = Workers(told.append)
    first, second = Worker("a", ["q"], 1, 1_000, 0), Worker("b", ["q"], 1, 5_000, 0)
    workers.beat(first)
    workers.heard(second)
    assert [decode_worker(one) for one in told] == [first]
    assert workers.alive(5_000) == [first, second]
    assert workers.alive(1_000 + AGE_MS_MAX) == [second]
    again = Worker("b", ["q"], 1, 9_000, 7)
    workers.heard(again)
    assert workers.alive(5_000 + AGE_MS_MAX) == [again]
    assert workers.alive(9_000 + AGE_MS_MAX) == []
