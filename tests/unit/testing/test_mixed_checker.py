"""Broken promises of keys, waiting jobs, limits, crons, counters, results: each is found and named, none invented."""

from typing import Any

import pytest

from flashq.testing.checker import Kind, Rules, check
from flashq.testing.history import (
    Ack,
    AnyEvent,
    Await,
    Counted,
    Done,
    Fail,
    Given,
    Heard,
    Increase,
    Limit,
    Pull,
    Push,
    Refused,
    Schedule,
    Total,
    Unknown,
)

MS = 1_000


class Tale:
    """Builds a history; moments are milliseconds, ids are 1 for the first push of key "1" and so on."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self._op = 0

    def op(self) -> int:
        self._op += 1
        return self._op

    def push(self, *keys: str, at: int, end: str = "done", told: int = 0, queue: str = "q", **about: Any) -> None:
        """`told` is the id of the answer, else each key's own."""
        op = self.op()
        self.events.append(Push(at * MS, "p", op, queue, list(keys), **about))
        self._answer(op, at + 1, end, ids=[told or int(key) for key in keys])

    def pull(self, key: str, *, at: int, job: int = 0, lease: int = 0, queue: str = "q", attempts: int = 0) -> None:
        op, job = self.op(), job or int(key)
        self.events.append(Pull(at * MS, "w", op, queue, 100, 0, False))
        self.events.append(Done(at * MS, "w", op, given=[Given(job, key, lease or at, at, attempts)]))

    def ack(self, job: int, lease: int, *, at: int, end: str = "done") -> None:
        op = self.op()
        self.events.append(Ack(at * MS, "p", op, [(job, lease)]))
        self._answer(op, at + 1, end)

    def fail(self, job: int, lease: int, *, at: int) -> None:
        op = self.op()
        self.events.append(Fail(at * MS, "p", op, job, lease))
        self._answer(op, at + 1, "done")

    def work(self, key: str, *, at: int, until: int, job: int = 0, queue: str = "q") -> None:
        self.pull(key, at=at, job=job, queue=queue)
        self.ack(job or int(key), at, at=until)

    def cron(self, key: str, limit: int, *, at: int, end: str = "done") -> None:
        op = self.op()
        self.events.append(Schedule(at * MS, "p", op, key, 10, limit))
        self._answer(op, at + 1, end)

    def add(self, amount: int, value: int | None = None, *, once: str = "", end: str = "done") -> None:
        op = self.op()
        self.events.append(Increase(MS, "p", op, "sum", amount, once))
        self._answer(op, 2, end, value=value)

    def total(self, value: int) -> None:
        self.events.append(Total(9 * MS, "judge", self.op(), "sum", value))

    def wait(self, job: int, result: int | None, *, at: int) -> None:
        op = self.op()
        self.events.append(Await(0, "p", op, job))
        self._answer(op, at, "done", value=result)

    def limit(self, most: int, each: str = "") -> None:
        self.events.append(Limit(0, "judge", self.op(), "q", most, each))

    def count(self, at: int, *, waiting: int = 0, held: int = 0) -> None:
        self.events.append(Counted(at * MS, "judge", self.op(), waiting, 0, 0, 0, held))

    def _answer(self, op: int, at: int, end: str, **told: Any) -> None:
        if end == "done":
            self.events.append(Done(at * MS, "p", op, **told))
        elif end == "unknown":
            self.events.append(Unknown(at * MS, "p", op, "the connection ended"))
        else:
            self.events.append(Refused(at * MS, "p", op, end, "no"))

    def violations(self) -> dict[Kind, int]:
        return check(self.events, Rules(reconnect_grace_ms=50)).violations


@pytest.fixture
def tale() -> Tale:
    return Tale()


# -- what waits for others


def test_dependant_after_its_dependencies_is_right(tale: Tale) -> None:
    tale.push("1", at=0)
    tale.push("2", at=1, after=["1"])
    tale.work("1", at=10, until=20)
    tale.work("2", at=21, until=30)
    assert tale.violations() == {}


