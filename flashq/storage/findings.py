"""What a look at files has found to be wrong with them."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong."""

    file: str
    place: str
    """Within the file: a table and row, a line, an offset; empty: the file as a whole."""
    what: str

    def __str__(self) -> str:
        return f"{self.file}{', ' if self.place else ''}{self.place}: {self.what}"
