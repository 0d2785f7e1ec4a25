"""Leases tied to a connection, when the process that held the connection, or ours, was restarted."""

from flashq.engine import retry
from flashq.engine.engine import Engine
from flashq.engine.pull import deliver
from flashq.engine.push import push_plain
from flashq.engine.queries import state_of

GID = 7


def pulled(engine: Engine, payload: bytes) -> int:
    """A job that a client on connection `GID` holds."""
    queue = engine.queue("q")
    job_id = push_plain(engine, queue, 0, payload, b'{"cmd":"PUSH","queue":"q","data":%b}' % payload)
    assert deliver(engine, queue, 1, gid=GID) is not None
    return job_id


def pass_grace(engine: Engine, ms: int = 5_000) -> None:
    engine.begin(engine.now_ms + ms, engine.mono_ms + ms)
    for action, argument in engine.mono_timers.due(engine.mono_ms, 10):
        action(engine, argument)


def test_grace_ends_only_the_leases_from_before_the_restart() -> None:
    """A connection that lives in another process goes on under its id: what it pulls since is its own."""
    engine = Engine(epoch=1)
    engine.begin(1_000, 1_000)
    before = pulled(engine, b"1")
    retry.start_grace(engine)
    since = pulled(engine, b"2")
    pass_grace(engine)
    assert (state_of(engine, before), state_of(engine, since)) == ("waiting", "active")


def test_connection_that_is_known_to_live_keeps_its_leases() -> None:
    """A worker is not to lose its job because the shard was restarted."""
    engine = Engine(epoch=1)
    engine.begin(1_000, 1_000)
    job_id = pulled(engine, b"1")
    retry.start_grace(engine)
    retry.still_there(engine, GID)
    pass_grace(engine)
    assert state_of(engine, job_id) == "active"
    retry.connection_gone(engine, GID)
    assert state_of(engine, job_id) == "waiting"


def test_grace_that_begins_anew_lasts_its_whole_time() -> None:
    """The end of a grace that was called off does not end the next one."""
    engine = Engine(epoch=1)
    engine.begin(1_000, 1_000)
    job_id = pulled(engine, b"1")
    retry.start_grace(engine)
    retry.still_there(engine, GID)
    pass_grace(engine, 4_000)
    retry.start_grace_of(engine, GID)
    pass_grace(engine, 2_000)
    assert state_of(engine, job_id) == "active"
    pass_grace(engine, 3_000)
    assert state_of(engine, job_id) == "waiting"
