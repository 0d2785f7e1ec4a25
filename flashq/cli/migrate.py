"""flashq migrate."""

from pathlib import Path
from typing import Annotated

import typer

from flashq.cli.output import say, told
from flashq.database_url import masked


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: flashq migrate --from ./data --to postgresql://flashq@db/flashq --data ./pgdata")(
        migrate
    )


def migrate(
    source: Annotated[str, typer.Option("--from", metavar="DIR|URL", help="Where the jobs are.")],
    target: Annotated[str, typer.Option("--to", metavar="URL|DIR", help="Where they go; empty or not there yet.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder beside the database.")],
) -> None:
    """Move a stopped cluster's data from a folder into PostgreSQL, or back; the old side stays as it is."""
    from flashq.cluster.migration import Moved, migrate

    def on_moved(moved: Moved) -> None:
        if moved.rows:
            say(f"shard {moved.shard:2}  {moved.table:<14}{moved.rows:>12} rows  {moved.checksum}")

    with told():
        rows = migrate(source, target, data, on_moved)
        say(f"{rows} rows moved from {masked(source)} to {masked(target)}, the same on both sides")
