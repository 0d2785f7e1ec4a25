"""The checker is only worth its word if it sees each kind of broken promise, and only those."""

import pytest

from flashq.testing.checker import Kind, Rules, Verdict, check
from flashq.testing.history import (
    Ack,
    AnyEvent,
    Counted,
    Done,
    Fail,
    Given,
    Kill,
    LinkLost,
    Pull,
    Push,
    Refused,
    Unknown,
)

MS = 1_000
LEASE_MS = 100


class Story:
    """Builds a history; moments are milliseconds."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self._op = 0

    def _next(self) -> int:
        self._op += 1
        return self._op

    def push(self, key: str, job_id: int = 0, *, at: int = 0, end: str = "done", doomed: bool = False) -> None:
        op = self._next()
        self.events.append(Push(at * MS, "p", op, "q", [key], doomed=doomed))
        if end == "done":
            self.events.append(Done(at * MS, "p", op, ids=[job_id]))
        elif end == "unknown":
            self.events.append(Unknown(at * MS, "p", op, "connection reset"))
        elif end:
            self.events.append(Refused(at * MS, "p", op, end, "no"))

    def pull(self, key: str, job_id: int, lease: int, *, at: int, attempts: int = 0, link: int = 0) -> None:
        """Delivered at once. A `link` makes it a pull with release_on_disconnect."""
        op = self._next()
        self.events.append(Pull(at * MS, "w", op, "q", LEASE_MS, link, bool(link)))
        self.events.append(Done(at * MS, "w", op, given=[Given(job_id, key, lease, at, attempts)]))

    def ack(self, job_id: int, lease: int, *, at: int, end: str = "done") -> None:
        self._word(Ack(at * MS, "w", self._next(), [(job_id, lease)]), end)

    def fail(self, job_id: int, lease: int, *, at: int, end: str = "done") -> None:
        self._word(Fail(at * MS, "w", self._next(), job_id, lease), end)

    def _word(self, call: Ack | Fail, end: str) -> None:
        self.events.append(call)
        if end == "done":
            self.events.append(Done(call.at_us + MS, "w", call.op))
        elif end == "unknown":
            self.events.append(Unknown(call.at_us + MS, "w", call.op, "connection reset"))
        else:
            self.events.append(Refused(call.at_us + MS, "w", call.op, end, "no"))

    def kill(self, at: int) -> None:
        self.events.append(Kill(at * MS, "nemesis", self._next(), ["shard-00"]))

    def lose_link(self, link: int, *, alive: int, at: int) -> None:
        self.events.append(LinkLost(at * MS, "w", self._next(), link, alive * MS))

    def count(self, waiting: int, *, at: int, active: int = 0, dead: int = 0) -> None:
        self.events.append(Counted(at * MS, "judge", self._next(), waiting, 0, active, dead))

    def verdict(self) -> Verdict:
        return check(self.events, Rules(reconnect_grace_ms=50))

    def violations(self) -> dict[Kind, int]:
        return self.verdict().violations


@pytest.fixture
def story() -> Story:
    return Story()


def test_life_of_a_job_is_good_and_counted(story: Story) -> None:
    story.count(0, at=0)
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=9)
    story.push("b", 2)
    story.count(1, at=20)
    story.pull("b", 2, 11, at=25)
    story.ack(2, 11, at=29)
    story.count(0, at=40)
    verdict = story.verdict()
    assert verdict.good, verdict.examples
    assert (verdict.pushes_acknowledged, verdict.jobs_delivered, verdict.completions_acknowledged) == (2, 2, 2)


def test_acknowledged_push_that_never_comes_is_lost(story: Story) -> None:
    story.push("a", 1)
    assert story.violations() == {Kind.LOST: 1}


def test_unknown_push_may_come_or_not(story: Story) -> None:
    story.push("a", end="unknown")
    story.push("b", end="unknown")
    story.pull("b", 2, 10, at=5)
    story.ack(2, 10, at=6)
    verdict = story.verdict()
    assert verdict.good, verdict.examples
    assert (verdict.pushes_unknown, verdict.unknown_that_happened) == (2, 1)


def test_push_without_any_outcome_counts_as_unknown(story: Story) -> None:
    story.push("a", end="")
    verdict = story.verdict()
    assert verdict.good
    assert verdict.pushes_unknown == 1


def test_delivered_job_that_nobody_completes_has_vanished(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    assert story.violations() == {Kind.VANISHED: 1}


def test_delivered_job_whose_ack_was_refused_has_vanished(story: Story) -> None:
    """Unless another worker had it, the refusal was a lie or the job is gone."""
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=6, end="not_found")
    assert story.violations() == {Kind.VANISHED: 1}


def test_job_whose_ack_has_no_answer_may_be_gone(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=6, end="unknown")
    assert story.verdict().good


def test_job_that_nobody_pushed_is_a_phantom(story: Story) -> None:
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=6)
    assert story.violations() == {Kind.PHANTOM: 1}


def test_job_with_another_payload_is_damaged(story: Story) -> None:
    story.push("a", 1)
    story.pull("", 1, 10, at=5)
    story.ack(1, 10, at=6)
    assert story.violations() == {Kind.DAMAGED: 1}


def test_one_push_that_comes_under_two_ids_is_doubled(story: Story) -> None:
    story.push("a", 1)
    for job_id in (1, 2):
        story.pull("a", job_id, 10 + job_id, at=5)
        story.ack(job_id, 10 + job_id, at=6)
    assert story.violations() == {Kind.DOUBLED: 1}


def test_two_pushes_under_one_id_are_seen(story: Story) -> None:
    story.push("a", 1)
    story.push("b", 1)
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=6)
    assert story.violations() == {Kind.ID_TWICE: 1}


def test_refused_push_that_comes_has_half_happened(story: Story) -> None:
    story.push("a", end="invalid")
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=6)
    assert story.violations() == {Kind.HALF: 1}


def test_push_refused_because_its_shard_died_may_come(story: Story) -> None:
    """Whoever answers for a dead shard cannot know."""
    story.push("a", end="unavailable")
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=6)
    assert story.verdict().good


@pytest.mark.parametrize(("came", "violations"), [((), {}), (("a",), {Kind.HALF: 1}), (("a", "b"), {})])
def test_batch_without_an_answer_happens_as_a_whole_or_not(
    story: Story, came: tuple[str, ...], violations: dict[Kind, int]
) -> None:
    story.events += [Push(0, "p", 99, "q", ["a", "b"]), Unknown(1, "p", 99, "connection reset")]
    for job_id, key in enumerate(came, 1):
        story.pull(key, job_id, 10 + job_id, at=5)
        story.ack(job_id, 10 + job_id, at=6)
    assert story.violations() == violations


def test_delivery_after_an_acknowledged_ack_is_seen(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.ack(1, 10, at=6)
    story.pull("a", 1, 11, at=500)
    story.ack(1, 11, at=501, end="not_found")
    assert story.violations() == {Kind.REDELIVERED: 1}


def test_ack_of_a_superseded_lease_must_not_count(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.pull("a", 1, 11, at=200)
    story.ack(1, 10, at=210)
    assert story.violations() == {Kind.STALE_ACK: 1}


def test_refused_ack_of_a_superseded_lease_is_right(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.pull("a", 1, 11, at=200)
    story.ack(1, 10, at=210, end="lease_lost")
    story.ack(1, 11, at=220)
    assert story.verdict().good


def test_lease_that_begins_before_the_last_has_ended_overlaps(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.pull("a", 1, 11, at=5 + LEASE_MS - 10)
    story.ack(1, 11, at=200)
    assert story.violations() == {Kind.OVERLAP: 1}


@pytest.mark.parametrize("end", ["done", "unknown"])
def test_failed_job_may_be_given_at_once(story: Story, end: str) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.fail(1, 10, at=6, end=end)
    story.pull("a", 1, 11, at=8, attempts=1)
    story.ack(1, 11, at=9)
    assert story.verdict().good


def test_refused_failure_ends_no_lease(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.fail(1, 10, at=6, end="lease_lost")
    story.pull("a", 1, 11, at=9)
    story.ack(1, 11, at=10)
    assert story.violations() == {Kind.OVERLAP: 1}


def test_lease_tied_to_a_connection_ends_with_it(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5, link=1)
    story.lose_link(1, alive=20, at=30)
    story.pull("a", 1, 11, at=25)
    story.ack(1, 11, at=26)
    assert story.verdict().good


def test_lease_tied_to_a_connection_does_not_end_before_it(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5, link=1)
    story.lose_link(1, alive=20, at=30)
    story.pull("a", 1, 11, at=15)
    story.ack(1, 11, at=40)
    assert story.violations() == {Kind.OVERLAP: 1}


@pytest.mark.parametrize(("at", "violations"), [(60, {Kind.OVERLAP: 1}), (76, {})])
def test_lease_tied_to_a_killed_connection_has_its_grace(story: Story, at: int, violations: dict[Kind, int]) -> None:
    """The worker did nothing wrong: it may come back with its token."""
    story.push("a", 1)
    story.pull("a", 1, 10, at=5, link=1)
    story.kill(25)
    story.lose_link(1, alive=20, at=30)
    story.pull("a", 1, 11, at=at)
    story.ack(1, 11, at=90)
    assert story.violations() == violations


def test_one_lease_in_two_pulls_is_seen(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.pull("a", 1, 10, at=200)
    story.ack(1, 10, at=201)
    assert story.violations() == {Kind.LEASE_TWICE: 1}


def test_smaller_token_for_a_later_lease_is_seen(story: Story) -> None:
    """A token given again after a restart would let a stale worker's ack through."""
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.pull("a", 1, 9, at=200)
    story.ack(1, 10, at=201)
    assert Kind.LEASE_ORDER in story.violations()


