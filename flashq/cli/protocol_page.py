"""Writes docs/protocol.md: its words from protocol_page.md, its tables from the code itself (`make docs`)."""

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Final, Union, get_args, get_origin

from msgspec import UNSET, Meta, Raw, UnsetType
from msgspec.structs import FieldInfo, fields

from flashq import errors
from flashq.api.statuses import STATUS_OF
from flashq.cli.config import worded
from flashq.cli.config_page import docstrings, sections
from flashq.cli.protocol_words import COMMANDS, EVENTS, FAMILIES, FIELDS, JOB_KEYS, OPTIONS, STATES
from flashq.config import Settings
from flashq.engine.jobs import State
from flashq.engine.queries import WIRE
from flashq.engine.transitions import diagram
from flashq.engine.validation import DURATIONS
from flashq.protocol import commands as c
from flashq.protocol.command_base import JOB_OPTION_ALIASES
from flashq.protocol.happenings import KINDS
from flashq.protocol.jobs import JobView
from flashq.shard.dispatcher import CARRIED_OUT, KEYED, ROUTES

TEMPLATE: Final = Path(__file__).with_name("protocol_page.md")
_EVERYWHERE: Final = frozenset(("reqId", "idempotency_key"))
_OPTION_NAMES: Final = frozenset(c.JobOptions.__struct_fields__)
_ALIASES: Final = dict(JOB_OPTION_ALIASES) | {"customId": "job_id", "custom_id": "job_id"}
_ID_ALIASES: Final = frozenset(("HEARTBEAT", "LOG", "GETLOGS"))
"""Where `job_id` may stand for `id`."""
_WHERE: Final = {
    "by_queue": "the queue's shard", "by_id": "the job's shard", "by_name": "the name's shard",
    "by_key": "the key's shard", "by_parent": "the job's shard", "by_custom_id": "the name's shard",
    "at_home": "the shard of slot 0",
}  # fmt: skip
_BOUNDS: Final = {(-(1 << 31), (1 << 31) - 1): "-2^31 to 2^31-1", (0, (1 << 32) - 1): "below 2^32",
                  (0, (1 << 63) - 1): "below 2^63", (-(1 << 63), (1 << 63) - 1): "64 bits"}  # fmt: skip
_PLAIN: Final = {str: "string", bool: "boolean", int: "integer", float: "number", Raw: "any JSON value"}
_LIMIT_SECTIONS: Final = ("Limits of a request", "Limits of a connection and of a shard")


def page() -> str:
    """The whole page."""
    text = TEMPLATE.read_text()
    parts = {
        "commands": _commands(), "options": _options(), "job keys": _job_keys(), "states": _states(),
        "diagram": ["```mermaid", *diagram(), "```"], "events": _events(), "errors": _errors(), "limits": _limits(),
    }  # fmt: skip
    for name, lines in parts.items():
        mark = f"<!-- {name} -->\n"
        assert mark in text, f"{TEMPLATE.name} has no place for: {name}"
        text = text.replace(mark, "".join(f"{line}\n" for line in lines))
    return text


# -- commands


def _commands() -> Iterator[str]:
    kinds = {kind.__struct_config__.tag: kind for kind in c.ALL}
    listed = [tag for _, tags in FAMILIES for tag in tags]
    assert sorted(listed) == sorted(kinds), f"not in FAMILIES, or no commands: {set(listed) ^ set(kinds)}"
    for title, tags in FAMILIES:
        yield f"### {title}"
        for tag in tags:
            yield ""
            yield from _command(tag, kinds[tag])
        yield ""


def _command(tag: str, kind: type[Any]) -> Iterator[str]:
    what, reply = COMMANDS[tag]
    yield f"#### {tag}"
    yield ""
    yield what
    yield ""
    rows = [field for field in fields(kind) if field.encode_name not in _EVERYWHERE | _hidden(kind)]
    names = {field.encode_name for field in rows}
    aliases = [(alias, name) for alias, name in _aliases(tag) if alias in names]
    for field in rows:
        if field.encode_name not in dict(aliases):
            yield _field(tag, field, [alias for alias, name in aliases if name == field.encode_name])
    if issubclass(kind, c.JobOptions):
        yield "- and the [options of jobs](#options-of-jobs)"
    facts = [f"Carried out by {_where(tag, kind)}."]
    if kind in KEYED:
        facts.append("`idempotency_key` counts.")
    keys = ", ".join(f"`{key}`" if not key.endswith("?") else f"`{key[:-1]}` (not always)" for key in _keys(reply))
    facts.append(f"Replies with {keys}." if keys else "Replies with `ok`.")
    if kind not in CARRIED_OUT:
        facts.append("**Not carried out yet.**")
    yield ""
    yield " ".join(facts)


def _hidden(kind: type[Any]) -> frozenset[str]:
    """The options of jobs are a table of their own."""
    return _OPTION_NAMES if issubclass(kind, c.JobOptions) else frozenset()


