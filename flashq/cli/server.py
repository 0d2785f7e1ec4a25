"""flashq stats, ping."""

import time

import msgspec
import typer

from flashq.cli.options import (
    ADDRESS_DEFAULT,
    TIMEOUT_DEFAULT,
    AddressOption,
    JsonOption,
    TimeoutOption,
    TokenOption,
    connected,
)
from flashq.cli.output import say, say_json, say_pairs, told


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Example: flashq stats --json")(stats)
    app.command(epilog="Example: flashq ping --address /run/flashq.sock")(ping)


def stats(
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Jobs of the whole server, by state."""
    with told(), connected(address, token, request_timeout) as client:
        found = client.stats()
    say_json(found) if as_json else say_pairs(msgspec.to_builtins(found))


def ping(
    as_json: JsonOption = False,
    address: AddressOption = ADDRESS_DEFAULT,
    token: TokenOption = None,
    request_timeout: TimeoutOption = TIMEOUT_DEFAULT,
) -> None:
    """Ask whether the server answers; prints how long it took."""
    with told(), connected(address, token, request_timeout) as client:
        started = time.perf_counter()
        client.ping()
        took_ms = (time.perf_counter() - started) * 1000
    say_json({"ok": True, "ms": round(took_ms, 3)}) if as_json else say(f"pong in {took_ms:.2f} ms")
