"""A judge of calendar expressions: walks the clock minute by minute over a zone's transitions.

It knows nothing of ours but the rule: fixed hours run once, also where they are skipped or come twice; `*` and steps in
the hour run in real time.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

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