def test_attempts_that_go_back_are_seen(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5, attempts=2)
    story.pull("a", 1, 11, at=200, attempts=1)
    story.ack(1, 11, at=201)
    assert story.violations() == {Kind.ATTEMPTS: 1}


def test_acknowledged_failure_that_is_not_counted_is_seen(story: Story) -> None:
    story.push("a", 1)
    story.pull("a", 1, 10, at=5)
    story.fail(1, 10, at=6)
    story.pull("a", 1, 11, at=9, attempts=0)
    story.ack(1, 11, at=10)
    assert story.violations() == {Kind.ATTEMPTS: 1}


def test_doomed_job_that_fails_too_often_is_seen(story: Story) -> None:
    story.push("a", 1, doomed=True)
    for lease in (10, 11, 12):
        story.pull("a", 1, lease, at=lease, attempts=lease - 10)
        story.fail(1, lease, at=lease)
    assert story.violations() == {Kind.ATTEMPTS: 1}


def test_dead_letters_are_the_doomed_jobs(story: Story) -> None:
    story.count(0, at=0, dead=7)
    story.push("a", 1, doomed=True)
    story.push("b", doomed=True, end="unknown")
    story.pull("a", 1, 10, at=5)
    story.fail(1, 10, at=6)
    story.count(0, at=20, dead=8)
    story.count(0, at=30, dead=8)
    assert story.verdict().good


