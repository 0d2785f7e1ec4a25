"""Crons: each run once, whatever dies; misfires as asked for; the same state after every replay."""

import random
from collections import Counter
from typing import Any

import pytest

from flashq.engine import crons, outbox, schedules
from flashq.errors import InvalidArgument, JobNotFound
from flashq.protocol.slots import slot_of_queue
from flashq.testing.engine_kit import EngineKit, engine_facts

START = 1_700_000_000_000
SECOND, HOUR = 1_000, 3_600_000


class Kit(EngineKit):
    """A kit whose state is compared with its replay after every step."""

    def commit(self) -> None:
        super().commit()
        if self.checked and not self.engine.replaying:
            assert engine_facts(self.replayed()) == engine_facts(self.engine)

    checked = True

    def step(self, ms: int = SECOND, times: int = 1) -> None:
        for _ in range(times):
            self.advance(ms)

    def all_of(self, queue: str) -> list[Any]:
        """Payloads of all ready jobs."""
        out: list[Any] = []
        while (got := self.pull(queue, 1000)) is not None:
            out += got.payloads
        return out

    def seen(self, name: str) -> tuple[int, int]:
        """(executions, next run) of a cron."""
        cron = self.engine.crons.by_name[name]
        return cron.executions, cron.next_run


@pytest.fixture
def kit() -> Kit:
    return Kit(now_ms=START)


def test_run_makes_a_job_and_is_due_again(kit: Kit) -> None:
    kit.cron("c", "mail", {"a": 1}, schedule="*/2")
    kit.step(SECOND)
    assert kit.all_of("mail") == []
    kit.step(SECOND)
    assert kit.all_of("mail") == [{"a": 1}]
    assert kit.seen("c") == (1, START + 4 * SECOND)


def test_firing_and_next_run_are_one_record(kit: Kit) -> None:
    """Cut after any record: the job is there exactly if the cron counts it."""
    kit.cron("c", "mail", 1, schedule="*/1")
    kit.step(times=3)
    whole = kit.memory.kept
    for n in range(1, len(whole) + 1):
        kit.memory.kept = whole[:n]
        engine = kit.replayed()
        queue = engine.queues.get("mail")
        cron = engine.crons.by_name.get("c")
        assert (queue.pushed_total if queue else 0) == (cron.executions if cron else 0)


def test_options_reach_the_job_and_a_held_unique_key_makes_none(kit: Kit) -> None:
    kit.cron("c", "mail", 1, schedule="*/1", options={"unique_key": "u", "priority": 4, "tags": ["t"]})
    kit.step(times=3)
    assert kit.engine.queues["mail"].pushed_total == 1
    got = kit.pull("mail")
    assert got is not None
    kit.ack(got.ids[0])
    kit.step()
    assert kit.engine.queues["mail"].pushed_total == 2
    assert kit.seen("c")[0] == 4


def test_replacing_starts_at_zero_and_the_old_schedule_is_forgotten(kit: Kit) -> None:
    kit.cron("c", "mail", 1, schedule="*/1")
    kit.step(times=2)
    kit.cron("c", "film", 2, repeat_every=5_000)
    assert kit.seen("c") == (0, START + 7 * SECOND)
    kit.step(times=5)
    assert kit.all_of("mail") == [1, 1]
    assert kit.all_of("film") == [2]
    assert kit.engine.crons.aimed == {"film": {"c": START + 2 * SECOND}}


def test_delete(kit: Kit) -> None:
    kit.cron("c", "mail", 1, schedule="*/1")
    kit.carry_out(crons.delete, "c")
    kit.step(times=2)
    assert kit.all_of("mail") == []
    assert kit.engine.crons.aimed == {}
    with pytest.raises(JobNotFound, match=r"^Cron job not found$"):
        crons.delete(kit.engine, "c")


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_limit_is_reached_and_then_the_cron_goes_when_it_would_be_due(kit: Kit, limit: int) -> None:
    kit.cron("c", "mail", 1, schedule="*/1", limit=limit)
    kit.step(times=limit)
    assert kit.seen("c")[0] == limit
    kit.step()
    assert "c" not in kit.engine.crons.by_name
    kit.step(times=3)
    assert len(kit.all_of("mail")) == limit


@pytest.mark.parametrize(("misfire", "made"), [("once", 1), ("skip", 0), ("all", 9), (None, 1)])
@pytest.mark.parametrize("schedule", [{"schedule": "*/10"}, {"schedule": "*/10 * * * * *"}, {"repeat_every": 10_000}])
def test_misfires_while_down(kit: Kit, misfire: str | None, made: int, schedule: dict[str, Any]) -> None:
    kit.cron("c", "mail", 1, misfire=misfire, **schedule)
    kit.step(10_000)
    assert kit.all_of("mail") == [1]
    again = kit.restarted(95_000)
    again.step(0)
    assert again.all_of("mail") == [1] * made
    assert again.seen("c") == (1 + made, START + 110_000)
    again.step(5_000)
    assert again.all_of("mail") == [1]


