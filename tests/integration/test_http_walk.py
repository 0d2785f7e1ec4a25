"""The walk of docs/http.md, command by command as it is written there."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from flashq.testing.cluster import Cluster

PAGE = Path(__file__).parents[2] / "docs" / "http.md"


def steps() -> list[tuple[str, str]]:
    """(command, what it is said to print)."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for step in block.split("$ ")[1:]:
            command, _, output = step.partition("\n")
            found.append((command, output.rstrip("\n")))
    return found


def pattern(output: str, ids: dict[str, str]) -> str:
    """What is printed may differ in ids and leases, and where the page leaves something out."""
    text = re.escape(output).replace("…", ".*").replace("4294967297", r"\d+")
    return re.sub(r"\b(\d{4,5})\b", lambda m: ids.get(m[1], rf"(?P<id{m[1]}>\d+)"), text)


def test_walk_goes_as_it_is_written() -> None:
    ids: dict[str, str] = {}
    walked = steps()
    assert len(walked) > 12
    with Cluster(shards=2, durability="commit", http=True) as cluster:
        for command, output in walked:
            asked = command.replace("localhost:6790", f"127.0.0.1:{cluster.http_port}")
            for written, given in ids.items():
                asked = re.sub(rf"\b{written}\b", given, asked)
            done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=20)
            wanted = re.sub(r"\(\?P<(id\d+)>\\d\+\)", _first_of_each(), pattern(output, ids))
            found = re.fullmatch(wanted, done.stdout.rstrip("\n"), re.DOTALL)
            assert found, f"{command}\n{done.stdout}\nis not\n{output}"
            ids |= {name.removeprefix("id"): value for name, value in found.groupdict().items()}


def _first_of_each() -> Callable[[re.Match[str]], str]:
    seen: set[str] = set()

    def named(match: re.Match[str]) -> str:
        if match[1] in seen:
            return f"(?P={match[1]})"
        seen.add(match[1])
        return match[0]

    return named
