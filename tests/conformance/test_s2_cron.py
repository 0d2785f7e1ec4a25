"""§2.9 and §4.12: CRON, CRONDELETE, CRONLIST."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.peer import Peer
from tests.conformance.ways import Way

Schedule = Callable[..., str]


@pytest.fixture
def cron(c: Peer, way: Way, q: str) -> Iterator[Schedule]:
    """Schedule into `q` under a new name; what is left of it is deleted at the end."""
    names = []

    def make(name: str = "", **fields: object) -> str:
        names.append(name or way.name())
        c.ok("CRON", name=names[-1], **{"queue": q, "data": {"c": 1}, **fields})
        return names[-1]

    yield make
    for name in dict.fromkeys(names):
        c.ask("CRONDELETE", name=name)


def listed(c: Peer, name: str) -> dict[str, object] | None:
    return next((entry for entry in c.ok("CRONLIST")["crons"] if entry["name"] == name), None)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    "schedule",
    ["*/5", "*/1", "0 12 * * *", "*/15 * * * *", "0-30/10 8,12 1-7 * 1", "30 0 12 * * *", "*/2 * * * * *", "@hourly",
    "@daily",
     "@weekly", "@monthly", "@yearly", "0 0 29 2 *"],
)  # fmt: skip
def test_schedule_is_taken_and_its_next_run_is_ahead(c: Peer, cron: Schedule, q: str, schedule: str) -> None:
    name = cron(schedule=schedule, priority=3)
    entry = listed(c, name)
    assert entry is not None
    assert {key: entry[key] for key in ("name", "queue", "data", "schedule", "repeat_every", "priority", "limit")} == {
        "name": name, "queue": q, "data": {"c": 1}, "schedule": schedule, "repeat_every": None, "priority": 3,
        "limit": None,
    }  # fmt: skip
    assert int(str(entry["next_run"])) >= wall_ms() - 2_000


def test_next_runs_are_those_of_the_schedule(c: Peer, cron: Schedule) -> None:
    for schedule, step_ms, at_ms in (("0 * * * *", 3_600_000, 0), ("30 0 0 * * *", 86_400_000, 30_000)):
        entry = listed(c, cron(schedule=schedule))
        assert entry is not None
        assert int(str(entry["next_run"])) % step_ms == at_ms
        assert 0 <= int(str(entry["next_run"])) - wall_ms() + 1_000 <= step_ms + 1_000


@pytest.mark.parametrize(
    "schedule",
    ["", "x", "* * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 32 * *", "* * * 13 *", "* * * * 9",
    "5-1 * * * *",
     "*/x", "@never", "é * * * *", "1.5 * * * *", "-1 * * * *", "*/0 * * * *"],
)  # fmt: skip
def test_schedule_that_is_none_is_refused(c: Peer, way: Way, q: str, schedule: str) -> None:
    name = way.name()
    reply = c.refusal("CRON", name=name, queue=q, data=1, schedule=schedule)
    assert reply["error"].startswith(("Invalid cron expression", "Invalid interval format", "Must provide either"))
    assert reply["code"] == "invalid"
    assert listed(c, name) is None


def test_interval_of_zero_is_refused(c: Peer, way: Way, q: str) -> None:
    """`*/N` alone is every N seconds, N from 1."""
    assert c.no("CRON", name=way.name(), queue=q, data=1, schedule="*/0").startswith("Invalid")
    assert "repeat_every" in c.no("CRON", name=way.name(), queue=q, data=1, repeat_every=0)


def test_neither_schedule_nor_interval_is_refused(c: Peer, way: Way, q: str) -> None:
    assert c.no("CRON", name=way.name(), queue=q, data=1) == "Must provide either 'schedule' or 'repeat_every'"


def test_schedule_too_long_is_refused(c: Peer, way: Way, q: str) -> None:
    schedule = "0 " * 150
    text = c.no("CRON", name=way.name(), queue=q, data=1, schedule=schedule)
    assert text == f"Cron schedule too long ({len(schedule)} chars, max 256 chars)"


def test_bad_queue_name_and_data_are_refused(c: Peer, way: Way, q: str) -> None:
    """F13: as PUSH does."""
    name = way.name()
    assert c.no("CRON", name=name, queue="a b", data=1, schedule="*/5").startswith("Queue name")
    big = "x" * (10 * (1 << 20))
    assert "too large" in c.no("CRON", name=name, queue=q, data=big, schedule="*/5")
    assert listed(c, name) is None


def test_bad_timezone_misfire_and_name_are_refused(c: Peer, way: Way, q: str) -> None:
    name = way.name()
    assert "timezone" in c.no("CRON", name=name, queue=q, data=1, schedule="0 0 * * *", timezone="Mars/Olympus")
    assert "misfire" in c.no("CRON", name=name, queue=q, data=1, schedule="0 0 * * *", misfire="never")
    assert "name" in c.no("CRON", name="", queue=q, data=1, schedule="0 0 * * *")
    assert listed(c, name) is None


def test_delete(c: Peer, d: Peer, cron: Schedule) -> None:
    name = cron(schedule="0 0 * * *")
    assert d.ok("CRONDELETE", name=name) == {"ok": True, "success": True}
    assert listed(c, name) is None
    reply = d.refusal("CRONDELETE", name=name)
    assert (reply["error"], reply["code"]) == ("Cron job not found", "not_found")


def test_existing_name_is_replaced(c: Peer, cron: Schedule) -> None:
    name = cron(schedule="0 0 * * *", priority=1)
    cron(name, repeat_every=600_000, data=[2], limit=4)
    entry = listed(c, name)
    assert entry is not None
    assert (entry["schedule"], entry["repeat_every"], entry["data"], entry["priority"]) == (None, 600_000, [2], 0)
    assert (entry["executions"], entry["limit"]) == (0, 4)
    assert len([e for e in c.ok("CRONLIST")["crons"] if e["name"] == name]) == 1


def test_firing_pushes_data_with_priority(c: Peer, d: Peer, cron: Schedule, q: str) -> None:
    d.send("PULL", queue=q, timeout=15_000)
    name = cron(repeat_every=100, priority=7)
    job = d.read()["job"]
    assert (job["data"], job["priority"], job["queue"]) == ({"c": 1}, 7, q)
    assert c.pull(q, 15_000)["id"] != job["id"]
    entry = listed(c, name)
    assert entry is not None
    assert int(str(entry["executions"])) >= 2


def test_every_second_fires_on_the_second(c: Peer, cron: Schedule, q: str) -> None:
    """Due to the second: the job is made then, not up to a second later."""
    cron(schedule="* * * * * *")
    job = c.pull(q, 15_000)
    assert job["created_at"] % 1_000 < 500


def test_limit_ends_it(c: Peer, cron: Schedule, q: str) -> None:
    name = cron(repeat_every=50, limit=2)
    jobs = [c.pull(q, 15_000), c.pull(q, 15_000)]
    assert len({job["id"] for job in jobs}) == 2
    assert c.ok("PULL", queue=q, timeout=300)["job"] is None
    assert listed(c, name) is None


def test_repeat_every_wins_over_schedule(c: Peer, cron: Schedule, q: str) -> None:
    cron(schedule="0 0 1 1 *", repeat_every=100)
    c.pull(q, 15_000)


def test_push_options_reach_the_job(c: Peer, cron: Schedule, q: str) -> None:
    cron(repeat_every=100, tags=["t"], max_attempts=9, timeout=60_000)
    job = c.pull(q, 15_000)
    assert (job["tags"], job["max_attempts"], job["timeout"]) == (["t"], 9, 60_000)


def test_pushes_into_a_queue_of_another_shard(c: Peer, d: Peer, cron: Schedule, way: Way) -> None:
    far = way.far()
    cron(repeat_every=100, queue=far)
    d.pull(far, 15_000)


def test_timezone_shifts_the_next_run(c: Peer, cron: Schedule) -> None:
    utc = listed(c, cron(schedule="0 12 * * *"))
    india = listed(c, cron(schedule="0 12 * * *", timezone="Asia/Kolkata"))
    assert utc is not None
    assert india is not None
    assert (int(str(utc["next_run"])) - int(str(india["next_run"]))) % 86_400_000 == 5.5 * 3_600_000
