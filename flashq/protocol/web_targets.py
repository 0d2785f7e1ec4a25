"""Where requests of ours may go: the URLs of webhooks, and the addresses that their names stand for.

Rules kept here
- Only what is public on the Internet, unless the configuration allows a network or a name. An IPv6 address that stands
  for an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged as both.
- A URL is kept in one spelling: what else means an address (`127.1`, `0x7f000001`, full-width digits) is turned into
  it, so that nobody behind us reads it differently.
- A name says nothing: it is judged again by its addresses, at each attempt (api/webhooks/resolving.py).
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from flashq.errors import InvalidArgument

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
URL_CHARS_MAX: Final = 2_048
_LOCAL: Final = (".localhost", ".local")
_INTERNAL: Final = (".internal", ".lan", ".home.arpa")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")
_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_NEVER: Final = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10", "5f00::/16")))


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be reached although it is not public."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Allowed":
        """From networks (10.0.0.0/8), addresses and names. Raises ValueError for what is none of them."""
        networks, names = [], set()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                name = entry.lower().rstrip(".")
                if not _NAME.fullmatch(name) or _number_address(name) is not None:
                    raise ValueError(entry) from None
                names.add(name)
        return cls(tuple(networks), frozenset(names))

    def allows(self, address: Address) -> bool:
        """Whether requests may go there."""
        return any(address in network for network in self.networks) or is_public(address)


NOTHING_ELSE: Final = Allowed()


def is_public(address: Address) -> bool:
    """Whether an address, and each one that it stands for, is one of the Internet at large."""
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    if any(address in network for network in _NEVER):
        return False
    return all(is_public(inner) for inner in _inner(address))


def _inner(address: Address) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses that an IPv6 one leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [inner for inner in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if inner is not None]
    if any(address in network for network in _NAT64):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return found


def checked_url(text: str, allowed: Allowed = NOTHING_ELSE) -> str:
    """The URL in its one spelling. Raises InvalidArgument unless requests may go there, as far as it can be read."""
    parts = _split(text)
    host = _host_of(parts)
    address = address_of(host)
    if address is not None:
        if not allowed.allows(address):
            raise InvalidArgument(f"Private/internal IP addresses are not allowed: {address}")
        host = f"[{address}]" if address.version == 6 else str(address)
    elif host not in allowed.names:
        _check_name(host)
    place = host if parts.port is None else f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))


def _split(text: str) -> SplitResult:
    if len(text) > URL_CHARS_MAX:
        raise InvalidArgument(f"Invalid URL: {len(text)} characters, at most {URL_CHARS_MAX} are allowed")
    if any(c <= " " or c in "\x7f\\" for c in text):
        raise InvalidArgument("Invalid URL: blanks, control characters and backslashes are not allowed")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument(f"Invalid URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidArgument(f"Invalid scheme '{parts.scheme[:64]}': only http/https allowed")
    if port == 0:
        raise InvalidArgument("Invalid URL: the port is 0, allowed are 1 to 65535")
    if "@" in parts.netloc:
        raise InvalidArgument("Invalid URL: a user or password in it is not allowed, sign with `secret` instead")
    return parts


def _host_of(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode().lower()
        except UnicodeError:
            raise InvalidArgument("Invalid URL: the host is no name") from None
    host = host.rstrip(".")
    if address_of(host) is None and not _NAME.fullmatch(host):
        raise InvalidArgument(f"Invalid URL: '{host[:64]}' is no host")
    return host


def address_of(host: str) -> Address | None:
    """The address that a host is, in any spelling that some resolver takes; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return _number_address(host)


def _number_address(host: str) -> ipaddress.IPv4Address | None:
    """As `inet_aton` reads it: up to four numbers, octal and hexadecimal too, the last of which fills the rest."""
    parts = host.lower().split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        *heads, last = [
            int(part[2:] or "0", 16) if part.startswith("0x") else int(part, 8 if part.startswith("0") else 10)
            for part in parts
        ]
    except ValueError:
        raise InvalidArgument(f"Invalid URL: '{host[:64]}' is no host") from None
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        raise InvalidArgument(f"Invalid URL: '{host[:64]}' is no host")
    return ipaddress.IPv4Address(sum(head << 8 * (3 - k) for k, head in enumerate(heads)) + last)


def _check_name(host: str) -> None:
    """Raise InvalidArgument for a name that says of itself that it is not public."""
    if host == "localhost" or host.endswith(_LOCAL):
        raise InvalidArgument("Localhost URLs are not allowed for webhooks")
    if host.endswith(_INTERNAL) or host.startswith("metadata.") or host == "metadata":
        raise InvalidArgument(f"Internal/cloud metadata URLs are not allowed: {host}")
