"""flashq config show."""

from typing import Annotated

import typer

from flashq.cli.options import ConfigOption, JsonOption
from flashq.cli.output import say_json, say_table, told
from flashq.config import FIELDS, Settings, is_duration, is_size, load
from flashq.database_url import masked
from flashq.units import show_duration, show_size

app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)


@app.command(epilog="Example: FLASHQ_SHARDS=4 flashq config show")
def show(
    as_json: JsonOption = False,
    config: ConfigOption = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
) -> None:
    """Every setting, its value, and where that comes from. Tokens are counted, not shown."""
    with told():
        loaded = load(file=config)
    names = [name for name in FIELDS if not changed or loaded.sources[name] != "default"]
    if as_json:
        say_json({name: {"value": plain(loaded.settings, name), "source": loaded.sources[name]} for name in names})
        return
    say_table(
        ("setting", "value", "source"), [(n, worded(loaded.settings, n), loaded.sources[n]) for n in names], texts=3
    )


def plain(settings: Settings, name: str) -> object:
    """A value as JSON can hold it; tokens as their number."""
    value = getattr(settings, name)
    if name == "auth_tokens":
        return len(value)
    if name == "database_url":
        return masked(value)
    if name == "archive_key":
        return "(hidden)" if value else ""
    return value if isinstance(value, (int, float, str)) or value is None else str(value)


def worded(settings: Settings, name: str) -> str:
    """A value as people read it."""
    value = plain(settings, name)
    if name == "auth_tokens":
        return f"{value} tokens" if value else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and is_duration(name):
        return show_duration(value)
    if isinstance(value, int) and is_size(name):
        return show_size(value)
    return "-" if value is None or value == "" else str(value)
