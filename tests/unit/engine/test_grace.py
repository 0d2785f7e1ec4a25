"""Leases tied to a connection, when the process that held the connection, or ours, was restarted."""

from collections.abc import Callable

import pytest

from flashq.engine import control_jobs, retry
from flashq.engine.ack import ack
from flashq.engine.endings import as_record
from flashq.engine.engine import Engine
from flashq.engine.jobs import Job
from flashq.engine.pull import deliver
from flashq.engine.push import push_plain
from flashq.engine.queries import find, state_of
from flashq.engine.settings import Limits
from flashq.errors import JobNotFound

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


def flapping(grace_ms: int) -> Engine:
    engine = Engine(epoch=1, limits=Limits(disconnect_grace_ms=grace_ms))
    engine.begin(1_000, 1_000)
    return engine


def test_worker_that_comes_back_within_the_disconnect_grace_keeps_its_job() -> None:
    """A network that flaps does not cost a job its worker, nor is a crash counted."""
    engine = flapping(2_000)
    job_id = pulled(engine, b"1")
    retry.connection_gone(engine, GID)
    pass_grace(engine, 1_999)
    assert state_of(engine, job_id) == "active"
    retry.heartbeat(engine, job_id, token_of(engine, job_id), GID + 1)
    pass_grace(engine, 1)
    assert state_of(engine, job_id) == "active"
    retry.connection_gone(engine, GID + 1)
    pass_grace(engine, 2_000)
    assert state_of(engine, job_id) == "waiting"


def test_jobs_of_a_broken_connection_come_back_when_the_disconnect_grace_is_over() -> None:
    engine = flapping(2_000)
    job_id, done = pulled(engine, b"1"), pulled(engine, b"2")
    token = token_of(engine, done)
    retry.connection_gone(engine, GID)
    ack(engine, done, token, None, 0)
    pass_grace(engine, 2_000)
    assert (state_of(engine, job_id), state_of(engine, done)) == ("waiting", "completed")
    assert record_of(engine, job_id).crashes == 1


def token_of(engine: Engine, job_id: int) -> int:
    seen = find(engine, job_id)
    assert seen is not None
    assert seen.lease is not None
    return seen.lease.token


def record_of(engine: Engine, job_id: int) -> Job:
    seen = find(engine, job_id)
    assert seen is not None
    return as_record(seen.page, seen.place)


def _fail(engine: Engine, job_id: int, token: int) -> None:
    retry.fail(engine, job_id, token, "it did not work")


def _progress(engine: Engine, job_id: int, token: int) -> None:
    control_jobs.set_progress(engine, job_id, 50, None, token, GID + 1)


def _heartbeat(engine: Engine, job_id: int, token: int) -> None:
    retry.heartbeat(engine, job_id, token, GID + 1)


@pytest.mark.parametrize("say", [_fail, _progress, _heartbeat])
@pytest.mark.parametrize(("after_ms", "crashes"), [(5_000, 0), (5_001, 1)])
def test_crash_does_not_count_if_the_token_is_shown_in_time(
    say: Callable[[Engine, int, int], None], after_ms: int, crashes: int
) -> None:
    """Whatever the worker says with it: it was not lost, its connection was. The job itself waits again."""
    engine = flapping(0)
    job_id = pulled(engine, b"1")
    token = token_of(engine, job_id)
    retry.connection_gone(engine, GID)
    engine.begin(engine.now_ms + after_ms, engine.mono_ms + after_ms)
    with pytest.raises(JobNotFound):
        say(engine, job_id, token)
    assert state_of(engine, job_id) == "waiting"
    assert record_of(engine, job_id).crashes == crashes
