"""The page about the protocol is written from the code."""

import re
from pathlib import Path

from flashq.cli import protocol_words as words
from flashq.cli.protocol_page import page
from flashq.protocol import commands as c

STALE = (
    "docs/protocol.md is not what the code says: `make docs`, or python -m flashq.cli.protocol_page > docs/protocol.md"
)


def test_page_in_docs_is_what_the_code_says() -> None:
    assert Path("docs/protocol.md").read_text() == page(), STALE


def test_every_command_has_its_heading_and_no_place_is_left_open() -> None:
    text = page()
    headings = re.findall(r"^#### (\w+)$", text, re.MULTILINE)
    assert sorted(headings) == sorted(kind.__struct_config__.tag for kind in c.ALL)
    assert "<!--" not in text


def test_chapters_that_the_code_refers_to_are_there() -> None:
    """Comments send their readers to them."""
    referred = set()
    for path in Path("flashq").rglob("*.py"):
        referred |= set(re.findall(r'docs/protocol\.md, "?([A-Z][\w ]*?)"?[\).]', path.read_text()))
    assert {"Late words", "Error shapes", "Error classes", "Choosing the protocol", "PUSH"} <= referred
    headings = set(re.findall(r"^#+ (.+)$", page(), re.MULTILINE))
    assert referred - headings == set()


def test_links_within_the_page_lead_somewhere() -> None:
    text = page()
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) - anchors == set()


def test_no_words_are_left_of_what_is_gone() -> None:
    named = {name for kind in c.ALL for name in kind.__struct_fields__}
    assert [name for name in words.FIELDS if name.rpartition(".")[2] not in named] == []
    assert words.OPTIONS.keys() <= set(c.JobOptions.__struct_fields__)
