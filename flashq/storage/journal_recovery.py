"""Reading a journal back, and judging what is missing.

What a power cut may take is whatever was not synced: any sectors of any records behind the last sync, so a record may
be gone while a later one is still there. What it may not take is a record that a later one knows to be on disk:

- A gap with a record behind it whose `synced_through` reaches the gap is damage: JournalCorrupt.
- Any other gap is the end: it is cut there, and what lies behind is counted and reported. The last record alone,
  damaged, cannot be told from one that was being written when the power went.
- A gap is damage, too, if a record that was promised by being written (durability "commit") is behind it and the
  machine has not been started anew since: no power cut, no excuse.
- A run's successor says in its header, on disk before the successor wrote anything, where it took over. So in all
  runs but the last everything up to there has to be found, and what is behind it was cut then.
- A seal is a record that knows all before it to be on disk.
"""

from collections.abc import Iterator, Sequence

from flashq.errors import JournalCorrupt
from flashq.storage.contract import Record, Recovery
from flashq.storage.journal_format import HEADER_BYTES, SEAL, WRITTEN, Frame, frames, looks_torn, search
from flashq.storage.journal_segments import Segment


def first_needed(segments: Sequence[Segment], after_seq: int) -> int:
    """Index of the segment that reading everything behind `after_seq` starts with; those before are not needed."""
    if after_seq:
        for index in range(len(segments) - 1, -1, -1):
            first = first_seq(segments[index])
            if first is not None and first <= after_seq + 1:
                return index
    return 0


def first_seq(segment: Segment) -> int | None:
    """The first sequence of a segment, None if it is not known because it holds no record."""
    if segment.header.first_seq:
        return segment.header.first_seq
    frame = next(frames(segment.file, segment.header), None)
    return frame[-1].seq if frame else None


