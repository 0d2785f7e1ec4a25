"""flashq doctor: whether what a data folder has is whole."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from flashq.cli.options import JsonOption
from flashq.cli.output import REFUSED, say, say_json, told

if TYPE_CHECKING:
    from flashq.cluster.doctor import ShardReport
    from flashq.storage.findings import Finding


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: flashq doctor ./data --export whole.jsonl")(doctor)


def doctor(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder; its cluster may run.")],
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that is whole to a new file, as JSON lines.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every record, table and count of a data folder, without changing anything. Exit code 1: damage."""
    from flashq.cluster.doctor import examine, inspect_cluster
    from flashq.cluster.export_file import Export

    with told():
        common = list(inspect_cluster(data))
        reports: list[ShardReport] = []
        with Export.to(export) as exported:
            for examined in examine(data):
                reports.append(examined.report)
                exported.write(examined)
                if not as_json:
                    _say_shard(examined.report)
    bad = sum(len(report.findings) for report in reports) + len(common)
    if as_json:
        say_json(_document(data, common, reports, exported.lines))
    else:
        for finding in common:
            say(f"DAMAGED  {finding}")
        if export is not None:
            say(f"{sum(exported.lines.values())} lines in {export}: {_counts(exported.lines)}")
        say(f"{bad} {'thing is' if bad == 1 else 'things are'} wrong" if bad else "all is whole")
    if bad:
        raise typer.Exit(REFUSED)


def _say_shard(report: "ShardReport") -> None:
    state = "DAMAGED" if report.findings else "whole"
    say(
        f"shard-{report.shard:02}  {state}  records up to {report.last_record}, of which {report.tables_position} in "
        f"tables, {report.jobs} jobs"
    )
    for finding in report.findings:
        say(f"  {finding}")
    if report.note:
        say(f"  {report.note}")


def _document(data: Path, common: "list[Finding]", reports: "list[ShardReport]", lines: dict[str, int]) -> Any:
    findings = [finding._asdict() | {"shard": None} for finding in common]
    for report in reports:
        findings += [finding._asdict() | {"shard": report.shard} for finding in report.findings]
    shards = [
        {name: value for name, value in msgspec.structs.asdict(report).items() if name != "findings"}
        | {"whole": not report.findings}
        for report in reports
    ]
    return {"ok": not findings, "data": os.path.abspath(data), "shards": shards, "findings": findings, "lines": lines}


def _counts(lines: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in lines.items()) or "nothing"
