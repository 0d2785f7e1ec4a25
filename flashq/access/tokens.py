"""Named tokens: a secret that is known by its SHA-256 alone, and what its holder may do.

A secret has 256 bits of chance in it, so a plain hash is as good as a slow one: there is nothing to guess from.
"""

import hashlib
import re
import secrets
from typing import Final

import msgspec

from flashq.access.scopes import Scope, parse_scope
from flashq.errors import InvalidArgument

PREFIX: Final = "fq_"
"""What every secret begins with: people and scanners know one when they see it."""
SECRET_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class NamedToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One token, as it is kept. Moments are Unix milliseconds; 0: never."""

    name: str
    serial: int
    """Larger than that of any token before: another token of the same name is not this one."""
    digest: str
    """SHA-256 of the secret, in hexadecimal."""
    scopes: tuple[str, ...]
    role: str = ""
    created_at: int
    expires_at: int = 0
    rotated_at: int = 0
    old_digest: str = ""
    """Of the secret before the last rotation, good until `old_until`."""
    old_until: int = 0
    revoked_at: int = 0

    @property
    def principal(self) -> str:
        """Who shows it, as it travels with requests and connections."""
        return f"{self.name}@{self.serial}"

    def stands(self, now_ms: int) -> bool:
        """Whether it opens anything at this moment."""
        return not self.revoked_at and (not self.expires_at or now_ms < self.expires_at)

    def state(self, now_ms: int) -> str:
        """In a word."""
        return "revoked" if self.revoked_at else "valid" if self.stands(now_ms) else "expired"

    def parsed(self) -> tuple[Scope, ...]:
        """Its scopes. Raises InvalidArgument where the file has some that are none."""
        return tuple(parse_scope(text) for text in self.scopes)


def new_secret() -> str:
    """A secret for a new token; shown once, kept nowhere."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> None:
    """Raise InvalidArgument unless it is 1–64 letters, digits, `_`, `-`, `.`, the first a letter or digit."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"invalid value: `name` is '{name[:80]}', allowed are 1 to 64 ASCII letters, digits, `_`, `-`, `.`"
        )
