"""The command `flashq`."""

from typing import Annotated

import typer

from flashq import __version__
from flashq.cli import audit, auth, backups, cluster, config, doctor, jobs, migrate, queues, server

app = typer.Typer(
    name="flashq",
    help="Job queue server: start a cluster, push jobs, take them, finish them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done, 1 refused or nothing there, 2 wrong usage, 3 server not reached.",
)
app.add_typer(cluster.app, name="cluster")
app.add_typer(auth.app, name="auth")
app.add_typer(config.app, name="config")
for room in (jobs, queues, server, migrate, backups, doctor, audit):
    room.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flashq {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the command as a whole."""


def main() -> None:
    """Entry point of the installed command."""
    app()
