"""Listening: events in order, bounded memory, and an end that is told."""

import pytest

from flashq.client.client import Client
from flashq.client.errors import Unreachable
from flashq.client.events import UNREAD_MAX
from flashq.client.objects import Event
from flashq.client.sync import SyncClient
from flashq.errors import InvalidArgument
from tests.unit.client.script import Fields, Peer, scripted, scripted_in_thread


def _event(number: int) -> Fields:
    return {"event": "pushed", "event_type": "pushed", "queue": "q", "job_id": number, "timestamp": 1, "data": [number]}


def _told(many: int) -> object:
    def answer(peer: Peer, request: Fields) -> Fields | None:
        if request["cmd"] == "SUBSCRIBE":
            peer.send({"reqId": request["reqId"], "ok": True})
            for number in range(many):
                peer.send(_event(number))
            peer.send({"event": "lagged", "missed": 3})
        return None

    return answer


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_events_come_in_order_and_so_does_what_was_left_out(codec: str) -> None:
    async with (
        scripted(_told(2)) as script,  # type: ignore[arg-type]
        Client(script.address, codec=codec) as client,  # type: ignore[arg-type]
        client.events("q", ["pushed"]) as events,
    ):
        told = [await anext(events) for _ in range(3)]
    assert told[0] == Event(kind="pushed", queue="q", job_id=0, timestamp=1, data=[0])
    assert [event.job_id for event in told[:2]] == [0, 1]
    assert (told[2].kind, told[2].missed) == ("lagged", 3)
    subscribed = [each for each in script.requests if each["cmd"] == "SUBSCRIBE"]
    assert [(each["queue"], each["events"]) for each in subscribed] == [("q", ["pushed"])]


async def test_reading_stops_while_nobody_takes_and_loses_nothing() -> None:
    """Ten times what is held here: it comes all the same, as it is taken."""
    many = UNREAD_MAX * 10
    async with (
        scripted(_told(many)) as script,  # type: ignore[arg-type]
        Client(script.address) as client,
        client.events("q") as events,
    ):
        assert [(await anext(events)).job_id for _ in range(many)] == list(range(many))


async def test_end_of_the_connection_is_told_after_what_came_before_it() -> None:
    def answer(peer: Peer, request: Fields) -> Fields | None:
        if request["cmd"] == "SUBSCRIBE":
            peer.send({"reqId": request["reqId"], "ok": True})
            peer.send(_event(7))
            peer.close_in_order()
        return None

    async with scripted(answer) as script, Client(script.address) as client, client.events("q") as events:
        assert (await anext(events)).job_id == 7
        with pytest.raises(Unreachable, match="may have been missed"):
            await anext(events)


async def test_refusal_is_raised_on_entering_and_the_connection_closed() -> None:
    def answer(peer: Peer, request: Fields) -> Fields | None:
        return {"ok": False, "error": "invalid value: `events`", "code": "invalid"}

    async with scripted(answer) as script, Client(script.address) as client:
        with pytest.raises(InvalidArgument, match="events"):
            async with client.events("q", ["exploded"]):
                pytest.fail("was let in")
        await script.wait_for(lambda: script.ended == [0])


def test_threads_listen_alike() -> None:
    with (
        scripted_in_thread(_told(2)) as script,  # type: ignore[arg-type]
        SyncClient(script.address) as client,
        client.events("q") as events,
    ):
        assert [next(events).job_id for _ in range(2)] == [0, 1]
