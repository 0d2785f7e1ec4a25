"""DATABASE_URL: what it may be, and how it is shown without its password."""

import re
from typing import Final, Literal, NamedTuple

from flashq.errors import ConfigError

Driver = Literal["psycopg", "psycopg2"]
_URL: Final = re.compile(r"(?:postgres|postgresql)(?:\+(psycopg2|psycopg))?://(.+)", re.DOTALL)
_PASSWORDS: Final = (
    re.compile(r"(://[^/?#@:]*:).*(@)"),  # a password may have an @ that nobody wrote as %40
    re.compile(r"([?&]password=)[^&]*()"),
)
ALLOWED: Final = "postgresql://user:password@host:5432/database (or postgres://, postgresql+psycopg2://), or nothing"


class DatabaseUrl(NamedTuple):
    """Where a database is, and the driver that talks to it."""

    driver: Driver
    dsn: str
    """As libpq takes it."""

    @property
    def shown(self) -> str:
        """For people: without passwords."""
        return masked(self.dsn)


def masked(url: str) -> str:
    """The URL with `***` for each password."""
    for password in _PASSWORDS:
        url = password.sub(r"\1***\2", url)
    return url


def parse(url: str) -> DatabaseUrl:
    """Raises ConfigError, without showing a password, if it is none of ours."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ConfigError(f"database_url = (hidden): allowed is {ALLOWED}")
    return DatabaseUrl("psycopg2" if found[1] == "psycopg2" else "psycopg", f"postgresql://{found[2]}")
