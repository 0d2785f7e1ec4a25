"""Named tokens, managed over HTTP: who may do so has the scope `admin` (docs/security.md)."""

import asyncio
from typing import Any, Final

import msgspec

from flashq.access.book import TokenBook
from flashq.access.views import view_of, views_of
from flashq.api.http.pages.page import Asked, Page, check_origin
from flashq.errors import Unavailable

_GROUP: Final = "Tokens"


class NewToken(msgspec.Struct):
    """What a token is to be: a role over queues (none: all), or scopes, or both."""

    name: str
    role: str | None = None
    queues: list[str] = []
    scopes: list[str] = []
    expires_in_ms: int | None = None


class Rotation(msgspec.Struct):
    """How long the old secret is still good."""

    grace_ms: int = 0


def _book(asked: Asked) -> TokenBook:
    check_origin(asked)
    book = asked.host.access.book
    if book is None:
        raise Unavailable("This process has no data folder, so that it keeps no tokens")
    return book


def _who(asked: Asked) -> str:
    """For the log of changes."""
    return f"{asked.principal} from {asked.client.host}"


def _known(asked: Asked) -> None:
    """Have every process read the book again; each finds out by itself at its next look, but for what is idle."""
    asked.host.access.refresh()
    asked.host.changed()


async def _list(asked: Asked) -> Any:
    return await asyncio.to_thread(views_of, _book(asked))


async def _create(asked: Asked) -> Any:
    book, body = _book(asked), asked.body
    # In a thread: it waits for the disk.
    token, secret = await asyncio.to_thread(
        book.create, body.name, role=body.role, queues=tuple(body.queues),
        scopes=tuple(body.scopes), expires_in_ms=body.expires_in_ms, by=_who(asked),
    )  # fmt: skip
    _known(asked)
    return {**view_of(book, token), "secret": secret}


async def _rotate(asked: Asked) -> Any:
    book = _book(asked)
    token, secret = await asyncio.to_thread(
        book.rotate, asked.path["name"], grace_ms=asked.body.grace_ms, by=_who(asked)
    )
    _known(asked)
    return {**view_of(book, token), "secret": secret}


async def _revoke(asked: Asked) -> Any:
    book = _book(asked)
    token = await asyncio.to_thread(book.revoke, asked.path["name"], by=_who(asked))
    _known(asked)
    return view_of(book, token)


_TOKEN: Final = {
    "name": "ci", "state": "valid", "role": "operator", "scopes": ["push:mail-*", "read:mail-*"],
    "created_at": 1700000000000, "expires_at": None, "rotated_at": None, "revoked_at": None, "last_used_at": None,
}  # fmt: skip
PAGES: Final = [
    Page(method="GET", path="/tokens", group=_GROUP, summary="All named tokens, without their secrets", serve=_list,
         data=[_TOKEN]),
    Page(method="POST", path="/tokens", group=_GROUP, summary="Make a token; its secret is shown this once",
         serve=_create, kind=NewToken, body={"name": "ci", "scopes": ["push:mail-*", "read:mail-*"]},
         data={**_TOKEN, "secret": "fq_…"}),
    Page(method="POST", path="/tokens/{name}/rotate", group=_GROUP, serve=_rotate, kind=Rotation,
         summary="Give a token a new secret; the old one may live on for a while", body={"grace_ms": 3600000},
         data={**_TOKEN, "secret": "fq_…"}),
    Page(method="DELETE", path="/tokens/{name}", group=_GROUP, serve=_revoke,
         summary="Revoke a token; what is open by it is cut", data={**_TOKEN, "state": "revoked"}),
]  # fmt: skip
