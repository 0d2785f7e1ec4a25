"""Patterns of keys: `*` is any run of characters, `?` any one, everything else itself.

The pieces between stars are looked for from left to right, each where it fits first. That finds a match if there is
one, goes back over nothing, and costs at most pattern times key in C, whatever they are.
"""

import re
from collections.abc import Callable

_Find = Callable[[str, int], tuple[int, int] | None]
"""(key, from) -> where the piece fits first."""


class Glob:
    """A pattern, ready to be tried on many keys."""

    __slots__ = ("_exact", "_first", "_last", "_middle", "_size", "cost")

    def __init__(self, pattern: str) -> None:
        pieces = pattern.split("*")
        self._exact = len(pieces) == 1
        self._size = sum(map(len, pieces))
        self._first = _anchored(pieces[0])
        self._last = _anchored(pieces[-1])
        self._middle = [_finder(piece) for piece in pieces[1:-1] if piece]
        self.cost = len(pattern) if any("?" in piece for piece in pieces[1:-1]) else 1
        """What a character of a key costs at worst, roughly."""

    def matches(self, key: str) -> bool:
        """Whether the whole key is of this pattern."""
        if len(key) < self._size or not (start := self._first(key, 0)):
            return False
        if self._exact:
            return start[1] == len(key)
        end = self._last(key, len(key))
        if end is None:
            return False
        at = start[1]
        for find in self._middle:
            found = find(key, at)
            if found is None:
                return False
            at = found[1]
        return at <= end[0]


def _anchored(piece: str) -> _Find:
    """Fits a piece at the beginning of a key (at 0), or so that it ends at its end (at `len(key)`)."""
    wild = _wild(piece) if "?" in piece else None
    size = len(piece)

    def fit(key: str, at: int) -> tuple[int, int] | None:
        start = at - size if at else 0
        if start < 0:
            return None
        fits = key.startswith(piece, start) if wild is None else wild.match(key, start) is not None
        return (start, start + size) if fits else None

    return fit


def _finder(piece: str) -> _Find:
    if "?" in piece:
        search = _wild(piece).search

        def find(key: str, at: int) -> tuple[int, int] | None:
            found = search(key, at)
            return found.span() if found else None

        return find
    size = len(piece)

    def find_plain(key: str, at: int) -> tuple[int, int] | None:
        start = key.find(piece, at)
        return (start, start + size) if start >= 0 else None

    return find_plain


def _wild(piece: str) -> re.Pattern[str]:
    """A piece with `?` as a regular expression: single characters only, no repetition."""
    return re.compile("".join("." if c == "?" else re.escape(c) for c in piece), re.DOTALL)
