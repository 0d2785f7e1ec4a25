"""One attempt of a delivery over HTTP, within one deadline from the look-up of the name to the answer.

Rules kept here
- The connection goes to an address that was just judged (resolving.py); Host and the name in TLS stay the URL's.
- Every attempt has a connection of its own, no proxy, no cookies, and follows no redirect.
- Of the answer only its status and a kibibyte are read.

Imported with the first delivery, not before: aiohttp takes 19 MB.
"""

import asyncio
import socket
import time
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from flashq.api.webhooks.requests import body_of, headers_of
from flashq.api.webhooks.resolving import Lookup, TargetRefused, allowed_addresses
from flashq.protocol.web_targets import Address, Allowed, address_of
from flashq.transport.hook_feed import Parcel, Target

ANSWER_BYTES_MAX: Final = 1_024


class Pinned(AbstractResolver):
    """Knows names by what was judged, and looks nothing up."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[Address]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:  # fmt: skip
        """See AbstractResolver."""
        return [
            ResolveResult(
                hostname=host, host=str(one), port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET if one.version == 4 else socket.AF_INET6,
            )
            for one in self.addresses[host]
        ]  # fmt: skip

    async def close(self) -> None:
        """There is nothing to close."""


class HttpClient:
    """Sends deliveries."""

    def __init__(self, lookup: Lookup, allowed: Allowed, *, timeout_s: float) -> None:
        self._lookup = lookup
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._pinned = Pinned()
        connector = aiohttp.TCPConnector(
            resolver=self._pinned, use_dns_cache=False, force_close=True, limit=0, limit_per_host=0
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None), skip_auto_headers=("Accept-Encoding",),
        )  # fmt: skip

    async def send(self, target: Target, parcel: Parcel) -> tuple[bool, str]:
        """Whether it was delivered, and what was said."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._attempt(target, parcel)
        except TimeoutError:
            return False, f"no answer within {self._timeout_s * 1_000:.0f} ms"
        except TargetRefused as error:
            return False, str(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return False, f"{type(error).__name__}: {error}"

    async def _attempt(self, target: Target, parcel: Parcel) -> tuple[bool, str]:
        url = URL(target.url, encoded=True)
        host, port = url.host or "", url.port or 0
        addresses = await allowed_addresses(host, port, self._lookup, self._allowed)
        if address_of(host) is None:
            self._pinned.addresses[host] = addresses
        body = body_of(parcel.happening)
        headers = headers_of(target, parcel, body, int(time.time()))
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            said = await answer.content.read(ANSWER_BYTES_MAX)
            answer.close()
        if 200 <= answer.status < 300:
            return True, ""
        return False, f"HTTP {answer.status} {said.decode('utf-8', 'replace')}".rstrip()

    async def close(self) -> None:
        """Returns when all connections are closed."""
        await self._session.close()