@pytest.mark.parametrize("dead", [0, 2])
def test_missing_or_additional_dead_letter_is_seen(story: Story, dead: int) -> None:
    story.count(0, at=0)
    story.push("a", 1, doomed=True)
    story.pull("a", 1, 10, at=5)
    story.fail(1, 10, at=6)
    story.count(0, at=20, dead=dead)
    story.count(0, at=30, dead=dead)
    assert story.violations() == {Kind.COUNTS: 1}


@pytest.mark.parametrize(("waiting", "active"), [(0, 0), (1, 1), (0, 2)])
def test_count_that_differs_from_what_is_drained_is_seen(story: Story, waiting: int, active: int) -> None:
    story.push("a", 1)
    story.count(waiting, at=10, active=active)
    story.pull("a", 1, 10, at=15)
    story.ack(1, 10, at=16)
    story.count(0, at=20)
    assert story.violations() == {Kind.COUNTS: 1}


def test_count_that_does_not_end_at_nothing_is_seen(story: Story) -> None:
    story.push("a", 1)
    story.count(1, at=10)
    story.pull("a", 1, 10, at=15)
    story.ack(1, 10, at=16)
    story.count(1, at=20)
    assert story.violations() == {Kind.COUNTS: 1}


def test_unknown_ack_may_make_up_for_a_count(story: Story) -> None:
    story.push("a", 1)
    story.count(1, at=10)
    story.pull("a", 1, 10, at=15)
    story.ack(1, 10, at=16, end="unknown")
    story.count(0, at=20)
    assert story.verdict().good


def test_batch_ack_splits_into_its_jobs(story: Story) -> None:
    """One refused id of a batch says nothing about the others."""
    for job_id, key in ((1, "a"), (2, "b"), (3, "c")):
        story.push(key, job_id)
        story.pull(key, job_id, 10 + job_id, at=5)
    story.events.append(Ack(6 * MS, "w", 99, [(1, 11), (2, 12), (3, 13)]))
    story.events.append(Done(7 * MS, "w", 99, refused=[2], unknown=[3]))
    verdict = story.verdict()
    assert verdict.violations == {Kind.VANISHED: 1}
    assert (verdict.completions_acknowledged, verdict.completions_unknown) == (1, 1)


def test_verdicts_add_up() -> None:
    one, two = Story(), Story()
    one.push("a", 1)
    two.push("b", 2)
    two.pull("c", 3, 10, at=1)
    two.ack(3, 10, at=2)
    total = one.verdict()
    total.add(two.verdict())
    assert total.violations == {Kind.LOST: 2, Kind.PHANTOM: 1}
    assert total.pushes_acknowledged == 2
    assert len(total.examples) == 3
