"""flashq cluster start, status, stop, log-level, move, spread."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final, cast

import msgspec
import typer

from flashq.cli.options import ConfigOption, JsonOption
from flashq.cli.output import UNREACHABLE, end, say, say_json, told
from flashq.cli.status_page import say_status
from flashq.config import LogLevel, load, run_candidates
from flashq.errors import ConfigError
from flashq.protocol.slots import slot_of_queue

app = typer.Typer(help="Start a cluster, look at it, stop it.", no_args_is_help=True)

_DOORS: Final = "Doors"
_PROCESSES: Final = "Processes"
RunOption = Annotated[Path | None, typer.Option("--run", help="Run folder of the cluster.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder of the cluster.")]


@app.command(epilog="Example: flashq cluster start --shards 32 --durability commit --set default_lease_ms=5m")
def start(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", rich_help_panel=_DOORS)] = None,
    port: Annotated[str | None, typer.Option(help="TCP port; 0: a free one.", rich_help_panel=_DOORS)] = None,
    unix_socket: Annotated[
        str | None, typer.Option(metavar="PATH", help="Unix socket beside it.", rich_help_panel=_DOORS)
    ] = None,
    http: Annotated[
        bool | None, typer.Option("--http/--no-http", help="Serve HTTP too.", rich_help_panel=_DOORS)
    ] = None,
    http_port: Annotated[str | None, typer.Option(help="HTTP port; 0: a free one.", rich_help_panel=_DOORS)] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate chain: speak TLS.", rich_help_panel=_DOORS)
    ] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="Its key.", rich_help_panel=_DOORS)] = None,
    tls_client_ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Authorities: clients must show a certificate.", rich_help_panel=_DOORS),
    ] = None,
    grpc: Annotated[
        bool | None, typer.Option("--grpc/--no-grpc", help="Serve gRPC too.", rich_help_panel=_DOORS)
    ] = None,
    grpc_port: Annotated[str | None, typer.Option(help="gRPC port; 0: a free one.", rich_help_panel=_DOORS)] = None,
    insecure: Annotated[
        bool | None,
        typer.Option(
            "--insecure", help="Let everybody in who reaches an address that is not local.", rich_help_panel=_DOORS
        ),
    ] = None,
    shards: Annotated[str | None, typer.Option(help="Shard processes.", rich_help_panel=_PROCESSES)] = None,
    routers: Annotated[str | None, typer.Option(help="Router processes.", rich_help_panel=_PROCESSES)] = None,
    api_workers: Annotated[str | None, typer.Option(help="HTTP processes.", rich_help_panel=_PROCESSES)] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of journals and tables.", rich_help_panel=_PROCESSES)
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of sockets; short.", rich_help_panel=_PROCESSES)
    ] = None,
    durability: Annotated[str | None, typer.Option(metavar="fsync|commit|memory", help="What `ok` promises.")] = None,
    log_level: Annotated[str | None, typer.Option(metavar="debug|info|warning|error")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="console|json")] = None,
    other: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; may be repeated.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Start a cluster in the foreground. Ctrl-C stops it in order, a second one at once."""
    flags: dict[str, object] = {
        "host": host,
        "port": port,
        "unix_socket": unix_socket,
        "http": http,
        "http_port": http_port,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "grpc": grpc,
        "grpc_port": grpc_port,
        "insecure": insecure,
        "shards": shards,
        "routers": routers,
        "api_workers": api_workers,
        "data": data,
        "run": run,
        "durability": durability,
        "log_level": log_level,
        "log_format": log_format,
    }
    with told():
        settings = load(flags | _assignments(other or []), file=config).settings
        # The whole server stands behind this import, and no other command needs it.
        from flashq.cluster import supervisor

        code = supervisor.run(settings)
        if code == supervisor.EXIT_RESTART:
            # The same command in a fresh interpreter: it reads its configuration and its code again.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    raise typer.Exit(code)


@app.command(epilog="Example: flashq cluster status --data ./data --json")
def status(run: RunOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Processes, shards and queues of a running cluster, read from its shared memory. Exit code 3 if none runs."""
    from flashq.cluster import health

    with told():
        folder = _running(run, data)
        found = health.read_status(folder)
    say_json(msgspec.to_builtins(found)) if as_json else say_status(found)


@app.command(epilog="Example: flashq cluster stop --data ./data")
def stop(run: RunOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Stop a running cluster in order; returns when it has ended."""
    from flashq.cluster import health

    with told():
        health.stop(_running(run, data))
    say_json({"ok": True}) if as_json else say("stopped")


@app.command("log-level", epilog="Example: flashq cluster log-level debug --data ./data")
def log_level(
    level: Annotated[str, typer.Argument(metavar="debug|info|warning|error")],
    run: RunOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the least level that a running cluster writes, until it is started again."""
    from flashq.cluster import health
    from flashq.cluster.log_level import LEVELS, say_level

    with told():
        if level not in LEVELS:
            raise ConfigError(f"log level {level[:64]!r}: allowed is one of {', '.join(LEVELS)}")
        folder = _running(run, data)
        status = health.read_status(folder)
        say_level(folder, cast(LogLevel, level))
        health.reload(Path(status.data))
    say_json({"ok": True, "level": level}) if as_json else say(f"writes {level} and above")


@app.command(epilog="Example: flashq cluster move 3 --queue mail --queue film --data ./data")
def move(
    shard: Annotated[int, typer.Argument(help="The shard that is to have them, from 0.")],
    queue: Annotated[list[str], typer.Option("--queue", help="A queue; may be repeated.")],
    run: RunOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move the slots of some queues to another shard, while the cluster serves; returns when they are there.

    All queues of a slot go together. Requests for them wait for that moment, others do not.
    """
    from flashq.cluster import health

    slots = sorted({slot_of_queue(name) for name in queue})
    with told():
        health.move_slots(_running(run, data), [(slot, shard) for slot in slots])
    say_json({"ok": True, "slots": slots}) if as_json else say(f"moved {len(slots)} slots to shard {shard}")


@app.command(epilog="Example: flashq cluster spread --shards 4 --data ./data")
def spread(
    shards: Annotated[int, typer.Option(help="How many shards are to have slots: the first ones.")],
    run: RunOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Spread the slots evenly over some of the shards, one by one, while the cluster serves.

    Shards that are left without slots can be ended by a restart with fewer. Broken off, it goes on when given again.
    """
    from rich.progress import Progress

    from flashq.cluster import health

    with told(), Progress(disable=as_json or not sys.stdout.isatty(), transient=True) as bar:
        task = bar.add_task("moving slots")
        count = health.spread(
            _running(run, data), shards, progress=lambda done, every: bar.update(task, completed=done, total=every)
        )
    say_json({"ok": True, "slots": count}) if as_json else say(f"moved {count} slots: {shards} shards have them")


def _running(run: Path | None, data: Path | None) -> Path:
    """The run folder that is meant: as given, or that of the configured data folder. Ends if there is none."""
    if run is not None:
        candidates = [run]
    else:
        settings = load({"data": data}).settings
        candidates = [settings.run, *run_candidates(settings.data)]
    found = next((folder for folder in candidates if folder.is_dir()), None)
    if found is None:
        end(UNREACHABLE, f"no cluster runs: there is no folder {candidates[0]} (name it by --run or --data)")
    return found


def _assignments(texts: list[str]) -> dict[str, object]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--set {name!r}: allowed is NAME=VALUE")
    return {name.strip().replace("-", "_"): value for name, _, value in pairs}
