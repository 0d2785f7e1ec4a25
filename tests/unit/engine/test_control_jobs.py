"""Commands on single jobs: what each answers in each state a job can be in, and that a restart remembers it all."""

from collections.abc import Callable
from typing import Any

import pytest

from flashq.engine import control_jobs, logs, queries
from flashq.engine.endings import as_record, leave
from flashq.engine.engine import Engine
from flashq.engine.history import history_of
from flashq.engine.jobs import State
from flashq.engine.settings import Limits
from flashq.engine.waits import outcome_of
from flashq.errors import (
    FlashqError,
    IllegalTransition,
    InvalidArgument,
    JobNotFound,
    LeaseLost,
    LimitExceeded,
)
from flashq.testing.engine_kit import EngineKit, check_counts, drained, engine_facts

NEVER_GIVEN = 77 * 1024


@pytest.fixture
def kit() -> EngineKit:
    made = EngineKit(limits=Limits(lease_ms=30_000, keep_completed_count=3))
    made.start()
    return made


def settled(kit: EngineKit) -> None:
    """Counts are those of a full scan, and what the journal holds is the same state."""
    check_counts(kit.engine)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)


def state(kit: EngineKit, job_id: int) -> str:
    return queries.state_of(kit.engine, job_id)


def pulled(kit: EngineKit, queue: str = "mail") -> tuple[int, int]:
    """(id, token) of the next job."""
    got = kit.pull(queue)
    assert got is not None
    return got.ids[0], got.token


# -- every command in every state


def plain(kit: EngineKit) -> int:
    return kit.push("mail", {"data": 1})[0]


def waiting(kit: EngineKit) -> int:
    return kit.push("mail", {"data": 1, "priority": 3})[0]


def delayed(kit: EngineKit) -> int:
    return kit.push("mail", {"data": 1, "delay": 60_000})[0]


def retrying(kit: EngineKit) -> int:
    job_id = plain(kit)
    kit.fail(*pulled(kit))
    return job_id


def plain_active(kit: EngineKit) -> int:
    """One of several jobs that share a lease."""
    ids = kit.push("mail", {"data": 0}, {"data": 1}, {"data": 2})
    kit.pull("mail", 3)
    return ids[1]


def active(kit: EngineKit) -> int:
    job_id = waiting(kit)
    pulled(kit)
    return job_id


def plain_completed(kit: EngineKit) -> int:
    job_id = plain_active(kit)
    kit.ack_batch([job_id - 1024, job_id, job_id + 1024])
    return job_id


def completed(kit: EngineKit) -> int:
    job_id = active(kit)
    kit.ack(job_id, result=b'"r"')
    return job_id


def failed(kit: EngineKit) -> int:
    job_id = kit.push("mail", {"data": 1, "max_attempts": 1})[0]
    kit.fail(*pulled(kit))
    return job_id


def held(kit: EngineKit, as_what: State = State.HELD) -> int:
    """As if it waited for other jobs."""
    job_id = waiting(kit)
    seen = queries.find(kit.engine, job_id)
    assert seen is not None
    leave(kit.engine, seen.page, seen.place)
    as_record(seen.page, seen.place).state = as_what
    seen.page.queue.held += 1
    return job_id


def parent(kit: EngineKit) -> int:
    return held(kit, State.PARENT)


def unknown(kit: EngineKit) -> int:
    return NEVER_GIVEN


def cancelled(kit: EngineKit) -> int:
    job_id = waiting(kit)
    kit.carry_out(control_jobs.cancel, job_id)
    return job_id


def long_completed(kit: EngineKit) -> int:
    """Nothing is kept of it but that it completed."""
    job_id = completed(kit)
    for _ in range(3):
        completed(kit)
    return job_id


STATES: tuple[Callable[[EngineKit], int], ...] = (
    plain, waiting, delayed, retrying, plain_active, active, plain_completed, completed, failed, held, parent, unknown,
    cancelled, long_completed,
)  # fmt: skip

