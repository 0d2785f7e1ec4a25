"""Where in a list a fault is. The decoder says `jobs[...].priority`; clients want to know which of a thousand jobs.

Only what was refused comes here: it is decoded once more, element by element, up to the first that fails. Linear.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from flashq.errors import RequestError
from flashq.protocol.codec import explained
from flashq.protocol.commands import U64, FlowChild, JobEntry, KvEntry
from flashq.protocol.dispatch import Codec

_ELEMENTS: Final[dict[str, Any]] = {
    "jobs": JobEntry, "children": FlowChild, "entries": KvEntry, "ids": U64, "depends_on": U64, "leases": U64 | None,
    "keys": str, "tags": str, "events": str,
}  # fmt: skip
_LIST: Final = re.compile(r"`\$\.(\w+)\[\.\.\.\]")
_FAULTS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def explained_in(frame: bytes, codec: int, error: Exception) -> RequestError:
    """As `explained`, for a fault in this frame: the elements of lists on the way to it have their numbers."""
    decode = msgspec.json.decode if codec == Codec.TEXT else msgspec.msgpack.decode
    if not isinstance(error, msgspec.ValidationError):
        return explained(error)
    try:
        return explained(msgspec.ValidationError(_numbered(decode, frame, str(error))))
    except _FAULTS:
        return explained(error)  # keys that are no strings, or the like: no places there


def _numbered(decode: Any, body: bytes | Raw, text: str) -> str:
    """The decoder's text, its first list numbered, and those within its element."""
    found = _LIST.search(text)
    kind = _ELEMENTS.get(found[1]) if found is not None else None
    if found is None or kind is None:
        return text
    fields = decode(body, type=dict[str, Raw])
    for k, element in enumerate(decode(fields[found[1]], type=list[Raw])):
        try:
            decode(element, type=kind)
        except msgspec.ValidationError as e:
            place = f"`$.{found[1]}[{k}]"
            inner = _numbered(decode, element, str(e))
            return inner.replace("`$", place, 1) if "`$" in inner else f"{inner} - at {place}`"
    return text
