"""Events: what one change is in the journal. Bytes of an event: kind (u8), length of the rest (u32), the rest.

Frequent kinds are packed by hand (little-endian); they carry jobs as runs of sequence-neighbouring ids of one slot
(`first`, `first + 1024`, …). All others are MessagePack arrays, tagged by a number; a new version of an event gets a
new number, and the parsers of old ones stay.

Events hold what was decided, never what was asked: replay applies no limit, default or clock of a later day. Times
that an event does not carry are the record's.
"""

from collections.abc import Iterator, Sequence
from struct import Struct as Packer
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from flashq.engine.settings import Chosen, Defaults
from flashq.protocol.happenings import Happening

PUSHED: Final = 1
PUSHED_RUNS: Final = 2
LEASED: Final = 3
LEASED_IDS: Final = 4
ACKED: Final = 5
ACKED_RESULT: Final = 7
COLD: Final = 32

_HEAD: Final = Packer("<BI")
_PUSHED: Final = Packer("<BIQIB")
pack_pushed: Final = _PUSHED.pack
"""(PUSHED, 13 + len(frame), first id, count, codec), then the client's frame."""
PUSHED_BYTES: Final = _PUSHED.size - _HEAD.size
_LEASED: Final = Packer("<BIQQQBQI")
pack_leased: Final = _LEASED.pack
"""(LEASED, LEASED_BYTES, token, soft_ms, gid, codec of nothing: 0, first id, count)."""
LEASED_BYTES: Final = _LEASED.size - _HEAD.size
_LEASED_IDS: Final = Packer("<BIQQQB")
_ACKED: Final = Packer("<BIQIQI")
pack_acked: Final = _ACKED.pack
"""(ACKED, ACKED_BYTES, first id, count, first evicted id, evicted count)."""
ACKED_BYTES: Final = _ACKED.size - _HEAD.size
_ACKED_RESULT: Final = Packer("<BIQBQ")
_RUN: Final = Packer("<QI")


def pushed_runs(runs: Sequence[tuple[int, int]], codec: int, frame: bytes) -> bytes:
    """A plain batch whose ids are several runs of (first id, count): head, to stand before the frame."""
    body = b"".join(_RUN.pack(first, count) for first, count in runs)
    rest = 3 + len(body) + len(frame)
    return _HEAD.pack(PUSHED_RUNS, rest) + bytes((codec,)) + len(runs).to_bytes(2, "little") + body


def leased_ids(token: int, soft_ms: int, gid: int, ids: Sequence[int]) -> bytes:
    """Jobs of one pull that are no single run."""
    body = b"".join(i.to_bytes(8, "little") for i in ids)
    return _LEASED_IDS.pack(LEASED_IDS, _LEASED_IDS.size - _HEAD.size + len(body), token, soft_ms, gid, 0) + body


def acked_result(job_id: int, codec: int, evicted_id: int, result: bytes) -> bytes:
    """An ack with a result; `evicted_id` 0: none."""
    return _ACKED_RESULT.pack(ACKED_RESULT, 17 + len(result), job_id, codec, evicted_id) + result


class Event(Struct, array_like=True, tag_field="t", frozen=True, gc=False):
    """One of the kinds that are not frequent."""


class DefaultsSet(Event, tag=1, frozen=True):
    """From here on jobs are pushed under these defaults."""

    defaults: Defaults


class PagesReserved(Event, tag=2, frozen=True, gc=False):
    """Pages below `through` of this slot may have been told to somebody."""

    slot: int
    through: int


class JobsPushed(Event, tag=3, frozen=True):
    """Jobs with options: the client's frame, and what was decided: an id for each accepted entry."""

    ids: list[int]
    refused: list[int]
    """Indexes of the entries that were not accepted."""
    codec: int
    frame: bytes
    run_at: list[int] | None = None
    existing: list[int] = []
    """Indexes of entries that named a job which was there already: their ids are that job's."""


class Retried(Event, tag=4, frozen=True, gc=False):
    """An attempt failed or timed out; the job waits, or waits for `run_at`."""

    id: int
    attempts: int
    run_at: int
    error: str
    cause: str


class Died(Event, tag=5, frozen=True, gc=False):
    """A job became a dead letter, or was forgotten (`remove_on_fail`)."""

    id: int
    attempts: int
    error: str
    cause: str


class Released(Event, tag=6, frozen=True):
    """Jobs went back to their queue, no attempt counted. `crash`: their worker was lost."""

    ids: list[int]
    crash: bool
    token: int = 0


class Renewed(Event, tag=7, frozen=True, gc=False):
    """A lease was extended from now on by its duration."""

    id: int


class QueuePaused(Event, tag=8, frozen=True, gc=False):
    queue: str
    paused: bool