@pytest.mark.parametrize("end", ["done", "unknown"])
def test_dependant_before_the_end_of_its_dependency_is_early(tale: Tale, end: str) -> None:
    tale.push("1", at=0)
    tale.push("2", at=1, after=["1"])
    tale.work("2", at=10, until=15)
    tale.pull("1", at=11)
    tale.ack(1, 11, at=20, end=end)
    assert tale.violations() == {Kind.EARLY: 1}


def test_parent_of_a_flow_before_its_last_child_is_early(tale: Tale) -> None:
    tale.push("1", "2", "3", at=0, after=["2", "3"])
    tale.work("2", at=10, until=11)
    tale.work("1", at=12, until=40)
    tale.work("3", at=13, until=20)
    assert tale.violations() == {Kind.EARLY: 1}


def test_dependant_that_never_comes_is_stuck(tale: Tale) -> None:
    tale.push("1", at=0)
    tale.push("2", at=1, after=["1"])
    tale.work("1", at=10, until=20)
    assert tale.violations() == {Kind.STUCK: 1}


def test_dependant_of_a_lost_job_is_lost_like_it(tale: Tale) -> None:
    tale.push("1", at=0)
    tale.push("2", at=1, after=["1"])
    assert tale.violations() == {Kind.LOST: 2}


def test_flow_of_which_a_part_came_is_half(tale: Tale) -> None:
    tale.push("1", "2", at=0, after=["2"], end="unknown")
    tale.work("2", at=10, until=11)
    assert tale.violations() == {Kind.HALF: 1}


def test_held_jobs_are_counted(tale: Tale) -> None:
    tale.push("1", at=0)
    tale.push("2", at=1, after=["1"])
    tale.count(5, waiting=1, held=1)
    tale.work("1", at=10, until=20)
    tale.work("2", at=30, until=40)
    tale.count(50)
    assert tale.violations() == {}
    tale.count(51, held=1)
    assert tale.violations()[Kind.COUNTS] >= 1


# -- unique keys


def test_unique_key_is_free_after_the_end_of_its_job(tale: Tale) -> None:
    tale.push("1", at=0, unique="k")
    tale.push("9", at=5, unique="k", end="duplicate")
    tale.work("1", at=10, until=20)
    tale.push("2", at=20, unique="k")
    tale.work("2", at=30, until=40)
    assert tale.violations() == {}


def test_second_live_job_of_a_unique_key_is_found(tale: Tale) -> None:
    tale.push("1", at=0, unique="k")
    tale.push("2", at=5, unique="k")
    tale.work("1", at=10, until=20)
    tale.work("2", at=30, until=40)
    assert tale.violations() == {Kind.KEY_SHARED: 1}


def test_unique_keys_are_a_queues_own(tale: Tale) -> None:
    tale.push("1", at=0, unique="k")
    tale.push("2", at=5, unique="k", queue="other")
    tale.work("1", at=10, until=20)
    tale.work("2", at=30, until=40)
    assert tale.violations() == {}


def test_refusal_for_a_job_that_is_gone_is_found(tale: Tale) -> None:
    tale.push("1", at=0, unique="k")
    tale.work("1", at=10, until=20)
    tale.push("2", at=30, unique="k", end="duplicate")
    assert tale.violations() == {Kind.KEY_STUCK: 1}


def test_refusal_under_one_idempotency_key_is_as_old_as_its_first_try(tale: Tale) -> None:
    tale.push("1", at=0, unique="k")
    tale.push("2", at=15, unique="k", end="unknown")
    tale.work("1", at=10, until=20)
    tale.push("2", at=30, unique="k", end="duplicate", repeat_of=2)
    assert tale.violations() == {}


def test_refused_duplicate_that_comes_all_the_same_is_found(tale: Tale) -> None:
    tale.push("1", at=0, unique="k")
    tale.push("2", at=5, unique="k", end="duplicate")
    tale.work("1", at=10, until=20)
    tale.work("2", at=30, until=40)
    assert tale.violations() == {Kind.HALF: 1}


