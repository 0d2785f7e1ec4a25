"""How commands answer: words for people, one JSON document for programs, and exit codes for both.

Exit codes: 0 done; 1 refused, not found, or nothing there; 2 wrong usage or configuration; 3 the server cannot be
reached, or what became of the request is not known. Errors are one line on standard error.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flashq.errors import ConfigError, FlashqError, Unavailable

REFUSED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3


def say(text: str) -> None:
    """A line for people, or the plain value that a script wants."""
    typer.echo(text)


def say_json(value: Any) -> None:
    """One JSON document on one line."""
    typer.echo(msgspec.json.encode(value).decode())


def say_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, texts: int = 1) -> None:
    """A table; the first `texts` columns are text, the others are figures. Not cut to a width when piped."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    # A pipe has no width: what reads it wants whole lines.
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(table)


def say_pairs(pairs: Mapping[str, object]) -> None:
    """Names and values, a line each."""
    width = max(map(len, pairs))
    for name, value in pairs.items():
        typer.echo(f"{name:<{width}}  {value}")


def end(code: int, error: str) -> NoReturn:
    """Say why on standard error, and exit."""
    typer.echo(f"flashq: {error}", err=True)
    raise typer.Exit(code)


@contextmanager
def told() -> Iterator[None]:
    """Turn flashq's errors into a line and an exit code. What is not ours keeps its traceback: it is a bug."""
    try:
        yield
    except ConfigError as error:
        end(USAGE, str(error))
    except Unavailable as error:
        end(UNREACHABLE, str(error))
    except FlashqError as error:
        end(REFUSED, str(error))
