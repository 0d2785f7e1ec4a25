"""Calendar expressions against a judge that walks the clock, over a sample of the zones' transitions.

A second judge, croniter, is wrong in a way that a test keeps on record.
"""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from flashq.engine.calendars import Calendar
from tests.unit.engine.zone_judge import DAY_S, HOUR_S, KNOWN, ZONES, check_transition, transitions, wall


def test_schedules_around_transitions_run_as_the_rule_says() -> None:
    """A sample: the zones with the oddest rules, and some of the others."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for name in (*dice.sample(KNOWN, 5), *dice.sample(ZONES, 3)):
        found = list(transitions(ZoneInfo(name)))
        for at in dice.sample(found, min(2, len(found))):
            try:
                check_transition(name, at, dice)
            except AssertionError as e:
                raise AssertionError(f"seed {seed}: {e}") from None


def test_skipped_time_runs_at_the_next_valid_moment_and_a_doubled_one_once() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    def runs(expression: str, start: datetime, n: int) -> list[str]:
        out, at = [], int(start.timestamp())
        for _ in range(n):
            following = Calendar(expression, berlin).after(at)
            assert following is not None
            at = following
            out.append(f"{wall(at, berlin):%d %H:%M %z}")
        return out

    spring, autumn = datetime(2026, 3, 28, 20, tzinfo=UTC), datetime(2026, 10, 24, 20, tzinfo=UTC)
    assert runs("30 2 * * *", spring, 2) == ["29 03:00 +0200", "30 02:30 +0200"]
    assert runs("15,30,45 2 * * *", spring, 2) == ["29 03:00 +0200", "30 02:15 +0200"]
    assert runs("30 2 * * *", autumn, 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    assert runs("30 * * * *", datetime(2026, 10, 25, 0, tzinfo=UTC), 3) == [
        "25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100",
    ]  # fmt: skip
    assert runs("0 */2 * * *", spring, 4) == ["28 22:00 +0100", "29 00:00 +0100", "29 04:00 +0200", "29 06:00 +0200"]


def random_field(dice: random.Random, low: int, high: int) -> str:
    def part() -> str:
        a = dice.randint(low, high)
        b = dice.randint(a, high)
        step = f"/{dice.randint(1, 9)}" if dice.random() < 0.4 else ""
        return dice.choice((str(a), f"{a}-{b}{step}" if a < b else str(a), f"*/{dice.randint(1, high)}"))

    return "*" if dice.random() < 0.45 else ",".join(part() for _ in range(dice.choice((1, 1, 2, 3))))


def test_matches_of_utc_are_those_of_another_evaluator() -> None:
    """Where the other is right: without ranges of one number, and days of the week that are not all seven."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    compared = 0
    for _ in range(400):
        bounds = ((0, 59), (0, 59), (0, 23), (1, 28), (1, 12), (0, 5))[dice.randint(0, 1) :]
        expression = " ".join(random_field(dice, *bound) for bound in bounds)
        if expression.split()[-1] != "*" and expression.split()[-3] != "*":
            continue  # what a star inside a list of days means is a matter of taste
        start = datetime(2020, 1, 1) + timedelta(seconds=dice.randint(0, 15 * 365 * DAY_S))
        judge = croniter(expression, start, second_at_beginning=True)
        calendar, at = Calendar(expression, None), int(start.replace(tzinfo=UTC).timestamp())
        for _ in range(4):
            following = calendar.after(at)
            expected = int(judge.get_next(datetime).replace(tzinfo=UTC).timestamp())
            assert following == expected, (seed, expression, start)
            at = following
        compared += 1
    assert compared > 100


def test_range_of_one_number_is_that_number() -> None:
    """Why the evaluator is not croniter: it takes this for every hour."""
    noon = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())
    assert Calendar("0 13-13 * * *", None).after(noon + HOUR_S) == noon + HOUR_S + DAY_S
    wrong = croniter("0 13-13 * * *", datetime(2026, 11, 24, 13)).get_next(datetime)
    assert wrong == datetime(2026, 11, 24, 14), "croniter is right now: the comparison may have such ranges again"


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * * *", "@never", "@reboot", "r r * * *", "h h * * *", "60 * * * *", "5-1 * * * *",
     "*/0 * * * *", "1,,2 * * * *", "1- * * * *", "٣ * * * *", "\x00 * * * *", "0 0 31 2 *", "? * * * *",
     "0 0 * * 5#6", "0 0 * * L/2", "1" * 200 + " * * * *"],
)  # fmt: skip
def test_what_is_no_expression_is_a_value_error(expression: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Calendar(expression, None)


def test_no_text_raises_anything_else() -> None:
    dice = random.Random(7)
    for _ in range(20_000):
        fields = ["".join(dice.choices("0123456789*/,-?#LWmonfrjan@", k=dice.randint(1, 4))) for _ in range(5)]
        try:
            Calendar(" ".join(fields), None).after(1_700_000_000)
        except ValueError:
            continue


@pytest.mark.parametrize("zone", [None, ZoneInfo("Europe/Berlin")], ids=str)
@pytest.mark.parametrize("expression", ["0 0 29 2 *", "0 */2 29 2 *"])
def test_rare_days_are_found_without_a_walk_through_all_transitions(expression: str, zone: ZoneInfo | None) -> None:
    found = Calendar(expression, zone).after(int(datetime(2096, 3, 1, tzinfo=UTC).timestamp()))
    assert found is not None
    assert wall(found, zone or ZoneInfo("UTC")).date() == datetime(2104, 2, 29).date()
