"""Token buckets: so many jobs a second, one token a delivered job, in integers on the monotonic clock.

A bucket starts full, holds `limit` tokens and gains `limit` a second, in steps of a millisecond. Its level is counted
in thousandths of a token, so that nothing is rounded.
"""

from typing import Final

TOKEN: Final = 1_000


class Bucket:
    """One limit's tokens."""

    __slots__ = ("at", "level", "limit")

    def __init__(self, limit: int, mono_ms: int) -> None:
        self.limit = limit
        self.level = limit * TOKEN
        self.at = mono_ms

    def tokens(self, mono_ms: int) -> int:
        """How many jobs may be delivered now."""
        passed = mono_ms - self.at
        if passed > 0:
            self.level = min(self.limit * TOKEN, self.level + passed * self.limit)
            self.at = mono_ms
        return self.level // TOKEN

    def take(self, mono_ms: int, n: int) -> None:
        """`n` jobs were delivered."""
        self.tokens(mono_ms)
        self.level -= n * TOKEN

    def next_at(self) -> int | None:
        """When the next token is there, once there is none; None: never (`limit` is 0)."""
        if not self.limit:
            return None
        return self.at + max(0, -((self.level - TOKEN) // self.limit))

    def is_full(self, mono_ms: int) -> bool:
        """Nothing is remembered in it."""
        self.tokens(mono_ms)
        return self.level >= self.limit * TOKEN