OK = "ok"
Cell = tuple[type[FlashqError], str]
NOT_FOUND: Cell = (JobNotFound, "Job {} not found")
NO_HOLDER: Cell = (JobNotFound, "Job {} not found in processing")
NOT_ACTIVE: Cell = (JobNotFound, "Job {} not in processing")
ENDED: Cell = (IllegalTransition, "Job {} cannot be cancelled (already completed/failed)")
NO_PRIORITY: Cell = (JobNotFound, "Job {} not found or cannot change priority")
READY: Cell = (IllegalTransition, "Job {} is not delayed")
NOT_DELAYED: Cell = (JobNotFound, "Job {} not found or not in delayed state")
NO_DISCARD: Cell = (JobNotFound, "Job {} not found or already in DLQ/completed")

QUEUED = ("plain", "waiting", "delayed", "retrying")
ACTIVE = ("plain_active", "active")
COMPLETED = ("plain_completed", "completed")
HELD = ("held", "parent")
Command = Callable[[Engine, int], Any]
COMMANDS: dict[str, tuple[Command, dict[str, str | Cell], Cell]] = {
    "CANCEL": (
        control_jobs.cancel,
        dict.fromkeys((*QUEUED, *ACTIVE, *HELD), OK)
        | dict.fromkeys((*COMPLETED, "failed", "long_completed"), ENDED),
        NOT_FOUND,
    ),
    "PROGRESS": (
        lambda e, i: control_jobs.set_progress(e, i, 50, "half", None, 0), dict.fromkeys(ACTIVE, OK), NO_HOLDER,
    ),
    "GETPROGRESS": (control_jobs.progress_of, dict.fromkeys(ACTIVE, OK), NOT_FOUND),
    "PARTIAL": (lambda e, i: control_jobs.partial(e, i, b"1", 0, 0, None), dict.fromkeys(ACTIVE, OK), NO_HOLDER),
    "CHANGEPRIORITY": (
        lambda e, i: control_jobs.change_priority(e, i, 9),
        dict.fromkeys((*QUEUED, *ACTIVE, *HELD, "failed"), OK),
        NO_PRIORITY,
    ),
    "MOVETODELAYED": (
        lambda e, i: control_jobs.move_to_delayed(e, i, 5_000, None), dict.fromkeys(ACTIVE, OK), NOT_ACTIVE,
    ),
    "PROMOTE": (
        control_jobs.promote,
        {"delayed": OK, "retrying": OK, "plain": READY, "waiting": READY},
        NOT_DELAYED,
    ),
    "UPDATEJOB": (
        lambda e, i: control_jobs.update(e, i, b"[2]", 0), dict.fromkeys((*QUEUED, *ACTIVE, "failed"), OK), NOT_FOUND,
    ),
    "DISCARD": (control_jobs.discard, dict.fromkeys((*QUEUED, *ACTIVE), OK), NO_DISCARD),
    "LOG": (
        lambda e, i: logs.log(e, i, "line", None),
        dict.fromkeys((*QUEUED, *ACTIVE, *COMPLETED, *HELD, "failed"), OK),
        NOT_FOUND,
    ),
}  # fmt: skip
AFTER = {
    "CANCEL": "unknown", "MOVETODELAYED": "delayed", "PROMOTE": "waiting", "DISCARD": "failed",
}  # fmt: skip
"""The state that a command leaves, where it changes it."""


