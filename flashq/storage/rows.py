"""What the engine's objects are as rows, and back again: pages, chunks of payloads, leases, records.

A record's fields that have no column of their own are in `rest`, by name, where they differ from a new record's. So a
field that is added to `Job` is kept without a word here, as long as MessagePack can say it.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import astuple

from flashq.engine.jobs import NO_OPTIONS, Job, Link, State
from flashq.engine.leases import Lease
from flashq.engine.pages import Page
from flashq.engine.queries import WIRE
from flashq.engine.settings import Defaults
from flashq.protocol.commands import JobEntry, JobOptions
from flashq.storage.journal_format import crc32c

NOTHING, WAITING, ACTIVE, COMPLETED, RECORD = range(5)
"""What a place of a page holds: nothing, a plain job in one of three states, a record (which has a row in `jobs`)."""
CHUNK_BYTES: Final = 512 << 10
"""Payloads in one row: more only where a single one is larger."""

encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder().decode
_decode_payloads: Final = msgspec.msgpack.Decoder(list[bytes | None]).decode
_decode_defaults: Final = msgspec.msgpack.Decoder(Defaults).decode
STATES: Final = {text: state for state, text in WIRE.items()}


def crc_of(*parts: bytes | str | None) -> int:
    """CRC-32C over what is there of these, each with its length."""
    crc = 0
    for part in parts:
        data = part.encode() if isinstance(part, str) else part or b""
        crc = crc32c(crc32c(crc, len(data).to_bytes(8, "little")), data)
    return crc


# -- chunks


def chunks(page_id: int, start: int, places: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The payloads among `places`, the first of which is place `start`, as rows of `chunks`."""
    if set(map(type, places)) == {bytes} and sum(map(len, places)) <= CHUNK_BYTES:
        yield _chunk(page_id, start, places)  # as nearly always; place by place takes six times as long
        return
    at = 0
    while at < len(places):
        if type(places[at]) is not bytes:
            at += 1
            continue
        size, end = 0, at
        while end < len(places) and (end == at or size < CHUNK_BYTES):
            size += len(places[end]) if type(places[end]) is bytes else 0
            end += 1
        yield _chunk(page_id, start + at, places[at:end])
        at = end


def _chunk(page_id: int, start: int, places: Sequence[Any]) -> dict[str, Any]:
    payloads = [place if type(place) is bytes else None for place in places]
    sizes = array("I", [len(p) if p is not None else 0 for p in payloads]).tobytes()
    value = encode(payloads)
    return {
        "id": page_id << 10 | start, "slot": page_id & 1023, "places": len(payloads), "crc": crc_of(sizes, value),
        "sizes": sizes, "payloads": value,
    }  # fmt: skip


def payloads_of(value: bytes) -> list[bytes | None]:
    """The payloads of a chunk, None where a place was none of a plain job."""
    payloads: list[bytes | None] = _decode_payloads(value)
    return payloads


# -- pages


class LeaseRun(NamedTuple):
    """Places [start, stop) of a page are active under one lease."""

    start: int
    stop: int
    token: int
    started_at: int
    soft_ms: int
    deadline: int
    gid: int
    hard_at: int


def lease_runs(page: Page) -> list[LeaseRun]:
    """The leases of a page, neighbours that share one joined."""
    runs: list[LeaseRun] = []
    last: Lease | None = None
    for i, mark in enumerate(page.leases or ()):
        if type(mark) is not Lease:
            last = None
        elif mark is last:
            runs[-1] = runs[-1]._replace(stop=i + 1)
        else:
            last = mark
            runs.append(
                LeaseRun(
                    i, i + 1, mark.token, mark.started_at, mark.soft_ms, mark.deadline, mark.gid, mark.hard_at
                )
            )  # fmt: skip
    return runs


def kinds_of(page: Page) -> bytes:
    """A byte a place; empty if all are plain and waiting."""
    jobs, leases = page.jobs, page.leases
    if leases is None and not page.records and page.live == len(jobs):
        return b""
    kinds = bytearray(len(jobs))
    for i, job in enumerate(jobs):
        if job is None:
            continue
        mark = leases[i] if leases is not None else None
        if type(job) is Job:
            kinds[i] = RECORD
        elif mark is None:
            kinds[i] = WAITING
        else:
            kinds[i] = ACTIVE if type(mark) is Lease else COMPLETED
    return bytes(kinds)


