"""Sizes and durations as people write them: "64MiB", "30s".

Sizes: bytes, or with kB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024).
Durations: milliseconds, or with ms, s, m, h, d. A number before a unit may have decimals.
"""

import re
from collections.abc import Mapping
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

_SIZES: Final[Mapping[str, int]] = {
    "": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000, "kib": KIB, "mib": MIB, "gib": GIB,
}  # fmt: skip
_DURATIONS: Final[Mapping[str, int]] = {
    "": 1, "ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS,
}  # fmt: skip
_QUANTITY: Final = re.compile(r"(?a:(-?\d[\d_]*(?:\.\d+)?)\s*([a-z]*))", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of a size such as "64MiB". Raises ValueError."""
    return _quantity(text, _SIZES)


def parse_duration_ms(text: str) -> int:
    """Milliseconds of a duration such as "30s". Raises ValueError."""
    return _quantity(text, _DURATIONS)


def show_size(size: int) -> str:
    """The shortest exact spelling: 67108864 is "64 MiB"."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def show_duration(duration_ms: int) -> str:
    """The shortest exact spelling: 1800000 is "30 m"."""
    for unit, name in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s")):
        if duration_ms and duration_ms % unit == 0:
            return f"{duration_ms // unit} {name}"
    return f"{duration_ms} ms"


def _quantity(text: str, units: Mapping[str, int]) -> int:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2].lower() not in units:
        raise ValueError(f"{text!r} is no quantity with one of the units {', '.join(filter(None, units))}")
    factor = units[found[2].lower()]
    number = found[1].replace("_", "")
    return int(number) * factor if "." not in number else round(float(number) * factor)
