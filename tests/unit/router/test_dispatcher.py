"""A router that fails on one request goes on with the next."""

from typing import Any

import msgspec
import pytest

from flashq.access.access import Access
from flashq.protocol.dispatch import Codec
from flashq.router.dispatcher import RoutingDispatcher
from flashq.transport.forwarding import Forwarder


class Held:
    """The place of a reply that comes later."""

    def __init__(self, said: list[bytes]) -> None:
        self._said = said

    def takes_jobs(self) -> bool:
        return True

    def reply(self, body: bytes) -> bool:
        self._said.append(body)
        return True


class Client:
    """A link that notes what it is told."""

    gid = 7
    principal = "anyone"
    wrong_tokens = 0
    address = "here"
    local = False
    takes_events = False

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.said: list[bytes] = []

    def reply(self, body: bytes) -> None:
        self.said.append(body)

    def hold(self, *, ordered: bool) -> Held:
        return Held(self.said)

    def forwarded_to(self, shard: int) -> None:
        """It stays."""

    def fatal(self, text: str, code: str) -> None:
        raise AssertionError(text)

    def push_event(self, body: bytes) -> None:
        raise AssertionError("no events here")

    def takes_jobs(self) -> bool:
        return True


class BrokenExchange:
    """Has a bug on the way of every request."""

    def request(self, *args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("in the exchange")


class BrokenTotals:
    """Has a bug in its sums."""

    def stats(self) -> dict[str, Any]:
        raise KeyError("in the totals")


@pytest.fixture
def dispatcher() -> RoutingDispatcher:
    forwarder = Forwarder(BrokenExchange(), lambda slot: 0, deadline_ms=1_000, mono_ms=lambda: 0)  # type: ignore[arg-type]
    return RoutingDispatcher(
        forwarder, owner_of=lambda slot: 0, totals=BrokenTotals(), access=Access(()), max_batch=10,  # type: ignore[arg-type]
        shards=1, process="router-0",
    )  # fmt: skip


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize(
    "request_",
    [
        {"cmd": "STATS"},
        {"cmd": "PUSH", "queue": "mail", "data": 1},
        {"cmd": "GETJOBS"},
        {"cmd": "ACKB", "ids": [1025, 2050]},
    ],
    ids=["its own", "to one shard", "to any shard", "to several shards"],
)
def test_fault_of_ours_is_answered_and_the_next_request_served(
    dispatcher: RoutingDispatcher, codec: Codec, request_: dict[str, Any]
) -> None:
    """It would end in the loop else, with whatever else had arrived in that tick, and the client waited for ever."""
    encode, decode = (
        (msgspec.json.encode, msgspec.json.decode) if codec is Codec.TEXT
        else (msgspec.msgpack.encode, msgspec.msgpack.decode)
    )  # fmt: skip
    client = Client(codec)
    dispatcher.submit(client, encode(request_ | {"reqId": "r1"}))
    dispatcher.submit(client, encode({"cmd": "PING", "reqId": "r2"}))
    failed, pong = map(decode, client.said)
    assert failed["reqId"] == "r1"
    assert pong == {"reqId": "r2", "ok": True, "pong": True, "success": True}
    if request_["cmd"] == "ACKB":
        assert {error["code"] for error in failed["errors"]} == {"internal"}
    else:
        assert (failed["ok"], failed["code"]) == (False, "internal")
        assert "Internal fault" in failed["error"]
