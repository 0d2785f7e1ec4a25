"""flashq auth create, list, rotate, revoke, log, matrix: named tokens, kept in the data folder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from flashq.access.audit import LOG
from flashq.access.book import TokenBook
from flashq.access.scopes import ROLES, VERBS
from flashq.access.views import view_of, views_of
from flashq.cli import matrix as matrices
from flashq.cli.options import ConfigOption, JsonOption, duration_ms, maybe_duration_ms
from flashq.cli.output import REFUSED, end, say, say_json, say_table, told
from flashq.config import load
from flashq.errors import ConfigError

app = typer.Typer(
    help="Named tokens: who may do what. They work on the data folder, with or without a running cluster.",
    no_args_is_help=True,
)
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Data folder of the cluster.")]
NameArgument = Annotated[str, typer.Argument(help="The token's name.")]
_FOREVER: Final = "-"


@app.command(epilog="Example: flashq auth create ci --scope push:mail-* --scope read:mail-* --expires 90d")
def create(
    name: NameArgument,
    role: Annotated[str | None, typer.Option(help=f"Preset: {', '.join(ROLES)}.")] = None,
    queues: Annotated[
        list[str] | None, typer.Option("--queues", metavar="PATTERN", help="Where the role counts; none: everywhere.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="VERB:PATTERN", help=f"Verbs: {', '.join(VERBS)}. May be repeated."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it is good, such as 12h or 90d; none: for ever.")
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token, and print its secret: this once, it is kept nowhere."""
    with told():
        book = _book(data, config)
        token, secret = book.create(
            name, role=role, queues=tuple(queues or ()), scopes=tuple(scope or ()),
            expires_in_ms=maybe_duration_ms("--expires", expires),
        )  # fmt: skip
        _tell(book)
    say_json({**view_of(book, token), "secret": secret}) if as_json else say(secret)


@app.command("list", epilog="Example: flashq auth list --json")
def list_tokens(data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """All named tokens, what they may do and when they were shown last."""
    with told():
        views = views_of(_book(data, config))
    if as_json:
        say_json(views)
        return
    columns = ("name", "state", "role", "scopes", "created", "expires", "last used")
    say_table(columns, [_line(view) for view in views], texts=len(columns))


@app.command(epilog="Example: flashq auth rotate ci --grace 1h")
def rotate(
    name: NameArgument,
    grace: Annotated[str, typer.Option(help="How long the old secret is still good.")] = "0",
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a token a new secret, and print it."""
    with told():
        book = _book(data, config)
        token, secret = book.rotate(name, grace_ms=duration_ms("--grace", grace))
        _tell(book)
    say_json({**view_of(book, token), "secret": secret}) if as_json else say(secret)


@app.command(epilog="Example: flashq auth revoke ci")
def revoke(
    name: NameArgument, data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Have a token open nothing any more; what is open by it is cut."""
    with told():
        book = _book(data, config)
        token = book.revoke(name)
        _tell(book)
    say_json(view_of(book, token)) if as_json else say("revoked")


@app.command(epilog="Example: flashq auth log --json")
def log(data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Who made, rotated or revoked which token, the oldest first. Exit code 1 if the log was tampered with."""
    with told():
        book = _book(data, config)
        entries, fault = book.log()
    if as_json:
        say_json({"entries": [msgspec.to_builtins(entry) for entry in entries], "fault": fault or None})
    else:
        columns = ("no", "when", "by", "act", "token", "scopes")
        lines = [(str(e.no), _shown(e.at), e.by, e.act, e.token, e.scopes) for e in entries]
        say_table(columns, lines, texts=len(columns))
    if fault:
        end(REFUSED, f"{book.folder / LOG}: {fault}")


@app.command(epilog="Example: flashq auth matrix --json")
def matrix(as_json: JsonOption = False) -> None:
    """Everything that can be asked at any door, the scope it needs, and which roles have it."""
    found = list(matrices.rows())
    if as_json:
        say_json([{"door": row.door, "route": row.route, "needs": str(row.need), **row.roles} for row in found])
        return
    columns = ("door", "route", "needs", *ROLES)
    lines = [(r.door, r.route, r.need, *("yes" if r.roles[role] else "no" for role in ROLES)) for r in found]
    say_table(columns, lines, texts=len(columns))


def _book(data: Path | None, config: Path | None) -> TokenBook:
    folder = load({"data": data}, file=config).settings.data
    if not folder.is_dir():
        raise ConfigError(
            f"data = {folder}: there is no such folder; name it by --data, or start a cluster on it first"
        )
    return TokenBook(folder)


def _tell(book: TokenBook) -> None:
    """Have a running cluster cut what is open by what is good no more; for what comes it finds out by itself."""
    from flashq.cluster import health

    health.reload(book.folder.parent)


def _line(view: dict[str, Any]) -> tuple[object, ...]:
    when = [_shown(view[key]) for key in ("created_at", "expires_at", "last_used_at")]
    return (view["name"], view["state"], view["role"] or _FOREVER, " ".join(view["scopes"]), *when)


def _shown(at_ms: int | None) -> str:
    return _FOREVER if at_ms is None else datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