class Evicted(Event, tag=9, frozen=True):
    """Completed jobs are not kept any longer: (first id, count)."""

    runs: list[tuple[int, int]]


class Expired(Event, tag=10, frozen=True):
    """Jobs that lived longer than their ttl, dropped."""

    ids: list[int]


class Answered(Event, tag=11, frozen=True, gc=False):
    """The first reply to an idempotency key."""

    scope: str
    key: str
    digest: bytes
    reply: bytes
    slot: int


class Uncrashed(Event, tag=12, frozen=True, gc=False):
    """A worker that was thought lost showed its token: the crash does not count."""

    id: int


class Posted(Event, tag=13, frozen=True):
    """One slot has something to tell another (outbox.py)."""

    source: int
    target: int
    no: int
    word: str
    body: Any


class Taken(Event, tag=14, frozen=True, gc=False):
    """Messages of this pair of slots up to this number were carried out."""

    source: int
    target: int
    no: int


class Told(Event, tag=15, frozen=True, gc=False):
    """The receiver has the messages up to this number on disk."""

    source: int
    target: int
    through: int


class Cancelled(Event, tag=20, frozen=True, gc=False):
    """A client called the job off: it ceased to exist."""

    id: int


class Progressed(Event, tag=21, frozen=True, gc=False):
    """Its worker said how far it is; the lease was extended from now on by its duration."""

    id: int
    progress: int
    message: str | None


class Prioritised(Event, tag=22, frozen=True, gc=False):
    """The job has another priority."""

    id: int
    priority: int


class MovedToDelayed(Event, tag=23, frozen=True, gc=False):
    """An active job waits for `run_at`, no attempt counted."""

    id: int
    run_at: int


class Promoted(Event, tag=24, frozen=True, gc=False):
    """A delayed job became ready at once."""

    id: int


class Updated(Event, tag=25, frozen=True, gc=False):
    """The job has another payload."""

    id: int
    codec: int
    data: bytes


class JobDiscarded(Event, tag=26, frozen=True, gc=False):
    """A client made the job a dead letter, or had it forgotten (`remove_on_fail`). No attempt counted."""

    id: int
    error: str


class Logged(Event, tag=27, frozen=True, gc=False):
    """A line about a job; its `dropped` oldest lines were dropped for it."""

    id: int
    level: str
    message: str
    dropped: int


class LimitSet(Event, tag=60, frozen=True, gc=False):
    """A limit of a queue (limits.py has the kinds); None: it ended."""

    queue: str
    kind: int
    limit: int | None


class Drained(Event, tag=40, frozen=True, gc=False):
    """All that waited in the queue's lines is removed: of its jobs in pages below `below_page`."""

    queue: str
    below_page: int


class Obliterated(Event, tag=41, frozen=True, gc=False):
    """All jobs of the queue in pages below `below_page` but the completed ones are removed, and its settings."""

    queue: str
    below_page: int


class DeadPurged(Event, tag=42, frozen=True, gc=False):
    """All dead letters of the queue are removed."""

    queue: str


class Removed(Event, tag=43, frozen=True):
    """Jobs that are not completed ceased to exist: (first id, count). Clears away what an event before removed."""

    runs: list[tuple[int, int]]


class Revived(Event, tag=44, frozen=True):
    """Dead letters wait again, as ready as if they had become so now."""

    ids: list[int]


class Outlived(Event, tag=45, frozen=True):
    """Completed jobs were kept for long enough, wherever they stand among the others: (first id, count)."""

    runs: list[tuple[int, int]]


class QueueForgotten(Event, tag=46, frozen=True, gc=False):
    """The queue had no job and no setting for so long that nothing is known of it any more."""

    queue: str


class NamesBound(Event, tag=80, frozen=True):
    """Custom ids became these jobs' (names.py)."""

    names: Sequence[str]
    ids: Sequence[int]


class NamesFreed(Event, tag=81, frozen=True):
    """Custom ids whose job is no more."""

    names: Sequence[str]


class PageOpened(Event, tag=82, frozen=True, gc=False):
    """Ids of this page were put aside: it is given to nobody else, also if no job ever comes of them."""

    slot: int
    page: int


class IdsUnused(Event, tag=83, frozen=True):
    """Ids that were put aside for jobs that never came."""

    ids: Sequence[int]


class KvStored(Event, tag=130, frozen=True):
    """Keys have these values: (key, codec, value, expires at or 0)."""

    entries: list[tuple[str, int, bytes, int]]


class KvRemoved(Event, tag=131, frozen=True):
    """Keys were deleted, or had expired and were swept."""

    keys: list[str]


