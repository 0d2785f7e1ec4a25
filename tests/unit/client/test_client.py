"""The client against a scripted server: what it sends, and what it makes of every way an answer can fail to come."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
import uvloop

from flashq.client.client import Client
from flashq.client.errors import UnknownOutcome, Unreachable, error_of
from flashq.client.objects import BatchAck, BatchPush, Job, Refusal
from flashq.client.wire import CodecName
from flashq.errors import (
    Duplicate,
    FlashqError,
    InvalidArgument,
    JobNotFound,
    LeaseLost,
    RequestError,
    Unauthenticated,
    Unavailable,
)
from tests.unit.client.script import CLOSE, Fields, Peer, Script, scripted

JOB = {"id": 1024, "queue": "mail", "data": {"to": "a"}, "lease": 7, "attempts": 1, "added_later": True}


def _sent(script: Script) -> list[Fields]:
    """Requests without what differs each time."""
    return [{k: v for k, v in each.items() if k not in ("reqId", "idempotency_key")} for each in script.requests]


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_requests_are_spelled_as_the_protocol_says(codec: CodecName) -> None:
    replies: dict[str, Mapping[str, object]] = {
        "PUSH": {"ok": True, "id": 1024},
        "PUSHB": {"ok": True, "ids": [1, 2], "errors": [{"index": 1, "error": "no"}]},
        "PULL": {"ok": True, "job": JOB},
        "PULLB": {"ok": True, "jobs": [JOB]},
        "ACKB": {"ok": True, "ids": [1], "count": 1, "not_found": [9]},
        "COUNT": {"ok": True, "count": 3},
        "GETSTATE": {"ok": True, "id": 1, "state": "waiting"},
        "GETRESULT": {"ok": True, "id": 1, "result": [1]},
        "STATS": {"ok": True, "queued": 5, "processing": 1, "delayed": 0, "dlq": 0},
        "LISTQUEUES": {"ok": True, "queues": [{"name": "mail", "pending": 5, "rate_limit": None}]},
    }
    async with (
        scripted(lambda _, request: replies.get(request["cmd"], {"ok": True})) as script,
        Client(script.address, codec=codec) as client,
    ):
        assert await client.push("mail", {"to": "a"}, delay_ms=5, tags=["x"], lifo=True) == 1024
        batch = await client.push_batch("mail", [1, 2, 3], each=[{}, {"priority": 9}, {}], backoff_ms=7, priority=1)
        assert batch == BatchPush(ids=[1, 2], errors=[Refusal(1, "no")])
        job = await client.pull("mail", timeout_ms=0, lease_ms=5, release_on_disconnect=True)
        assert job == Job(id=1024, queue="mail", data={"to": "a"}, lease=7, attempts=1)
        assert await client.pull_batch("mail", 10) == [job]
        await client.ack(job, {"done": 1})
        await client.ack(5)
        assert await client.ack_batch([job, 9]) == BatchAck(count=1, not_found=[9])
        await client.fail(job, "boom")
        assert await client.count("mail") == 3
        assert await client.get_state(1) == "waiting"
        assert await client.get_result(1) == [1]
        assert (await client.stats()).queued == 5
        assert (await client.list_queues())[0].pending == 5
        await client.queue("mail").pause()
        await client.resume("mail")
        await client.ping()
        await client.auth("t")
    assert _sent(script) == [
        {"cmd": "PUSH", "queue": "mail", "data": {"to": "a"}, "delay": 5, "tags": ["x"], "lifo": True},
        {
            "cmd": "PUSHB",
            "queue": "mail",
            "jobs": [
                {"data": 1, "backoff": 7, "priority": 1},
                {"data": 2, "backoff": 7, "priority": 9},
                {"data": 3, "backoff": 7, "priority": 1},
            ],
        },
        {"cmd": "PULL", "queue": "mail", "timeout": 0, "lease_ms": 5, "release_on_disconnect": True},
        {"cmd": "PULLB", "queue": "mail", "count": 10, "timeout": 60_000},
        {"cmd": "ACK", "id": 1024, "result": {"done": 1}, "lease": 7},
        {"cmd": "ACK", "id": 5},
        {"cmd": "ACKB", "ids": [1024, 9], "leases": [7, None]},
        {"cmd": "FAIL", "id": 1024, "error": "boom", "lease": 7},
        {"cmd": "COUNT", "queue": "mail"},
        {"cmd": "GETSTATE", "id": 1},
        {"cmd": "GETRESULT", "id": 1},
        {"cmd": "STATS"},
        {"cmd": "LISTQUEUES"},
        {"cmd": "PAUSE", "queue": "mail"},
        {"cmd": "RESUME", "queue": "mail"},
        {"cmd": "PING"},
        {"cmd": "AUTH", "token": "t"},
    ]


async def test_unix_socket_serves_alike(run_folder: Path) -> None:
    async with (
        scripted(lambda *_: {"ok": True, "id": 5}, unix=run_folder / "s") as script,
        Client(script.address) as client,
    ):
        assert await client.push("mail", None) == 5


async def test_replies_find_their_requests_in_any_order() -> None:
    """A pull that waits must not hold up a push behind it."""

    def answer(peer: Peer, request: Fields) -> None:
        if len(script.requests) == 3:
            for each in reversed(script.requests):
                peer.send({"ok": True, "id": each["data"], "reqId": each["reqId"]})

    async with scripted(answer) as script, Client(script.address) as client:
        assert await asyncio.gather(*(client.push("mail", n) for n in (1, 2, 3))) == [1, 2, 3]
        assert len(script.peers) == 1


def test_other_event_loop_serves_alike() -> None:
    """Transports of uvloop derive from nothing of asyncio's."""

    async def ping() -> None:
        async with scripted(lambda *_: {"ok": True}) as script, Client(script.address) as client:
            await client.ping()
            await client.finish()

    uvloop.run(ping())


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("not_found", JobNotFound),
            ("invalid", InvalidArgument),
            ("duplicate", Duplicate),
            ("lease_lost", LeaseLost),
            ("unauthenticated", Unauthenticated),
            ("unavailable", Unavailable),
            ("internal", FlashqError),
            ("added_later", RequestError),
            (None, RequestError),
        ],
    )
    async def test_code_decides_the_type_and_the_text_is_kept(self, code: str | None, kind: type[FlashqError]) -> None:
        async with (
            scripted(lambda *_: {"ok": False, "error": "Job 5 …", "code": code}) as script,
            Client(script.address) as client,
        ):
            with pytest.raises(kind, match="Job 5 …") as caught:
                await client.ack(5)
            assert type(caught.value) is kind
            assert len(script.requests) == 1, "the server's answer is final: nothing is asked again"

    def test_error_without_text_still_says_something(self) -> None:
        assert str(error_of("invalid", None))

    async def test_unknown_option_names_the_nearest(self) -> None:
        async with scripted(lambda *_: None) as script, Client(script.address) as client:
            with pytest.raises(InvalidArgument, match="unknown option dely_ms: the nearest known one is delay_ms"):
                await client.push("mail", 1, dely_ms=5)  # type: ignore[call-arg]

    async def test_lists_that_do_not_match_are_refused_here(self) -> None:
        async with scripted(lambda *_: None) as script, Client(script.address) as client:
            with pytest.raises(InvalidArgument, match="options for 1 jobs, but there are 2"):
                await client.push_batch("mail", [1, 2], each=[{}])
            with pytest.raises(InvalidArgument, match="1 results, but 2 ids"):
                await client.ack_batch([1, 2], results=[1])
            assert script.requests == []

    async def test_error_without_request_id_belongs_to_the_only_request(self) -> None:
        """What closes a connection (too large, malformed) is answered without a reqId."""

        def answer(peer: Peer, _: Fields) -> None:
            peer.send({"ok": False, "error": "Message too large", "code": "too_large"})
            peer.close_in_order()

        async with scripted(answer) as script, Client(script.address) as client:
            with pytest.raises(RequestError, match="Message too large"):
                await client.push("mail", 1)
            assert len(script.requests) == 1

    async def test_unknown_job_is_none_or_raised_as_the_name_says(self) -> None:
        async with (
            scripted(lambda *_: {"ok": True, "job": None, "state": "unknown"}) as script,
            Client(script.address) as client,
        ):
            assert await client.find_job(5) is None
            with pytest.raises(JobNotFound, match="Job 5 not found"):
                await client.get_job(5)

    async def test_kept_job_brings_its_state_and_result(self) -> None:
        reply = {"ok": True, "job": JOB, "state": "completed", "result": [1]}
        async with scripted(lambda *_: reply) as script, Client(script.address) as client:
            job = await client.get_job(1024)
            assert (job.state, job.result, job.data) == ("completed", [1], {"to": "a"})