@pytest.mark.parametrize("make", STATES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_answers_as_the_protocol_has_it_in_each_state(
    kit: EngineKit, name: str, make: Callable[[EngineKit], int]
) -> None:
    """Clients tell what happened by these texts; a refused command must not have changed anything."""
    job_id = make(kit)
    command, cells, otherwise = COMMANDS[name]
    cell = cells.get(make.__name__, otherwise)
    before, was = engine_facts(kit.engine), state(kit, job_id)
    if isinstance(cell, str):
        kit.carry_out(command, job_id)
        assert state(kit, job_id) == AFTER.get(name, was)
    else:
        kind, text = cell
        with pytest.raises(kind) as refused:
            kit.carry_out(command, job_id)
        assert str(refused.value) == text.format(job_id)
        assert type(refused.value) is kind
        assert engine_facts(kit.engine) == before
    if make.__name__ not in HELD:
        settled(kit)


@pytest.mark.parametrize("make", STATES, ids=lambda make: make.__name__)
def test_what_is_asked_of_a_job_changes_nothing(kit: EngineKit, make: Callable[[EngineKit], int]) -> None:
    job_id = make(kit)
    before = engine_facts(kit.engine)
    assert logs.lines_of(kit.engine, job_id) == []
    outcome = outcome_of(kit.engine, job_id)
    ends = {"failed": "failed", "unknown": "removed", "cancelled": "removed"}
    ends |= dict.fromkeys((*COMPLETED, "long_completed"), "completed")
    assert (outcome.kind if outcome else None) == ends.get(make.__name__)
    assert engine_facts(kit.engine) == before


# -- cancel, discard


def test_cancelled_active_job_ends_its_lease_and_later_words_are_not_found(kit: EngineKit) -> None:
    """The group and the limits it was counted in are free at once; the worker learns of it with its next word."""
    (job_id,) = kit.push("mail", {"data": 1})
    _, token = pulled(kit)
    kit.carry_out(control_jobs.cancel, job_id)
    assert kit.engine.totals.active == 0
    for word in (lambda: kit.ack(job_id, token), lambda: kit.fail(job_id, token), lambda: kit.heartbeat(job_id, token)):
        with pytest.raises(JobNotFound):
            word()
    kit.advance(60_000)
    assert state(kit, job_id) == "unknown"
    settled(kit)


def test_cancelling_from_the_middle_keeps_the_order_of_the_rest(kit: EngineKit) -> None:
    ids = kit.push("mail", *({"data": k} for k in range(300)))
    for job_id in ids[::2]:
        kit.carry_out(control_jobs.cancel, job_id)
    again = kit.replayed()
    settled(kit)
    assert drained(again, "mail") == drained(kit.engine, "mail") == ids[1::2]


def test_discarded_job_is_a_dead_letter_with_its_attempts_as_they_were(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 1, "backoff": 0})
    kit.fail(*pulled(kit))
    kit.carry_out(control_jobs.discard, job_id)
    seen = queries.find(kit.engine, job_id)
    assert seen is not None
    job = seen.page.jobs[seen.place]
    assert (job.attempts, job.error, job.died_at) == (1, "Discarded", kit.now_ms)
    assert list(kit.engine.queues["mail"].dead) == [job.seq]
    settled(kit)


def test_discarded_job_that_is_to_be_removed_on_failure_is_forgotten(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 1, "remove_on_fail": True})
    kit.carry_out(control_jobs.discard, job_id)
    assert state(kit, job_id) == "unknown"
    settled(kit)


# -- order


def test_changed_priority_stands_by_the_moment_it_became_ready(kit: EngineKit) -> None:
    """It is not behind those that came later, whatever priority it comes from."""
    (early,) = kit.push("mail", {"data": 0})
    (late,) = kit.push("mail", {"data": 0, "delay": 500})
    kit.advance(10)
    fives = kit.push("mail", {"data": 1, "priority": 5}, {"data": 1, "priority": 5})
    kit.advance(1_000)
    (last,) = kit.push("mail", {"data": 2, "priority": 5})
    for job_id in (late, early):
        kit.carry_out(control_jobs.change_priority, job_id, 5)
    settled(kit)
    again = kit.replayed()
    assert drained(again, "mail") == drained(kit.engine, "mail") == [early, *fives, late, last]


