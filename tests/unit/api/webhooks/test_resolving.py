"""Names are judged by all of their addresses, at each attempt, and connected to by what was judged."""

import asyncio
import contextlib

import pytest

from flashq.api.webhooks.http_client import HttpClient
from flashq.api.webhooks.resolving import TargetRefused, allowed_addresses
from flashq.protocol.happenings import Happening
from flashq.protocol.web_targets import Allowed
from flashq.transport.hook_feed import Parcel, Target

PARCEL = Parcel(1, 7, 0, Happening("completed", "mail", 1024, 5, b"1", 0, None, None, None))
LOOPBACK = Allowed.of(["127.0.0.1"])


class Names:
    """A resolver in a test's hand: the answers it gives, one after the other, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_one_private_address_among_public_ones_is_enough() -> None:
    with pytest.raises(TargetRefused, match=r"10\.0\.0\.1"):
        await allowed_addresses("example.com", 80, Names(["8.8.8.8", "10.0.0.1"]), Allowed())


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:127.0.0.1", "fe80::1%eth0", "0.0.0.0", "64:ff9b::a00:1"]
)
async def test_name_of_a_private_address_is_refused(address: str) -> None:
    with pytest.raises(TargetRefused):
        await allowed_addresses("example.com", 80, Names([address]), Allowed())


class Receiver:
    """A plain server on loopback, which answers what it is told and keeps what it got."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.got: list[bytes] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Receiver":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.got.append(head + await reader.readexactly(length))
        writer.write(self.answer)
        if self.answer:
            writer.close()


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


async def _send(receiver: Receiver, names: Names, times: int = 1, timeout_s: float = 5.0) -> list[tuple[bool, str]]:
    client = HttpClient(names, LOOPBACK, timeout_s=timeout_s)
    target = Target(1, f"http://hooks.example:{receiver.port}/x", "secret")
    try:
        return [await client.send(target, PARCEL) for _ in range(times)]
    finally:
        await client.close()


async def test_name_is_connected_to_by_the_address_that_was_judged() -> None:
    async with Receiver(OK) as receiver:
        names = Names(["127.0.0.1"])
        assert await _send(receiver, names) == [(True, "")]
        assert b"Host: hooks.example:%d\r\n" % receiver.port in receiver.got[0]
        assert names.asked == ["hooks.example"], "nobody looks it up a second time"


async def test_name_that_turns_private_between_attempts_is_refused() -> None:
    """Rebinding: the first look-up gives an address that is allowed, the next one that is not."""
    async with Receiver(OK) as receiver:
        first, second = await _send(receiver, Names(["127.0.0.1"], ["127.0.0.2"]), times=2)
        assert first == (True, "")
        assert second == (False, "hooks.example is 127.0.0.2: private and internal addresses are not allowed")
        assert len(receiver.got) == 1


async def test_redirect_is_not_followed() -> None:
    async with Receiver(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n") as receiver:
        assert await _send(receiver, Names(["127.0.0.1"])) == [(False, "HTTP 302")]
        assert len(receiver.got) == 1


async def test_receiver_that_does_not_answer_costs_the_deadline() -> None:
    async with Receiver(b"") as receiver:
        assert await _send(receiver, Names(["127.0.0.1"]), timeout_s=0.2) == [(False, "no answer within 200 ms")]


async def test_look_up_that_hangs_costs_the_same_deadline() -> None:
    async def hangs(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    client = HttpClient(hangs, LOOPBACK, timeout_s=0.1)
    assert await client.send(Target(1, "http://hooks.example/", ""), PARCEL) == (False, "no answer within 100 ms")
    await client.close()


async def test_of_a_long_answer_a_kibibyte_is_kept() -> None:
    body = b"x" * 100_000
    async with Receiver(b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as receiver:
        ((ok, text),) = await _send(receiver, Names(["127.0.0.1"]))
        assert not ok
        assert text.startswith("HTTP 500 xxx")
        assert len(text) <= 1_024 + 9
