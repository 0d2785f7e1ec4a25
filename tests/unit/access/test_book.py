"""The book of named tokens, and what one process makes of it."""

import os
import threading
from pathlib import Path

import pytest

from flashq.access.access import ANONYMOUS, SERVER, USED_MS, Access
from flashq.access.book import BOOK, EMPTY, FOLDER, REVOKED_KEPT_MS, TokenBook
from flashq.access.scopes import Verb
from flashq.errors import ConfigError, Duplicate, Forbidden, InvalidArgument, LockedOut, TokenNotFound, Unauthenticated


class Clock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> TokenBook:
    return TokenBook(tmp_path, clock)


def test_secret_is_in_no_file_and_the_file_is_nobody_elses(book: TokenBook) -> None:
    _, secret = book.create("ci", role="admin")
    files = [path for path in book.folder.rglob("*") if path.is_file()]
    assert files
    assert not any(secret.removeprefix("fq_").encode() in path.read_bytes() for path in files)
    assert (book.folder / BOOK).stat().st_mode & 0o077 == 0
    assert book.folder.stat().st_mode & 0o077 == 0


def test_secret_names_its_token_and_no_other_text_does(book: TokenBook, tmp_path: Path, clock: Clock) -> None:
    token, secret = book.create("ci", role="operator", queues=("mail-*",))
    access = Access(data=tmp_path, now_ms=clock)
    assert access.admit(secret, "a") == token.principal
    for wrong in ("", secret[:-1], secret + "x", token.digest, secret.upper(), "fq_"):
        assert access.authenticate(wrong) is None
    access.check(token.principal, Verb.PUSH, "mail-1")
    with pytest.raises(Forbidden, match="lacks the scope push:post"):
        access.check(token.principal, Verb.PUSH, "post")


def test_revoked_token_opens_nothing_from_the_next_request_on(book: TokenBook, tmp_path: Path, clock: Clock) -> None:
    """In every process that has read the book before, without a word to it."""
    token, secret = book.create("ci", role="admin")
    access = Access(data=tmp_path, now_ms=clock)
    access.check(token.principal, Verb.PUSH, "q")
    book.revoke("ci")
    with pytest.raises(Unauthenticated, match="not valid any more"):
        access.check(token.principal, Verb.PUSH, "q")
    assert access.authenticate(secret) is None
    assert not access.stands(token.principal)
    assert access.required, "no door opens by a removal"


def test_token_of_the_same_name_is_another(book: TokenBook, tmp_path: Path, clock: Clock) -> None:
    old, _ = book.create("ci", role="admin")
    book.revoke("ci")
    new, secret = book.create("ci", role="viewer")
    access = Access(data=tmp_path, now_ms=clock)
    assert access.admit(secret, "a") == new.principal != old.principal
    assert not access.stands(old.principal)


def test_expired_token_opens_nothing(book: TokenBook, tmp_path: Path, clock: Clock) -> None:
    token, secret = book.create("ci", role="admin", expires_in_ms=1_000)
    access = Access(data=tmp_path, now_ms=clock)
    assert access.next_end_ms() == clock.ms + 1_000
    clock.ms += 999
    access.check(token.principal, Verb.PUSH, "q")
    clock.ms += 1
    with pytest.raises(Unauthenticated):
        access.check(token.principal, Verb.PUSH, "q")
    assert access.authenticate(secret) is None


def test_rotation_lets_the_old_secret_live_for_its_grace(book: TokenBook, tmp_path: Path, clock: Clock) -> None:
    token, old = book.create("ci", role="admin")
    access = Access(data=tmp_path, now_ms=clock)
    _, new = book.rotate("ci", grace_ms=60_000)
    assert access.authenticate(old) == access.authenticate(new) == token.principal
    clock.ms += 60_000
    assert access.authenticate(old) is None
    assert access.authenticate(new) == token.principal
    _, newest = book.rotate("ci")
    assert access.authenticate(new) is None
    assert access.authenticate(newest) == token.principal


def test_when_a_token_was_shown_is_known_to_the_minute(book: TokenBook, tmp_path: Path) -> None:
    token, secret = book.create("ci", role="viewer")
    now = Clock()
    access = Access(data=tmp_path, now_ms=now)
    assert book.used_at(token) == 0
    access.authenticate(secret)
    first = book.used_at(token)
    assert first > 0
    os.utime(book.folder / "used" / token.principal, (1, 1))
    access.authenticate(secret)
    assert book.used_at(token) == 1_000, "at most once a minute"
    now.ms += USED_MS + 1
    access.authenticate(secret)
    assert book.used_at(token) >= first


