"""The page about configuration is written from the code."""

from pathlib import Path

from flashq.cli.config_page import page
from flashq.config import FIELDS


def test_page_in_docs_is_what_the_code_says() -> None:
    """`make docs` writes it anew."""
    assert Path("docs/configuration.md").read_text() == page()


def test_every_setting_is_described() -> None:
    text = page()
    assert [name for name in FIELDS if f"\n| `{name}`<br>" not in text] == []