# -- custom ids


def test_pushes_of_one_name_are_one_job_while_it_lives(tale: Tale) -> None:
    tale.push("1", at=0, name="n")
    tale.push("2", at=5, name="n", told=1)
    tale.work("1", at=10, until=20)
    tale.push("3", at=30, name="n")
    tale.work("3", at=40, until=50)
    assert tale.violations() == {}


def test_second_live_job_of_a_name_is_found(tale: Tale) -> None:
    tale.push("1", at=0, name="n")
    tale.push("2", at=5, name="n")
    tale.work("1", at=10, until=20)
    tale.work("2", at=12, until=20)
    assert tale.violations() == {Kind.KEY_SHARED: 1}


def test_push_told_a_job_that_was_completed_is_found(tale: Tale) -> None:
    tale.push("1", at=0, name="n")
    tale.work("1", at=10, until=20)
    tale.push("2", at=30, name="n", told=1)
    assert tale.violations() == {Kind.KEY_STUCK: 1}


def test_push_told_a_job_of_another_name_is_found(tale: Tale) -> None:
    tale.push("1", at=0, name="n")
    tale.push("2", at=5, name="other", told=1)
    tale.work("1", at=10, until=20)
    assert tale.violations() == {Kind.NAME_MIXED: 1}


def test_named_push_that_was_told_a_job_that_never_comes_is_lost(tale: Tale) -> None:
    tale.push("1", at=0, name="n")
    assert tale.violations() == {Kind.LOST: 1}


# -- limits


@pytest.mark.parametrize(
    ("each", "about"),
    [("", [{}, {}]), ("group", [{"group": "a"}] * 2), ("limit_key", [{"limit_key": "a"}] * 2)],
)
def test_one_too_many_is_found(tale: Tale, each: str, about: list[dict[str, Any]]) -> None:
    tale.limit(1, each)
    tale.push("1", at=0, **about[0])
    tale.push("2", at=0, **about[1])
    tale.work("1", at=10, until=20)
    tale.work("2", at=15, until=25)
    assert tale.violations() == {Kind.LIMIT: 1}


def test_others_do_not_count(tale: Tale) -> None:
    """Other groups, jobs without one, other queues, jobs whose ack was sent, and leases that ran out."""
    tale.limit(1, "group")
    for key, group in (("1", "a"), ("2", "b"), ("3", ""), ("4", ""), ("5", "a"), ("6", "a"), ("7", "a")):
        tale.push(key, at=0, group=group)
    for key in "1234":
        tale.work(key, at=10, until=20)
    tale.work("5", at=20, until=30, queue="q")
    tale.work("7", at=21, until=30, queue="other")
    tale.pull("6", at=31)
    tale.push("8", at=31, group="a")
    tale.work("8", at=31 + 100, until=140)
    tale.work("6", at=145, until=150)
    assert tale.violations() == {}


def test_failed_job_makes_room(tale: Tale) -> None:
    tale.limit(1)
    tale.push("1", at=0)
    tale.push("2", at=0)
    tale.pull("1", at=10)
    tale.fail(1, 10, at=12)
    tale.work("2", at=12, until=20)
    tale.pull("1", at=30, attempts=1)
    tale.ack(1, 30, at=40)
    assert tale.violations() == {}


# -- crons


def test_cron_with_a_job_a_run_is_right(tale: Tale) -> None:
    tale.cron("c", 2, at=0)
    tale.work("c", job=1, at=10, until=11)
    tale.work("c", job=2, at=20, until=21)
    assert tale.violations() == {}


@pytest.mark.parametrize("moments", [[10], [10, 20, 30]])
def test_run_without_a_job_or_with_two_is_found(tale: Tale, moments: list[int]) -> None:
    tale.cron("c", 2, at=0)
    for number, at in enumerate(moments, 1):
        tale.work("c", job=number, at=at, until=at + 1)
    assert tale.violations() == {Kind.TICKS: 1}