def test_priority_there_and_back_costs_no_place_and_leaves_nothing_behind(kit: EngineKit) -> None:
    ids = kit.push("mail", *({"data": k} for k in range(5)))
    later = kit.push("mail", {"data": 9, "delay": 5_000})[0]
    queue = kit.engine.queues["mail"]
    for round_ in range(300):
        for job_id in (ids[2], later):
            kit.carry_out(control_jobs.change_priority, job_id, round_ + 1)
            kit.carry_out(control_jobs.change_priority, job_id, 0)
    assert len(queue.lanes) < 80
    assert len(queue.priorities) < 160
    assert len(queue.later) < 160
    assert len(queue.lane.dead) + len(queue.lane.due) < 160
    kit.advance(6_000)
    settled(kit)
    assert drained(kit.engine, "mail") == [*ids, later]


def test_delayed_job_keeps_its_moment_when_its_priority_changes(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0, "delay": 500})
    (other,) = kit.push("mail", {"data": 0, "delay": 400})
    kit.carry_out(control_jobs.change_priority, job_id, 7)
    assert state(kit, job_id) == "delayed"
    kit.advance(450)
    assert pulled(kit)[0] == other
    assert kit.pull("mail") is None
    kit.advance(50)
    assert pulled(kit)[0] == job_id


def test_promoted_job_is_ready_behind_those_that_were_and_wakes_who_waits(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0, "delay": 60_000})
    kit.advance(5)
    (other,) = kit.push("mail", {"data": 1})
    kit.carry_out(control_jobs.promote, job_id)
    settled(kit)
    assert [pulled(kit)[0], pulled(kit)[0]] == [other, job_id]
    (next_id,) = kit.push("mail", {"data": 2, "delay": 60_000})
    ticket = kit.wait("mail", 1, 1_000, gid=7, tied=False)
    kit.carry_out(control_jobs.promote, next_id)
    ((who, given),) = kit.fetch_woken()
    assert who is ticket
    assert given is not None
    assert given.ids == [next_id]


def test_moved_job_waits_for_its_moment_with_its_progress_cleared_and_attempts_kept(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0, "backoff": 0})
    kit.fail(*pulled(kit))
    _, token = pulled(kit)
    kit.carry_out(control_jobs.set_progress, job_id, 70, "most of it", token, 0)
    with pytest.raises(LeaseLost):
        kit.carry_out(control_jobs.move_to_delayed, job_id, 300, token - 1)
    kit.carry_out(control_jobs.move_to_delayed, job_id, 300, token)
    seen = queries.find(kit.engine, job_id)
    assert seen is not None
    job = seen.page.jobs[seen.place]
    assert (job.attempts, job.progress, job.progress_msg, job.started_at) == (1, 0, None, 0)
    assert job.run_at == kit.now_ms + 300
    settled(kit)
    with pytest.raises(JobNotFound):
        kit.fail(job_id, token)
    kit.advance(300)
    kit.ack(job_id, token)
    assert state(kit, job_id) == "completed"
    settled(kit)


def test_job_moved_by_nothing_is_ready_at_once(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0})
    pulled(kit)
    kit.wait("mail", 1, 1_000, gid=7, tied=False)
    kit.carry_out(control_jobs.move_to_delayed, job_id, 0, None)
    ((_, given),) = kit.fetch_woken()
    assert given is not None
    assert given.ids == [job_id]
    settled(kit)


# -- data


def test_updated_data_is_what_the_next_worker_gets_in_either_codec(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0}, codec=1)
    kit.carry_out(control_jobs.update, job_id, b'{"a":1}', 0)
    settled(kit)
    got = kit.pull("mail")
    assert got is not None
    assert got.payloads == [{"a": 1}]
    with pytest.raises(LimitExceeded, match=r"Job data too large \(\d+ bytes, max \d+ bytes\)"):
        kit.carry_out(control_jobs.update, job_id, b"1" * ((10 << 20) + 1), 0)


