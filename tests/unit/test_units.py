"""Sizes and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.units import parse_duration_ms, parse_size, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("17", 17), ("1_000", 1_000), ("64MiB", 64 << 20), ("1.5GiB", 3 << 29), ("2 kb", 2_000)],
)  # fmt: skip
def test_size_is_read_in_the_unit_it_names(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("250", 250), ("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("1.5h", 5_400_000), ("2 d", 172_800_000)],
)
def test_duration_is_read_in_the_unit_it_names(text: str, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize("text", ["", "MiB", "1 parsec", "1e3", "0x10", "1,5s", "1s2", "١s", "nan", "64 MiB MiB"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_size(text)
    with pytest.raises(ValueError, match="no quantity"):
        parse_duration_ms(text)


@given(st.integers(min_value=0, max_value=1 << 60))
def test_what_is_shown_reads_back_exactly(number: int) -> None:
    """Otherwise an error could tell a bound that the check does not know."""
    assert parse_size(show_size(number)) == number
    assert parse_duration_ms(show_duration(number)) == number