def _aliases(tag: str) -> list[tuple[str, str]]:
    return [("job_id", "id")] if tag in _ID_ALIASES else list(_ALIASES.items())


def _keys(reply: str) -> list[str]:
    return [key.strip() for key in reply.split(",") if key.strip()]


def _where(tag: str, kind: type[Any]) -> str:
    route = ROUTES.get(kind)
    if route is not None:
        return _WHERE[route.__name__]
    return "the shard of each id" if tag == "ACKB" else "any shard"


def _field(tag: str, field: FieldInfo, aliases: list[str]) -> str:
    name = field.encode_name
    meaning = FIELDS[f"{tag}.{name}"] if f"{tag}.{name}" in FIELDS else FIELDS[name]
    if aliases:
        meaning += f"{'; ' if meaning else ''}also {', '.join(f'`{alias}`' for alias in aliases)}"
    required = field.required or (name == "id" and tag in _ID_ALIASES) or (tag, name) == ("GETJOBBYCUSTOMID", "job_id")
    return f"- `{name}` ({_type(field.type)}{', required' if required else ''}){': ' if meaning else ''}{meaning}"


def _type(kind: Any) -> str:
    """In words, with its bounds."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if get_origin(kind) is Annotated:
        base, meta = get_args(kind)
        assert isinstance(meta, Meta)
        return f"{_PLAIN[base]} {_BOUNDS[int(meta.ge or 0), int(meta.le or 0)]}"
    if get_origin(kind) in (list, tuple):
        return f"list of {_type(get_args(kind)[0])}"
    if get_origin(kind) is Union or type(kind).__name__ == "UnionType":
        given = [_type(arg) for arg in get_args(kind) if arg not in (type(None), UnsetType)]
        return "number" if given == ["integer", "number"] else " or ".join(given)
    return "object"


# -- tables


def _options() -> Iterator[str]:
    yield "| option | type | absent or null | what it does |"
    yield "|---|---|---|---|"
    other = {name: alias for alias, name in JOB_OPTION_ALIASES}
    for field in fields(c.JobOptions):
        name = field.encode_name
        if name in other.values():
            continue
        kind = "ms, at most ten years" if name in DURATIONS else _type(field.type)
        also = f"; also `{other[name]}`" if name in other else ""
        yield f"| `{name}` | {kind} | {_absent(name, field.default)} | {OPTIONS[name]}{also} |"


def _absent(name: str, default: object) -> str:
    """What counts where nothing is said."""
    setting = f"default_{name}{'_ms' if name in DURATIONS else ''}"
    if setting in Settings.__dataclass_fields__:
        return f"`{setting}` ({worded(Settings(), setting)})"
    return "–" if default is None else f"`{str(default).lower()}`"


def _job_keys() -> Iterator[str]:
    yield "| key | type | |"
    yield "|---|---|---|"
    for field in fields(JobView):
        name = field.encode_name
        given_back = JOB_KEYS.get(name) if name in JOB_KEYS else OPTIONS[name] and "as pushed"
        null = " or null" if field.default is None else ""
        kind = "list of [integer, string]" if name == "failures" else _type(field.type)
        yield f"| `{name}`{'' if field.default is not UNSET else ' *'} | {kind}{null} | {given_back} |"


def _states() -> Iterator[str]:
    yield "| state | |"
    yield "|---|---|"
    for state in State:
        yield f"| `{WIRE[state]}` | {STATES[state.name]} |"
    yield "| `unknown` | no such job: never there, cancelled, removed, expired or forgotten |"


def _events() -> Iterator[str]:
    yield "| event | |"
    yield "|---|---|"
    for kind in KINDS:
        yield f"| `{kind}` | {EVENTS[kind]} |"


def _errors() -> Iterator[str]:
    yield "| code | status under `/api/v1` | when |"
    yield "|---|---|---|"
    by_code: dict[str, list[type[errors.FlashqError]]] = {}
    for each in _classes(errors.RequestError, errors.Unavailable, errors.DiskFull):
        by_code.setdefault(each.code, []).append(each)
    for code, classes in by_code.items():
        texts = dict.fromkeys(" ".join(cleandoc(each.__doc__ or "").split()) for each in classes)
        yield f"| `{code}` | {STATUS_OF[code]} | {'<br>'.join(texts)} |"
    yield f"| `internal` | {STATUS_OF['internal']} | A fault of the server: its log has it. |"


def _classes(*roots: type[errors.FlashqError]) -> Iterator[type[errors.FlashqError]]:
    """These, and all that derive from them in errors.py."""
    for root in roots:
        yield root
        yield from _classes(*(each for each in root.__subclasses__() if each.__module__ == errors.__name__))


def _limits() -> Iterator[str]:
    described = docstrings()
    yield "| setting | default | |"
    yield "|---|---|---|"
    for title, names in sections():
        if title in _LIMIT_SECTIONS:
            for name in names:
                yield f"| `{name}` | {worded(Settings(), name)} | {described[name]} |"


if __name__ == "__main__":
    sys.stdout.write(page())
