"""Schedules: when a cron is due. Pure: every moment is worked out from a moment that is given.

- `*/N` alone: every N seconds, at whole seconds. `repeat_every`: every so many milliseconds.
- 5 fields (minute first) or 6 (second first) and nicknames: `calendars.py`, in a time zone.

Errors begin as existing clients know them: `Invalid cron expression '<s>': …`, `Invalid interval format: <s>`.
"""

import re
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from flashq.engine.calendars import Calendar
from flashq.engine.settings import Limits
from flashq.errors import InvalidArgument, LimitExceeded

SCHEDULE_CHARS_MAX: Final = 256
MISFIRE_POLICIES: Final = ("once", "skip", "all")
_INTERVAL: Final = re.compile(r"\*/(\S*)")
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_ZONE: Final = re.compile(r"(?!posix/|right/|posixrules|localtime)[A-Za-z0-9_+\-]{1,32}(?:/[A-Za-z0-9_+\-]{1,32}){0,3}")


class Schedule(Protocol):
    """Moments in milliseconds since 1970."""

    def first(self, now_ms: int) -> int | None:
        """The first run of a cron that is made now; None: there is none in the next decades."""

    def following(self, run_at: int, after_ms: int) -> int | None:
        """The first run later than both `run_at`, which is a run, and `after_ms`."""


class Every:
    """A run each `every_ms`, counted from the first."""

    __slots__ = ("_every_ms", "_grain_ms")

    def __init__(self, every_ms: int, grain_ms: int = 1) -> None:
        """`grain_ms`: the first run falls on a multiple of it."""
        self._every_ms = every_ms
        self._grain_ms = grain_ms

    def first(self, now_ms: int) -> int:
        return now_ms - now_ms % self._grain_ms + self._every_ms

    def following(self, run_at: int, after_ms: int) -> int:
        passed = max(0, after_ms - run_at) // self._every_ms
        return run_at + (passed + 1) * self._every_ms


class OnCalendar:
    """Runs when the wall clock of a zone matches."""

    __slots__ = ("_calendar",)

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar

    def first(self, now_ms: int) -> int | None:
        second = self._calendar.after(now_ms // 1000)
        return None if second is None else second * 1000

    def following(self, run_at: int, after_ms: int) -> int | None:
        return self.first(max(run_at, after_ms))


@lru_cache(maxsize=4096)
def parsed(schedule: str | None, repeat_every_ms: int | None, timezone: str | None) -> Schedule:
    """The schedule that a cron asks for; `repeat_every_ms` wins. Raises InvalidArgument."""
    if repeat_every_ms is not None:
        return Every(repeat_every_ms)
    if schedule is None:
        raise InvalidArgument("Must provide either 'schedule' or 'repeat_every'")
    text = schedule.strip()
    interval = _INTERVAL.fullmatch(text)
    if interval is not None:
        if not _NUMBER.fullmatch(interval[1]) or not int(interval[1]):
            raise InvalidArgument(f"Invalid interval format: {schedule} (`*/N` is every N seconds, N from 1)")
        return Every(int(interval[1]) * 1000, grain_ms=1000)
    try:
        return OnCalendar(Calendar(text, zone_of(timezone) if timezone else None))
    except ValueError as e:
        raise InvalidArgument(f"Invalid cron expression '{schedule}': {e}") from None


def checked(
    limits: Limits, schedule: str | None, repeat_every_ms: int | None, timezone: str | None, misfire: str | None,
    now_ms: int,
) -> tuple[Schedule, int]:  # fmt: skip
    """What a request asks for, and its first run. Raises InvalidArgument or LimitExceeded naming what is wrong."""
    if schedule is not None and len(schedule) > SCHEDULE_CHARS_MAX:
        raise LimitExceeded(f"Cron schedule too long ({len(schedule)} chars, max {SCHEDULE_CHARS_MAX} chars)")
    if repeat_every_ms is not None and not 1 <= repeat_every_ms <= limits.duration_ms_max:
        raise InvalidArgument(
            f"invalid value: `repeat_every` is {repeat_every_ms} ms, 1 to {limits.duration_ms_max} ms are allowed"
        )
    if misfire is not None and misfire not in MISFIRE_POLICIES:
        raise InvalidArgument(f"invalid value: `misfire` is '{misfire[:64]}', allowed are 'once', 'skip' and 'all'")
    if timezone:
        zone_of(timezone)
    found = parsed(schedule, repeat_every_ms, timezone)
    first = found.first(now_ms)
    if first is None:
        raise InvalidArgument(f"Invalid cron expression '{schedule}': no day of the calendar matches it")
    if first - now_ms > limits.duration_ms_max and isinstance(found, Every):
        raise InvalidArgument(f"Invalid interval format: {schedule} (at most {limits.duration_ms_max // 1000} seconds)")
    return found, first


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises InvalidArgument."""
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # no such file, a folder, or a file that is no zone
        pass
    raise InvalidArgument(f"invalid value: `timezone` is '{name[:64]}', an IANA name such as 'Europe/Berlin' is needed")