def test_job_before_its_run_is_found(tale: Tale) -> None:
    """One doubled and one lost are as many as they ought to be."""
    tale.cron("c", 2, at=0)
    tale.work("c", job=1, at=10, until=11)
    tale.work("c", job=2, at=11, until=12)
    assert tale.violations() == {Kind.TICKS: 1}


@pytest.mark.parametrize(("end", "jobs", "right"), [("unknown", 0, True), ("unknown", 2, True), ("unknown", 1, False)])
def test_cron_that_may_be_there_makes_all_its_jobs_or_none(tale: Tale, end: str, jobs: int, right: bool) -> None:
    tale.cron("c", 2, at=0, end=end)
    for number in range(1, jobs + 1):
        tale.work("c", job=number, at=number * 10, until=number * 10 + 1)
    assert (tale.violations() == {}) is right


def test_cron_that_was_refused_makes_no_job(tale: Tale) -> None:
    tale.cron("c", 1, at=0, end="invalid")
    tale.work("c", job=1, at=10, until=11)
    assert tale.violations() == {Kind.TICKS: 1}


# -- counters and results


@pytest.mark.parametrize("total", [3, 8])
def test_open_increase_counts_or_not(tale: Tale, total: int) -> None:
    tale.add(1, 1)
    tale.add(5, end="unknown")
    tale.add(2, total)
    tale.add(9, end="invalid")
    tale.total(total)
    assert tale.violations() == {}


@pytest.mark.parametrize("total", [2, 4, 7, 9])
def test_wrong_sum_is_found(tale: Tale, total: int) -> None:
    tale.add(1, 1)
    tale.add(5, end="unknown")
    tale.add(2, 3)
    tale.total(total)
    assert tale.violations() == {Kind.SUMS: 1}


def test_repeated_increase_is_one(tale: Tale) -> None:
    tale.add(2, once="i", end="unknown")
    tale.add(2, 2, once="i")
    tale.total(2)
    assert tale.violations() == {}
    tale.total(4)
    assert tale.violations() == {Kind.SUMS: 1}


def test_two_increases_with_one_sum_are_found(tale: Tale) -> None:
    tale.add(1, 1)
    tale.add(1, 1)
    tale.total(2)
    assert tale.violations() == {Kind.SUMS: 1}


@pytest.mark.parametrize(("result", "right"), [(10, True), (11, False), (None, False)])
def test_result_is_that_of_an_ack(tale: Tale, result: int | None, right: bool) -> None:
    tale.push("1", at=0)
    tale.work("1", at=10, until=20)
    tale.wait(1, result, at=22)
    assert tale.violations() == ({} if right else {Kind.RESULT: 1})


def test_result_before_its_ack_is_found(tale: Tale) -> None:
    tale.push("1", at=0)
    tale.work("1", at=10, until=20)
    tale.wait(1, 10, at=15)
    assert tale.violations() == {Kind.RESULT: 1}


# -- what is left


def test_revived_job_begins_with_no_attempts(tale: Tale) -> None:
    def life(**about: Any) -> dict[Kind, int]:
        one = Tale()
        one.push("1", at=0, **about)
        one.pull("1", at=10)
        one.fail(1, 10, at=11)
        one.work("1", at=20, until=30)
        return one.violations()

    assert life(revived=True) == {}
    assert life() == {Kind.ATTEMPTS: 1}


def test_figures_of_the_families_are_counted(tale: Tale) -> None:
    tale.cron("c", 1, at=0)
    tale.work("c", job=7, at=10, until=11)
    tale.add(1, 1)
    tale.push("1", at=0)
    tale.work("1", at=12, until=13)
    tale.wait(1, 12, at=15)
    tale.events.append(Heard(20, "l", tale.op(), 5))
    verdict = check(tale.events)
    figures = (verdict.cron_runs, verdict.increases, verdict.waits_answered, verdict.events_heard)
    assert (figures, verdict.violations) == ((1, 1, 1, 5), {})
