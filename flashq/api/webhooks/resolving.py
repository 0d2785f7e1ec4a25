"""From a host to the addresses that a request may go to: looked up and judged anew for each attempt.

All addresses of a name have to be allowed, not only the one that is taken: a name that has a private one beside a
public one is an attack, or a mistake. What was judged is what is connected to: nobody looks the name up again.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from flashq.errors import FlashqError
from flashq.protocol.web_targets import Address, Allowed, address_of

THREADS_MAX: Final = 16
"""Look-ups that may hang at a time."""
Lookup = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) -> the addresses that its name stands for. Raises OSError."""


class TargetRefused(FlashqError):
    """A request may not go there."""

    code = "forbidden"


def system_lookup() -> Lookup:
    """The machine's own resolver, in threads, one look-up of a name at a time."""
    threads = ThreadPoolExecutor(THREADS_MAX, "names")
    under_way: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    def ask(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def lookup(host: str, port: int) -> list[str]:
        key = host, port
        asked = under_way.get(key)
        if asked is None:
            asked = under_way[key] = asyncio.get_running_loop().run_in_executor(threads, ask, host, port)
            asked.add_done_callback(lambda done: _ended(under_way, key, done))
        return await asyncio.shield(asked)

    return lookup


def _ended(
    under_way: dict[tuple[str, int], asyncio.Future[list[str]]], key: tuple[str, int], done: asyncio.Future[list[str]]
) -> None:
    del under_way[key]
    if not done.cancelled():
        done.exception()  # seen: whoever waited may have given up


async def allowed_addresses(host: str, port: int, lookup: Lookup, allowed: Allowed) -> list[Address]:
    """Where a request to this host goes. Raises TargetRefused, OSError where the name cannot be looked up."""
    literal = address_of(host)
    texts = [str(literal)] if literal is not None else await lookup(host, port)
    found: list[Address] = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
    if host not in allowed.names:
        for address in found:
            if not allowed.allows(address):
                raise TargetRefused(f"{host} is {address}: private and internal addresses are not allowed")
    if not found:
        raise OSError(f"{host} has no address")
    return found
