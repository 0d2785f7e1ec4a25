"""What a reply becomes: `{"ok":true,"data":X}`, X cut out of the reply's bytes, payloads and all.

A show is a function from the fields of a reply, still encoded, to the bytes of `data`. What a reply says beside that
(refused entries of a batch, a part that is missing) stands beside `data` under its own name.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

Fields = dict[str, Raw]
Show = Callable[[Fields], bytes]
NOTHING_SAID: Final = b'{"ok":true,"data":null}'
_BESIDE: Final = ("errors", "not_found", "partial", "truncated", "total")
"""Keys of replies that go beside `data`, unless they are in it."""
_TOLD_BESIDE: Final = frozenset({"state", "result", "error"})
_fields: Final = msgspec.json.Decoder(Fields).decode
_encode: Final = msgspec.json.Encoder().encode
_ABSENT: Final = Raw(b"null")


def decode_fields(reply: bytes) -> Fields:
    """The keys of a reply in text."""
    return _fields(reply)


def answer(reply: bytes, show: Show) -> bytes:
    """The body of an answer, from a reply that says ok."""
    fields = _fields(reply)
    data = show(fields)
    beside = b"".join(
        b',"%b":%b' % (name.encode(), bytes(fields[name])) for name in _BESIDE if name in fields
    )  # fmt: skip
    return b'{"ok":true,"data":%b%b}' % (data, beside)


def nothing(fields: Fields) -> bytes:
    """Nothing to say."""
    return b"null"


def key(name: str) -> Show:
    """The value of one key; null where it is missing."""

    def show(fields: Fields) -> bytes:
        return bytes(fields.pop(name, _ABSENT))

    return show


def keys(*names: str) -> Show:
    """An object of some keys."""

    def show(fields: Fields) -> bytes:
        return _encode({name: fields.pop(name) for name in names if name in fields})

    return show


def yes(fields: Fields) -> bytes:
    """It was there."""
    return b"true"


def first_count(fields: Fields) -> bytes:
    """A number of jobs: `count`, or the one entry of `ids` that says so in older replies."""
    return bytes(fields.pop("count")) if "count" in fields else bytes(fields["ids"]).strip(b"[]") or b"0"


def jobs(fields: Fields) -> bytes:
    """A list of jobs; a single one is a list of one."""
    if "jobs" in fields:
        return bytes(fields["jobs"])
    job = bytes(fields["job"])
    return b"[]" if job == b"null" else b"[" + job + b"]"


def job_in_full(fields: Fields) -> bytes:
    """A job's keys with `state` and `result`, and once more as `job`, which some clients read."""
    job = bytes(fields["job"])
    if job == b"null":
        return _encode({"state": fields["state"], "result": None, "job": None})
    flat = _fields(job)
    return _encode({**flat, "state": fields["state"], "result": flat.get("result", _ABSENT), "job": fields["job"]})


def progress_pair(fields: Fields) -> bytes:
    """Progress and its message."""
    seen = _fields(fields["progress"])
    return _encode([seen.get("progress", _ABSENT), seen.get("message", _ABSENT)])


def children(fields: Fields) -> bytes:
    """The ids of a flow's children, and how many are done."""
    return _encode(
        {"children": fields["children_ids"], "completed": fields["completed"], "total": fields.pop("total", _ABSENT)}
    )


def pushed(fields: Fields) -> bytes:
    """The job that was pushed, without what else GETJOB tells of it; the id alone of one that is no more."""
    if "job" not in fields:
        return _encode({"id": fields["id"]})
    job = _fields(fields["job"])
    return _encode({name: value for name, value in job.items() if name not in _TOLD_BESIDE})