# -- progress


def test_progress_renews_the_soft_deadline_but_not_the_jobs_timeout(kit: EngineKit) -> None:
    """A worker that tells how far it is lives; but a job that may run a second may not run for two."""
    soft, hard = kit.push("mail", {"data": 0, "stall_timeout": 1_000}, {"data": 1, "timeout": 1_500})
    assert kit.pull("mail", 2) is not None
    kit.advance(800)
    for job_id in (soft, hard):
        kit.carry_out(control_jobs.set_progress, job_id, 10, None, None, 0)
    settled(kit)
    kit.advance(800)
    kit.carry_out(control_jobs.set_progress, soft, 20, None, None, 0)
    settled(kit)
    assert (state(kit, soft), state(kit, hard)) == ("active", "delayed")
    kit.advance(1_000)
    assert state(kit, soft) == "delayed"


def test_progress_of_one_of_a_batch_leaves_the_others_leases_alone(kit: EngineKit) -> None:
    ids = kit.push("mail", {"data": 0}, {"data": 1})
    assert kit.pull("mail", 2, lease_ms=1_000, gid=7) is not None
    kit.advance(600)
    kit.carry_out(control_jobs.set_progress, ids[0], 10, None, None, 8)
    settled(kit)
    kit.connection_gone(7)
    assert [state(kit, i) for i in ids] == ["active", "waiting"]
    kit.connection_gone(8)
    assert state(kit, ids[0]) == "waiting"


@pytest.mark.parametrize(("value", "kept"), [(0, 0), (0.9, 0), (33.7, 33), (100, 100), (101, 100), (255.9, 100)])
def test_progress_is_rounded_down_and_at_most_a_hundred(kit: EngineKit, value: float, kept: int) -> None:
    (job_id,) = kit.push("mail", {"data": 0})
    pulled(kit)
    kit.carry_out(control_jobs.set_progress, job_id, value, "said", None, 0)
    assert control_jobs.progress_of(kit.engine, job_id) == (kept, "said")
    kit.carry_out(control_jobs.set_progress, job_id, value, None, None, 0)
    assert control_jobs.progress_of(kit.engine, job_id) == (kept, None)
    settled(kit)


@pytest.mark.parametrize("value", [-1, -0.5, 256, 1e300, float("inf"), float("nan")])
def test_progress_outside_its_bounds_is_refused(kit: EngineKit, value: float) -> None:
    (job_id,) = kit.push("mail", {"data": 0})
    pulled(kit)
    with pytest.raises(InvalidArgument, match="`progress`"):
        kit.carry_out(control_jobs.set_progress, job_id, value, None, None, 0)
    with pytest.raises(LimitExceeded, match="`message`"):
        kit.carry_out(control_jobs.set_progress, job_id, 1, "x" * 65_537, None, 0)
    assert control_jobs.progress_of(kit.engine, job_id) == (0, None)


def test_progress_and_partials_of_a_worker_that_lost_its_lease_are_refused(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0, "backoff": 0})
    _, old = pulled(kit)
    kit.fail(job_id, old)
    pulled(kit)
    with pytest.raises(LeaseLost):
        kit.carry_out(control_jobs.set_progress, job_id, 10, None, old, 0)
    with pytest.raises(LeaseLost):
        kit.carry_out(control_jobs.partial, job_id, b"1", 0, None, old)


# -- logs


def test_latest_hundred_lines_are_kept_and_forgotten_with_the_job(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0})
    for k in range(103):
        kit.carry_out(logs.log, job_id, f"line {k}", "warn" if k else None)
    lines = logs.lines_of(kit.engine, job_id)
    assert [line.message for line in lines] == [f"line {k}" for k in range(3, 103)]
    assert {line.level for line in lines} == {"warn"}
    settled(kit)
    pulled(kit)
    kit.ack(job_id)
    assert len(logs.lines_of(kit.engine, job_id)) == 100
    for _ in range(3):
        completed(kit)
    assert logs.lines_of(kit.engine, job_id) == []
    settled(kit)


