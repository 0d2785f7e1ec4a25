"""Types of columns that hold the same values in SQLite and in PostgreSQL.

SQLite takes whatever it is given, so nothing is converted there. PostgreSQL has a type a column: payloads are bytes
(`convert_from(data, 'UTF8')` shows JSON), values of `meta` are MessagePack, and text cannot hold the character 0, which
jobs' errors and keys may: there it is written as two others.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Dialect, Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import UserDefinedType

INTEGER: Final = Integer().with_variant(BigInteger(), "postgresql")
"""64 bits; in SQLite the name that makes a primary key the row's own number."""
_ESCAPE: Final = "\ue000"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
Convert = Callable[[Any], Any]


class _Column(UserDefinedType[Any]):
    """A type whose values are converted for PostgreSQL alone."""

    cache_ok = True
    sqlite_type = "BLOB"
    postgres_type = "BYTEA"

    def get_col_spec(self, **words: Any) -> str:
        return self.sqlite_type

    def bind_processor(self, dialect: Dialect) -> Convert | None:
        return self.to_postgres if dialect.name == "postgresql" else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        return self.from_postgres if dialect.name == "postgresql" else None

    @staticmethod
    def to_postgres(value: Any) -> Any:
        """Text as its bytes."""
        return value.encode() if isinstance(value, str) else value

    @staticmethod
    def from_postgres(value: Any) -> Any:
        """Bytes, whatever the driver makes of them."""
        return bytes(value) if value is not None else None


@compiles(_Column, "postgresql")
def _in_postgres(column: _Column, compiler: Any, **words: Any) -> str:
    return column.postgres_type


class Payload(_Column):
    """Bytes; in SQLite JSON may be text, so that people can read it."""

    cache_ok = True


class Scalar(_Column):
    """A number, a text or bytes."""

    cache_ok = True

    @staticmethod
    def to_postgres(value: Any) -> Any:
        """As MessagePack has it."""
        return _encode(value)

    @staticmethod
    def from_postgres(value: Any) -> Any:
        """What MessagePack said."""
        return _decode(bytes(value))


class Words(_Column):
    """Text, in the order of its code points."""

    cache_ok = True

    sqlite_type = "VARCHAR"
    postgres_type = 'TEXT COLLATE "C"'

    @staticmethod
    def to_postgres(value: Any) -> Any:
        """Without the character 0."""
        if value is not None and ("\0" in value or _ESCAPE in value):
            return value.replace(_ESCAPE, _ESCAPE + "1").replace("\0", _ESCAPE + "0")
        return value

    @staticmethod
    def from_postgres(value: Any) -> Any:
        """As it was."""
        if value is not None and _ESCAPE in value:
            return value.replace(_ESCAPE + "0", "\0").replace(_ESCAPE + "1", _ESCAPE)
        return value
