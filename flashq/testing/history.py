"""Histories: what clients asked of a server and what they were told, written down outside of it.

Each client writes one file, a JSON line an event. An operation is an invocation (`Call`) and at most one outcome under
the same (`by`, `op`): `Done`, `Refused` or `Unknown`. One without an outcome counts as unknown: its client was killed
or never heard. Times are microseconds of Unix time, `started_ms` is the server's. The classes of outcome are those of
Jepsen's histories (ok, fail, info).
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec


def now_us() -> int:
    """Unix time in microseconds."""
    return time.time_ns() // 1_000


class Given(NamedTuple):
    """A job as a pull delivered it."""

    id: int
    key: str
    """The name its producer gave the payload; empty if the payload was not what that key stands for."""
    lease: int
    started_ms: int
    attempts: int


class Event(msgspec.Struct, tag_field="e", gc=False):
    """What they all have: when, by which client, in which of its operations."""

    at_us: int
    by: str
    op: int


class Push(Event, tag="push"):
    """PUSH, PUSHB or FLOW (the parent is first), invoked: one payload a key.

    `doomed` jobs can only end as dead letters, `revived` ones may die and are retried then.
    """

    queue: str
    keys: list[str]
    repeat_of: int | None = None
    """The operation of which this is a repetition under one idempotency key."""
    doomed: bool = False
    revived: bool = False
    after: list[str] = []
    """The keys of what has to be completed before the first of `keys` may run."""
    unique: str = ""
    name: str = ""
    """The custom id. If it is another job's already, the answer is that one's id."""
    group: str = ""
    limit_key: str = ""


class Pull(Event, tag="pull"):
    """PULL or PULLB, invoked on connection `link`."""

    queue: str
    lease_ms: int
    link: int
    released: bool
    """Asked for `release_on_disconnect`: its leases end with the connection."""


class Ack(Event, tag="ack"):
    """ACK or ACKB, invoked: (id, lease) of each job."""

    jobs: list[tuple[int, int]]


class Fail(Event, tag="fail"):
    """FAIL, invoked."""

    id: int
    lease: int


class Schedule(Event, tag="schedule"):
    """CRON with `repeat_every` and `limit`, every run made up for, invoked; `key` is that of all its jobs' payloads."""

    key: str
    every_ms: int
    limit: int


class Increase(Event, tag="increase"):
    """KVINCR by more than 0, invoked."""

    key: str
    amount: int
    once: str = ""
    """The idempotency key: several invocations are one increase."""


class Await(Event, tag="await"):
    """WAITJOB, invoked for a job whose acks each bring their own lease as the result."""

    id: int


class Done(Event, tag="done"):
    """The server answered `ok: true`."""

    ids: list[int] = []
    """Push: the jobs' ids, in the order of the keys."""
    given: list[Given] = []
    """Pull: the jobs."""
    refused: list[int] = []
    """Ack of several: those that were not found, or whose lease was lost."""
    unknown: list[int] = []
    """Ack of several: those whose shard did not answer."""
    value: int | None = None
    """Increase: the sum. Await: the result."""


class Refused(Event, tag="refused"):
    """The server answered `ok: false`."""

    code: str
    error: str


class Unknown(Event, tag="unknown"):
    """No answer came: it may have happened or not."""

    why: str


class LinkLost(Event, tag="lost"):
    """A client saw its connection end; the last reply on it came at `alive_us`."""

    link: int
    alive_us: int


class Kill(Event, tag="kill"):
    """Processes were killed; `at_us` is just before. `op` numbers the kills."""

    victims: list[str]


class Serving(Event, tag="serving"):
    """What kill number `op` had killed answered again."""


class Counted(Event, tag="counted"):
    """STATS while nobody pushed or pulled: what the server says it has."""

    waiting: int
    delayed: int
    active: int
    dead: int
    held: int = 0
    """Waiting for other jobs."""


class Limit(Event, tag="limit"):
    """From now on a queue gives out no more than `most` jobs at a time."""

    queue: str
    most: int
    each: str = ""
    """Of what: the queue, or each of its "group" or "limit_key"."""


class Total(Event, tag="total"):
    """What a counter was when all was over."""

    key: str
    value: int


class Heard(Event, tag="heard"):
    """Events that came to a subscriber."""

    count: int


Call = Push | Pull | Ack | Fail | Schedule | Increase | Await
Outcome = Done | Refused | Unknown
Seen = LinkLost | Kill | Serving | Counted | Limit | Total | Heard
AnyEvent = Call | Outcome | Seen

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(AnyEvent).decode


class Recorder:
    """Writes one client's events; each is handed to the operating system before the call returns."""

    def __init__(self, path: Path, by: str) -> None:
        self.by = by
        self._file = path.open("ab", buffering=0)
        self._op = 0

    def next_op(self) -> int:
        """The number of a new operation."""
        self._op += 1
        return self._op

    def write(self, event: AnyEvent) -> None:
        """Append one event."""
        self._file.write(_encode(event) + b"\n")

    def close(self) -> None:
        """A second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read(paths: Iterable[Path]) -> Iterator[AnyEvent]:
    """All events, file by file. A last line that its client did not finish is left out."""
    for path in paths:
        *lines, _unfinished = path.read_bytes().split(b"\n")
        yield from map(_decode, lines)
