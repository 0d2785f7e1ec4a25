"""The blocking client: the same answers, from plain threads."""

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flashq.client.client import Client
from flashq.client.errors import Unreachable
from flashq.client.sync import SyncClient
from flashq.errors import JobNotFound
from tests.unit.client.script import Fields, Peer, Script, scripted_in_thread


def _answer(_: Peer, request: Fields) -> dict[str, object] | None:
    if request["cmd"] == "ACK":
        return {"ok": False, "error": "Job 5 not found", "code": "not_found"}
    return {"ok": True, "id": request.get("data", 0), "jobs": [], "job": None}


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_in_thread(_answer) as running:
        yield running


def test_answers_and_errors_are_those_of_the_client(script: Script) -> None:
    with SyncClient(script.address) as client:
        assert client.push("mail", 5) == 5
        assert client.pull("mail", timeout_ms=0) is None
        assert client.pull_batch("mail", 3) == []
        with pytest.raises(JobNotFound, match="Job 5 not found"):
            client.ack(5)
        client.ping()


def test_threads_share_one_connection(script: Script) -> None:
    with SyncClient(script.address) as client, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda n: client.push("mail", n), range(200))) == list(range(200))
    assert len(script.peers) == 1


def test_thread_ends_with_the_client(script: Script) -> None:
    before = threading.active_count()
    client = SyncClient(script.address)
    client.push("mail", 1)
    client.close()
    client.close()
    assert threading.active_count() == before


def test_thread_ends_when_nobody_is_there() -> None:
    before = threading.active_count()
    with pytest.raises(Unreachable), SyncClient("/nowhere/at/all"):
        pytest.fail("connected to nothing")
    assert threading.active_count() == before


def test_every_command_of_the_client_is_there() -> None:
    """Signatures too: what is learnt from one works with the other."""
    for name, method in inspect.getmembers(Client, inspect.iscoroutinefunction):
        if not name.startswith("_") and name != "finish":
            assert inspect.signature(getattr(SyncClient, name)) == inspect.signature(method), name
