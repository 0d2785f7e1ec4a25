"""flashq config show: every value and where it is from, and no secret."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flashq.cli.main import app
from flashq.config import FIELDS


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def show(*arguments: str, **environ: str) -> str:
    result = CliRunner().invoke(app, ["config", "show", *arguments], env=environ)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_every_setting_is_shown_with_its_source() -> None:
    Path("flashq.toml").write_text("tags_max = 3")
    lines = {line.split()[0]: line.split()[1:] for line in show(FLASHQ_DEFAULT_LEASE_MS="90s").splitlines()}
    assert set(lines) == {"setting", *FIELDS}
    assert lines["tags_max"] == ["3", "flashq.toml"]
    assert lines["default_lease_ms"] == ["90", "s", "FLASHQ_DEFAULT_LEASE_MS"]
    assert lines["segment_bytes"] == ["16", "MiB", "default"]


def test_json_has_exact_values() -> None:
    shown = json.loads(show("--json", PORT="7000"))
    assert shown["port"] == {"value": 7000, "source": "PORT"}
    assert shown["unix_socket"] == {"value": None, "source": "default"}


def test_only_what_was_changed_on_request() -> None:
    assert show("--changed", FLASHQ_INSECURE="yes").splitlines()[1:] == ["insecure  true   FLASHQ_INSECURE"]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_tokens_are_counted_not_shown(arguments: list[str]) -> None:
    output = show(*arguments, AUTH_TOKENS="hunter2,hunter3")
    assert "hunter" not in output
    assert "2" in output