def test_long_lines_push_out_old_ones_before_there_are_a_hundred(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0})
    for _ in range(20):
        kit.carry_out(logs.log, job_id, "é" * 32_768, "info")
    assert len(logs.lines_of(kit.engine, job_id)) == 8
    settled(kit)
    for fields in (("x" * 65_537, "info"), ("x", "y" * 513)):
        with pytest.raises(LimitExceeded):
            kit.carry_out(logs.log, job_id, *fields)


# -- events


def test_those_who_listen_are_told_of_each_transition(kit: EngineKit) -> None:
    kit.engine.heard = True
    (job_id,) = kit.push("mail", {"data": 0, "delay": 1_000})
    kit.carry_out(control_jobs.promote, job_id)
    pulled(kit)
    kit.carry_out(control_jobs.set_progress, job_id, 40, None, None, 0)
    kit.carry_out(control_jobs.partial, job_id, b"[1]", 0, 3, None)
    kit.carry_out(control_jobs.move_to_delayed, job_id, 10, None)
    kit.carry_out(control_jobs.discard, job_id)
    kit.carry_out(control_jobs.cancel, plain(kit))
    own = ("promoted", "progress", "partial", "delayed", "discarded", "cancelled")
    told = [h for h in kit.engine.happenings if h.kind in own]
    assert [h.kind for h in told][-6:] == list(own)
    progress, piece = told[-5], told[-4]
    assert (progress.progress, piece.data, piece.index) == (40, b"[1]", 3)
    assert {h.job_id for h in told[-6:-1]} == {job_id}
    assert "failed" not in {h.kind for h in kit.engine.happenings}, "one transition, one event"


# -- history


def steps(kit: EngineKit, job_id: int) -> list[tuple[str, int]]:
    seen = queries.find(kit.engine, job_id)
    assert seen is not None
    return [(step.event, step.at - 1_000_000) for step in history_of(seen)]


def test_history_tells_a_life_from_push_to_completion(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0, "backoff": 50})
    kit.advance(10)
    kit.fail(job_id, pulled(kit)[1], "no luck")
    kit.advance(200)
    kit.pull("mail", gid=7)
    kit.advance(5)
    kit.connection_gone(7)
    kit.carry_out(control_jobs.change_priority, job_id, 4)
    _, token = pulled(kit)
    kit.advance(1)
    assert steps(kit, job_id)[-1] == ("active", 215)
    kit.ack(job_id, token)
    assert steps(kit, job_id) == [
        ("pushed", 0), ("active", 10), ("retrying", 10), ("active", 210), ("crashed", 215), ("priority", 215),
        ("active", 215), ("completed", 216),
    ]  # fmt: skip
    seen = queries.find(kit.engine, job_id)
    assert seen is not None
    assert [s.text for s in history_of(seen) if s.text] == ["no luck", "4"]
    assert history_of(seen)[-1].lease == token
    settled(kit)


def test_history_of_a_plain_job_is_read_from_its_page_and_lease(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0})
    assert steps(kit, job_id) == [("pushed", 0)]
    kit.advance(3)
    pulled(kit)
    assert steps(kit, job_id) == [("pushed", 0), ("active", 3)]
    kit.advance(4)
    kit.ack(job_id)
    assert steps(kit, job_id) == [("pushed", 0), ("active", 3), ("completed", 7)]


def test_history_is_bounded_and_ends_with_the_death(kit: EngineKit) -> None:
    (job_id,) = kit.push("mail", {"data": 0, "max_attempts": 60, "backoff": 0})
    for _ in range(60):
        kit.fail(job_id, pulled(kit)[1], "x" * 5_000)
    found = steps(kit, job_id)
    assert len(found) == 65
    assert found[-1] == ("failed", 0)
    settled(kit)
