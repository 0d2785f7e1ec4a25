"""Calendar expressions: the seconds at which a zone's wall clock matches five or six fields.

cronsim finds matching wall-clock times (croniter was tried first: it takes `13-13` for every hour, a test shows it). It
is only ever given times without a zone, so that what clocks do in spring and autumn is decided here:

- A schedule with a fixed hour runs at the next valid moment where its time is skipped, once where it comes twice.
- One with `*` or a step in the hour runs in real time: as often as the clock on the wall shows a match.

Seconds are since 1970: of UTC, or (`local`) of a wall clock as if it were UTC's.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY_S: Final = 86_400
NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip


class Calendar:
    """One expression in one zone (None: UTC). Raises ValueError saying what is wrong with the expression."""

    __slots__ = ("_expression", "_fixed_hour", "_zone")

    def __init__(self, expression: str, zone: ZoneInfo | None) -> None:
        self._expression, hour = _normal(expression)
        self._fixed_hour = "*" not in hour and "/" not in hour
        self._zone = zone
        _evaluator(self._expression)

    def after(self, at_s: int) -> int | None:
        """The first match later than `at_s`; None: none in fifty years."""
        if self._zone is None:
            return _match_after(self._expression, at_s)
        return self._fixed(self._zone, at_s) if self._fixed_hour else self._real_time(self._zone, at_s)

    def _fixed(self, zone: ZoneInfo, at_s: int) -> int | None:
        local = _wall(zone, at_s)
        while (match := _match_after(self._expression, local)) is not None:
            moment = _moment_of(zone, match)
            if moment > at_s:
                return moment
            local = match
        return None

    def _real_time(self, zone: ZoneInfo, at_s: int) -> int | None:
        """Stretch by stretch of equal offset, for in each the wall clock only moves forward."""
        start = at_s  # of the stretch, which may match at `start` itself if `at_s` is before it
        while (match := _match_after(self._expression, at_s + _offset(zone, start))) is not None:
            moment = match - _offset(zone, start)
            change = _first_change(zone, start, moment)
            if change is None:
                return moment
            if change - start > 2 * DAY_S and moment - change > 2 * DAY_S:
                # No wall clock shows a match before: go near it at once, past all changes between.
                at_s = start = moment - 2 * DAY_S
            else:
                at_s, start = change - 1, change
        return None


def _normal(expression: str) -> tuple[str, str]:
    """The expression as cronsim is given it, and its hour field. Raises ValueError."""
    text = NICKNAMES.get(expression.lower(), expression)
    if text.startswith("@"):
        raise ValueError(f"unknown nickname, allowed are {', '.join(NICKNAMES)}")
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"{len(fields)} fields, 5 (minute first) or 6 (second first) are allowed")
    for k in (-3, -1):
        if fields[k] == "?":
            fields[k] = "*"
    return " ".join(fields), fields[-4]


@lru_cache(maxsize=4096)
def _evaluator(expression: str) -> CronSim:
    """Kept, for parsing costs as much as a step. Raises ValueError naming the field that is wrong."""
    try:
        return CronSim(expression, _EPOCH)
    except CronSimError as e:
        raise ValueError(str(e)[:1].lower() + str(e)[1:]) from None


@lru_cache(maxsize=4096)
def _match_after(expression: str, local_s: int) -> int | None:
    """The first match later than a wall-clock time. Kept, for many crons ask the same in one second."""
    evaluator = _evaluator(expression)
    evaluator.dt = _EPOCH + timedelta(seconds=local_s)
    found = next(evaluator, None)
    return None if found is None else round((found - _EPOCH).total_seconds())


def _offset(zone: ZoneInfo, at_s: int) -> int:
    """Seconds that the wall clock is ahead of UTC."""
    offset = (_EPOCH_UTC + timedelta(seconds=at_s)).astimezone(zone).utcoffset()
    assert offset is not None, "a zone knows its offset at any time"
    return round(offset.total_seconds())


def _wall(zone: ZoneInfo, at_s: int) -> int:
    """What the wall clock shows; while it shows times for the second time, the last of them."""
    here = (_EPOCH_UTC + timedelta(seconds=at_s)).astimezone(zone)
    if not here.fold:
        return at_s + _offset(zone, at_s)
    change = _last_change(zone, at_s - DAY_S, at_s)
    return change - 1 + _offset(zone, change - 1)


def _moment_of(zone: ZoneInfo, local_s: int) -> int:
    """When the wall clock shows this for the first time; if it skips it, the moment of the skip."""
    shown = (_EPOCH + timedelta(seconds=local_s)).replace(tzinfo=zone)
    before, after = shown.utcoffset(), shown.replace(fold=1).utcoffset()
    assert before is not None and after is not None, "a zone knows its offset at any time"  # noqa: PT018
    if after > before:
        return _last_change(zone, local_s - round(after.total_seconds()), local_s - round(before.total_seconds()))
    return local_s - round(before.total_seconds())


def _first_change(zone: ZoneInfo, from_s: int, until_s: int) -> int | None:
    """The first second in (from_s, until_s] at which another offset begins."""
    for year in range(_year(from_s), _year(until_s) + 1):
        for change in _changes(zone.key, year):
            if from_s < change <= until_s:
                return change
    return None


def _last_change(zone: ZoneInfo, from_s: int, until_s: int) -> int:
    """The last second in (from_s, until_s] at which another offset begins; there must be one."""
    found = [c for year in (_year(from_s), _year(until_s)) for c in _changes(zone.key, year) if from_s < c <= until_s]
    return found[-1]


def _year(at_s: int) -> int:
    return (_EPOCH + timedelta(seconds=at_s)).year


@lru_cache(maxsize=4096)
def _changes(key: str, year: int) -> tuple[int, ...]:
    """The seconds of a year (of UTC) at which a zone's offset changes: looked for day by day, then halved."""
    zone = ZoneInfo(key)
    start = (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH_UTC).days * DAY_S
    end = (datetime(year + 1, 1, 1, tzinfo=UTC) - _EPOCH_UTC).days * DAY_S
    changes = []
    offset = _offset(zone, start - 1)
    for day in range(start, end, DAY_S):
        low, high = day - 1, day + DAY_S - 1
        later = _offset(zone, high)
        if later != offset:
            while high - low > 1:
                middle = (low + high) // 2
                if _offset(zone, middle) == offset:
                    low = middle
                else:
                    high = middle
            changes.append(high)
        offset = later
    return tuple(changes)
