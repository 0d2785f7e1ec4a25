"""The worker against a scripted server: how many it takes, what it says of each, and how it leaves."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from flashq.client.objects import Job
from flashq.client.worker import Worker
from flashq.errors import RequestError
from tests.unit.client.script import CLOSE, Fields, Peer, Script, scripted


class Line:
    """A queue of jobs for a script: PULLB takes from it, and waits when it is empty."""

    def __init__(self, *data: object) -> None:
        self.jobs = [{"id": n, "queue": "mail", "data": each, "lease": 100 + n} for n, each in enumerate(data, 1)]
        self.waiting: list[tuple[Peer, Fields]] = []
        self.told: list[Fields] = []

    def answer(self, peer: Peer, request: Fields) -> Mapping[str, object] | None:
        if request["cmd"] == "EOF":
            for waiter, pull in self.waiting:
                waiter.send({"ok": True, "jobs": [], "reqId": pull["reqId"]})
            return None
        if request["cmd"] != "PULLB":
            self.told.append(request)
            return {"ok": True}
        if not self.jobs:
            self.waiting.append((peer, request))
            return None
        taken, self.jobs = self.jobs[: request["count"]], self.jobs[request["count"] :]
        return {"ok": True, "jobs": taken}


def _pulls(script: Script) -> list[Fields]:
    return [each for each in script.requests if each["cmd"] == "PULLB"]


async def test_result_is_acknowledged_and_an_exception_is_a_failure() -> None:
    async def handle(job: Job) -> Any:
        if job.data == "bad":
            raise ValueError("no such box")
        return {"sent": job.data}

    line = Line("a", "bad")
    async with scripted(line.answer) as script, Worker("mail", handle, address=script.address, concurrency=2):
        await script.wait_for(lambda: len(line.told) == 2)
    told = {each["id"]: (each["cmd"], each.get("result"), each.get("error"), each["lease"]) for each in line.told}
    assert told == {
        1: ("ACK", {"sent": "a"}, None, 101),
        2: ("FAIL", None, "ValueError: no such box", 102),
    }


async def test_plain_function_runs_beside_the_loop() -> None:
    line = Line(20)
    async with scripted(line.answer) as script, Worker("mail", lambda job: job.data + 1, address=script.address):
        await script.wait_for(lambda: len(line.told) == 1)
    assert line.told[0]["result"] == 21


async def test_no_job_is_pulled_that_could_not_start_at_once() -> None:
    """A job that lies in a busy worker is one that an idle worker cannot have."""
    release = asyncio.Event()
    active = most = 0

    async def handle(_: Job) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await release.wait()
        active -= 1

    line = Line(*range(7))
    async with scripted(line.answer) as script, Worker("mail", handle, address=script.address, concurrency=3):
        await script.wait_requests(1)
        release.set()
        await script.wait_for(lambda: len(line.told) == 7)
    assert most <= 3
    assert all(1 <= pull["count"] <= 3 and pull["release_on_disconnect"] is True for pull in _pulls(script))


async def test_result_that_cannot_be_expressed_is_a_failure() -> None:
    async def handle(_: Job) -> object:
        return object()

    line = Line("a")
    async with scripted(line.answer) as script, Worker("mail", handle, address=script.address):
        await script.wait_for(lambda: len(line.told) == 1)
    assert line.told[0]["cmd"] == "FAIL"
    assert "cannot be expressed" in line.told[0]["error"]


async def test_lost_lease_is_logged_and_the_worker_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    line = Line("a", "b")

    def answer(peer: Peer, request: Fields) -> Mapping[str, object] | None:
        reply = line.answer(peer, request)
        lost = {"ok": False, "error": "Lease lost: job 1 was given to another worker", "code": "lease_lost"}
        return lost if request["cmd"] == "ACK" and request["id"] == 1 else reply

    async with scripted(answer) as script, Worker("mail", lambda job: None, address=script.address):
        await script.wait_for(lambda: len(line.told) == 2)
    assert "the end of job 1 was not taken: Lease lost" in caplog.text


async def test_idle_worker_leaves_at_once() -> None:
    """It closes its half, which answers the waiting pull; no job can fall between."""
    line = Line()
    async with scripted(line.answer) as script:
        worker = Worker("mail", lambda job: None, address=script.address)
        await worker.start()
        await script.wait_requests(1)
        async with asyncio.timeout(5):
            await worker.stop()
        assert script.ended == [0]
        await worker.stop()


async def test_stop_waits_for_what_runs() -> None:
    running, release = asyncio.Event(), asyncio.Event()

    async def handle(_: Job) -> str:
        running.set()
        await release.wait()
        return "done"

    line = Line("a")
    async with scripted(line.answer) as script:
        worker = Worker("mail", handle, address=script.address)
        await worker.start()
        await running.wait()
        stopping = asyncio.create_task(worker.stop())
        release.set()
        await stopping
        assert [each["result"] for each in line.told] == ["done"]
        assert len(_pulls(script)) == 1, "nothing is pulled any more"


async def test_what_does_not_end_in_time_returns_with_the_connection() -> None:
    """Neither acknowledged nor failed: its attempt is not the job's fault."""
    running = asyncio.Event()

    async def handle(_: Job) -> None:
        running.set()
        await asyncio.Event().wait()

    line = Line("a")
    async with scripted(line.answer) as script:
        worker = Worker("mail", handle, address=script.address, stop_timeout_ms=1)
        await worker.start()
        await running.wait()
        await worker.stop()
        assert line.told == []
        assert script.ended == [0]


