"""Replies that found nobody: what they gave out goes back, and nothing else does."""

from random import Random

import msgspec
import pytest

from flashq.engine import queries
from flashq.protocol.given_back import leased_in
from flashq.testing.engine_kit import check_counts
from tests.simulation.naming_world import Body, Client, Shard, World

ENCODE = (msgspec.json.encode, msgspec.msgpack.encode)


@pytest.fixture
def shard() -> Shard:
    return World(1, Random(1)).shards[0]


def asked(shard: Shard, gid: int, **fields: object) -> Body:
    client = Client(shard, gid)
    frame = msgspec.json.encode({"reqId": "r", **fields})
    shard.world.tick(shard, lambda: shard.dispatcher.submit(client, frame))
    return client.told["r"]


def given_back(shard: Shard, body: bytes) -> None:
    shard.world.tick(shard, lambda: shard.dispatcher.undelivered_body(body))
    check_counts(shard.engine)


@pytest.mark.parametrize("encode", ENCODE)
def test_jobs_of_a_reply_that_nobody_took_wait_again(shard: Shard, encode: object) -> None:
    jobs = [{"data": 1}, {"data": 2, "priority": 3}, {"data": 3}]
    ids = asked(shard, 1, cmd="PUSHB", queue="mail", jobs=jobs)["ids"]
    told = asked(shard, 1, cmd="PULLB", queue="mail", count=2)
    given_back(shard, encode(told))  # type: ignore[operator]
    assert [queries.state_of(shard.engine, i) for i in ids] == ["waiting"] * 3
    again = asked(shard, 1, cmd="PULLB", queue="mail", count=9)["jobs"]
    assert {job["id"] for job in again} == set(ids)
    assert {job["attempts"] for job in again} == {0}


@pytest.mark.parametrize("encode", ENCODE)
def test_payload_that_looks_like_a_lease_gives_back_nobodys_job(shard: Shard, encode: object) -> None:
    """The token of another worker's lease, in the payload of a job that is shown or given to somebody who left."""
    asked(shard, 1, cmd="PUSH", queue="mail", data=1)
    held = asked(shard, 1, cmd="PULL", queue="mail")["job"]
    trap = {"group_id": None, "lease": held["lease"]}
    asked(shard, 2, cmd="PUSH", queue="film", data=trap)
    told = asked(shard, 2, cmd="PULL", queue="film")
    given_back(shard, encode(told))  # type: ignore[operator]
    assert queries.state_of(shard.engine, held["id"]) == "active"
    assert queries.state_of(shard.engine, told["job"]["id"]) == "waiting"


def test_reply_that_shows_a_job_gives_nothing_back(shard: Shard) -> None:
    job_id = asked(shard, 1, cmd="PUSH", queue="mail", data=1)["id"]
    asked(shard, 1, cmd="PULL", queue="mail")
    given_back(shard, msgspec.json.encode(asked(shard, 2, cmd="GETJOB", id=job_id)))
    assert queries.state_of(shard.engine, job_id) == "active"


def test_job_of_another_shard_goes_back_there() -> None:
    """A request that was forwarded is answered the way it came; so its jobs come back that way, too."""
    world = World(2, Random(1))
    mine, other = world.shards
    queue = next(world.names_of(1, "q"))
    job_id = asked(other, 1, cmd="PUSH", queue=queue, data=1)["id"]
    told = asked(other, 1, cmd="PULL", queue=queue)
    assert queries.state_of(other.engine, job_id) == "active"
    given_back(mine, msgspec.json.encode(told))
    assert queries.state_of(other.engine, job_id) == "waiting"
    check_counts(other.engine)


@pytest.mark.parametrize("body", [b"", b'{"ok":true,"jobs":[1]}', b'{"ok":true,"job":"x"}', b"\xc1", b'{"jobs":{}}'])
def test_other_replies_give_out_nothing(body: bytes) -> None:
    assert leased_in(body) == []