class KvExpirySet(Event, tag=132, frozen=True, gc=False):
    key: str
    expires_at: int


class CronSet(Event, tag=140, frozen=True):
    """A cron is made, or takes the place of the one of the same name."""

    name: str
    queue: str
    codec: int
    frame: bytes
    """The PUSH that each run is."""
    schedule: str | None
    repeat_every: int | None
    timezone: str | None
    misfire: str
    limit: int | None
    next_run: int


class CronRan(Event, tag=141, frozen=True, gc=False):
    """A cron made `runs` jobs, and is due again at `next_run`; 0: it is not."""

    name: str
    runs: int
    next_run: int
    behind: int
    """How many runs it has made up for since it last was on time."""


class CronRemoved(Event, tag=142, frozen=True, gc=False):
    """Deleted, run out, or its queue was obliterated."""

    name: str


class CronAimed(Event, tag=143, frozen=True, gc=False):
    """The slot of `queue` knows that a cron makes jobs for it; `made_at` 0: not any more."""

    queue: str
    name: str
    made_at: int


class HookSet(Event, tag=150, frozen=True):
    """A webhook is known here. `id` is also the version of all webhooks that it makes."""

    id: int
    url: str
    events: list[str]
    queue: str | None
    """None: all queues."""
    secret: str
    """Empty: deliveries are not signed."""
    created_at: int


class SettingsChosen(Event, tag=156, frozen=True):
    """All that is chosen at run time. `version` is counted with those of webhooks."""

    version: int
    chosen: Chosen


class TotalsReset(Event, tag=157, frozen=True, gc=False):
    """What was pushed, completed, retried and failed counts from here on."""


class HookRemoved(Event, tag=151, frozen=True, gc=False):
    """A webhook is no more, and nothing is delivered to it."""

    id: int
    version: int


class HooksFired(Event, tag=152, frozen=True):
    """What happened is to be delivered: (number, webhooks, what)."""

    fired: list[tuple[int, list[int], Happening]]
    dropped: list[tuple[int, int]] = []
    """(webhook, how many there was no room for)"""


class HooksTried(Event, tag=153, frozen=True):
    """Attempts to deliver ended: (webhook, number, how, when it is tried again or 0, what was said)."""

    tried: list[tuple[int, int, int, int, str]]
    forgotten: list[tuple[int, int]] = []
    """Failed ones that are no longer kept: (webhook, number)."""


class HooksAgain(Event, tag=154, frozen=True):
    """Deliveries of a webhook that had failed wait again."""

    hook: int
    numbers: list[int]


class IncomingSet(Event, tag=155, frozen=True, gc=False):
    """Requests of others may push jobs to this queue, signed by a scheme; an empty one: not any more."""

    queue: str
    scheme: str
    secret: str
    made_at: int


class Watched(Event, tag=100, frozen=True):
    """Jobs of this slot are watched: (who watches, the jobs). A plain job becomes a record by that."""

    pairs: list[tuple[int, list[int]]]


class Fates(Event, tag=101, frozen=True):
    """What was learnt of jobs that others wait for: (who waits, the fate, the jobs): links.py."""

    learnt: list[tuple[int, int, list[int]]]


class Stored(Event, tag=102, frozen=True):
    """Jobs of a push that is not accepted yet: a frame of them (children as in FLOW), and their ids."""

    root: int
    slot: int
    codec: int
    frame: bytes
    ids: list[int]
    bundles: list[tuple[str, list[tuple[int, int]], list[bytes]]] = []
    """Children without options (bundles.py): queue, their ids as (first, count), payloads."""


class DraftBegun(Event, tag=103, frozen=True):
    """A push waits until these slots have stored their part of it."""

    root: int
    slots: list[int]


class DraftEnded(Event, tag=104, frozen=True, gc=False):
    """It was accepted or refused as a whole, of which all slots are told."""

    root: int
    accepted: bool


class Accepted(Event, tag=105, frozen=True):
    """The push is accepted, so this slot's part of it counts."""

    root: int
    slot: int
    parents: list[tuple[int, list[int]]]
    """(parent, its children in this slot)"""
    families: list[tuple[int, list[int]]]
    """(job of this slot, all of its children)"""
    bundled: list[int] = []
    """The parent of each bundle of the part."""


class Discarded(Event, tag=106, frozen=True, gc=False):
    """The push is refused, so this slot's part of it never was."""

    root: int
    slot: int


class SlotPart(Event, tag=160, frozen=True, gc=False):
    """A part of what a slot holds that is about to come from another shard; number 0 begins anew."""

    slot: int
    no: int
    body: bytes


