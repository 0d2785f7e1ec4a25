"""flashq cluster: which settings a start gets, and how a status is shown. No cluster is started here."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flashq.cli.main import app
from flashq.cli.status_page import rough_age
from flashq.cluster import health, supervisor
from flashq.cluster.health import ClusterStatus, ProcessStatus, QueueStatus, ShardStatus
from flashq.config import Settings
from flashq.errors import ConfigError, Unavailable


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Settings of clusters that would have been started; they "end" with exit code 5."""
    settings: list[Settings] = []

    def start(given: Settings) -> int:
        settings.append(given)
        return 5

    monkeypatch.setattr(supervisor, "run", start)
    return settings


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, ["cluster", *arguments], env=environ)


def status(**changed: object) -> ClusterStatus:
    fields: dict[str, object] = {
        "run": "/tmp/r",
        "data": "/srv/d",
        "pid": 10,
        "addresses": ["127.0.0.1:6789"],
        "durability": "commit",
        "started_ms": 0,
        "slots_version": 1,
        "processes": [ProcessStatus("shard-00", 11, "serving", 2, 0, "")],
        "shards": [ShardStatus(0, "shard-00", 1024, 1, 5, 3, {"queued": 7, "pushed": 9}, "disk is nearly full")],
        "queues": [QueueStatus(f"q{n:02}", 0, n, 0, 0, 0, 0, n == 24, -1, -1) for n in range(25)],
    }
    return ClusterStatus(**(fields | changed))  # type: ignore[arg-type]


class TestStart:
    def test_flags_win_over_the_environment(self, started: list[Settings]) -> None:
        result = run("start", "--shards", "3", "--port", "0", FLASHQ_SHARDS="7", FLASHQ_ROUTERS="2")
        assert result.exit_code == 5, "the supervisor's exit code is the command's"
        assert (started[0].shards, started[0].port, started[0].routers) == (3, 0, 2)

    def test_any_setting_can_be_a_flag(self, started: list[Settings]) -> None:
        run("start", "--set", "default-lease-ms=5m", "--set", "max_batch=7")
        assert (started[0].default_lease_ms, started[0].max_batch) == (300_000, 7)

    def test_named_file_is_read(self, started: list[Settings]) -> None:
        Path("other.toml").write_text('durability = "memory"')
        run("start", "--config", "other.toml")
        assert started[0].durability == "memory"

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--shards", "0"], "shards = '0' (flag): allowed is a whole number from 1 to 1024"),
            (["--durability", "disk"], "durability = 'disk' (flag): allowed is one of fsync, commit, memory"),
            (["--set", "shard=1"], "unknown setting shard (flag): the nearest known one is shards"),
            (["--set", "shards"], "--set 'shards': allowed is NAME=VALUE"),
            (["--host", "0.0.0.0"], "host = '0.0.0.0': others can reach this address"),
        ],
    )
    def test_wrong_value_is_one_line_and_2(self, started: list[Settings], arguments: list[str], told: str) -> None:
        result = run("start", *arguments)
        assert (result.exit_code, started) == (2, [])
        assert result.stderr.startswith(f"flashq: {told}")
        assert result.stderr.count("\n") == 1

    def test_what_the_supervisor_refuses_is_one_line_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: Settings) -> int:
            raise ConfigError("port = 6789: another program listens there")

        monkeypatch.setattr(supervisor, "run", refuse)
        result = run("start")
        assert (result.exit_code, result.stderr) == (2, "flashq: port = 6789: another program listens there\n")


class TestStatus:
    def test_cluster_is_found_by_its_data_folder(self, monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> None:
        asked: list[Path] = []

        def read(run: Path) -> ClusterStatus:
            asked.append(run)
            return status()

        monkeypatch.setattr(health, "read_status", read)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(run_folder))
        expected = Settings(data=Path("d")).run
        expected.mkdir()
        assert run("status", "--data", "d").exit_code == 0
        assert asked == [expected]

    def test_page_has_every_part(self, monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> None:
        monkeypatch.setattr(health, "read_status", lambda _: status())
        lines = run("status", "--run", str(run_folder)).stdout.splitlines()
        assert lines[0].startswith("serving for ")
        shown = [line.split() for line in lines]
        assert ["shard-00", "1024", "1", "5", "ms", "7", "0", "0", "0", "9", "0"] in shown
        assert [line[0] for line in shown if line and line[0].startswith("q") and line[0] != "queue"][:2] == [
            "q24",
            "q23",
        ]
        assert "shard-00 refuses pushes: disk is nearly full" in lines
        assert lines[-1] == "and 5 queues more (--json shows all)"

    def test_process_that_is_down_is_told_with_its_reason(
        self, monkeypatch: pytest.MonkeyPatch, run_folder: Path
    ) -> None:
        down = ProcessStatus("shard-00", 0, "refused", 0, 0, "journal [00] is damaged")
        monkeypatch.setattr(health, "read_status", lambda _: status(processes=[down]))
        output = run("status", "--run", str(run_folder)).stdout
        assert output.startswith("NOT ALL SERVING")
        assert "journal [00] is damaged" in output

    def test_json_has_everything(self, monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> None:
        monkeypatch.setattr(health, "read_status", lambda _: status())
        found = json.loads(run("status", "--run", str(run_folder), "--json").stdout)
        assert found["processes"][0]["pid"] == 11
        assert len(found["queues"]) == 25

    def test_no_cluster_returns_3(self, monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> None:
        result = run("status", "--data", str(run_folder / "d"))
        assert result.exit_code == 3
        assert "no cluster runs" in result.stderr

        def read(_: Path) -> ClusterStatus:
            raise Unavailable("the cluster is dead")

        monkeypatch.setattr(health, "read_status", read)
        assert run("status", "--run", str(run_folder)).exit_code == 3


def test_stop_names_the_run_folder(monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> None:
    stopped: list[Path] = []
    monkeypatch.setattr(health, "stop", stopped.append)
    assert run("stop", "--run", str(run_folder)).stdout == "stopped\n"
    assert stopped == [run_folder]


@pytest.mark.parametrize(
    ("age_ms", "text"), [(-5, "0 ms"), (999, "999 ms"), (61_000, "1 m"), (7_200_000, "2 h"), (10**9, "11 d")]
)
def test_age_is_told_in_its_largest_unit(age_ms: int, text: str) -> None:
    assert rough_age(age_ms) == text
