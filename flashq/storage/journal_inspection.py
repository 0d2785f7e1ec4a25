"""Whether a journal is whole, looked at without touching it: every record, and what a start would make of them.

Two looks: one goes over each segment by itself and finds every place at which something is damaged or missing; the
other is that of a start (journal_recovery.py), which knows what a power cut may have taken, and what it may not.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from flashq.clock import boot_id
from flashq.errors import CheckpointTooNew, JournalCorrupt
from flashq.storage.contract import Files, Record
from flashq.storage.files import ReadOnlyFiles
from flashq.storage.findings import Finding
from flashq.storage.journal_format import HEADER_BYTES, SEAL, SECTOR, Frame, frames, parse_header, search
from flashq.storage.journal_recovery import Walk, first_needed, first_seq
from flashq.storage.journal_segments import Segment

_DAMAGED: Final = re.compile(
    r"(?:shard \d+: )?(?P<file>.+) is damaged at (?P<place>offset \d+): (?P<what>.*)", re.DOTALL
)
"""How storage says where something is damaged."""


def finding_of(fault: JournalCorrupt | CheckpointTooNew, file: str) -> Finding:
    """What an error says, in its parts; `file` where it names none."""
    found = _DAMAGED.fullmatch(str(fault))
    return Finding(found["file"], found["place"], found["what"]) if found else Finding(file, "", str(fault))


class JournalLook:
    """One look at the journal in a shard's folder. Its files are open until `close`. Raises OSError."""

    def __init__(self, folder: Path, shard: int, *, boot: str | None = None, files: Files | None = None) -> None:
        self.findings: list[Finding] = []
        self.note = ""
        """What a start would cut, as it may: never promised."""
        self.last_seq = 0
        self._shard = shard
        self._boot = boot_id() if boot is None else boot
        self._folder = str(folder / "journal")
        self._segments: list[Segment] = []
        files = files or ReadOnlyFiles()
        try:
            names = files.list(self._folder)
        except FileNotFoundError:
            names = []
        for name in names:
            if name.endswith(".seg"):
                self._open(files, os.path.join(self._folder, name))

    def _open(self, files: Files, path: str) -> None:
        file = files.open(path)
        try:
            header = parse_header(file.pread(SECTOR, 0), path, self._shard)
            if f"{header.number:010}.seg" != Path(path).name:
                raise JournalCorrupt(
                    f"shard {self._shard}: {path} is damaged at offset 0: it is segment {header.number}"
                )
        except (JournalCorrupt, CheckpointTooNew) as fault:
            file.close()
            self.findings.append(finding_of(fault, path))
            return
        self._segments.append(Segment(header, path, file, file.size(), header.first_seq, header.first_seq - 1))

    def close(self) -> None:
        """Give the files back."""
        for segment in self._segments:
            segment.file.close()

    @property
    def first_kept(self) -> int:
        """The first record that is there; 1 if none is."""
        return (first_seq(self._segments[0]) if self._segments else None) or 1

    @property
    def holds_records(self) -> bool:
        """Whether there is any record."""
        return any(first_seq(segment) for segment in self._segments)

    def look(self, *, last_run: bool = False) -> None:
        """Go over all records of all segments. `last_run`: also what a power cut may have left of the last run's."""
        known = {(one.file, one.place) for one in self.findings}
        for one in (*self._missing_segments(), *self._missing(last_run)):
            if (one.file, one.place) not in known:
                self.findings.append(one)

    def _missing_segments(self) -> Iterator[Finding]:
        """Segments are given back from the front, so none is missing between two."""
        for before, segment in pairwise(segment.header.number for segment in self._segments):
            if segment != before + 1:
                gone = "it is" if segment == before + 2 else f"segments {before + 1} to {segment - 1} are"
                yield Finding(os.path.join(self._folder, f"{before + 1:010}.seg"), "", f"{gone} missing")

    def _missing(self, last_run: bool) -> Iterator[Finding]:
        """Where records are missing that have to be there, as others come behind them, and what is odd about others."""
        expected, path, place = 0, "", HEADER_BYTES
        for index, segment in enumerate(self._segments):
            limit = self._limit(index)
            first = segment.header.first_seq
            if first:
                if 0 < expected < first:
                    yield Finding(path, f"offset {place}", f"{_range(expected, first)} damaged or missing")
                expected, path, place = first, segment.path, HEADER_BYTES
            for at, frame in _whole(segment):
                end, _, _, flags, synced_through, record = frame
                if limit is not None and record.seq >= limit:
                    break  # the next run has cut what follows
                odd = _oddity(record, segment, synced_through)
                if odd:
                    yield Finding(segment.path, f"offset {at}", odd)
                if not flags & SEAL:
                    if 0 < expected < record.seq and (limit is not None or last_run):
                        yield Finding(path, f"offset {place}", f"{_range(expected, record.seq)} damaged or missing")
                    expected = record.seq + 1
                path, place = segment.path, end

    def _limit(self, index: int) -> int | None:
        """The record with which the next run begins; None in the last run."""
        return next((one.header.first_seq for one in self._segments[index + 1 :] if one.header.first_seq), None)

    def records(self, after_seq: int) -> Iterator[Record]:
        """The records that a start would replay on tables of this position, up to where it would refuse."""
        segments = self._segments[first_needed(self._segments, after_seq) :]
        walk = Walk(segments, shard=self._shard, boot=self._boot, after_seq=after_seq)
        try:
            for record in walk.records():
                self.last_seq = record.seq
                if record.seq > after_seq:
                    yield record
            self.note = walk.recovery().note.replace(" was cut at ", " will be cut at ")
        except JournalCorrupt as fault:
            found = finding_of(fault, self._folder)
            if (found.file, found.place) not in {(one.file, one.place) for one in self.findings}:
                self.findings.append(found)
            self.look(last_run=True)

    def whole_records(self) -> Iterator[Record]:
        """Every record that can be read at all, those behind damage too; not those that a later run has replaced."""
        for index, segment in enumerate(self._segments):
            limit = self._limit(index)
            for _, (_, _, _, flags, _, record) in _whole(segment):
                if not flags & SEAL and (limit is None or record.seq < limit):
                    yield record


def _whole(segment: Segment) -> Iterator[tuple[int, Frame]]:
    """Every record that is whole, and its offset; what is damaged is skipped."""
    at: int | None = HEADER_BYTES
    while at is not None:
        for frame in frames(segment.file, segment.header, at):
            yield at, frame
            at = frame[0]
        marks = search(segment.file, segment.header, at)
        at = next((place for place, frame in marks if frame is not None), None)


def _oddity(record: Record, segment: Segment, synced_through: int) -> str:
    """What is wrong with a record that is whole."""
    if record.epoch != segment.header.epoch:
        return f"record {record.seq} is of epoch {record.epoch}, its segment of {segment.header.epoch}"
    if synced_through > record.seq:
        return f"record {record.seq} says that {synced_through} is on disk, which comes behind it"
    return ""


def _range(first: int, stop: int) -> str:
    return f"record {first} is" if stop == first + 1 else f"records {first} to {stop - 1} are"
