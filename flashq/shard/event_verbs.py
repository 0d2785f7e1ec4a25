"""SUBSCRIBE and UNSUBSCRIBE, on a connection of this process."""

from typing import TYPE_CHECKING, Any, Final

from flashq.errors import FlashqError, InvalidArgument
from flashq.protocol import commands as c
from flashq.protocol.happenings import kinds_of
from flashq.protocol.queue_names import check_queue_name
from flashq.shard.verbs import Fields, Request, Verb

if TYPE_CHECKING:
    from flashq.shard.dispatcher import ShardDispatcher


def _subscribe(here: "ShardDispatcher", request: Request) -> None:
    command = request.command
    check_queue_name(command.queue)
    kinds = kinds_of(command.events)
    if not request.link.takes_events:
        raise InvalidArgument("SUBSCRIBE needs a connection of its own, over TCP or a Unix socket")
    later = request.hold()

    def done(error: FlashqError | None) -> None:
        if error is None:
            later.reply({})
        else:
            later.refuse(error)

    here.desk.subscribe(request.link, command.queue, kinds, done)


def _unsubscribe(here: "ShardDispatcher", request: Request) -> Fields:
    check_queue_name(request.command.queue)
    here.desk.unsubscribe(request.link, request.command.queue)
    return {}


VERBS: Final[dict[type[Any], Verb]] = {
    c.Subscribe: Verb(_subscribe),
    c.Unsubscribe: Verb(_unsubscribe),
}
