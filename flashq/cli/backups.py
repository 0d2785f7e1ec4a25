"""flashq backup, backups, restore."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from flashq.cli.options import ConfigOption, JsonOption
from flashq.cli.output import say, say_json, say_table, told
from flashq.config import load
from flashq.errors import ConfigError
from flashq.units import show_size

DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Data folder of the cluster; as configured.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Example: flashq backup /backups --data ./data --keep 7")(backup)
    app.command(epilog="Example: flashq backups /backups")(backups)
    app.command(epilog="Example: flashq restore /backups --data ./new --shards 8")(restore)


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of backups; made if it is not there.")],
    data: DataOption = None,
    keep: Annotated[int, typer.Option("--keep", metavar="N", help="Keep only the latest N; 0 keeps all.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back up a cluster's data, running or not. What was written is read again and tried before it counts."""
    with told():
        if keep < 0:
            raise ConfigError(f"--keep {keep}: allowed is a number from 0")
        settings = load({"data": data}, file=config).settings
        from flashq.cluster.backups.making import back_up

        made = back_up(settings, folder.absolute(), keep=keep)
    manifest = made.manifest
    if as_json:
        positions = {str(part.shard): part.position for part in manifest.shards}
        say_json(
            {"backup": str(made.path), "cut_ms": manifest.cut_ms, "stored": manifest.stored, "positions": positions}
            | {"counts": manifest.counts, "removed": made.removed}
        )
        return
    say(f"{made.path}  {show_size(manifest.stored)}  {_words(manifest.counts)}")
    for name in made.removed:
        say(f"removed {name}")


def backups(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of backups.")], as_json: JsonOption = False
) -> None:
    """List the backups in a folder, oldest first."""
    with told():
        from flashq.cluster.backups import shelf
        from flashq.cluster.backups.manifest import read_manifest

        found = [read_manifest(path) for path in shelf.backups(folder)]
    if as_json:
        say_json({"backups": [msgspec.to_builtins(manifest) for manifest in found]})
        return
    rows = [(one.name, show_size(one.stored), len(one.shards), one.flashq, _words(one.counts)) for one in found]
    say_table(("backup", "size", "shards", "flashq", "jobs"), rows)


def restore(
    source: Annotated[
        Path, typer.Argument(metavar="BACKUP", help="A backup, or a folder of backups: then the latest.")
    ],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder to be filled; empty or not there yet.")],
    shards: Annotated[int, typer.Option("--shards", metavar="N", help="Shards there are to be; 0: as it was.")] = 0,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Then go on to this moment, by the archive: 2026-11-24T20:15:03Z."),
    ] = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="Then go on as far as the archive was shipped, by the archive.")
    ] = False,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIR", help="Archive of the journal; as configured.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a data folder from a backup; then start a cluster on it. Killed, it is simply done again."""
    with told():
        settings = load({"archive_dir": archive}, file=config).settings
        from flashq.cluster.backups.continuing import Archived
        from flashq.cluster.backups.restoring import restore
        from flashq.cluster.backups.shelf import shown

        archived = None
        if at is not None or latest:
            if at is not None and latest:
                raise ConfigError("--at and --latest: allowed is one of them")
            if settings.archive_dir is None:
                raise ConfigError("--at and --latest need an archive: name it by --archive or archive_dir")
            archived = Archived(settings.archive_dir, settings.archive_key, None if at is None else _moment_ms(at))
        done = restore(source.absolute(), data.absolute(), shards=shards, archived=archived)
    if as_json:
        say_json({"backup": str(done.backup), "shards": done.shards, "at_ms": done.at_ms, "counts": done.counts})
    else:
        say(f"{data} is as it was at {shown(done.at_ms)}, with {done.shards} shards  {_words(done.counts)}")


def _moment_ms(text: str) -> int:
    """A moment; without a zone it is UTC's. Raises ConfigError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--at {text!r}: allowed is a moment such as 2026-11-24T20:15:03Z") from error
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no jobs"
