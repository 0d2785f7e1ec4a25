"""GETJOBBYCUSTOMID: a job by the name that its client gave it."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.access import scopes
from flashq.engine import queries
from flashq.engine.names import RESERVED
from flashq.errors import InvalidArgument, Unavailable
from flashq.protocol import commands as c
from flashq.protocol import replies
from flashq.protocol.dispatch import Codec
from flashq.protocol.slots import slot_of_queue
from flashq.shard.rendering import view_of
from flashq.shard.verbs import Fields, Request, Verb
from flashq.transport.envelope import Failure

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

UNKNOWN: Final[Fields] = {"job": None, "state": queries.UNKNOWN}

_NOTHING: Final = (b"null", b"\xc0")


class _Found(msgspec.Struct):
    job: msgspec.Raw = c.ABSENT


_found_text: Final = msgspec.json.Decoder(_Found).decode
_found_binary: Final = msgspec.msgpack.Decoder(_Found).decode


def name_in(command: Any) -> str:
    """The name, however the client spells the field. Raises InvalidArgument without one."""
    for name in (command.job_id, command.customId, command.custom_id):
        if name:
            return str(name)
    raise InvalidArgument("missing field `job_id`")


def by_custom_id(command: Any) -> int:
    slot: int = slot_of_queue(name_in(command))
    return slot


def get_job_by_custom_id(here: "ShardDispatcher", request: Request) -> Fields | None:
    """As GETJOB. Here is the name; its job may be another shard's."""
    job_id = here.engine.names.bound.get(name_in(request.command))
    if job_id is None or job_id == RESERVED:
        return UNKNOWN
    owner = here.owner_of(job_id & 1023)
    if owner != here.shard:
        ask_for(here, request, owner, job_id)
        return None
    seen = queries.find(here.engine, job_id)
    if seen is None:
        return UNKNOWN
    here.guard.check_job(request.link.principal, scopes.Verb.READ, job_id)
    view = view_of(seen, request.codec)
    return {"job": view, "state": view.state}


def ask_for(here: "ShardDispatcher", request: Request, owner: int, job_id: int) -> None:
    """The job's shard shows it; if it is gone there, its name has only not been freed yet."""
    later = request.hold()
    text = request.codec == Codec.TEXT
    frame = (replies.encode_text if text else replies.encode_binary)({"cmd": "GETJOB", "id": job_id})

    def came(body: bytes) -> None:
        here.wake()
        if bytes((_found_text if text else _found_binary)(body).job) in _NOTHING:
            later.reply(UNKNOWN)
        else:
            later.say(body)

    def failed(failure: Failure) -> None:
        here.wake()
        later.refuse(Unavailable(f"Shard {owner} is unavailable"))

    here.elsewhere.ask_part(owner, request.link, frame, came, failed)


VERBS: Final = {c.GetJobByCustomId: Verb(get_job_by_custom_id, by_custom_id)}
