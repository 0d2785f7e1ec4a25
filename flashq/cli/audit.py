"""flashq audit: who did what when."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from flashq.cli.options import ConfigOption
from flashq.cli.output import REFUSED, end, say, say_json, told
from flashq.clock import SystemClock
from flashq.cluster.backups.shelf import shown
from flashq.config import load
from flashq.errors import ConfigError
from flashq.units import parse_duration_ms

if TYPE_CHECKING:
    from flashq.cluster.auditing import Audit
    from flashq.storage.deeds import Deed

_JOBS_SHOWN = 8


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: flashq audit --data ./data --archive ./archive --job 5120 --since 2h")(audit)


def audit(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Data folder; its cluster may run.")] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its archive; as configured if not given.")
    ] = None,
    queue: Annotated[str, typer.Option(help="What concerns this queue.")] = "",
    job: Annotated[int, typer.Option(min=0, help="What concerns the job with this id.")] = 0,
    since: Annotated[str, typer.Option(metavar="TIME", help="From 2026-11-24T20:00 (UTC) on, or of the last 2h.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Check that the archive is what was archived.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
    config: ConfigOption = None,
) -> None:
    """Tell what happened, event by event, from archive and journal, or verify the archive. Exit code 1: damage."""
    from flashq.cluster.auditing import Asked, Audit

    with told():
        settings = load({"data": data, "archive_dir": archive}, file=config).settings
        found = Audit(settings)
        if verify:
            if settings.archive_dir is None:
                raise ConfigError("--verify: there is no archive: name it by --archive, or configure archive_dir")
            _verify(found, as_json=as_json)
            return
        for deed in found.deeds(Asked(queue, job, since_ms(since))):
            say_json(document(deed)) if as_json else say(line(deed))
        for gap in found.gaps():
            typer.echo(f"flashq: {gap}", err=True)


def _verify(found: "Audit", *, as_json: bool) -> None:
    findings = list(found.verify())
    if as_json:
        shown = [finding._asdict() | {"shard": shard} for shard, finding in findings]
        say_json({"ok": not findings, "shards": len(found.shards), "findings": shown})
    else:
        for _, finding in findings:
            say(str(finding))
    if findings:
        end(REFUSED, f"the archive is not what was archived: {len(findings)} findings")
    if not as_json:
        say(f"the archives of {len(found.shards)} shards are whole")


def since_ms(text: str) -> int:
    """A moment, or how long ago it was, in wall milliseconds; 0 for nothing. Raises ConfigError."""
    if not text:
        return 0
    try:
        return SystemClock().wall_ms() - parse_duration_ms(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as fault:
        raise ConfigError(f"--since = {text!r}: allowed is a moment such as 2026-11-24T20:00, or 2h") from fault
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)


def document(deed: "Deed") -> dict[str, Any]:
    """A deed for programs."""
    return deed._asdict() | {"time": shown(deed.at_ms)}


def line(deed: "Deed") -> str:
    """A deed for people."""
    parts = [shown(deed.at_ms), f"shard-{deed.shard:02} record {deed.record}", deed.what]
    if deed.queue:
        parts.append(f"queue {deed.queue}")
    if deed.jobs:
        parts.append(_jobs(deed.jobs))
    parts += [f"{name}={msgspec.json.encode(value).decode()}" for name, value in deed.details.items()]
    return "  ".join(parts)


def _jobs(runs: list[tuple[int, int]]) -> str:
    count = sum(n for _, n in runs)
    if count == 1:
        return f"job {runs[0][0]}"
    shown = [str(first) if n == 1 else f"{first}…{first + (n - 1) * 1024}" for first, n in runs[:_JOBS_SHOWN]]
    return f"{count} jobs {', '.join(shown)}{', …' if len(runs) > _JOBS_SHOWN else ''}"
