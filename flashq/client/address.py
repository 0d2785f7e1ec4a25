"""Where a server is: "flashq://host:port", "host", "/run/flashq.sock"."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from flashq.errors import ConfigError

PORT: Final = 6789
DEFAULT: Final = f"flashq://127.0.0.1:{PORT}"
_ALLOWED: Final = "flashq://[:TOKEN@]HOST[:PORT], flashqs:// for TLS, HOST[:PORT], unix:PATH or a path with a slash"


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = PORT
    path: Path | None = None
    token: str | None = field(default=None, repr=False)
    tls: bool = False

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"flashq{'s' if self.tls else ''}://{host}:{self.port}"


def parse_address(text: str | None) -> Address:
    """Read an address; without one, what `FLASHQ_ADDRESS` says, with `FLASHQ_TOKEN`, else the default.

    The environment's token goes to no address but the environment's. Raises ConfigError; a token in an address does
    not show in the error.
    """
    if text is None:
        found = parse_address(os.environ.get("FLASHQ_ADDRESS") or DEFAULT)
        return found if found.token else replace(found, token=os.environ.get("FLASHQ_TOKEN") or None)
    if text.startswith("unix:"):
        return _unix(re.sub(r"^unix:(//)?", "", text), text)
    if "://" not in text and "/" in text:
        return _unix(text, text)
    return _tcp(text if "://" in text else f"flashq://{text}")


def _unix(path: str, text: str) -> Address:
    if not path:
        raise _wrong(text)
    return Address(path=Path(path))


def _tcp(url: str) -> Address:
    shown = re.sub(r"//[^/]*@", "//:(hidden)@", url)
    try:
        parts = urlsplit(url)
        port = PORT if parts.port is None else parts.port
    except ValueError as error:
        raise _wrong(shown) from error
    if (
        parts.scheme not in ("flashq", "flashqs")
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or port == 0
    ):
        raise _wrong(shown)
    token = parts.password or parts.username
    return Address(
        host=parts.hostname, port=port, token=unquote(token) if token else None, tls=parts.scheme == "flashqs"
    )


def _wrong(shown: str) -> ConfigError:
    return ConfigError(f"address = {shown!r}: allowed is {_ALLOWED}")
