"""Every change of the book of tokens leaves a line, and a line that was touched is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flashq.access.audit import LOG
from flashq.access.book import TokenBook
from flashq.errors import Duplicate, TokenNotFound


@pytest.fixture
def book(tmp_path: Path) -> TokenBook:
    book = TokenBook(tmp_path, iter(range(1_000, 9_000, 10)).__next__)
    book.create("ci", scopes=("push:mail-*", "read:mail-*"), by="root@1 from 127.0.0.1")
    book.rotate("ci", by="boss@2 from 10.0.0.1")
    book.create("ops", role="operator")
    book.revoke("ci", by="boss@2 from 10.0.0.1")
    return book


def test_log_says_who_did_what_to_which_token(book: TokenBook) -> None:
    entries, fault = book.log()
    assert fault == ""
    assert [(e.no, e.by.partition(" ")[0], e.act, e.token, e.serial) for e in entries] == [
        (1, "root@1", "created", "ci", 1), (2, "boss@2", "rotated", "ci", 1), (3, "system", "created", "ops", 2),
        (4, "boss@2", "revoked", "ci", 1),
    ]  # fmt: skip
    assert entries[0].scopes == "push:mail-* read:mail-*"
    assert entries == sorted(entries, key=lambda e: e.at)


def test_log_has_no_secret_and_is_for_its_owner_only(tmp_path: Path) -> None:
    book = TokenBook(tmp_path)
    _, secret = book.create("ci", role="admin")
    token, newer = book.rotate("ci", grace_ms=1_000)
    text = (book.folder / LOG).read_text()
    for hidden in (secret, newer, token.digest, token.old_digest):
        assert hidden not in text
    assert (book.folder / LOG).stat().st_mode & 0o777 == 0o600


def test_change_that_is_refused_leaves_no_line(book: TokenBook) -> None:
    with pytest.raises(Duplicate):
        book.create("ops", role="viewer")
    with pytest.raises(TokenNotFound):
        book.revoke("nobody")
    assert len(book.log()[0]) == 4


@pytest.mark.parametrize(
    ("touch", "said"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"boss", b"root"), *lines[2:]], "line 3 does not follow"),
        (lambda lines: [lines[0], *lines[2:]], "line 2 does not follow"),
        (lambda lines: lines[:-1], "entry 4, the last that the book knows of"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b"revoked", b"created")], "entry 4, the last that the book"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1 does not follow"),
        (lambda lines: [lines[0], b"{}", *lines[1:]], "line 2 is no entry"),
        (lambda lines: [], "entry 4, the last that the book knows of"),
    ],
)
def test_line_that_was_changed_or_taken_out_is_found(
    book: TokenBook, touch: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    path = book.folder / LOG
    lines = touch(path.read_bytes().splitlines())
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert said in book.log()[1]
    book.create("later", role="viewer")  # which does not heal it
    assert book.log()[1] != ""


def test_log_that_was_removed_is_missed(book: TokenBook) -> None:
    (book.folder / LOG).unlink()
    assert "entry 4" in book.log()[1]


def test_line_that_a_crash_cut_off_gives_way_to_the_next(book: TokenBook) -> None:
    """Its change was not made: the book is written behind it."""
    with open(book.folder / LOG, "ab") as file:
        file.write(b'{"no":5,"at":1,"by"')
    book.create("after", role="viewer")
    entries, fault = book.log()
    assert (fault, [e.no for e in entries], entries[-1].token) == ("", [1, 2, 3, 4, 5], "after")


def test_whole_line_whose_change_was_not_made_any_more_is_no_fault(book: TokenBook) -> None:
    before = (book.folder / "tokens.json").read_bytes()
    book.create("lost", role="viewer")
    (book.folder / "tokens.json").write_bytes(before)  # as after a crash between both
    assert book.log()[1] == ""
    book.create("next", role="viewer")
    entries, fault = book.log()
    assert (fault, [e.token for e in entries][-2:]) == ("", ["lost", "next"])
