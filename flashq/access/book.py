"""The book of named tokens: a file in the data folder, and how it is changed.

Rules kept here
- Changes are made one at a time (flock), each on what the one before left, and are on disk when they return: a draft
  is synced, then takes the book's name.
- Each change raises the generation, a number in a file that every process has mapped: who looks at it knows, without
  a question to anybody, that the book has to be read again.
- Once there is a book tokens are asked for, also when all in it are revoked: no door opens by a removal.

A file and not the shard of slot 0, where else belongs what is the cluster's: routers and HTTP processes must know who
may enter before any shard serves, and while that one is down. It is also how the first token is made, by whoever may
write to the data folder.
"""

import contextlib
import fcntl
import os
import pwd
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from flashq.access import audit
from flashq.access.scopes import scopes_of
from flashq.access.tokens import NamedToken, check_name, digest_of, new_secret
from flashq.errors import ConfigError, Duplicate, InvalidArgument, LimitExceeded, TokenNotFound

FOLDER: Final = "tokens"
BOOK: Final = "tokens.json"
GENERATION: Final = "generation"
USED: Final = "used"
TOKENS_MAX: Final = 10_000
"""Tokens that are not revoked."""
REVOKED_KEPT_MS: Final = 30 * 86_400_000
"""So long a revoked token is listed."""
DURATION_MS_MAX: Final = 10 * 366 * 86_400_000
_ZERO: Final = bytes(8)


