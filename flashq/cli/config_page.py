"""Writes docs/configuration.md from `Settings`, so that page and code cannot part (`make docs`)."""

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from flashq import config
from flashq.cli.config import worded
from flashq.config import ALIASES, FIELDS, PREFIX, SWITCHES, Settings, allowed

_HEAD: Final = """\
# Configuration

One set of values, read once at start. The later source wins:

1. the defaults below,
2. `flashq.toml` in the working folder, or the file that `--config` or `FLASHQ_CONFIG` names,
3. the environment: `FLASHQ_` and the name in capitals, such as `FLASHQ_DEFAULT_LEASE_MS=5m`,
4. flags of `flashq cluster start`: `--shards 4`, or `--set NAME=VALUE` for any setting.

`flashq config show` prints every value with its source. An unknown name is refused with the nearest known one, a wrong
value with what is allowed. Durations are milliseconds or have a unit (`500`, `30s`, `10m`, `2h`, `1d`); sizes are
bytes or have one (`1048576`, `64MiB`, `1.5GiB`, `64MB`).

```toml
# flashq.toml
shards = 8
durability = "commit"
default_lease_ms = "5m"
auth_tokens = ["a-long-random-text"]
```

Clients and the command line read `FLASHQ_ADDRESS` and `FLASHQ_TOKEN`.
"""
_MACHINE: Final = {
    "shards": "one per core, at most 32",
    "max_memory": "70 % of the machine's or container's memory",
    "data": "`./data`",
    "run": "derived from `data`",
}
"""Defaults that depend on where we run."""


def page() -> str:
    """The whole page."""
    described = docstrings()
    parts = [_HEAD]
    for section, names in sections():
        parts.append(f"## {section}\n")
        parts.append("| setting | default | allowed | what it does |\n|---|---|---|---|")
        parts.extend(_row(name, described[name]) for name in names)
        parts.append("")
    return "\n".join(parts)


def _row(name: str, text: str) -> str:
    others = [f"`{alias}`" for alias, meant in ALIASES.items() if meant == name]
    if others:
        text += f" Also {', '.join(others)} in the environment."
    for variable, (meant, value) in SWITCHES.items():
        if meant == name:
            text += f" `{variable}`, whatever its value, means {str(value).lower()}."
    default = _MACHINE.get(name) or f"`{worded(Settings(), name)}`"
    return f"| `{name}`<br>`{PREFIX}{name.upper()}` | {default} | {allowed(name)} | {text} |"


def _settings_class() -> ast.ClassDef:
    tree = ast.parse(inspect.getsource(config))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")


def docstrings() -> dict[str, str]:
    """Field -> the text below it."""
    found = {}
    body = _settings_class().body
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr), f"{field.target.id} has no docstring"
            assert isinstance(text.value, ast.Constant), f"{field.target.id} has no docstring"
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def sections() -> Iterator[tuple[str, list[str]]]:
    """The comments that divide the class, and the fields below each."""
    title, names = "", list[str]()
    for line in inspect.getsource(Settings).splitlines():
        name = line.strip().partition(":")[0]
        if line.startswith("    # "):
            if names:
                yield title, names
            title, names = line.removeprefix("    # "), []
        elif name in FIELDS and line.startswith("    ") and not line.startswith("     "):
            names.append(name)
    yield title, names


if __name__ == "__main__":
    sys.stdout.write(page())
