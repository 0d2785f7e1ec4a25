"""`python -m loadtest` measures; `python -m loadtest crash` kills."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from loadtest import crash as campaigns
from loadtest import speed
from loadtest.rows import DURABILITIES
from loadtest.servers import DATABASES

app = typer.Typer(add_completion=False, rich_markup_mode="rich", no_args_is_help=False)
console = Console()


def _names(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in found:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint=option)
    return found


@app.callback(invoke_without_command=True)
def measure(
    context: typer.Context,
    only: Annotated[str, typer.Option(help=f"Rows, comma separated: {', '.join(speed.NAMES)}.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Alternating rounds; the table has their medians.")] = 5,
    durability: Annotated[
        str, typer.Option(help="Durabilities of flashq, comma separated; psycopg: on PostgreSQL.")
    ] = ",".join(DURABILITIES),
    reference: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A server script to measure beside.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Results go to this name with .json and .md.")] = Path("load"),
    folder: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Put data here: a folder on the disk to measure.")
    ] = None,
    small: Annotated[bool, typer.Option(help="Commands and doors at the sizes of a test: that they run.")] = False,
    idle_seconds: Annotated[float, typer.Option(help="How long the idle cluster is watched.")] = 30.0,
    spike_seconds: Annotated[float, typer.Option(help="How long 50,000 pushes a second are kept up.")] = 20.0,
) -> None:
    """Measure flashq beside beanstalkd and a bare echo, and print the table with its targets."""
    if context.invoked_subcommand is not None:
        return
    plan = speed.Plan(
        only=_names(only, speed.NAMES, "--only"),
        rounds=rounds,
        durabilities=_names(durability, (*DURABILITIES, *DATABASES), "--durability"),
        reference=reference,
        out=out,
        folder=folder,
        idle_s=idle_seconds,
        spike_s=spike_seconds,
        small=small,
    )
    if not speed.run(plan, console):
        raise typer.Exit(1)


@app.command()
def crash(
    kills: Annotated[
        int, typer.Option(min=1, help="How many of each: a shard, router, HTTP process, checkpointer, everything.")
    ] = 100,
    durability: Annotated[str, typer.Option(help="commit or fsync.")] = "fsync",
    shards: Annotated[int, typer.Option(min=1, help="Shards of the cluster.")] = 2,
    out: Annotated[Path, typer.Option(help="Results go to this name with .json and .md.")] = Path("crash"),
    docs: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Put the table into this document, too.")
    ] = None,
) -> None:
    """Kill -9 under load, again and again, and check that nothing acknowledged is lost or comes twice."""
    _names(durability, ("commit", "fsync"), "--durability")
    with console.status("starting") as status:
        report = campaigns.run(kills, durability, shards, status.update)
    campaigns.write(report, out)
    if docs is not None:
        campaigns.put_into(docs, report)
    console.print(Markdown(campaigns.markdown(report)))
    if not report.good:
        raise typer.Exit(1)
