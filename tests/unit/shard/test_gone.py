"""Clients of other processes that leave, while a request of theirs is still held back or was forwarded."""

from random import Random

import msgspec
import pytest

from flashq.engine import queries
from tests.simulation.naming_world import Client, Shard, World


@pytest.fixture
def world() -> World:
    return World(2, Random(1))


def submit(shard: Shard, client: Client, req_id: str, **fields: object) -> None:
    frame = msgspec.json.encode({"reqId": req_id, **fields})
    shard.world.tick(shard, lambda: shard.dispatcher.submit(client, frame))


@pytest.mark.parametrize("how", ["remote_gone", "remote_ended", "holder_gone"])
def test_pull_behind_a_held_push_does_not_wait_for_a_client_that_left_meanwhile(world: World, how: str) -> None:
    """It would take the next job for nobody: the news that its client has gone does not come again."""
    shard = world.shards[0]
    queue, held = next(world.names_of(0, "q")), next(world.names_of(0, "h"))
    client = Client(shard, 7)
    submit(shard, client, "push", cmd="PUSH", queue=held, data=1, jobId=next(world.names_of(1, "n")))
    submit(shard, client, "pull", cmd="PULL", queue=queue, timeout=60_000)
    assert client.told == {}
    world.tick(shard, lambda: getattr(shard.dispatcher, how)(7))
    while world.deliver():
        pass
    assert client.told["push"]["ok"]  # what it sent before it left is carried out
    assert client.told["pull"]["job"] is None
    assert not shard.engine.waits_of
    other = Client(shard, 8)
    submit(shard, other, "push", cmd="PUSH", queue=queue, data=2)
    assert queries.state_of(shard.engine, other.told["push"]["id"]) == "waiting"


@pytest.mark.parametrize(("how", "word"), [("remote_gone", "gone"), ("remote_ended", "ended"), ("holder_gone", "gone")])
def test_shards_to_which_a_request_was_forwarded_hear_of_its_client(world: World, how: str, word: str) -> None:
    shard = world.shards[0]
    world.tick(shard, lambda: getattr(shard.dispatcher, how)(7))
    assert shard.passed_on == [(word, 7)]
