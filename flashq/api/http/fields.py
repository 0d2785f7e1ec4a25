"""Keys of a request, checked and turned into the fields of a command, payloads untouched.

The types are the command's own. Lists and payloads are not decoded here: their bytes go into the command as they came,
and the shard judges them. So a wrong type is found here or there; both are answered alike.
"""

from typing import Any, Final, get_args, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from msgspec import UNSET, Raw, UnsetType

from flashq.api.http.failures import HttpFailure
from flashq.protocol import commands
from flashq.protocol.codec import explained
from flashq.protocol.command_base import ABSENT

INT_MAX: Final = (1 << 63) - 1
TYPES: Final[dict[str, dict[str, Any]]] = {
    str(one.__struct_config__.tag): {f.encode_name: f.type for f in msgspec.structs.fields(one)} for one in commands.ALL
}
"""Command -> field -> type."""
BAD: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def is_payload(kind: Any) -> bool:
    """Whether a field's bytes go on as they came: a payload, or a list."""
    if kind is Raw:
        return True
    parts = (kind, *get_args(kind)) if get_origin(kind) is not list else (kind,)
    return any(get_origin(part) is list for part in parts)


def body_type(name: str, need: dict[str, Any], may: dict[str, Any]) -> type[msgspec.Struct]:
    """A struct for bodies with these keys: key -> type of the field. Keys it does not know are ignored."""
    fields: list[Any] = [(key, Raw if is_payload(kind) else kind) for key, kind in need.items()]
    for key, kind in may.items():
        fields.append((key, Raw, ABSENT) if is_payload(kind) else (key, kind | UnsetType, UNSET))
    return msgspec.defstruct(f"{name}Body", fields, kw_only=True, gc=False)


def values_of(body: msgspec.Struct) -> dict[str, Any]:
    """The keys that a body has."""
    found = {}
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is not UNSET and value is not ABSENT:
            found[name] = value
    return found


def sound(body: bytes) -> bytes:
    """A JSON body as one line of UTF-8. Raises HttpFailure 400 where it cannot be."""
    try:
        if not body.isascii():
            body.decode()
        if b"\n" in body or b"\r" in body:
            return msgspec.json.format(body, indent=-1)
    except BAD as error:
        raise malformed(error) from None
    return body


def malformed(error: Exception) -> HttpFailure:
    """The answer to a body that is no JSON (400), or JSON of the wrong shape (422)."""
    words = str(explained(error))
    if isinstance(error, msgspec.ValidationError):
        return HttpFailure(422, f"Invalid: {words}")
    return HttpFailure(400, f"Invalid: {words}")


def from_query(query: bytes, types: dict[str, Any]) -> dict[str, Any]:
    """The keys of a query string that `types` knows, of their types. Raises HttpFailure 400 for a wrong value."""
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except ValueError:
        raise HttpFailure(400, "Invalid: the query string is not valid") from None
    for name, text in pairs:
        if name in types and text:
            found[name] = from_text(name, text, types[name])
    return found


def from_text(name: str, text: str, kind: Any) -> Any:
    """A value of a path or query. Raises HttpFailure 400 for a wrong one."""
    kinds = {kind, *get_args(kind)}
    if str in kinds:
        return text
    if bool in kinds:
        if text in ("true", "false"):
            return text == "true"
        raise HttpFailure(400, f"Invalid: `{name}` is {text[:64]!r}, allowed are true and false")
    if text.isascii() and text.isdigit() and int(text[:20]) <= INT_MAX:
        return int(text)
    raise HttpFailure(400, f"Invalid: `{name}` is {text[:64]!r}, allowed is a whole number from 0 to {INT_MAX}")


def from_segment(segment: bytes) -> str:
    """A part of a path, percent-decoded. Raises HttpFailure 400 if it is no UTF-8."""
    try:
        return unquote_to_bytes(segment).decode() if b"%" in segment else segment.decode()
    except UnicodeDecodeError:
        raise HttpFailure(400, "Invalid: the path is not valid UTF-8") from None
