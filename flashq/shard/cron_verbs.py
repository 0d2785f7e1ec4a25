"""CRON, CRONDELETE, CRONLIST."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from flashq.engine import cron_jobs as cron_jobs  # carries out what crons post
from flashq.engine import crons, events, schedules
from flashq.engine.crons import Cron
from flashq.engine.validation import check_entry, check_name, check_queue_name
from flashq.engine.watching import check_known
from flashq.errors import FlashqError, OutOfMemory
from flashq.protocol import commands as c
from flashq.protocol import replies
from flashq.protocol.codec import payload_of, raw
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue
from flashq.shard.depending import KnownFirst, depends_elsewhere
from flashq.shard.gathering import Part, everywhere
from flashq.shard.verbs import Fields, Later, Request, Verb, by_name

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

_PLAIN: Final = c.JobEntry()
_OPTIONS: Final = tuple(name for name in c.JobOptions.__struct_fields__ if name in c.JobEntry.__struct_fields__)


def _set(here: "ShardDispatcher", request: Request) -> Fields | None:
    command, engine, codec = request.command, here.engine, request.codec
    nested = command.options or c.CronOptions()
    check_queue_name(command.queue)
    check_name(engine.limits, "name", command.name)
    options = _options_of(command, nested)
    payload = payload_of(command.data, codec)
    check_entry(engine.limits, options, payload, None)
    schedule, every, zone, misfire, limit = (
        value if (value := getattr(command, name)) is not None else getattr(nested, name)
        for name in ("schedule", "repeat_every", "timezone", "misfire", "limit")
    )
    _, first = schedules.checked(engine.limits, schedule, every, zone, misfire, engine.now_ms)
    if here.refusal:
        raise OutOfMemory(here.refusal)
    check_known(engine, options, "")
    frame = _frame(codec, command.queue, payload, options)
    event = events.CronSet(
        command.name, command.queue, codec, frame, schedule, every, zone or None, misfire or "once", limit, first
    )
    entries = [(options, payload)]
    if depends_elsewhere(engine, entries):
        _set_when_known(here, request, entries, event)
        return None
    crons.put(engine, event)
    if (slot_of_queue(event.name), slot_of_queue(event.queue)) in engine.outbox.waiting:
        _answer_when_aimed(here, request.hold(), event)
        return None
    return {}


def _answer_when_aimed(here: "ShardDispatcher", later: Later, event: events.CronSet) -> None:
    """OBLITERATE takes the crons along that the queue's slot knows: whoever has our answer may count on that."""
    source, targets = slot_of_queue(event.name), (slot_of_queue(event.queue),)
    later.reply_when({}, lambda send: here.when_told(source, targets, send))


def _set_when_known(
    here: "ShardDispatcher", request: Request, entries: list[tuple[c.JobEntry, bytes]], event: events.CronSet
) -> None:  # fmt: skip
    """Its jobs depend on jobs of other shards, who are asked first; what is known once stays known for all runs."""
    later, gid = request.hold(), request.link.gid
    here.gates.close(gid)

    def known(error: FlashqError | None) -> None:
        if error is not None:
            later.refuse(error)
        else:
            crons.put(here.engine, event)
            _answer_when_aimed(here, later, event)
        here.gates.open(gid)

    KnownFirst(here, entries, known)


def _options_of(command: Any, nested: c.CronOptions) -> c.JobEntry:
    """The options of the jobs: those beside the cron's own fields, then those in `options`."""
    c.folded(command)
    c.folded(nested)
    options = c.JobEntry()
    for name in _OPTIONS:
        default = getattr(_PLAIN, name)
        value = getattr(command, name)
        setattr(options, name, value if value != default else getattr(nested, name))
    return options


def _given(options: Any) -> dict[str, Any]:
    """The options that are not as for a plain job."""
    return {name: value for name in _OPTIONS if (value := getattr(options, name)) != getattr(_PLAIN, name)}


def _frame(codec: int, queue: str, payload: bytes, options: c.JobEntry) -> bytes:
    """The PUSH that each run is; without options it is a plain one."""
    command: Mapping[str, Any] = {"cmd": "PUSH", "queue": queue, "data": Raw(payload), **_given(options)}
    return replies.encode_text(command) if codec == Codec.TEXT else replies.encode_binary(command)


def _delete(here: "ShardDispatcher", request: Request) -> Fields:
    crons.delete(here.engine, request.command.name)
    return {}


def _list(here: "ShardDispatcher", request: Request) -> Fields | None:
    if request.local:
        return _mine(here, request.codec)
    everywhere(here, request, lambda: _mine(here, request.codec), _merged)
    return None


def _merged(parts: list[Part], silent: list[int]) -> Fields:
    found = [cron for part in parts for cron in part.get("crons", list[Raw])]
    return {"crons": found, "jobs": found}


def _mine(here: "ShardDispatcher", codec: int) -> Fields:
    """The crons of this shard. Past `reply_bytes_max` of data the rest of them come without theirs."""
    left = here.engine.limits.reply_bytes_max
    views = []
    for cron in here.engine.crons.by_name.values():
        left -= len(cron.frame)
        views.append(_view(cron, codec, whole=left >= 0))
    return {"crons": views}


def _view(cron: Cron, codec: int, *, whole: bool) -> Fields:
    push = c.FULL[Codec(cron.codec)](cron.frame)
    options = _given(push)
    view: dict[str, Any] = {
        "name": cron.name, "queue": cron.queue,
        "data": raw(payload_of(push.data, cron.codec), cron.codec, codec) if whole else None,
        "schedule": cron.schedule, "repeat_every": cron.repeat_every, "priority": options.pop("priority", 0),
        "next_run": cron.next_run, "executions": cron.executions, "limit": cron.limit,
        "timezone": cron.timezone, "misfire": cron.misfire, "options": options,
    }  # fmt: skip
    if not whole:
        view["data_omitted"] = True
    return view


VERBS: Final[dict[type[Any], Verb]] = {
    c.Cron: Verb(_set, by_name, keyed=True),
    c.CronDelete: Verb(_delete, by_name, keyed=True),
    c.CronList: Verb(_list),
}
