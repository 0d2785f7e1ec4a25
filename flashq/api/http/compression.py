"""Long listings, compressed for clients that accept it."""

import asyncio
import gzip
from typing import Final

from flashq.api.http.failures import Headers

SHORT_BYTES: Final = 4 * 1024
"""What fits a packet or three is sent as it is."""
INLINE_BYTES: Final = 128 * 1024
"""More than that is compressed by a thread: at about 100 MB/s it would hold up everybody else."""
_LEVEL: Final = 1


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether a client takes gzip."""
    for one in accept_encoding.lower().split(b","):
        name, _, weight = one.partition(b";")
        if name.strip() in (b"gzip", b"*"):
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


async def compressed(body: bytes, headers: Headers, accept_encoding: bytes) -> bytes:
    """The body as it goes to the client; says in `headers` what it is."""
    if len(body) <= SHORT_BYTES:
        return body
    headers.append((b"vary", b"accept-encoding"))
    if not accepts_gzip(accept_encoding):
        return body
    headers.append((b"content-encoding", b"gzip"))
    if len(body) <= INLINE_BYTES:
        return gzip.compress(body, _LEVEL, mtime=0)
    return await asyncio.get_running_loop().run_in_executor(None, lambda: gzip.compress(body, _LEVEL, mtime=0))