class Content(msgspec.Struct, frozen=True):
    """What the file has in it."""

    version: int
    serial: int
    """The largest that was ever given."""
    tokens: tuple[NamedToken, ...] = ()
    audited: audit.Position = audit.Position()
    """How far the log of changes goes."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Content).decode
EMPTY: Final = Content(1, 0)


def wall_ms() -> int:
    """Now."""
    return time.time_ns() // 1_000_000


class TokenBook:
    """The book of one data folder."""

    def __init__(self, data: Path, now_ms: Callable[[], int] = wall_ms) -> None:
        self.folder = data / FOLDER
        self._now_ms = now_ms

    @property
    def exists(self) -> bool:
        """Whether a token was ever made."""
        return (self.folder / BOOK).exists()

    def prepare(self) -> None:
        """Make the folder and the generation's file, where the data folder has none yet. Raises ConfigError."""
        try:
            for folder in (self.folder, self.folder / USED):
                folder.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self.folder / GENERATION, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"data = {self.folder.parent}: {error.strerror}") from error
        with contextlib.closing(os.fdopen(fd, "r+b", buffering=0)) as file:
            if os.fstat(fd).st_size < len(_ZERO):
                file.write(_ZERO)

    def read(self) -> Content | None:
        """The book as it stands; None while there is none. Raises ConfigError for one that cannot be read."""
        path = self.folder / BOOK
        try:
            found = _decode(path.read_bytes())
            for token in found.tokens:
                token.parsed()
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, InvalidArgument) as error:
            raise ConfigError(f"tokens in {path} cannot be read: {error}") from error
        if found.version != 1:
            raise ConfigError(f"tokens in {path} are of version {found.version}, this flashq reads version 1")
        return found

    # -- changes

    def create(
        self, name: str, *, role: str | None = None, queues: tuple[str, ...] = (), scopes: tuple[str, ...] = (),
        expires_in_ms: int | None = None, by: str = "",
    ) -> tuple[NamedToken, str]:  # fmt: skip
        """A new token and its secret. `by`: who wants it, for the log; empty: who runs this process. Raises
        InvalidArgument, Duplicate for a name in use, LimitExceeded.
        """
        check_name(name)
        found = scopes_of(role, queues, scopes)
        _check_duration("expires_in_ms", expires_in_ms, least=1)
        with self._changing("created", by) as book:
            if any(token.name == name and not token.revoked_at for token in book.content.tokens):
                raise Duplicate(f"Token '{name}' already exists")
            if sum(not token.revoked_at for token in book.content.tokens) >= TOKENS_MAX:
                raise LimitExceeded(f"Too many tokens (max {TOKENS_MAX})")
            now, secret = self._now_ms(), new_secret()
            token = NamedToken(
                name=name, serial=book.content.serial + 1, digest=digest_of(secret), scopes=tuple(map(str, found)),
                role=role or "", created_at=now, expires_at=now + expires_in_ms if expires_in_ms else 0,
            )  # fmt: skip
            book.add(token)
        return token, secret

    def rotate(self, name: str, *, grace_ms: int = 0, by: str = "") -> tuple[NamedToken, str]:
        """A new secret for a token; the old one is good for `grace_ms` more. Raises TokenNotFound, InvalidArgument."""
        _check_duration("grace_ms", grace_ms, least=0)
        with self._changing("rotated", by) as book:
            old, now, secret = book.get(name), self._now_ms(), new_secret()
            token = msgspec.structs.replace(
                old, digest=digest_of(secret), rotated_at=now, old_digest=old.digest if grace_ms else "",
                old_until=now + grace_ms if grace_ms else 0,
            )  # fmt: skip
            book.put(old, token)
        return token, secret

    def revoke(self, name: str, *, by: str = "") -> NamedToken:
        """A token that opens nothing any more. Raises TokenNotFound."""
        with self._changing("revoked", by) as book:
            old = book.get(name)
            token = msgspec.structs.replace(old, revoked_at=self._now_ms())
            book.put(old, token)
        return token

    @contextlib.contextmanager
    def _changing(self, act: str, by: str) -> "Iterator[_Draft]":
        self.prepare()
        with open(self.folder / GENERATION, "r+b", buffering=0) as lock:
            # Held for some milliseconds by whoever changes the book; it ends with its process.
            fcntl.flock(lock, fcntl.LOCK_EX)
            draft = _Draft(self.read() or EMPTY)
            yield draft
            now, changed = self._now_ms(), draft.changed
            assert changed is not None, "whoever changes the book says which token"
            gone = now - REVOKED_KEPT_MS
            kept = tuple(one for one in draft.content.tokens if not one.revoked_at or one.revoked_at > gone)
            audited = audit.append(
                self.folder, draft.content.audited, at=now, by=by or f"system user {_user()}", act=act,
                token=changed.name, serial=changed.serial, scopes=changed.scopes,
            )  # fmt: skip
            self._write(msgspec.structs.replace(draft.content, tokens=kept, audited=audited))
            generation = int.from_bytes(os.pread(lock.fileno(), 8, 0), "little") + 1
            os.pwrite(lock.fileno(), generation.to_bytes(8, "little"), 0)

    def _write(self, content: Content) -> None:
        draft = self.folder / f"{BOOK}.draft"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(_encode(content))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.folder / BOOK)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def log(self) -> tuple[list[audit.Entry], str]:
        """All changes that were made, and what is wrong with the log; empty: nothing."""
        return audit.read(self.folder, (self.read() or EMPTY).audited)

    # -- when tokens were shown

    def note_used(self, token: NamedToken) -> None:
        """It was shown just now. An empty file's time says so: no lock, whichever process it is that notes it."""
        path = self.folder / USED / token.principal
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.utime(fd)
        finally:
            os.close(fd)

    def used_at(self, token: NamedToken) -> int:
        """When it was shown last; 0: never."""
        try:
            return (self.folder / USED / token.principal).stat().st_mtime_ns // 1_000_000
        except FileNotFoundError:
            return 0


class _Draft:
    def __init__(self, content: Content) -> None:
        self.content = content
        self.changed: NamedToken | None = None

    def get(self, name: str) -> NamedToken:
        for token in self.content.tokens:
            if token.name == name and not token.revoked_at:
                return token
        raise TokenNotFound(f"Token '{name[:80]}' not found")

    def add(self, token: NamedToken) -> None:
        self.content = msgspec.structs.replace(
            self.content, serial=token.serial, tokens=(*self.content.tokens, token)
        )  # fmt: skip
        self.changed = token

    def put(self, old: NamedToken, new: NamedToken) -> None:
        self.changed = new
        tokens = tuple(new if token is old else token for token in self.content.tokens)
        self.content = msgspec.structs.replace(self.content, tokens=tokens)


def _user() -> str:
    """Who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers know numbers without a name
        return str(os.getuid())


def _check_duration(name: str, value: int | None, *, least: int) -> None:
    if value is not None and not least <= value <= DURATION_MS_MAX:
        raise InvalidArgument(f"invalid value: `{name}` is {value}, allowed is {least} to {DURATION_MS_MAX} ms")
