"""The log of the book of tokens: who made, renewed or revoked which, a line a change, never one less.

Rules kept here
- A line is on disk before the change that it tells of, so no change is without one; it may tell of one that was not
  made, where the process died in between.
- Each line names the SHA-256 of the line before it, and the book names its last: a line that was changed, taken out or
  cut off at the end does not go unseen by `flashq auth log`. Whoever may write both files can write both anew: keep a
  copy elsewhere of what must stand against those.
"""

import os
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

LOG: Final = "audit.log"
FIRST: Final = "0" * 64
SCOPES_CHARS_MAX: Final = 4_000
_TAIL_BYTES: Final = 64 << 10
"""More than any line has."""


class Entry(msgspec.Struct, frozen=True):
    """One change."""

    no: int
    """From 1, without a gap."""
    at: int
    """Unix milliseconds."""
    by: str
    act: str
    """created, rotated, revoked"""
    token: str
    serial: int
    """Tells tokens of one name apart."""
    scopes: str
    before: str
    """The digest of the line before."""


class Position(NamedTuple):
    """How far the log goes."""

    no: int = 0
    digest: str = FIRST


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Entry).decode


def append(
    folder: Path, known: Position, *, at: int, by: str, act: str, token: str, serial: int, scopes: tuple[str, ...]
) -> Position:  # fmt: skip
    """Write a line and sync it; how far the log goes then. For whoever holds the book's lock.

    `known`: how far it goes, as the book says. If that line is not there, the new one follows it all the same, so that
    what is missing is seen for good.
    """
    fd = os.open(folder / LOG, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        start = max(0, size - _TAIL_BYTES)
        tail = os.pread(fd, size - start, start)
        whole = tail[: tail.rfind(b"\n") + 1]  # what is behind was cut by a crash, before its change
        last = _last(whole) if _has(whole, known) else known
        text = " ".join(scopes)[:SCOPES_CHARS_MAX]
        line = _encode(Entry(last.no + 1, at, by, act, token, serial, text, last.digest))
        end = start + len(whole)
        os.ftruncate(fd, end)
        os.pwrite(fd, line + b"\n", end)
        os.fsync(fd)
    finally:
        os.close(fd)
    return Position(last.no + 1, sha256(line).hexdigest())


def _has(whole: bytes, known: Position) -> bool:
    """Whether that line is among these."""
    return not known.no or any(sha256(line).hexdigest() == known.digest for line in whole.split(b"\n"))


def _last(whole: bytes) -> Position:
    if not whole:
        return Position()
    line = whole[:-1].rpartition(b"\n")[2]
    try:
        return Position(_decode(line).no, sha256(line).hexdigest())
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Somebody wrote into it. The chain goes on from what is there, and shows that.
        return Position(0, sha256(line).hexdigest())


def read(folder: Path, known: Position) -> tuple[list[Entry], str]:
    """All entries, and what is wrong with them; empty: nothing. `known`: how far the log goes, as the book says."""
    try:
        lines = (folder / LOG).read_bytes().split(b"\n")
    except FileNotFoundError:
        lines = [b""]
    found: list[Entry] = []
    last, fault = Position(), ""
    at_known = known == last
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            fault = fault or f"line {number} is no entry"
            continue
        if (entry.no, entry.before) != (last.no + 1, last.digest):
            fault = fault or f"line {number} does not follow from the one before it"
        found.append(entry)
        last = Position(entry.no, sha256(line).hexdigest())
        at_known = at_known or last == known
    if not at_known:
        fault = fault or f"entry {known.no}, the last that the book knows of, is missing or changed"
    return found, fault