def page_row(page: Page, page_id: int) -> dict[str, Any]:
    """A row of `pages`."""
    blobs = {
        "defaults": encode(page.defaults), "at": page.at.tobytes(), "ms": page.ms.tobytes(), "kinds": kinds_of(page),
        "leases": encode(lease_runs(page)) if page.leases is not None else b"",
    }  # fmt: skip
    return {
        "id": page_id, "slot": page.slot.no, "queue": page.queue.name, "codec": page.codec, "size": len(page.jobs),
        "records": page.records, **blobs, "crc": crc_of(*blobs.values()),
    }  # fmt: skip


def leases_of(value: bytes) -> Iterable[LeaseRun]:
    return [LeaseRun(*run) for run in decode(value)] if value else ()


def shifted_leases(value: bytes, by_ms: int) -> bytes:
    """The leases of a page on a monotonic clock that shows `by_ms` more."""
    return encode(
        [
            run._replace(deadline=run.deadline + by_ms, hard_at=run.hard_at + by_ms if run.hard_at else 0)
            for run in leases_of(value)
        ]
    )


def defaults_of(value: bytes) -> Defaults:
    return _decode_defaults(value)


# -- records

COLUMNS: Final = ("priority", "codec", "created_at", "run_at", "started_at", "attempts", "max_attempts", "error")
_NOT_IN_REST: Final = frozenset({*COLUMNS, "queue", "seq", "data", "options", "timer", "state", "place"})
_FRESH: Final = Job(None, 0, b"", 0, NO_OPTIONS, 0)  # type: ignore[arg-type]
_REST: Final = [(name if name not in _NOT_IN_REST else "", getattr(_FRESH, name)) for name in Job.__struct_fields__]
_NO_JOB: Final = JobOptions()
_OPTIONS: Final[dict[type[Any], list[tuple[str, Any]]]] = {}
"""For each kind of options: (name, what it usually is) of each field; of what is no option, no name."""
READ: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("failures", "steps", "logs"), lambda value: [tuple(pair) for pair in value]),
    "link": lambda value: msgspec.convert(value, Link),
}
"""Fields that MessagePack does not give back as what they were."""


def rest_of(job: Job) -> bytes:
    """What has no column: options, fields, whether its ttl still runs."""
    options = job.options
    usual = _OPTIONS.get(type(options))
    if usual is None:
        usual = _OPTIONS[type(options)] = [
            (name, getattr(_NO_JOB, name)) if hasattr(_NO_JOB, name) else ("", None)
            for name in options.__struct_fields__
        ]
    asked = unusual(usual, astuple(options)) if options is not NO_OPTIONS else {}
    return encode((asked, unusual(_REST, astuple(job)), job.timer is not None))


def unusual(usual: Sequence[tuple[str, Any]], values: Sequence[Any]) -> dict[str, Any]:
    """The values that are not what they usually are, by name. Over tuples: twice as fast as by attributes."""
    return {
        name: value
        for (name, expected), value in zip(usual, values, strict=True)
        if value is not expected and name and value != expected
    }


def text_or_bytes(payload: bytes, codec: int) -> str | bytes:
    """JSON as text, so that people can read and query it."""
    return payload if codec else payload.decode()


def job_row(job: Job, job_id: int) -> dict[str, Any]:
    """A row of `jobs`, without `data`. The CRC is over `rest`: of `data` chunk and client's door have one."""
    rest = rest_of(job)
    row: dict[str, Any] = {name: getattr(job, name) for name in COLUMNS}
    row.update(
        id=job_id, slot=job_id & 1023, queue=job.queue.name, state=WIRE[job.state], rest=rest, crc=crc_of(rest)
    )  # fmt: skip
    return row


def record_of(row: Any, page: Page) -> tuple[Job, bool]:
    """The record of a row of `jobs`, and whether its ttl runs. Raises ValueError if the row is damaged."""
    if crc_of(row.rest) != row.crc:
        raise ValueError(f"the row of job {row.id} has another checksum")
    asked, fields, timed = decode(row.rest)
    data = row.data.encode() if isinstance(row.data, str) else row.data
    job = Job(page.queue, row.id >> 10, data, row.codec, JobEntry(**asked) if asked else NO_OPTIONS, row.created_at)
    for name in COLUMNS:
        setattr(job, name, getattr(row, name))
    for name, value in fields.items():
        setattr(job, name, READ[name](value) if name in READ else value)
    job.state = State(STATES[row.state])
    return job, timed
