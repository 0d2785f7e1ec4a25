"""Options that several commands share, and the client they describe."""

from pathlib import Path
from typing import Annotated

import typer

from flashq.client.address import DEFAULT
from flashq.client.sync import SyncClient
from flashq.errors import ConfigError
from flashq.units import parse_duration_ms

_SERVER = "Server"

AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        "-a",
        envvar="FLASHQ_ADDRESS",
        help="flashq://HOST:PORT, HOST:PORT or the path of a Unix socket.",
        rich_help_panel=_SERVER,
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="FLASHQ_TOKEN",
        help="Token to show. Better in the environment, where other users do not see it.",
        show_default=False,
        rich_help_panel=_SERVER,
    ),
]
TimeoutOption = Annotated[
    str, typer.Option("--request-timeout", help="Give up after this long.", rich_help_panel=_SERVER)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
LeaseOption = Annotated[
    int | None, typer.Option("--lease", help="Lease that came with the pull; makes sure nobody else has the job.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file; ./flashq.toml is read if it is there.")
]
ADDRESS_DEFAULT = DEFAULT
TIMEOUT_DEFAULT = "10s"


def connected(address: str, token: str | None, timeout: str) -> SyncClient:
    """A client that is not connected yet; its first request connects, once."""
    return SyncClient(address, token=token, request_timeout_ms=duration_ms("--request-timeout", timeout))


def duration_ms(name: str, text: str) -> int:
    """An option such as 500, 30s or 10m, in milliseconds. Raises ConfigError."""
    try:
        value = parse_duration_ms(text)
    except ValueError:
        value = -1
    if value < 0:
        raise ConfigError(f"{name} = {text!r}: allowed is a duration such as 500, 30s or 10m")
    return value


def maybe_duration_ms(name: str, text: str | None) -> int | None:
    """As `duration_ms`, for an option that may be absent."""
    return None if text is None else duration_ms(name, text)