def test_late_runs_of_a_living_shard_are_made_each_and_old_ones_are_misfires(kit: Kit) -> None:
    kit.cron("c", "mail", 1, schedule="*/1")
    kit.step(10_000)
    assert len(kit.all_of("mail")) == 10
    kit.step(60_000)
    assert len(kit.all_of("mail")) == 1 + 11
    assert kit.seen("c")[1] == START + 71_000


def test_catching_up_makes_a_thousand_jobs_at_most_in_slices_and_survives_a_kill_between(kit: Kit) -> None:
    kit.checked = False
    kit.cron("c", "mail", 1, schedule="* * * * * *", misfire="all")
    again = kit.restarted(5_000_000)
    again.checked = False
    again.engine.begin(again.now_ms, again.mono_ms)
    crons._ring(again.engine)  # one slice
    again.commit()
    made = again.seen("c")[0]
    assert 0 < made <= crons.RUNS_AT_ONCE
    third = again.restarted(0)
    third.checked = False
    third.step(0)
    assert third.seen("c") == (crons.MADE_UP_MAX + 1, third.now_ms + SECOND)
    assert len(third.all_of("mail")) == crons.MADE_UP_MAX + 1
    assert engine_facts(third.replayed()) == engine_facts(third.engine)


def test_limit_bounds_what_is_made_up_for(kit: Kit) -> None:
    kit.cron("c", "mail", 1, schedule="*/1", misfire="all", limit=7)
    again = kit.restarted(60_000)
    again.step(0)
    again.step()
    assert len(again.all_of("mail")) == 7
    assert "c" not in again.engine.crons.by_name


def test_job_for_another_shard_goes_by_the_outbox_in_the_same_record(kit: Kit) -> None:
    kit.cron("c", "mail", 1, schedule="*/1")
    target = slot_of_queue("mail")
    kit.engine.owns[target] = 0
    kit.checked = False
    kit.step(times=2)
    waiting = list(kit.engine.outbox.waiting[slot_of_queue("c"), target])
    assert [(m.word, m.body[0]) for m in waiting] == [("fire", [START + SECOND]), ("fire", [START + 2 * SECOND])]
    assert "mail" not in kit.engine.queues
    other = Kit(now_ms=kit.now_ms)
    assert other.carry_out(outbox.take, waiting) == 2 + waiting[0].no - 1
    other.carry_out(outbox.take, waiting)
    assert other.all_of("mail") == [1, 1]


def test_obliterated_queue_takes_its_crons_along_and_no_later_one(kit: Kit) -> None:
    for name in ("a", "b"):
        kit.cron(name, "mail", 1, schedule="*/1")
    kit.cron("other", "film", 1, schedule="*/1")
    kit.obliterate("mail")
    assert list(kit.engine.crons.by_name) == ["other"]
    assert list(kit.engine.crons.aimed) == ["film"]
    made_at = kit.now_ms
    kit.step(1)
    kit.cron("a", "mail", 1, schedule="*/1")
    kit.carry_out(outbox.HANDLERS["uncron"], 0, slot_of_queue("a"), ["a", made_at])  # of the old one, late
    assert "a" in kit.engine.crons.by_name


def test_cron_whose_schedule_cannot_be_read_any_more_waits_for_a_program_that_can(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.cron("c", "mail", 1, schedule="0 * * * *")

    def unreadable(*_: Any) -> Any:
        raise InvalidArgument("another version")

    with monkeypatch.context() as patch:
        patch.setattr(schedules, "parsed", unreadable)
        again = kit.restarted(2 * HOUR)
        again.step(0)
        assert again.all_of("mail") == [1]
        assert again.seen("c") == (1, 0)
    third = again.restarted(HOUR)
    assert third.seen("c")[1] == third.now_ms - third.now_ms % HOUR + HOUR


def test_a_thousand_crons_a_second_for_a_minute_miss_and_double_none() -> None:
    """Of every kind, in uneven steps, over two kills."""
    kit, dice = Kit(now_ms=START), random.Random(5)
    kit.checked = False
    kinds: list[dict[str, Any]] = [{"schedule": "*/1"}, {"schedule": "* * * * * *"}, {"repeat_every": SECOND}]
    for n in range(1_000):
        kit.cron(f"c{n}", f"q{n % 7}", n, **kinds[n % 3], misfire="all")
    elapsed, got, kills = 0, [], [8_000, 17_000]
    while elapsed < 60 * SECOND:
        step = min(dice.choice((300, 700, 1_000)), 60 * SECOND - elapsed)
        elapsed += step
        if kills and elapsed > kills[0]:
            kills.pop(0)
            kit = kit.restarted(step)
            kit.checked = False
            kit.step(0)
        else:
            kit.step(step)
    for n in range(7):
        got += kit.all_of(f"q{n}")
    assert Counter(got) == dict.fromkeys(range(1_000), 60)
    assert engine_facts(kit.replayed()) == engine_facts(kit.engine)
