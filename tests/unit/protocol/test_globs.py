"""Patterns of keys mean what they say, and cost what their length says."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashq.protocol.globs import Glob


@given(st.text("ab*?é", max_size=12), st.text("abé\n", max_size=16))
@settings(max_examples=300, deadline=None)
def test_matches_what_a_backtracking_matcher_matches(pattern: str, key: str) -> None:
    """`re` tries everything; on short texts that is a fair judge."""
    judge = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    assert Glob(pattern).matches(key) == bool(re.fullmatch(judge, key, re.DOTALL)), (pattern, key)


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("", "", True), ("", "a", False), ("*", "", True), ("**", "x", True), ("?", "", False),
        ("?", "\U0001f600", True),
        ("a*a", "a", False), ("a*a", "aa", True), ("[ab]", "a", False), ("a.c", "abc", False), ("*é", "中é", True),
        ("*a?", "aab", True), ("?*?", "x", False), ("ab*bc", "abc", False), ("*a*a*", "a", False),
    ],
)  # fmt: skip
def test_what_is_easily_got_wrong(pattern: str, key: str, fits: bool) -> None:
    assert Glob(pattern).matches(key) is fits


@pytest.mark.parametrize("pattern", ["*a" * 500 + "*b", "*" + "a?" * 500 + "b*", "*a?" * 330 + "*b", "?" * 1023 + "b"])
def test_the_worst_pattern_on_the_longest_key_takes_milliseconds(pattern: str) -> None:
    glob, key = Glob(pattern), "a" * 1024
    start = time.perf_counter()
    assert not glob.matches(key)
    assert time.perf_counter() - start < 1.0, "a matcher that tries everything would run for years"
