"""The manifest of a journal's archive: which segments are kept, in order, and the chain that nobody can change unseen.

One text file, `manifest`, in the folder of a shard's archive. A line is JSON, a space, 64 hexadecimal digits:

    {"format":1,"shard":3,"keyed":true,"trimmed":7,"trimmed_to_ms":…,"behind":"<link of entry 7>"} <seal>
    {"no":8,"segment":12,"first":501,"last":612,…,"sha256":"…","file_sha256":"…"} <link>

A link is SHA-256 over the link before it and the entry, which has the SHA-256 of what was archived; with a key it is
HMAC-SHA-256, so that who can write the files, but has not the key, cannot make a chain that holds. The head is sealed
in the same way: it says how many entries were trimmed, and behind which link the first of the others stands, so nobody
else can take entries from the front. Whether some are missing at the end the tables know: nothing is folded that is not
archived.

An entry is appended and synced when its file is there. A last line without an end, or with zeros in it, was being
written when its writer died, and its segment is archived again.
"""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from flashq.errors import CheckpointTooNew, JournalCorrupt
from flashq.storage.contract import Readable

FORMAT: Final = 1
MANIFEST: Final = "manifest"
_LINK_BYTES: Final = 64
encode: Final = msgspec.json.encode

Starts = Literal["", "gap", "life"]
"""How a segment follows the one before: behind it; behind records that were not archived, as the archive was not
configured then; or in another life of the journal (slots were moved, a backup was restored), which counts anew."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One archived segment."""

    no: int
    """1, 2, 3 … without a gap; also its file's name."""
    segment: int
    """Its number in the journal."""
    first: int
    last: int
    """Its records."""
    from_ms: int
    to_ms: int
    """Wall times of the first and the last."""
    epoch: int
    chain: tuple[int, int]
    """The CRC of the record before the first one, and that of the last, or of the seal behind it."""
    size: int
    """Bytes, as the segment had them."""
    stored: int
    """Bytes of the file."""
    sha256: str
    """Of the segment's bytes, up to the end of its last record."""
    file_sha256: str
    starts: Starts = ""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.no:010}.zst"


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: int
    shard: int
    keyed: bool
    trimmed: int = 0
    """Entries that were kept for long enough; the first one now has the next number."""
    trimmed_to_ms: int = 0
    """When the last record of them was written."""
    behind: str = ""
    """The link of the last of them."""


class Manifest(NamedTuple):
    """What a manifest says, and whether it may be believed."""

    head: Head
    entries: list[Entry]
    links: list[str]
    """Of each entry, as it is written."""
    faults: list[tuple[int, str]]
    """(line, what is wrong with it); lines count from 1."""
    torn: bool
    """Its last line was not written to its end, and does not count."""

    @property
    def last_link(self) -> str:
        return self.links[-1] if self.links else self.head.behind


def digest(key: bytes, data: bytes) -> str:
    """SHA-256 of `data`, or its HMAC where there is a key; 64 digits."""
    return hmac.new(key, data, hashlib.sha256).hexdigest() if key else hashlib.sha256(data).hexdigest()


def head_line(head: Head, key: bytes) -> bytes:
    """The head with its seal."""
    body = encode(head)
    return b"%s %s\n" % (body, digest(key, b"head\n" + body).encode())


def entry_line(entry: Entry, behind: str, key: bytes) -> tuple[bytes, str]:
    """The line of an entry behind a link, and its own link."""
    body = encode(entry)
    link = digest(key, b"%s\n%s" % (behind.encode(), body))
    return b"%s %s\n" % (body, link.encode()), link


def read_manifest(file: Readable, path: str, shard: int, key: bytes | None) -> Manifest:
    """What the manifest at `path` says; `key` None: links and seal are not checked.

    Raises JournalCorrupt where there is no head that can be read or it is another shard's, CheckpointTooNew for a
    later format. What else is wrong is in `faults`.
    """
    content = file.pread(file.size(), 0)
    lines = content.split(b"\n")
    torn = bool(lines.pop())
    if lines and not torn and b"\0" in lines[-1]:  # its end was written, and what is before it was not
        torn = bool(lines.pop())
    if not lines:
        raise JournalCorrupt(f"shard {shard}: {path} is damaged at line 1: it has no head")
    faults: list[tuple[int, str]] = []
    head = _head(lines[0], path, shard, key, faults)
    entries: list[Entry] = []
    links: list[str] = []
    behind, no = head.behind, head.trimmed
    for number, (entry, link, expected) in enumerate(_entries(lines[1:], behind, key), 2):
        no += 1
        if entry is None:
            faults.append((number, "it cannot be read"))
            continue
        if entry.no != no:
            faults.append((number, f"it is entry {entry.no} instead of {no}: entries were removed, or put elsewhere"))
            no = entry.no
        elif link != expected:
            faults.append((number, f"entry {entry.no} was changed: its link does not hold"))
        entries.append(entry)
        links.append(link)
    return Manifest(head, entries, links, faults, torn)


def _head(line: bytes, path: str, shard: int, key: bytes | None, faults: list[tuple[int, str]]) -> Head:
    body, _, seal = line.rpartition(b" ")
    try:
        version = msgspec.json.decode(body, type=dict)["format"]
        if isinstance(version, int) and version > FORMAT:
            raise CheckpointTooNew(
                f"shard {shard}: {path} has archive format {version}, this flashq reads up to {FORMAT}: use a later one"
            )
        head = msgspec.json.decode(body, type=Head)
    except (msgspec.DecodeError, KeyError, ValueError) as fault:
        raise JournalCorrupt(f"shard {shard}: {path} is damaged at line 1: its head cannot be read: {fault}") from fault
    if head.shard != shard:
        raise JournalCorrupt(f"shard {shard}: {path} is damaged at line 1: it belongs to shard {head.shard}")
    if key is not None and seal.decode(errors="replace") != digest(key, b"head\n" + body):
        how = ": it was changed, or made with another archive_key" if key or head.keyed else ": it was changed"
        faults.append((1, f"its seal does not hold{how}"))
    return head


def _entries(lines: list[bytes], behind: str, key: bytes | None) -> Iterator[tuple[Entry | None, str, str]]:
    """Each entry, its link, and the link that it should have behind what stands before it; None: unreadable."""
    for line in lines:
        body, _, found = line.rpartition(b" ")
        link = found.decode(errors="replace")
        try:
            entry = msgspec.json.decode(body, type=Entry)
        except (msgspec.DecodeError, ValueError):
            entry = None
        if len(link) != _LINK_BYTES:
            entry = None
        yield entry, link, link if key is None else digest(key, b"%s\n%s" % (behind.encode(), body))
        behind = link
