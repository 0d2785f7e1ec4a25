"""What a cron may ask for, and when its first run is."""

from typing import Any

import pytest

from flashq.engine.schedules import checked, parsed, zone_of
from flashq.engine.settings import Limits
from flashq.errors import InvalidArgument, LimitExceeded

NOW = 1_700_000_000_250
LIMITS = Limits()


def first(schedule: str | None = None, every: int | None = None, zone: str | None = None) -> int:
    return checked(LIMITS, schedule, every, zone, None, NOW)[1]


def test_interval_alone_is_in_seconds_and_on_the_second() -> None:
    assert first("*/1") == 1_700_000_001_000
    assert first(" */90 ") == 1_700_000_090_000
    assert first("*/1 * * * *") % 60_000 == 0


def test_repeat_every_counts_from_now_and_wins() -> None:
    assert first(every=1) == NOW + 1
    assert first("0 0 1 1 *", every=5_000) == NOW + 5_000


def test_run_on_the_very_moment_is_not_its_own_successor() -> None:
    for schedule in (parsed("* * * * * *", None, None), parsed("*/1", None, None), parsed(None, 1_000, None)):
        at = 1_700_000_000_000
        assert schedule.following(at, at) == at + 1_000
        assert schedule.following(at, at + 999) == at + 1_000
        assert schedule.following(at, at + 1_000) == at + 2_000


def test_interval_keeps_its_phase_over_a_gap() -> None:
    assert parsed(None, 700, None).following(1_000, 9_999) == 1_000 + 13 * 700


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({}, InvalidArgument, "Must provide either 'schedule' or 'repeat_every'"),
        ({"schedule": "x"}, InvalidArgument, r"Invalid cron expression 'x': 1 fields, 5 .* or 6"),
        ({"schedule": "61 * * * *"}, InvalidArgument, r"Invalid cron expression '61 \* \* \* \*': bad minute"),
        ({"schedule": "0 0 30 2 *"}, InvalidArgument, "Invalid cron expression '0 0 30 2 "),
        ({"schedule": "*/x"}, InvalidArgument, r"Invalid interval format: \*/x"),
        ({"schedule": "*/0"}, InvalidArgument, r"Invalid interval format: \*/0"),
        ({"schedule": "*/" + "9" * 12}, InvalidArgument, r"Invalid interval format: .* seconds"),
        ({"schedule": "0 " * 129}, LimitExceeded, r"Cron schedule too long \(258 chars, max 256 chars\)"),
        ({"repeat_every": 0}, InvalidArgument, "`repeat_every` is 0 ms, 1 to"),
        ({"repeat_every": LIMITS.duration_ms_max + 1}, InvalidArgument, "`repeat_every`"),
        ({"schedule": "*/5", "misfire": "never"}, InvalidArgument, "`misfire` is 'never', allowed are"),
        ({"repeat_every": 5, "timezone": "Mars/Olympus"}, InvalidArgument, "`timezone` is 'Mars/Olympus'"),
    ],
)  # fmt: skip
def test_errors_name_the_field_and_what_is_allowed(fields: dict[str, Any], error: Any, text: str) -> None:
    given = [fields.get(name) for name in ("schedule", "repeat_every", "timezone", "misfire")]
    with pytest.raises(error, match=text):
        checked(LIMITS, *given, NOW)


@pytest.mark.parametrize("name", ["../UTC", "/etc/passwd", "Europe", "", "UTC\x00", "posix/UTC", "localtime", "x" * 99])
def test_no_path_is_a_zone(name: str) -> None:
    with pytest.raises(InvalidArgument, match="timezone"):
        zone_of(name)


@pytest.mark.parametrize("name", ["UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "Europe/Berlin"])
def test_iana_names_are_zones(name: str) -> None:
    assert zone_of(name).key == name
