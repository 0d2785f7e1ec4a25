"""Calendar expressions against a judge that walks the clock minute by minute, over the zones' transitions.

The judge knows nothing of ours but the rule: fixed hours run once, also where they are skipped or come twice; `*` and
steps in the hour run in real time. A second judge, croniter, is wrong in a way that a test keeps on record.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from croniter import croniter

from flashq.engine.calendars import Calendar

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
YEARS = range(2020, 2036)
ZONES = sorted(z for z in available_timezones() if "/" in z and not z.startswith(("posix/", "right/", "Etc/")))
KNOWN = (
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/Santiago",
    "Asia/Tehran", "Asia/Gaza", "Antarctica/Troll", "America/Nuuk", "Africa/Cairo", "Pacific/Apia",
)  # fmt: skip
"""Half an hour, two hours, gaps at midnight, two pairs a year, rules that ended."""


def wall(at_s: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, UTC).astimezone(zone)


def transitions(zone: ZoneInfo) -> Iterator[int]:
    """The seconds at which the offset changes, found hour by hour: every one is at a whole minute."""
    start, end = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (YEARS.start, YEARS.stop))
    for day in range(start, end, DAY_S):
        if wall(day, zone).utcoffset() != wall(day + DAY_S, zone).utcoffset():
            for at in range(day, day + DAY_S, MINUTE_S):
                if wall(at, zone).utcoffset() != wall(at + MINUTE_S, zone).utcoffset():
                    yield at + MINUTE_S


def values(field: str, top: int) -> set[int]:
    """The numbers of one field, as far as these tests write them: `*`, `*/N`, `a`, `a,b`, `a-b`."""
    if field.startswith("*"):
        return set(range(0, top, int(field[2:] or 1)))
    return {n for part in field.split(",") for a, _, b in [part.partition("-")] for n in range(int(a), int(b or a) + 1)}


def judged(expression: str, zone: ZoneInfo, start: int, end: int) -> list[int]:
    """The matches in (start, end], which are minutes, by walking."""
    minute, hour = expression.split()[:2]
    minutes, hours = values(minute, 60), values(hour, 24)

    def fits(t: datetime) -> bool:
        return t.minute in minutes and t.hour in hours

    if hour.startswith("*"):
        return [at for at in range(start + MINUTE_S, end + 1, MINUTE_S) if fits(wall(at, zone))]
    found = set()
    local = wall(start, zone).replace(tzinfo=None) - timedelta(hours=4)
    first: dict[datetime, int] = {}
    for at in range(start - 9 * HOUR_S, end + 9 * HOUR_S, MINUTE_S):
        first.setdefault(wall(at, zone).replace(tzinfo=None), at)
    while local <= wall(end, zone).replace(tzinfo=None) + timedelta(hours=4):
        if fits(local):
            shown = local
            while shown not in first:
                shown += timedelta(minutes=1)
            found.add(first[shown])
        local += timedelta(minutes=1)
    return sorted(at for at in found if start < at <= end)


def expressions(dice: random.Random) -> list[str]:
    minute, hour = dice.randint(0, 59), dice.randint(0, 4)
    return [
        f"{minute} {hour} * * *", f"{minute},{dice.randint(0, 59)} {dice.randint(0, 2)}-{dice.randint(2, 4)} * * *",
        f"{minute} * * * *", f"*/{dice.randint(1, 40)} */{dice.randint(1, 5)} * * *", f"*/20 {hour} * * *",
    ]  # fmt: skip


def check_transition(name: str, at: int, dice: random.Random) -> None:
    zone = ZoneInfo(name)
    start = at - dice.randint(2, 9) * HOUR_S - dice.randint(0, 59) * MINUTE_S
    end = at + 8 * HOUR_S
    for expression in expressions(dice):
        calendar, found, last = Calendar(expression, zone), [], start
        while (match := calendar.after(last)) is not None and match <= end:
            found.append(match)
            last = match
        expected = judged(expression, zone, start, end)
        assert found == expected, (name, expression, wall(start, zone), [str(wall(t, zone)) for t in found])
        for _ in range(3):  # and from anywhere, also from within an hour that comes twice
            begin = dice.randint(start, end)
            following = next((t for t in expected if t > begin), None)
            if following is not None:
                assert calendar.after(begin) == following, (name, expression, wall(begin, zone))


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


@pytest.mark.soak
@pytest.mark.parametrize("name", ZONES)
def test_all_transitions_of_all_zones(name: str) -> None:
    dice = random.Random(name)
    for at in transitions(ZoneInfo(name)):
        check_transition(name, at, dice)