class Walk:
    """One pass over the segments, in order. What it found is in its attributes when `records` has ended."""

    def __init__(self, segments: Sequence[Segment], *, shard: int, boot: str, after_seq: int) -> None:
        """`after_seq`: records up to here are safe elsewhere, and the tables hold no more than that."""
        self.last_seq = 0
        self.chain = 0
        self.clean = False
        self.blank: list[Segment] = []
        """Segments at the end in which no record was ever begun; the last run's first one, too, if it has none."""
        self._segments = segments
        self._shard = shard
        self._boot = boot
        self._after_seq = after_seq
        self._at = HEADER_BYTES
        self._dropped = self._torn_bytes = 0
        self._cut_in: Segment | None = None

    def recovery(self) -> Recovery:
        return Recovery(self.last_seq, self.clean, self._dropped, self._torn_bytes, self._note())

    def records(self) -> Iterator[Record]:
        """All records that count. Raises JournalCorrupt where promised ones are damaged or missing."""
        if not self._segments:
            self.clean = True  # nothing was ever written here
            self._check_end(None)
            return
        self._check_start(self._segments[0])
        last_used = self._segments[0]
        gap_at = HEADER_BYTES
        for index, segment in enumerate(self._segments):
            if index:
                self._check_next(self._segments[index - 1], last_used, gap_at, segment)
            yield from self._segment_records(segment, self._limit(index))
            if segment.last_seq >= segment.first_seq or segment.header.first_seq:
                last_used, gap_at = segment, self._at
        self._judge(last_used, gap_at)
        self._check_end(last_used)

    def _segment_records(self, segment: Segment, limit: int | None) -> Iterator[Record]:
        """The records of a segment that follow what was read before. Leaves `_at` behind the last."""
        self._at = HEADER_BYTES
        segment.first_seq, segment.last_seq = self.last_seq + 1, self.last_seq
        for end, crc, chain, flags, _, record in frames(segment.file, segment.header):
            if flags & SEAL:
                if record.seq != self.last_seq or chain != self.chain:
                    return
                self.clean = True
            elif record.seq != self.last_seq + 1 or (limit is not None and record.seq >= limit):
                return
            elif chain != self.chain:
                raise self._corrupt(segment, self._at, f"record {record.seq} does not follow the one before it")
            else:
                self.last_seq = segment.last_seq = record.seq
                yield record
            self.chain, self._at = crc, end

    def _check_start(self, segment: Segment) -> None:
        """Take position before the first segment's first record."""
        first, chain = segment.header.first_seq, segment.header.chain
        if not first:
            frame = next(frames(segment.file, segment.header), None)
            if frame is not None:
                first, chain = frame[-1].seq, frame[2]
            elif self._after_seq:  # those before are recycled, and of this one a power cut has left nothing
                first, chain = self._after_seq + 1, 0
            else:
                raise self._corrupt(segment, HEADER_BYTES, "the first records are missing")
        if first > self._after_seq + 1:
            raise self._corrupt(segment, HEADER_BYTES, f"records {self._after_seq + 1} to {first - 1} are missing")
        self.last_seq, self.chain = first - 1, chain

    def _limit(self, index: int) -> int | None:
        """The first sequence that is not this segment's any more, as the next run began there; None in the last run."""
        return next((s.header.first_seq for s in self._segments[index + 1 :] if s.header.first_seq), None)

    def _check_next(self, before: Segment, used: Segment, gap_at: int, segment: Segment) -> None:
        """Whether `segment` is the one that comes behind `before`; a new run must find all that it stands on."""
        if segment.header.number != before.header.number + 1:
            raise self._corrupt(segment, 0, f"the segment with number {before.header.number + 1} is missing")
        if not segment.header.first_seq:
            return
        if (self.last_seq + 1, self.chain) != (segment.header.first_seq, segment.header.chain):
            place, offset = self._gap(used, gap_at)
            raise self._corrupt(place, offset, f"record {self.last_seq + 1} is damaged or missing")
        self.clean = False

    def _judge(self, used: Segment, gap_at: int) -> None:
        """What lies behind the end of the last run's records: nothing, what a power cut left, or proof of damage."""
        place, offset = self._gap(used, gap_at)
        for segment in self._segments[self._segments.index(used) :]:
            start = gap_at if segment is used else HEADER_BYTES
            if segment.last_seq < segment.first_seq and not self._begun(segment, start):
                self.blank.append(segment)
                continue
            self.blank.clear()
            for _, frame in search(segment.file, segment.header, start):
                if frame is not None:
                    self._judge_frame(frame, segment, place, offset)
        if used in self.blank:
            self.chain = used.header.chain  # not behind its seal, which goes when it is used again
        self._torn_bytes = looks_torn(place.file, place.header, offset, self.last_seq + 1, self.chain)
        if self._torn_bytes or self._dropped:
            self._cut_in, self._at = place, offset

    def _gap(self, used: Segment, gap_at: int) -> tuple[Segment, int]:
        """Where the record behind the last one should be: in the same segment, or first in the one behind it."""
        behind = self._segments.index(used) + 1
        if behind < len(self._segments) and not self._begun(used, gap_at):
            segment = self._segments[behind]
            stands = next(frames(segment.file, segment.header), None)  # then the missing one was not there
            if stands is None and not segment.header.first_seq and self._begun(segment, HEADER_BYTES):
                return segment, HEADER_BYTES
        return used, gap_at

    def _begun(self, segment: Segment, at: int) -> bool:
        """Whether a record was ever begun at offset `at` or behind it."""
        marks = search(segment.file, segment.header, at)
        return next(marks, None) is not None or bool(
            looks_torn(segment.file, segment.header, at, self.last_seq + 1, self.chain)
        )

    def _judge_frame(self, frame: Frame, segment: Segment, place: Segment, offset: int) -> None:
        _, _, _, flags, synced_through, record = frame
        seq = self.last_seq + 1
        if synced_through >= seq or (flags & WRITTEN and segment.header.boot == self._boot):
            raise self._corrupt(
                place, offset, f"record {seq} is damaged or missing, though record {record.seq} was promised behind it"
            )
        self._dropped += 1

    def _check_end(self, used: Segment | None) -> None:
        if self.last_seq >= self._after_seq:
            return
        text = f"the journal ends with record {self.last_seq}, but the tables hold records up to {self._after_seq}"
        if used is None:
            raise JournalCorrupt(f"shard {self._shard}: no segment was found: {text}")
        raise self._corrupt(used, self._at, text)

    def _corrupt(self, segment: Segment, offset: int, what: str) -> JournalCorrupt:
        return JournalCorrupt(f"shard {self._shard}: {segment.path} is damaged at offset {offset}: {what}")

    def _note(self) -> str:
        if self._cut_in is None:
            return ""
        return (
            f"shard {self._shard}: {self._cut_in.path} was cut at offset {self._at}, behind record {self.last_seq}: "
            f"{self._torn_bytes} bytes of an unfinished record, {self._dropped} whole records behind a gap; "
            "nothing of it was promised"
        )
