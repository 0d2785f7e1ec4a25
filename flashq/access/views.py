"""Named tokens as they are shown: to people by the command line, to programs by HTTP. Never with a secret."""

from collections.abc import Sequence
from typing import Any

from flashq.access.book import EMPTY, TokenBook, wall_ms
from flashq.access.tokens import NamedToken


def view_of(book: TokenBook, token: NamedToken) -> dict[str, Any]:
    """One token. Moments are Unix milliseconds, null for never; `last_used_at` is known to the minute."""
    return {
        "name": token.name, "state": token.state(wall_ms()), "role": token.role or None,
        "scopes": list(token.scopes), "created_at": token.created_at, "expires_at": token.expires_at or None,
        "rotated_at": token.rotated_at or None, "revoked_at": token.revoked_at or None,
        "last_used_at": book.used_at(token) or None,
    }  # fmt: skip


def views_of(book: TokenBook) -> Sequence[dict[str, Any]]:
    """All tokens, in the order they were made; those revoked a month ago and longer are gone."""
    return [view_of(book, token) for token in (book.read() or EMPTY).tokens]