def test_full_disk_keeps_nobody_out(
    book: TokenBook, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, secret = book.create("ci", role="viewer")
    access = Access(data=tmp_path, now_ms=clock)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(access.book, "note_used", full)
    assert access.authenticate(secret) == token.principal


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"name": ""}, "allowed are 1 to 64"),
        ({"name": "a/b"}, "allowed are 1 to 64"),
        ({"name": "a@1"}, "allowed are 1 to 64"),
        ({"name": "..", "role": "admin"}, "allowed are 1 to 64"),
        ({"role": "root"}, "allowed are viewer, operator, admin"),
        ({}, "1 to 64 scopes"),
        ({"scopes": ("fly:mail",)}, "allowed verbs are read, push"),
        ({"scopes": ("push",)}, "allowed is verb:pattern"),
        ({"scopes": ("push:",)}, "allowed is verb:pattern"),
        ({"scopes": ("push:a b",)}, "allowed is verb:pattern"),
        ({"scopes": ("admin:mail",)}, "`admin` has no pattern"),
        ({"scopes": ("push:a",), "queues": ("a",)}, "`queues` goes with `role`"),
        ({"role": "viewer", "expires_in_ms": 0}, "`expires_in_ms` is 0"),
    ],
)
def test_wrong_token_is_refused_and_nothing_is_written(
    book: TokenBook, fields: dict[str, object], allowed: str
) -> None:
    with pytest.raises(InvalidArgument, match=allowed):
        book.create(**{"name": "ci", **fields})  # type: ignore[arg-type]
    assert not book.exists


def test_names_in_use_and_names_of_none_are_refused(book: TokenBook) -> None:
    book.create("ci", role="viewer")
    with pytest.raises(Duplicate, match="already exists"):
        book.create("ci", role="viewer")
    for change in (book.revoke, book.rotate):
        with pytest.raises(TokenNotFound, match="Token 'no' not found"):
            change("no")
    book.revoke("ci")
    with pytest.raises(TokenNotFound):
        book.revoke("ci")


def test_revoked_token_is_listed_for_a_month(book: TokenBook, clock: Clock) -> None:
    book.create("ci", role="viewer")
    book.revoke("ci")
    clock.ms += REVOKED_KEPT_MS - 1
    book.create("a", role="viewer")
    assert [t.name for t in (book.read() or EMPTY).tokens] == ["ci", "a"]
    clock.ms += 2
    book.revoke("a")
    assert [t.name for t in (book.read() or EMPTY).tokens] == ["a"]


def test_changes_from_many_sides_are_all_kept(tmp_path: Path) -> None:
    """Each has its own descriptors, as processes have."""
    names = [f"t{n}" for n in range(24)]

    def make(mine: list[str]) -> None:
        for name in mine:
            TokenBook(tmp_path).create(name, role="viewer")

    threads = [threading.Thread(target=make, args=(names[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = TokenBook(tmp_path).read()
    assert content is not None
    assert {token.name for token in content.tokens} == set(names)
    assert sorted(token.serial for token in content.tokens) == list(range(1, 25))


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"version":2,"serial":0}', b'{"version":1,"serial":"x"}'])
def test_damaged_book_is_no_start_and_no_change(book: TokenBook, tmp_path: Path, damage: bytes) -> None:
    """Taken for an empty one it would let nobody in, or everybody."""
    token, secret = book.create("ci", role="admin")
    access = Access(data=tmp_path)
    (tmp_path / FOLDER / BOOK).write_bytes(damage)
    with pytest.raises(ConfigError, match="tokens in "):
        Access(data=tmp_path)
    with pytest.raises(ConfigError, match="tokens in "):
        book.create("b", role="viewer")
    access.reload()
    assert access.authenticate(secret) == token.principal, "who runs goes on with what was read"


def test_everybody_is_trusted_until_a_token_is_made(book: TokenBook, tmp_path: Path) -> None:
    access = Access(data=tmp_path)
    assert not access.required
    assert access.admit("whatever", "a") == ANONYMOUS
    changes: list[bool] = []
    access.on_change.append(lambda: changes.append(access.required))
    book.create("ci", role="viewer")
    access.refresh()
    assert changes == [True]
    assert access.trusted == {SERVER}
    with pytest.raises(Unauthenticated):
        access.check(ANONYMOUS, Verb.READ, "q")


def test_configured_tokens_keep_all_rights_beside_named_ones(book: TokenBook, tmp_path: Path) -> None:
    book.create("ci", role="viewer")
    access = Access(("one", "two"), tmp_path)
    assert (access.admit("one", "a"), access.admit("two", "a")) == ("token-1", "token-2")
    access.check("token-2", Verb.ADMIN, "x")
    assert not access.stands("token-3")


def test_guessing_costs_ever_more_time_and_one_stale_token_none(tmp_path: Path) -> None:
    access = Access(("right",), tmp_path, guesses_max=3)
    for _ in range(50):
        with pytest.raises(Unauthenticated, match=r"^Invalid token$"):
            access.admit("stale", "10.0.0.1")
    assert access.admit("right", "10.0.0.1") == "token-1"
    for n in range(3):
        with pytest.raises(Unauthenticated):
            access.admit(f"guess-{n}", "10.0.0.1")
    with pytest.raises(LockedOut, match="retry after: 1 s"):
        access.admit("right", "10.0.0.1")
    assert access.admit("right", "10.0.0.2") == "token-1", "others are not held up"
