"""INCOMING, INCOMINGDELETE, INCOMINGLIST: which queues take jobs from requests of others."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from flashq.engine import incoming
from flashq.errors import InvalidArgument
from flashq.protocol import commands as c
from flashq.shard import internal
from flashq.shard.gathering import Part, everywhere
from flashq.shard.verbs import Fields, Request, Verb, by_queue
from flashq.shard.webhook_verbs import MASK, Views

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher

SECRET_BYTES: Final = range(16, 513)


def _set(here: "ShardDispatcher", request: Request) -> Fields:
    command = request.command
    scheme = command.scheme if command.scheme is not None else c.SCHEMES[0]
    if scheme not in c.SCHEMES:
        raise InvalidArgument(f"invalid value: `scheme` is '{scheme[:64]}', allowed are {', '.join(c.SCHEMES)}")
    size = len(command.secret.encode("utf-8", "surrogatepass"))
    if size not in SECRET_BYTES:
        raise InvalidArgument(f"invalid value: `secret` has {size} bytes, allowed are 16 to 512")
    incoming.put(here.engine, command.queue, scheme, command.secret)
    return {}


def _delete(here: "ShardDispatcher", request: Request) -> Fields:
    incoming.remove(here.engine, request.command.queue)
    return {}


def _list(here: "ShardDispatcher", request: Request) -> Fields | None:
    def mine() -> Fields:
        found = here.engine.incoming.values()
        return {
            "incoming": [
                {"queue": one.queue, "scheme": one.scheme, "secret": MASK, "created_at": one.made_at} for one in found
            ]
        }

    def merged(parts: list[Part], silent: list[int]) -> Fields:
        views = [view for part in parts for view in part.get("incoming", Views)]
        return {"incoming": sorted(views, key=lambda view: view["queue"])}

    if request.local:
        return mine()
    everywhere(here, request, mine, merged)
    return None


def _proof_of(here: "ShardDispatcher", value: Any, way: internal.Answer) -> Any:
    """For a door: how requests for this queue prove who sent them; None if it takes none."""
    found = here.engine.incoming.get(msgspec.convert(value, str))
    return (found.scheme, found.secret) if found is not None else None


internal.WORDS["incoming"] = _proof_of
VERBS: Final[dict[type[Any], Verb]] = {
    c.Incoming: Verb(_set, by_queue, keyed=True),
    c.IncomingDelete: Verb(_delete, by_queue, keyed=True),
    c.IncomingList: Verb(_list),
}