async def test_refusal_ends_the_worker() -> None:
    reply = {"ok": False, "error": "Queue name cannot be empty", "code": "invalid"}
    async with scripted(lambda *_: reply) as script:
        worker = Worker("", lambda job: None, address=script.address)
        with pytest.raises(RequestError, match="Queue name cannot be empty"):
            await worker.run()
        await worker.stop()


async def test_worker_survives_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line("a")

    def answer(peer: Peer, request: Fields) -> Mapping[str, object] | None:
        return CLOSE if peer.number == 0 else line.answer(peer, request)

    async with scripted(answer) as script, Worker("mail", lambda job: job.data, address=script.address):
        await script.wait_for(lambda: len(line.told) == 1)
        assert len(script.peers) == 2


def test_concurrency_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="concurrency = 0"):
        Worker("mail", lambda job: None, concurrency=0)


async def test_leases_of_what_runs_are_renewed_until_it_ends() -> None:
    """A long job keeps its lease, which is as short as a hanging worker should hold up its jobs."""
    line = Line("long")
    beats = asyncio.Event()

    def answer(peer: Peer, request: Fields) -> Mapping[str, object] | None:
        if request["cmd"] == "HEARTBEAT":
            assert (request["id"], request["lease"]) == (1, 101)
            if sum(each["cmd"] == "HEARTBEAT" for each in line.told) >= 2:
                beats.set()
        return line.answer(peer, request)

    async def handle(job: Job) -> None:
        await beats.wait()

    async with scripted(answer) as script, Worker("mail", handle, address=script.address, lease_ms=150):
        await script.wait_for(lambda: any(each["cmd"] == "ACK" for each in line.told))
        assert _pulls(script)[0]["lease_ms"] == 150


async def test_a_job_that_was_given_to_another_is_not_renewed_again(caplog: pytest.LogCaptureFixture) -> None:
    line = Line("lost", "kept")
    kept = asyncio.Event()

    def answer(peer: Peer, request: Fields) -> Mapping[str, object] | None:
        reply = line.answer(peer, request)
        if request["cmd"] == "HEARTBEAT" and request["id"] == 1:
            return {"ok": False, "error": "Lease lost: job 1 was given to another worker", "code": "lease_lost"}
        if sum(each["cmd"] == "HEARTBEAT" and each["id"] == 2 for each in line.told) >= 3:
            kept.set()
        return reply

    async def handle(job: Job) -> None:
        await kept.wait()

    async with scripted(answer) as script, Worker("mail", handle, address=script.address, concurrency=2, lease_ms=150):
        await script.wait_for(lambda: sum(each["cmd"] == "ACK" for each in line.told) == 2)
    assert sum(each["cmd"] == "HEARTBEAT" and each["id"] == 1 for each in line.told) == 1
    assert "job 1 is not this worker's any more" in caplog.text


def test_a_lease_too_short_to_be_renewed_is_refused() -> None:
    with pytest.raises(ValueError, match="lease_ms = 10: allowed is 100 or more"):
        Worker("mail", lambda job: None, lease_ms=10)