class TestBreaks:
    async def test_request_lost_with_its_connection_is_made_again_with_the_same_key(self) -> None:
        """So that the server can tell that it is the same push."""

        def answer(peer: Peer, _: Fields) -> Mapping[str, object] | None:
            return CLOSE if peer.number < 2 else {"ok": True, "id": 5}

        async with scripted(answer) as script, Client(script.address) as client:
            assert await client.push("mail", 1) == 5
        keys = [each["idempotency_key"] for each in script.requests]
        assert len(keys) == 3
        assert len(set(keys)) == 1

    async def test_each_change_has_a_key_of_its_own(self) -> None:
        async with scripted(lambda *_: {"ok": True, "id": 5}) as script, Client(script.address) as client:
            await client.push("mail", 1)
            await client.push("mail", 1)
            await client.push("mail", 1, idempotency_key="mine")
        keys = [each["idempotency_key"] for each in script.requests]
        assert len(set(keys)) == 3
        assert keys[2] == "mine"

    async def test_everything_in_flight_is_made_again(self) -> None:
        def answer(peer: Peer, request: Fields) -> Mapping[str, object] | None:
            if peer.number:
                return {"ok": True, "id": request["data"]}
            return CLOSE if len(script.requests) == 50 else None

        async with scripted(answer) as script, Client(script.address) as client:
            assert await asyncio.gather(*(client.push("mail", n) for n in range(50))) == list(range(50))
            assert len(script.peers) == 2

    async def test_without_resending_the_outcome_is_unknown(self) -> None:
        async with scripted(lambda *_: CLOSE) as script, Client(script.address, resend=False) as client:
            with pytest.raises(UnknownOutcome, match="PUSH: the server closed"):
                await client.push("mail", 1)
            assert "idempotency_key" not in script.requests[0]

    async def test_answer_that_does_not_come_in_time_leaves_the_outcome_unknown(self) -> None:
        async with (
            scripted(lambda *_: None) as script,
            Client(script.address, request_timeout_ms=50) as client,
        ):
            with pytest.raises(UnknownOutcome, match="no answer within"):
                await client.push("mail", 1)

    async def test_token_is_shown_first_and_again_after_a_break(self) -> None:
        def answer(peer: Peer, request: Fields) -> Mapping[str, object] | None:
            if request["cmd"] == "PUSH" and peer.number == 0:
                return CLOSE
            return {"ok": True, "id": 5}

        async with scripted(answer) as script, Client(script.address, token="t") as client:
            await client.push("mail", 1)
        assert [each["cmd"] for each in script.requests] == ["AUTH", "PUSH", "AUTH", "PUSH"]

    async def test_refused_token_is_final(self) -> None:
        reply = {"ok": False, "error": "Invalid token", "code": "unauthenticated"}
        async with scripted(lambda *_: reply) as script:
            with pytest.raises(Unauthenticated, match="Invalid token"):
                await Client(script.address, token="t").connect()

    async def test_nobody_there_is_told_at_once(self, run_folder: Path) -> None:
        with pytest.raises(Unreachable, match="No such file"):
            await Client(str(run_folder / "gone")).push("mail", 1)

    async def test_server_that_comes_back_is_found_again(self, run_folder: Path) -> None:
        path = run_folder / "s"
        async with scripted(lambda *_: {"ok": True, "id": 1}, unix=path) as first:
            client = Client(first.address)
            assert await client.push("mail", 1) == 1
        path.unlink(missing_ok=True)
        waiting = asyncio.create_task(client.push("mail", 2))
        async with scripted(lambda *_: {"ok": True, "id": 2}, unix=path):
            assert await waiting == 2
        await client.close()

    async def test_server_that_is_none_of_ours_is_told(self) -> None:
        async with (
            scripted(lambda peer, _: peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as script,
            Client(script.address) as client,
        ):
            with pytest.raises(FlashqError, match="no flashq server"):
                await client.ping()

    async def test_server_that_drops_every_connection_is_not_stormed(self) -> None:
        async with (
            scripted(lambda *_: CLOSE) as script,
            Client(script.address, request_timeout_ms=300) as client,
        ):
            with pytest.raises(Unavailable):
                await client.push("mail", 1)
            assert 2 <= len(script.peers) <= 10

    async def test_closed_client_says_so(self) -> None:
        async with scripted(lambda *_: {"ok": True}) as script:
            async with Client(script.address) as client:
                pass
            with pytest.raises(Unreachable, match="closed"):
                await client.ping()


class TestPulls:
    async def test_jobs_of_a_cancelled_pull_are_given_back(self) -> None:
        """`asyncio.wait_for(client.pull(...), 1)` is what everybody writes; the job must not be lost for its lease."""
        async with scripted(lambda *_: None) as script, Client(script.address) as client:
            script.answer = lambda _, request: None if request["cmd"] == "PULL" else {"ok": True}
            pulling = asyncio.create_task(client.pull("mail"))
            await script.wait_requests(1)
            pulling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pulling
            script.peers[0].send({"ok": True, "job": JOB, "reqId": script.requests[0]["reqId"]})
            await script.wait_requests(2)
        assert _sent(script)[1] == {
            "cmd": "FAIL",
            "id": 1024,
            "lease": 7,
            "error": "given back: its pull was cancelled",
        }

    async def test_reply_that_meets_the_cancellation_is_given_back_too(self) -> None:
        async with scripted(lambda *_: None) as script, Client(script.address) as client:
            pulling = asyncio.create_task(client.pull_batch("mail", 5))

            def answer(peer: Peer, request: Fields) -> Mapping[str, object] | None:
                if request["cmd"] != "PULLB":
                    return {"ok": True}
                asyncio.get_running_loop().call_soon(pulling.cancel)
                return {"ok": True, "jobs": [JOB]}

            script.answer = answer
            with pytest.raises(asyncio.CancelledError):
                await pulling
            await script.wait_requests(2)
        assert script.requests[1]["cmd"] == "FAIL"

    async def test_pull_waits_longer_than_other_requests(self) -> None:
        """Its own waiting comes on top of the request's deadline."""
        async with (
            scripted(lambda *_: None) as script,
            Client(script.address, request_timeout_ms=250) as client,
        ):
            pulling = asyncio.create_task(client.pull("mail", timeout_ms=60_000))
            await script.wait_requests(1)
            with pytest.raises(UnknownOutcome):
                await client.ping()
            assert not pulling.done()
            script.peers[0].send({"ok": True, "job": None, "reqId": script.requests[0]["reqId"]})
            assert await pulling is None

    async def test_pull_is_made_again_without_a_key(self) -> None:
        def answer(peer: Peer, _: Fields) -> Mapping[str, object] | None:
            return CLOSE if peer.number == 0 else {"ok": True, "job": None}

        async with scripted(answer) as script, Client(script.address) as client:
            assert await client.pull("mail") is None
        assert [each.get("idempotency_key") for each in script.requests] == [None, None]