class SlotArrived(Event, tag=161, frozen=True, gc=False):
    """All parts of the slot are there, and are what it holds here from now on.

    It is this shard's only if the map of slots says so: one that comes to nothing is followed by `SlotLeft`.
    """

    slot: int
    mono_ms: int
    """What the monotonic clock showed by which the parts have their moments."""


class SlotLeft(Event, tag=162, frozen=True, gc=False):
    """Another shard has the slot: nothing of it is here any more."""

    slot: int


class PartNamed(Event, tag=107, frozen=True, gc=False):
    """Whose the custom ids of jobs of a part are: (job, whether another job holds its name)."""

    root: int
    slot: int
    ids: list[tuple[int, bool]]


type_of_event = (
    DefaultsSet | PagesReserved | JobsPushed | Retried | Died | Released | Renewed | QueuePaused
    | Evicted | Expired | Answered | Uncrashed | Posted | Taken | Told
    | Cancelled | Progressed | Prioritised | MovedToDelayed | Promoted | Updated | JobDiscarded | Logged
    | LimitSet
    | Drained | Obliterated | DeadPurged | Removed | Revived | Outlived | QueueForgotten
    | NamesBound | NamesFreed | PageOpened | IdsUnused
    | KvStored | KvRemoved | KvExpirySet | CronSet | CronRan | CronRemoved | CronAimed
    | HookSet | HookRemoved | HooksFired | HooksTried | HooksAgain | IncomingSet
    | SlotPart | SlotArrived | SlotLeft
    | SettingsChosen | TotalsReset
    | Watched | Fates | Stored | DraftBegun | DraftEnded | Accepted | Discarded | PartNamed
)  # fmt: skip
COLD_EVENTS: Final[tuple[type[Any], ...]] = get_args(type_of_event)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(type_of_event).decode


def cold(event: Event) -> bytes:
    """The bytes of an event that is not frequent."""
    body = _encode(event)
    return _HEAD.pack(COLD, len(body)) + body


class Run(Struct, frozen=True, gc=False):
    """Jobs that were pushed plain: runs of (first id, count), and the frame they came in."""

    runs: list[tuple[int, int]]
    codec: int
    frame: bytes


class Leases(Struct, frozen=True, gc=False):
    token: int
    soft_ms: int
    gid: int
    ids: Sequence[int]


class Acks(Struct, frozen=True, gc=False):
    ids: Sequence[int]
    evicted: tuple[int, int]
    """(first id, count)"""
    result: bytes | None = None
    codec: int = 0


def _ids(body: bytes) -> list[int]:
    return [int.from_bytes(body[k : k + 8], "little") for k in range(0, len(body), 8)]


STEP: Final = 1024


def parsed(events: bytes) -> Iterator[Any]:
    """The events of a record, in order: `Run`, `Leases`, `Acks` or an `Event`.

    Raises ValueError or msgspec.DecodeError where the bytes are no event this version knows.
    """
    at, end = 0, len(events)
    while at < end:
        kind, length = _HEAD.unpack_from(events, at)
        start = at + _HEAD.size
        stop = start + length
        if stop > end:
            raise ValueError(f"event of kind {kind} at {at} is longer than its record")
        if kind == PUSHED:
            _, _, first, count, codec = _PUSHED.unpack_from(events, at)
            yield Run([(first, count)], codec, events[at + _PUSHED.size : stop])
        elif kind == LEASED:
            _, _, token, soft_ms, gid, _, first, count = _LEASED.unpack_from(events, at)
            yield Leases(token, soft_ms, gid, range(first, first + count * STEP, STEP))
        elif kind == ACKED:
            _, _, first, count, evicted, evicted_count = _ACKED.unpack_from(events, at)
            yield Acks(range(first, first + count * STEP, STEP), (evicted, evicted_count))
        elif kind == COLD:
            yield _decode(events[start:stop])
        elif kind == ACKED_RESULT:
            _, _, job_id, codec, evicted = _ACKED_RESULT.unpack_from(events, at)
            yield Acks((job_id,), (evicted, 1 if evicted else 0), events[at + _ACKED_RESULT.size : stop], codec)
        elif kind == LEASED_IDS:
            _, _, token, soft_ms, gid, _ = _LEASED_IDS.unpack_from(events, at)
            yield Leases(token, soft_ms, gid, _ids(events[at + _LEASED_IDS.size : stop]))
        elif kind == PUSHED_RUNS:
            codec, n = events[start], int.from_bytes(events[start + 1 : start + 3], "little")
            body = start + 3
            runs = [_RUN.unpack_from(events, body + k * _RUN.size) for k in range(n)]
            yield Run([(f, c) for f, c in runs], codec, events[body + n * _RUN.size : stop])
        else:
            raise ValueError(f"event of unknown kind {kind} at {at}")
        at = stop
