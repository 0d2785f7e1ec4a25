"""Jobs with options as a worker gets them: what those of one delivery have in common is written once.

As with plain jobs (jobs.py), the bytes around what differs lie ready, and numbers that many jobs share are written for
the first of them: a third of what a struct of all 32 keys costs. That is so for jobs with what nearly all jobs with
options have; any other is a `JobView`. A test holds this spelling to it.
"""

from struct import Struct as Packer
from typing import Final

from msgspec import Raw

from flashq.protocol.jobs import JOB_KEYS_BINARY, U64_HEAD, JobView, encode_binary, encode_text

Numbers = tuple[int, int, int, int, int, int, int, int]
"""priority, created_at, run_at, attempts, max_attempts, backoff, ttl, timeout."""
Usual = tuple[int, bytes, Numbers, str | None, list[str] | None, str | None]
"""What differs: id, payload, numbers, unique key, tags, custom id. Every other key has its default."""

_MARKED: Final = JobView(
    id=0,
    queue="",
    data=Raw(b"null"),
    unique_key="u",
    tags=["t"],
    custom_id="c",
    started_at=1,
    last_heartbeat=1,
    lease=1,
)
_NUMBERS: Final = (
    b'"priority":%d,"created_at":%d,"run_at":%d,"started_at":%%d,"attempts":%d,"max_attempts":%d,"backoff":%d,"ttl":%d,'
    b'"timeout":%d'
)


class TextRecords:
    """The jobs of one delivery, in JSON."""

    __slots__ = ("_numbers", "_started_at", "_whole")

    def __init__(self, queue: str, started_at: int, lease: int) -> None:
        whole = encode_text(_MARKED).replace(b'"last_heartbeat":1', b'"last_heartbeat":%d' % started_at)
        whole = whole.replace(b'"lease":1', b'"lease":%d' % lease)
        start, end = whole.index(b'"priority"'), whole.index(b',"unique_key"')
        whole = whole[:start] + b"%b" + whole[end:]
        for name, value in (
            ("id", "0"),
            ("data", "null"),
            ("unique_key", '"u"'),
            ("tags", '["t"]'),
            ("custom_id", '"c"'),
        ):
            key = b'"%b":' % name.encode()
            whole = whole.replace(key + value.encode(), key + (b"%d" if name == "id" else b"%b"))
        name_of_queue = encode_text(queue).replace(b"%", b"%%")
        self._whole = b"," + whole.replace(b'"queue":""', b'"queue":' + name_of_queue)
        self._started_at = started_at
        self._numbers: dict[Numbers, bytes] = {}

    def write(self, job: Usual) -> bytes:
        """One job with a comma before it."""
        number, payload, numbers, unique, tags, custom = job
        written = self._numbers.get(numbers)
        if written is None:
            written = self._numbers[numbers] = _NUMBERS % numbers % self._started_at
        return self._whole % (
            number, payload, written, b"null" if unique is None else encode_text(unique),
            encode_text(tags) if tags else b"[]", b"null" if custom is None else encode_text(custom),
        )  # fmt: skip


_KEYS: Final = (
    "priority",
    "created_at",
    "run_at",
    "started_at",
    "attempts",
    "max_attempts",
    "backoff",
    "ttl",
    "timeout",
)
_I64_HEAD: Final = b"\xd3"
_HEADS: Final = [
    bytes([0xA0 | len(key)]) + key.encode() + (_I64_HEAD if key == "priority" else U64_HEAD) for key in _KEYS
]
_P, _C, _R, _S, _A, _M, _B, _L, _T = _HEADS
_U64: Final = Packer(">Q").pack
_PACK: Final = Packer(
    ">" + "".join(f"{len(head)}s{'q' if key == 'priority' else 'Q'}" for head, key in zip(_HEADS, _KEYS, strict=True))
).pack
_FIRST: Final = b"\xde" + JOB_KEYS_BINARY.to_bytes(2, "big") + b"\xa2id" + U64_HEAD


class BinaryRecords:
    """The jobs of one delivery, in MessagePack: ids and moments are integers of 8 bytes."""

    __slots__ = ("_before", "_custom", "_last", "_numbers", "_started_at", "_tags", "_unique")

    def __init__(self, queue: str, started_at: int, lease: int) -> None:
        self._before = b"\xa5queue" + encode_binary(queue) + b"\xa4data"
        self._started_at = started_at
        self._numbers: dict[Numbers, bytes] = {}
        whole = encode_binary(_MARKED)
        rest = whole[whole.index(b"\xaaunique_key") :]
        parts: list[bytes] = []
        for key, value in ((b"\xaaunique_key", b"\xa1u"), (b"\xa4tags", b"\x91\xa1t"), (b"\xaelast_heartbeat", b"\x01"),
                           (b"\xa9custom_id", b"\xa1c"), (b"\xa5lease", b"\x01")):  # fmt: skip
            before, _, rest = rest.partition(key + value)
            parts.append(before + key)
        self._unique, self._tags, heartbeat, custom, last = parts
        self._custom = heartbeat + U64_HEAD + _U64(started_at) + custom
        self._last = last + U64_HEAD + _U64(lease)

    def write(self, job: Usual) -> bytes:
        """One job."""
        number, payload, numbers, unique, tags, custom = job
        written = self._numbers.get(numbers)
        if written is None:
            priority, created, run_at, attempts, most, backoff, ttl, timeout = numbers
            written = self._numbers[numbers] = _PACK(
                _P, priority, _C, created, _R, run_at, _S, self._started_at, _A, attempts, _M, most, _B, backoff,
                _L, ttl, _T, timeout,
            )  # fmt: skip
        return b"".join((
            _FIRST, _U64(number), self._before, payload, written,
            self._unique, b"\xc0" if unique is None else encode_binary(unique),
            self._tags, encode_binary(tags) if tags else b"\x90",
            self._custom, b"\xc0" if custom is None else encode_binary(custom), self._last,
        ))  # fmt: skip
