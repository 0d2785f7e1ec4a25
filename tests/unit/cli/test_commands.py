"""Commands against a scripted server: what they send, print and return."""

import json
from collections.abc import Iterator, Mapping

import pytest
from typer.testing import CliRunner, Result

from flashq import __version__
from flashq.cli.main import app
from tests.unit.client.script import Fields, Peer, Script, scripted_in_thread

JOB = {"id": 1024, "queue": "mail", "data": {"to": "a"}, "lease": 7, "attempts": 0, "state": "active"}
REPLIES: dict[str, Mapping[str, object]] = {
    "PUSH": {"ok": True, "id": 1024},
    "PULLB": {"ok": True, "jobs": [JOB]},
    "COUNT": {"ok": True, "count": 3},
    "GETJOB": {"ok": True, "job": JOB, "state": "completed", "result": {"sent": True}},
    "STATS": {"ok": True, "queued": 5, "processing": 1, "delayed": 0, "dlq": 2, "completed": 4},
    "LISTQUEUES": {"ok": True, "queues": [{"name": "z", "pending": 1}, {"name": "[a]", "pending": 2, "paused": True}]},
    "FAIL": {"ok": False, "error": "Job 5 not found", "code": "not_found"},
}


def _answer(_: Peer, request: Fields) -> Mapping[str, object]:
    return REPLIES.get(request["cmd"], {"ok": True})


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_in_thread(_answer) as running:
        yield running


def run(script: Script, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin, env={"FLASHQ_ADDRESS": script.address})


def sent(script: Script) -> Fields:
    (request,) = script.requests
    return {k: v for k, v in request.items() if k not in ("reqId", "idempotency_key")}


def test_push_prints_the_id_alone_so_that_scripts_can_use_it(script: Script) -> None:
    result = run(script, "push", "mail", '{"to":"a"}', "--delay", "10s", "--priority", "-5", "--tag", "x", "--lifo")
    assert (result.exit_code, result.stdout) == (0, "1024\n")
    assert sent(script) == {
        "cmd": "PUSH",
        "queue": "mail",
        "data": {"to": "a"},
        "delay": 10_000,
        "priority": -5,
        "tags": ["x"],
        "lifo": True,
    }


def test_push_reads_standard_input(script: Script) -> None:
    assert run(script, "push", "mail", "-", "--json", stdin="[1]").stdout == '{"id":1024}\n'
    assert sent(script)["data"] == [1]


def test_pull_shows_what_ack_needs(script: Script) -> None:
    result = run(script, "pull", "mail", "--timeout", "1s", "--lease", "5m")
    assert result.stdout == 'job 1024  lease 7  failures 0\n{"to":"a"}\n'
    assert sent(script) == {"cmd": "PULLB", "queue": "mail", "count": 1, "timeout": 1_000, "lease_ms": 300_000}


def test_pull_as_json_is_one_job_or_a_list(script: Script) -> None:
    assert json.loads(run(script, "pull", "mail", "--json").stdout)["lease"] == 7
    assert [job["id"] for job in json.loads(run(script, "pull", "mail", "-n", "5", "--json").stdout)] == [1024]


def test_pull_that_finds_nothing_returns_1(script: Script) -> None:
    script.answer = lambda *_: {"ok": True, "jobs": []}
    result = run(script, "pull", "mail")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "flashq: no job in mail\n")


def test_ack_sends_result_and_lease(script: Script) -> None:
    assert run(script, "ack", "1024", "--result", '{"sent":true}', "--lease", "7").stdout == "OK\n"
    assert sent(script) == {"cmd": "ACK", "id": 1024, "result": {"sent": True}, "lease": 7}


def test_refusal_is_one_line_and_1(script: Script) -> None:
    result = run(script, "fail", "5", "mailbox is full")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "flashq: Job 5 not found\n")


def test_get_shows_what_was_set(script: Script) -> None:
    shown = dict(line.split(maxsplit=1) for line in run(script, "get", "1024").stdout.splitlines())
    assert (shown["state"], shown["data"], shown["result"]) == ("completed", '{"to":"a"}', '{"sent":true}')
    assert "delay" not in shown
    assert json.loads(run(script, "get", "1024", "--json").stdout)["result"] == {"sent": True}


def test_queues_are_sorted_and_their_names_shown_as_they_are(script: Script) -> None:
    """Square brackets are no markup."""
    lines = run(script, "queues").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["queue", "[a]", "z"]
    assert lines[1].split()[-1] == "paused"
    assert [q["name"] for q in json.loads(run(script, "queues", "--json").stdout)] == ["[a]", "z"]


@pytest.mark.parametrize(
    ("arguments", "stdout"),
    [
        (["count", "mail"], "3\n"),
        (["count", "mail", "--json"], '{"count":3}\n'),
        (["pause", "mail"], "OK\n"),
        (["resume", "mail", "--json"], '{"ok":true}\n'),
        (["stats", "--json"], '{"queued":5,"delayed":0,"processing":1,"completed":4,"dlq":2}\n'),
    ],
)
def test_answers_are_plain(script: Script, arguments: list[str], stdout: str) -> None:
    result = run(script, *arguments)
    assert (result.exit_code, result.stdout) == (0, stdout)


def test_ping_tells_how_long_it_took(script: Script) -> None:
    assert run(script, "ping").stdout.startswith("pong in ")
    assert json.loads(run(script, "ping", "--json").stdout)["ok"] is True


def test_token_comes_from_the_environment(script: Script) -> None:
    environ = {"FLASHQ_ADDRESS": script.address, "FLASHQ_TOKEN": "t"}
    assert CliRunner().invoke(app, ["ping"], env=environ).exit_code == 0
    assert script.requests[0]["cmd"] == "AUTH"
    assert script.requests[0]["token"] == "t"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["push", "mail", "{to:1}"], "is no JSON"),
        (["push", "mail", "1", "--delay", "soon"], "--delay = 'soon': allowed is a duration"),
        (["push", "mail", "1", "--delay", "-5"], "--delay = '-5': allowed is a duration"),
        (["ack", "0"], "ID"),
        (["ping", "--address", "redis://h"], "allowed is flashq://"),
        (["pus"], "No such command"),
    ],
)
def test_wrong_usage_returns_2_and_nothing_is_sent(script: Script, arguments: list[str], told: str) -> None:
    result = run(script, *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert script.requests == []


def test_server_that_is_not_there_returns_3() -> None:
    result = CliRunner().invoke(app, ["ping"], env={"FLASHQ_ADDRESS": "/nowhere/at/all"})
    assert (result.exit_code, result.stderr) == (3, "flashq: /nowhere/at/all: No such file or directory\n")


def test_version_is_the_packages() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"flashq {__version__}\n"


def test_every_command_has_help_with_an_example() -> None:
    import typer.main

    def walk(group: typer.core.TyperGroup, path: list[str]) -> Iterator[list[str]]:
        for name, command in group.commands.items():
            if isinstance(command, typer.core.TyperGroup):
                yield from walk(command, [*path, name])
            else:
                yield [*path, name]

    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    commands = list(walk(root, []))
    assert len(commands) >= 15
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--help"])
        assert result.exit_code == 0
        assert "Example: " in result.stdout, command
